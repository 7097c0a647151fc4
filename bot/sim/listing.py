"""One instrument as the exchange lists it: its book, its marks, what we hold in it and what of ours rests in it.

Mutable and slotted, because a quote must cost the exchange one lookup and one assignment. The quote is kept by
reference; the size already taken from it is remembered beside it and forgotten with the next quote.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from bot.model.event import NEVER, FundingRate, OrderFilled, Quote
from bot.model.ids import ClientId
from bot.model.instrument import Instrument, Rounding, round_qty, to_decimal
from bot.model.order import OrderSpec, Outcome, Side
from bot.model.position import Position

ZERO = Decimal(0)


class Ticket(msgspec.Struct, kw_only=True):
    """The venue's own record of one order: the truth that the desk's record is reconciled against."""

    spec: OrderSpec
    venue_order_id: str
    filled: Decimal = ZERO
    outcome: Outcome | None = None
    reason: str = ""
    fills: list[OrderFilled] = msgspec.field(default_factory=list)

    @property
    def leaves(self) -> Decimal:
        """Return the contracts that may still fill; 0 once the order has ended."""
        return self.spec.qty - self.filled if self.outcome is None else ZERO


class Listing:
    """Market and account state of one instrument on one exchange.

    mark: 0.0 until the first MarkPrice; from then on margin ignores quotes. low, high: the prices at which the
    margin has to be computed again, as `bid_low`, `ask_high` where quotes have to be compared with them. A quote
    between those needs no arithmetic. next_stamp: of `funding`, NEVER when none is announced. until: how long `open`
    holds.
    """

    __slots__ = (
        "ask_high", "bid_low", "funding", "high", "instrument", "last_mid", "low", "mark", "next_stamp", "open", "position",
        "quote", "resting", "unit", "until", "used_buy", "used_of", "used_sell", "worst_rate",
    )  # fmt: skip

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.unit = float(instrument.unit)
        self.worst_rate = max((float(t.maintenance_rate) for t in instrument.tiers), default=0.0)
        self.quote: Quote | None = None
        self.used_of: Quote | None = None
        self.used_buy = self.used_sell = ZERO
        self.mark = 0.0
        self.last_mid = 0.0
        self.position = Position()
        self.resting: dict[ClientId, Ticket] = {}
        self.low = self.bid_low = 0.0
        self.high = self.ask_high = math.inf
        self.funding: FundingRate | None = None
        self.next_stamp = NEVER
        self.open = False
        self.until = 0

    def price(self) -> float:
        """Return the price that margin and funding use: the mark, else the last sane mid; 0.0 when never seen."""
        if self.mark > 0.0:
            return self.mark
        q = self.quote
        if q is not None and 0.0 < q.bid <= q.ask < math.inf:
            self.last_mid = 0.5 * (q.bid + q.ask)
        return self.last_mid

    def touch(self, side: Side) -> float:
        """Return the best price a taker on `side` gets, 0.0 when that side of the book is empty."""
        q = self.quote
        if q is None:
            return 0.0
        price, size = (q.ask, q.ask_size) if side is Side.BUY else (q.bid, q.bid_size)
        return price if 0.0 < price < math.inf and size > 0.0 else 0.0

    def offered(self, side: Side, wanted: Decimal) -> Decimal:
        """Return what the displayed size still offers a taker on `side`, whole lots, at most `wanted`."""
        q = self.quote
        if q is None or self.touch(side) == 0.0:
            return ZERO
        if self.used_of is not q:
            self.used_of, self.used_buy, self.used_sell = q, ZERO, ZERO
        size, used = (q.ask_size, self.used_buy) if side is Side.BUY else (q.bid_size, self.used_sell)
        if math.isinf(size):
            return wanted
        left = to_decimal(size) - used
        return min(wanted, round_qty(self.instrument, left, Rounding.DOWN)) if left > 0 else ZERO

    def take(self, side: Side, qty: Decimal) -> None:
        """Remove `qty` from the displayed size until the next quote."""
        if side is Side.BUY:
            self.used_buy += qty
        else:
            self.used_sell += qty

    def working(self, side: Side) -> Decimal:
        """Return the contracts of ours that rest on `side`."""
        return sum((t.leaves for t in self.resting.values() if t.spec.side is side), ZERO)

    def set_trip(self, slack: float) -> None:
        """Set the price before which a loss of `slack` (settle currency) on this position is impossible.

        Profit and maintenance are linear in price for a linear contract and in 1 / price for an inverse one, and
        the worst tier bounds the slope, so the trip is never late; crossing it only means: compute exactly.
        """
        price, qty = self.price(), self.position.qty_f
        room = max(slack, 0.0) / (abs(qty) * self.unit * (1.0 + self.worst_rate))
        if self.instrument.inverse and price > 0.0:
            up = 1.0 / price - room
            low, high = 1.0 / (1.0 / price + room), 1.0 / up if up > 0.0 else math.inf
        else:
            low, high = price - room, price + room
        self.low, self.high = (low, math.inf) if qty > 0.0 else (0.0, high)
        if slack < 0.0:  # what could not be taken at once is tried again at every quote
            self.bid_low, self.ask_high = math.inf, 0.0
        elif self.mark > 0.0:
            self.bid_low, self.ask_high = 0.0, math.inf
        else:
            self.bid_low, self.ask_high = self.low, self.high

    def clear_trip(self) -> None:
        """Stop watching prices: nothing is held."""
        self.low = self.bid_low = 0.0
        self.high = self.ask_high = math.inf
