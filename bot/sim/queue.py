"""Price-time priority of resting orders in a book that shows sizes only: how many contracts are still in front of ours.

An order that improves the touch is first; one that joins a price stands behind everything displayed there. What is in
front shrinks in two ways, as in the probability-queue models of order-book back-testing: by trades, which take from the
front (the expected flow, `Depth.turnover` of what is displayed at the touch per second), and by cancels, of which a queue
that got shorter than trades explain lost the same share in front of us as behind. New orders stand behind ours. Nothing
here is random, and nothing happens to an order while the touch is elsewhere.
"""

from __future__ import annotations

import math
from decimal import Decimal

from bot.model.instrument import to_decimal
from bot.model.order import Side
from bot.sim.book import ZERO, DeepBook, Level, Place, touch
from bot.sim.listing import Listing, Ticket

_S = 1e9


def queue_of(x: Listing, now_ns: int) -> Queue | None:
    """Return the queues of a listing as they are now, None where the book has no depth and nobody queues."""
    return Queue(x, x.book.depth.turnover, now_ns) if isinstance(x.book, DeepBook) else None


class Queue:
    """One look, at `now_ns`, at the queues our orders in a listing stand in. Ask for them best price first, oldest first."""

    def __init__(self, x: Listing, turnover: float, now_ns: int) -> None:
        self._x = x
        self._turnover = turnover
        self._now = now_ns
        self._lot = float(x.instrument.lot)
        self._ours = {Side.BUY: 0.0, Side.SELL: 0.0}  # contracts of the flow that better orders of ours have had
        self._books: dict[Side, list[Level]] = {}

    def join(self, ticket: Ticket) -> None:
        """Put an order behind all that is displayed at its price and behind our own older orders; not before a first quote."""
        if self._x.quote is None:
            return
        spec = ticket.spec
        older = [t.place.ahead for t in self._x.resting.values()
                 if t.place is not None and t.spec.side is spec.side and t.spec.limit == spec.limit]  # fmt: skip
        place = ticket.place = Place(ahead=self._displayed(spec.side, spec.limit), level=0.0, pace=0.0, since=self._now)
        self._see(ticket, place, 0.0)
        place.ahead = max([place.ahead, *older])

    def due(self, ticket: Ticket) -> Decimal:
        """Return whole lots of an order whose turn has come since the last look; one without a place joins."""
        place = ticket.place
        if place is None:
            self.join(ticket)
            return ZERO
        traded = place.pace * max(0, self._now - place.since) / _S
        passed = max(0.0, traded - self._ours[ticket.spec.side])
        place.turn += max(0.0, passed - place.ahead)
        place.ahead = max(0.0, place.ahead - passed)
        self._see(ticket, place, traded)
        lots = min(math.floor(place.turn / self._lot + 1e-9), int(ticket.leaves / self._x.instrument.lot))
        return lots * self._x.instrument.lot

    def through(self, ticket: Ticket) -> bool:
        """Return whether the market has gone through an order's price."""
        beyond = self._beyond(ticket)
        return ticket.place is not None and ticket.place.passive and beyond is not None and beyond < 0

    def filled(self, ticket: Ticket, qty: Decimal) -> None:
        """Count `qty` of an order as filled: worse orders of ours on its side wait for what is left of the flow."""
        if ticket.place is not None:
            ticket.place.turn = max(0.0, ticket.place.turn - float(qty))
        self._ours[ticket.spec.side] += float(qty)

    def _see(self, ticket: Ticket, place: Place, traded: float) -> None:
        """Bring a place up to date with the book as it is displayed now. traded: contracts traded there since the last look."""
        beyond = self._beyond(ticket)
        place.passive = place.passive or (beyond is not None and beyond > 0)
        place.since = self._now
        book = self._book(ticket.spec.side)
        away = (book[0][0] - ticket.spec.limit) * ticket.spec.side.sign if book else ZERO
        if not book or away > 0:  # nobody is there, or others are better: nothing trades here
            place.level = place.pace = 0.0
            return
        size = float(book[0][1])
        place.pace = self._turnover * size if size < math.inf else 0.0
        if away < 0:  # nobody else is left at this price
            place.ahead = place.level = 0.0
            return
        expected = place.level - traded
        if 0.0 < size < expected < math.inf:
            place.ahead *= size / expected
        place.ahead = min(place.ahead, size)
        place.level = size

    def _beyond(self, ticket: Ticket) -> Decimal | None:
        """Return how far the other side's displayed touch is from an order's price, < 0: through it; None without a touch."""
        spec = ticket.spec
        price, _ = touch(self._x.quote, spec.side)
        return (to_decimal(price) - spec.limit) * spec.side.sign if price else None

    def _displayed(self, side: Side, limit: Decimal) -> float:
        """Return contracts displayed at a price on our side; between two levels and beyond the last: of the next, of the last."""
        size = 0.0
        for price, qty in self._book(side):
            if (price - limit) * side.sign < 0:
                return float(qty) if size else 0.0
            size = float(qty)
            if price == limit:
                break
        return size

    def _book(self, side: Side) -> list[Level]:
        """Return the levels our orders on `side` queue in: what a taker of the other side is offered."""
        if side not in self._books:
            self._books[side] = self._x.levels(Side.SELL if side is Side.BUY else Side.BUY, self._now)
        return self._books[side]
