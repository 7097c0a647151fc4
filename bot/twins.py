"""The second record that bot.checks keeps of orders and pairs, apart from the engine's own."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.model.order import OrderSpec, OrderStatus

ZERO = Decimal(0)


class Twin(msgspec.Struct, kw_only=True):
    """The second record of one order. late: from then on its fills answer a question nobody asks any more (I11)."""

    spec: OrderSpec
    status: OrderStatus = OrderStatus.SENT
    filled: Decimal = ZERO
    reported: Decimal | None = None
    execs: set[str] = msgspec.field(default_factory=set)
    sent_ns: int = 0
    not_found: int = 0
    not_found_ns: int = 0
    late: bool = False

    @property
    def leaves(self) -> Decimal:
        """Return the contracts that may still fill, worst case."""
        goal = self.spec.qty if self.reported is None else self.reported
        return ZERO if self.status is OrderStatus.DONE else max(ZERO, goal - self.filled)


class Legs(msgspec.Struct, kw_only=True):
    """The second record of one pair: contracts held, and the unhedged clock. *_ns: 0 = not running."""

    lead: Decimal = ZERO
    hedge: Decimal = ZERO
    since_ns: int = 0
    told: bool = False
    idle_ns: int = 0
