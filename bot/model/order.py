"""Orders: what we ask for, the states an order moves through, and the rule that says when it is done.

The transition table is the whole truth about order states. A terminal report and its fills travel on separate
channels on both venues (IB orderStatus and execDetails, ccxt order and trade streams), so a report may overtake
the fills it counts: such an order is CLOSING until deduplicated fills reach the reported cumulative quantity.
UNKNOWN means no answer; only evidence from the venue ends it.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.model.ids import ClientId, InstrumentId, PairId, VenueId


class Side(StrEnum):
    """Side of an order; positions have a sign instead."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """Return +1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1


class TimeInForce(StrEnum):
    """Only orders that cannot outlive a session: nothing of ours rests through a maintenance window."""

    IOC = "ioc"
    DAY = "day"


class Purpose(StrEnum):
    """Why an order exists; its letter is part of the client id."""

    LEAD = "L"
    HEDGE = "H"
    UNWIND = "U"
    FLATTEN = "F"


class OrderStatus(StrEnum):
    """State of an order as we can prove it."""

    SENT = "sent"
    WORKING = "working"
    UNKNOWN = "unknown"
    CLOSING = "closing"
    DONE = "done"


class Trigger(StrEnum):
    """What moves an order from one state to another."""

    ACK = "ack"
    FILL = "fill"
    FILLED = "filled"
    ENDED = "ended"
    ENDED_SHORT = "ended_short"
    NO_ANSWER = "no_answer"
    ABSENT = "absent"
    DENIED = "denied"


class Outcome(StrEnum):
    """How an order ended."""

    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DENIED = "denied"
    ABSENT = "absent"


_S, _T = OrderStatus, Trigger
TRANSITIONS: dict[tuple[OrderStatus, Trigger], OrderStatus] = {
    (_S.SENT, _T.ACK): _S.WORKING,
    (_S.SENT, _T.FILL): _S.WORKING,  # a fill may overtake its acknowledgement
    (_S.SENT, _T.FILLED): _S.DONE,
    (_S.SENT, _T.ENDED): _S.DONE,
    (_S.SENT, _T.ENDED_SHORT): _S.CLOSING,
    (_S.SENT, _T.NO_ANSWER): _S.UNKNOWN,
    (_S.SENT, _T.DENIED): _S.DONE,  # our own send gate or journal stopped it: it never left
    (_S.WORKING, _T.ACK): _S.WORKING,
    (_S.WORKING, _T.FILL): _S.WORKING,
    (_S.WORKING, _T.FILLED): _S.DONE,
    (_S.WORKING, _T.ENDED): _S.DONE,
    (_S.WORKING, _T.ENDED_SHORT): _S.CLOSING,
    (_S.WORKING, _T.NO_ANSWER): _S.UNKNOWN,
    (_S.UNKNOWN, _T.ACK): _S.WORKING,
    (_S.UNKNOWN, _T.FILL): _S.UNKNOWN,  # part of it happened; what remains is still unknown
    (_S.UNKNOWN, _T.FILLED): _S.DONE,
    (_S.UNKNOWN, _T.ENDED): _S.DONE,
    (_S.UNKNOWN, _T.ENDED_SHORT): _S.CLOSING,
    (_S.UNKNOWN, _T.NO_ANSWER): _S.UNKNOWN,
    (_S.UNKNOWN, _T.ABSENT): _S.DONE,
    (_S.CLOSING, _T.ACK): _S.CLOSING,
    (_S.CLOSING, _T.FILL): _S.CLOSING,
    (_S.CLOSING, _T.FILLED): _S.DONE,
    (_S.CLOSING, _T.ENDED): _S.DONE,
    (_S.CLOSING, _T.ENDED_SHORT): _S.CLOSING,
    (_S.CLOSING, _T.NO_ANSWER): _S.CLOSING,
    # Late, duplicate and over-fills arrive after the end: they are booked, the state stays.
    (_S.DONE, _T.ACK): _S.DONE,
    (_S.DONE, _T.FILL): _S.DONE,
    (_S.DONE, _T.FILLED): _S.DONE,
    (_S.DONE, _T.ENDED): _S.DONE,
    (_S.DONE, _T.ENDED_SHORT): _S.DONE,
    (_S.DONE, _T.NO_ANSWER): _S.DONE,
    (_S.DONE, _T.ABSENT): _S.DONE,
}


class OrderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One order as sent. qty: contracts > 0. limit: every order has one, a market order is not in the vocabulary."""

    client_id: ClientId
    pair: PairId
    venue: VenueId
    instrument: InstrumentId
    side: Side
    qty: Decimal
    limit: Decimal
    tif: TimeInForce
    purpose: Purpose
    reduce_only: bool = False


class Order(msgspec.Struct, kw_only=True):
    """Our record of one order: mutable, owned by the engine state, changed only by folding events.

    sent_ns: when the intent was made. asked_ns: last query or cancel, for pacing the next. not_found: consecutive
    answers of the venue that it does not know the id, from `not_found_ns` to `not_found_last_ns`. ended_ns: when it was
    done, or filled once more after that; 0 while live.
    """

    spec: OrderSpec
    sent_ns: int
    status: OrderStatus = OrderStatus.SENT
    filled: Decimal = Decimal(0)
    reported: Decimal | None = None
    outcome: Outcome | None = None
    reason: str = ""
    venue_order_id: str = ""
    execs: tuple[str, ...] = ()
    cancel_ns: int = 0
    asked_ns: int = 0
    not_found: int = 0
    not_found_ns: int = 0
    not_found_last_ns: int = 0
    ended_ns: int = 0

    @property
    def live(self) -> bool:
        """Return whether the order may still change a position."""
        return self.status is not OrderStatus.DONE

    @property
    def leaves(self) -> Decimal:
        """Return the contracts that may still fill, worst case; 0 once done."""
        if self.status is OrderStatus.DONE:
            return Decimal(0)
        cap = self.spec.qty if self.reported is None else self.reported
        return max(Decimal(0), cap - self.filled)


def advance(order: Order, trigger: Trigger) -> None:
    """Move `order` along the table. Raises ValueError for a transition the table does not have."""
    try:
        order.status = TRANSITIONS[order.status, trigger]
    except KeyError:
        raise ValueError(f"order {order.spec.client_id}: no transition from {order.status} on {trigger}") from None


def book_fill(order: Order, qty: Decimal) -> None:
    """Add a deduplicated fill of `qty` contracts; the order is done when fills reach what was asked or reported."""
    order.filled += qty
    goal = order.spec.qty if order.reported is None else order.reported
    complete = order.filled >= goal
    if complete and order.outcome is None:
        order.outcome = Outcome.FILLED
    advance(order, Trigger.FILLED if complete else Trigger.FILL)


def end(order: Order, outcome: Outcome, cum_qty: Decimal, reason: str) -> None:
    """Apply a terminal report carrying the venue's cumulative filled quantity."""
    if order.status is OrderStatus.DONE and order.filled >= cum_qty:
        return
    order.reported = cum_qty
    order.outcome = outcome
    order.reason = reason
    advance(order, Trigger.ENDED if order.filled >= cum_qty else Trigger.ENDED_SHORT)
