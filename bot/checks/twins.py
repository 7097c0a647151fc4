"""What the second record keeps of orders and pairs, apart from the engine's own."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.model.order import OrderSpec, OrderStatus

ZERO = Decimal(0)


class Twin(msgspec.Struct, kw_only=True):
    """The second record of one order. late: from then on its fills answer a question nobody asks any more (I11).

    unknown_ns: since when its fate is unknown while its venue could be asked, 0 while known (I22). closing: it may only bring its
    leg nearer to zero (I20).
    """

    spec: OrderSpec
    status: OrderStatus = OrderStatus.SENT
    filled: Decimal = ZERO
    reported: Decimal | None = None
    execs: set[str] = msgspec.field(default_factory=set)
    sent_ns: int = 0
    not_found: int = 0
    not_found_ns: int = 0
    late: bool = False
    unknown_ns: int = 0
    closing: bool = False

    @property
    def leaves(self) -> Decimal:
        """Return the contracts that may still fill, worst case."""
        goal = self.spec.qty if self.reported is None else self.reported
        return ZERO if self.status is OrderStatus.DONE else max(ZERO, goal - self.filled)


class Legs(msgspec.Struct, kw_only=True):
    """The second record of one pair: contracts held, the unhedged clock, and why the next order of a leg may leave. *_ns: 0 = not running.

    due_ns: from when on an order of the lead, of the hedge has a reason that no order has answered yet (I12). plan: lots that the
    intent asked for with which the trade that is on, or the next, was approved first (I16). margin_ns: since when the buffer is spent
    and nothing reduces (I13). unwinding: whether the pair was leaving when the step began.
    """

    lead: Decimal = ZERO
    hedge: Decimal = ZERO
    since_ns: int = 0
    told: bool = False
    idle_ns: int = 0
    lead_due_ns: int = 0
    hedge_due_ns: int = 0
    plan: Decimal = ZERO
    margin_ns: int = 0
    unwinding: bool = False

    @property
    def flat(self) -> bool:
        """Return whether nothing is held."""
        return not self.lead and not self.hedge

    def owe(self, ts: int, lead: bool = True, hedge: bool = True) -> None:
        """Let orders have a reason from `ts` on."""
        if lead and not 0 < self.lead_due_ns <= ts:
            self.lead_due_ns = ts
        if hedge and not 0 < self.hedge_due_ns <= ts:
            self.hedge_due_ns = ts
