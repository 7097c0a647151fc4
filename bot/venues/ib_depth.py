"""Depth of book, where the login may have it: rows as TWS inserts, changes and deletes them, kept as ladders.

TWS tells one row at a time by its place. A row that does not fit what is there means that one before it was lost, and the
whole ladder is asked for anew. Nothing that trades needs depth: without it the touch is all that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from bot.market.book import sound
from bot.model import event as ev
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.venues.budget import Priority
from bot.venues.ib_contracts import Found
from bot.venues.ib_line import Line

INSERT, UPDATE, DELETE = 0, 1, 2


class Ladder(msgspec.Struct, kw_only=True):
    """One subscription. bids, asks: (price, contracts), best first. heard_ns: when it last said something. broken: a row was lost."""

    instrument: Instrument
    req_id: int
    heard_ns: int
    bids: list[tuple[float, float]] = []
    asks: list[tuple[float, float]] = []
    changed: bool = False
    broken: bool = False


class Ladders:
    """Ladders of one connection after another. rows: asked for on each side, 0 for no depth at all."""

    def __init__(self, clock: Callable[[], int], rows: int) -> None:
        self.by_instrument: dict[InstrumentId, Ladder] = {}
        self._by_req: dict[int, Ladder] = {}
        self._clock = clock
        self.rows = rows

    def forget(self) -> None:
        """Forget every subscription: the connection is gone."""
        self.by_instrument.clear()
        self._by_req.clear()

    def subscribe(self, line: Line, found: Found) -> None:
        """Ask for the depth of a contract, anew if it was asked for before and not denied."""
        if not self.rows or self.denied_of(found.instrument.id):
            return
        before = self.by_instrument.get(found.instrument.id)
        if before is not None:
            del self._by_req[before.req_id]
            line.tell(Priority.QUERY, lambda: line.client.cancelMktDepth(before.req_id, False))
        req_id = line.next_number()
        ladder = Ladder(instrument=found.instrument, req_id=req_id, heard_ns=self._clock())
        self.by_instrument[found.instrument.id] = self._by_req[req_id] = ladder
        line.tell(Priority.QUERY, lambda: line.client.reqMktDepth(req_id, found.contract, self.rows, False, []))

    def row(self, req_id: int, at: int, operation: int, bid: bool, price: float, size: float) -> None:
        """Hear that the row at a place (0 is the best) is inserted, changed or deleted."""
        ladder = self._by_req.get(req_id)
        if ladder is None:
            return
        ladder.heard_ns, ladder.changed = self._clock(), True
        side = ladder.bids if bid else ladder.asks
        if operation == INSERT and 0 <= at <= len(side):
            side.insert(at, (price, size))
            del side[self.rows :]
        elif operation == UPDATE and 0 <= at < len(side):
            side[at] = (price, size)
        elif operation == DELETE and at >= 0:
            del side[at : at + 1]  # what an insertion has pushed out is deleted by name as well
        else:
            ladder.broken = True

    def told(self) -> Iterator[ev.BookDepth]:
        """Yield the ladders that have changed and can be: a piece of the stream may end between two rows that belong together."""
        for ladder in self._by_req.values():
            if ladder.changed and sound(ladder.bids, ladder.asks):
                ladder.changed = False
                yield ev.BookDepth(self._clock(), ladder.instrument.id, tuple(ladder.bids), tuple(ladder.asks))

    def cleared(self, req_id: int) -> None:
        """Hear that a ladder begins anew from nothing."""
        ladder = self._by_req.get(req_id)
        if ladder is not None:
            ladder.bids, ladder.asks, ladder.changed = [], [], True

    def halted(self, req_id: int) -> None:
        """Hear that a ladder moves no more until it is asked for anew."""
        self.cleared(req_id)
        if req_id in self._by_req:
            self._by_req[req_id].broken = True

    def denied(self, req_id: int) -> InstrumentId | None:
        """Hear that there is no depth for a subscription; return its instrument, None when it is none of ours."""
        ladder = self._by_req.pop(req_id, None)
        return None if ladder is None else ladder.instrument.id

    def denied_of(self, instrument: InstrumentId) -> bool:
        """Return whether depth was asked for and there is none."""
        ladder = self.by_instrument.get(instrument)
        return ladder is not None and ladder.req_id not in self._by_req

    def worn(self, heard_ns: Callable[[InstrumentId], int], for_ns: int) -> list[InstrumentId]:
        """Return instruments whose ladder has lost a row, or has been silent that long before its prices last spoke."""
        return [
            i for i, ladder in self.by_instrument.items()
            if ladder.req_id in self._by_req and (ladder.broken or heard_ns(i) - ladder.heard_ns >= for_ns)
        ]  # fmt: skip
