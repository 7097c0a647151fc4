"""One instrument as the exchange lists it: its book, its marks, what we hold in it and what of ours rests in it.

Mutable and slotted, because a quote must cost the exchange one lookup and one assignment.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from bot.model.event import NEVER, FundingRate, OrderFilled, Quote
from bot.model.ids import ClientId
from bot.model.instrument import Instrument
from bot.model.order import OrderSpec, Outcome, Side
from bot.model.position import Position
from bot.sim.book import ZERO, Book, DeepBook, Depth, Level, Place, TouchBook
from bot.sim.breaker import Breaker


class Ticket(msgspec.Struct, kw_only=True):
    """The venue's own record of one order: the truth that the desk's record is reconciled against.

    place: where it stands in its queue; None: not placed yet, it joins at the back with the next quote.
    """

    spec: OrderSpec
    venue_order_id: str
    filled: Decimal = ZERO
    outcome: Outcome | None = None
    reason: str = ""
    fills: list[OrderFilled] = msgspec.field(default_factory=list)
    place: Place | None = None

    @property
    def leaves(self) -> Decimal:
        """Return the contracts that may still fill; 0 once the order has ended."""
        return self.spec.qty - self.filled if self.outcome is None else ZERO


class Listing:
    """Market and account state of one instrument on one exchange.

    mark: 0.0 until the first MarkPrice; from then on margin ignores quotes. low, high: the prices at which the margin has
    to be computed again; guard_low, guard_high: the same where quotes have to be compared with them. bid_low, ask_high: a
    quote between these needs no look at all, which with `attentive` (a breaker, or something of ours missing from the book)
    none is. next_stamp: of `funding`, NEVER when none is announced. open: in session, as the source said, until `until`.
    halted_until: end of a halt, 0 when it trades. rates: multiple of the listed margin rates that is asked for.
    """

    __slots__ = (
        "ask_high", "attentive", "bid_low", "book", "breaker", "funding", "guard_high", "guard_low", "halted_until", "high",
        "instrument", "last_mid", "low", "mark", "next_stamp", "open", "position", "quote", "rates", "resting", "unit", "until",
        "worst_rate",
    )  # fmt: skip

    def __init__(self, instrument: Instrument, depth: Depth | None = None, breaker: Breaker | None = None) -> None:
        self.instrument = instrument
        self.unit = float(instrument.unit)
        self.quote: Quote | None = None
        self.book: Book = TouchBook(instrument) if depth is None else DeepBook(instrument, depth)
        self.breaker = breaker
        self.attentive = breaker is not None
        self.mark = 0.0
        self.last_mid = 0.0
        self.position = Position()
        self.resting: dict[ClientId, Ticket] = {}
        self.clear_trip()
        self.funding: FundingRate | None = None
        self.next_stamp = NEVER
        self.open = False
        self.until = 0
        self.halted_until = 0
        self.set_rates(1.0)

    def price(self) -> float:
        """Return the price that margin and funding use: the mark, else the last sane mid; 0.0 when never seen."""
        if self.mark > 0.0:
            return self.mark
        q = self.quote
        if q is not None and 0.0 < q.bid <= q.ask < math.inf:
            self.last_mid = 0.5 * (q.bid + q.ask)
        return self.last_mid

    def best(self, side: Side, now_ns: int) -> float:
        """Return the best price a taker on `side` gets, 0.0 when that side of the book is empty."""
        return self.book.best(self.quote, side, now_ns)

    def levels(self, side: Side, now_ns: int) -> list[Level]:
        """Return what a taker on `side` can have now, best price first."""
        return self.book.levels(self.quote, side, now_ns)

    def take(self, side: Side, qty: Decimal, now_ns: int) -> None:
        """Remove `qty` from what a taker on `side` can have."""
        self.book.take(self.quote, side, qty, now_ns)
        self.attend(now_ns)

    def attend(self, now_ns: int) -> None:
        """Look at every quote while there is a breaker or something of ours is missing from the book."""
        missing = self.book.missing(Side.BUY, now_ns) or self.book.missing(Side.SELL, now_ns)
        self.attentive = self.breaker is not None or missing > 0
        self._arm()

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
            self.guard_low, self.guard_high = math.inf, 0.0
        elif self.mark > 0.0:
            self.guard_low, self.guard_high = 0.0, math.inf
        else:
            self.guard_low, self.guard_high = self.low, self.high
        self._arm()

    def clear_trip(self) -> None:
        """Stop watching prices: nothing is held."""
        self.low = self.guard_low = 0.0
        self.high = self.guard_high = math.inf
        self._arm()

    def set_rates(self, multiple: float) -> None:
        """Ask for `multiple` of the listed margin rates. The trip has to be set anew after it."""
        self.rates = multiple
        self.worst_rate = multiple * max((float(t.maintenance_rate) for t in self.instrument.tiers), default=0.0)

    def _arm(self) -> None:
        if self.attentive:
            self.bid_low, self.ask_high = math.inf, 0.0
        else:
            self.bid_low, self.ask_high = self.guard_low, self.guard_high
