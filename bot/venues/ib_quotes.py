"""Live prices: one subscription per contract, passed on as quotes only while TWS says that they are live.

TWS sends what changed and no time of its own, so a quote's venue time is its arrival. A stream that is silent while its
market is open is asked for anew. What a renewed subscription begins with may be what was last known: until it differs from
that, it is no news and not passed on, or old prices would look fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.ports import Emit, SessionSource
from bot.venues.budget import Priority
from bot.venues.ib_contracts import Found
from bot.venues.ib_depth import Ladders
from bot.venues.ib_line import Line

LIVE = 1
"""Market data type; 2 is frozen, 3 delayed, 4 delayed and frozen: never to be traded on."""
TYPES = {1: "live", 2: "frozen", 3: "delayed", 4: "delayed and frozen"}
BID_SIZE, BID, ASK, ASK_SIZE = 0, 1, 2, 3
_S = 1_000_000_000
FARM = "usfuture"
"""Beginning of the names of the data farms that serve US futures (notices of the broker, seen in public logs, 2026-11)."""


class Stream(msgspec.Struct, kw_only=True):
    """One subscription. blocked: why its prices are not passed on, "" while they are live. told: whether somebody was told so.

    sides: heard so far, 1 bid and 2 ask. shown: what was passed on last. before: what its predecessor had shown last, until it
    shows something else. heard_ns: when it last said something while not blocked.
    """

    instrument: Instrument
    contract: Any
    req_id: int
    bid: float = 0.0
    ask: float = 0.0
    bid_size: float = 0.0
    ask_size: float = 0.0
    kind: int = 0
    blocked: str = "nothing heard yet"
    sides: int = 0
    changed: bool = False
    before: tuple[float, float, float, float] | None = None
    heard_ns: int = 0
    told: bool = False
    shown: tuple[float, float, float, float] | None = None


class Quotes:
    """Subscriptions of one connection after another. paused: why no prices at all are passed on, "" while they are.

    ladders: the depth behind them. depth_rows: how many rows of it are asked for, 0 for none.
    """

    def __init__(self, sessions: SessionSource, clock: Callable[[], int], depth_rows: int = 0) -> None:
        self.emit: Emit = lambda event: None
        self.streams: dict[InstrumentId, Stream] = {}
        self.ladders = Ladders(clock, depth_rows)
        self._sessions = sessions
        self._clock = clock
        self._by_req: dict[int, Stream] = {}
        self.paused = ""

    def live(self, instrument: InstrumentId) -> str:
        """Return "" when an instrument's prices are live, else why not."""
        stream = self.streams.get(instrument)
        return "not subscribed" if stream is None else self.paused or stream.blocked

    def forget(self) -> None:
        """Forget every subscription: the connection is gone."""
        self.streams.clear()
        self._by_req.clear()
        self.ladders.forget()
        self.paused = ""

    def subscribe(self, line: Line, found: Found) -> None:
        """Ask for the prices and the depth of a contract, anew if they were asked for before."""
        before = self.streams.get(found.instrument.id)
        if before is not None:
            self._by_req.pop(before.req_id, None)
            line.tell(Priority.QUERY, lambda: line.client.cancelMktData(before.req_id))
        req_id = line.next_number()
        stream = Stream(instrument=found.instrument, contract=found.contract, req_id=req_id, heard_ns=self._clock())
        if before is not None:
            stream.told, stream.before = before.told, before.before or before.shown
        self.streams[found.instrument.id] = self._by_req[req_id] = stream
        line.tell(Priority.QUERY, lambda: line.client.reqMktData(req_id, found.contract, "", False, False, []))
        self.ladders.subscribe(line, found)

    def silent(self, for_ns: int) -> list[InstrumentId]:
        """Return instruments whose market is open and whose stream has said nothing for that long, none while the farm is broken."""
        now = self._clock()
        if self.paused:
            return []
        return [
            i for i, stream in self.streams.items()
            if now - stream.heard_ns >= for_ns and self._sessions.is_open(i, now)[0] and self._sessions.is_open(i, now - for_ns)[0]
        ]  # fmt: skip

    def worn(self, for_ns: int) -> list[InstrumentId]:
        """Return instruments whose depth has to be asked for anew: it lost a row, or has long been silent while prices speak."""
        return self.ladders.worn(lambda i: self.streams[i].heard_ns, for_ns)

    # What TWS says.

    def depth(self, req_id: int, at: int, operation: int, side: int, price: float, size: float) -> None:
        """Hear of one row of depth. side: 1 bid, 0 ask."""
        self.ladders.row(req_id, at, operation, side == 1, price, size)

    def tick(self, req_id: int, kind: int, price: float | None, size: float) -> None:
        """Hear one side of the book. price: None for a size alone, <= 0 for none."""
        stream = self._by_req.get(req_id)
        if stream is None:
            return
        if not stream.blocked:  # what is blocked is asked for anew from time to time, whatever arrives meanwhile
            stream.heard_ns = self._clock()
        if kind in (BID, BID_SIZE):
            stream.bid = stream.bid if price is None else max(price, 0.0)
            stream.bid_size = size if stream.bid else 0.0
            stream.sides |= 1
        elif kind in (ASK, ASK_SIZE):
            stream.ask = stream.ask if price is None else max(price, 0.0)
            stream.ask_size = size if stream.ask else 0.0
            stream.sides |= 2
        else:
            return
        stream.changed = True

    def ticked(self) -> None:
        """Pass on what has changed, once per instrument and piece of the stream."""
        now = self._clock()
        for stream in self.streams.values():
            if not stream.changed:
                continue
            stream.changed = False
            book = stream.bid, stream.ask, stream.bid_size, stream.ask_size
            if self.paused or stream.blocked or stream.sides != 3 or book == stream.before:
                continue
            stream.before, stream.shown = None, book
            self.emit(ev.Quote(now, stream.instrument.id, *book, now))
        for told in self.ladders.told():
            self.emit(told)

    def data_type(self, req_id: int, kind: int) -> None:
        """Hear of what kind the prices of a subscription are from now on."""
        stream = self._by_req.get(req_id)
        if stream is not None:
            stream.kind = kind
            self._block(stream, "" if kind == LIVE else f"{TYPES.get(kind, kind)} prices")

    def denied(self, req_id: int, why: str) -> bool:
        """Hear that a subscription has no live prices, or no depth; return whether it is one of ours."""
        stream, thin = self._by_req.get(req_id), self.ladders.denied(req_id)
        if stream is not None:
            self._block(stream, why)
        if thin is not None:
            text = f"{thin}: no depth, clips are sized by the touch alone: {why}"
            self.emit(ev.Alert(ts=self._clock(), severity=ev.Severity.WARN, code="ib.depth", text=text))
        return stream is not None or thin is not None

    def all_denied(self, why: str) -> None:
        """Hear that no subscription has live prices; each is asked for anew from time to time."""
        for stream in self.streams.values():
            self._block(stream, why)

    def farm(self, told: str, up: bool) -> list[InstrumentId]:
        """Hear that a data farm is broken or back; return what has to be asked for anew, because it may have been forgotten.

        told: text of the notice, which ends in the farm's name. Farms that serve other markets are none of our business.
        """
        _, named, name = told.rpartition(":")
        if named and not name.startswith(FARM):
            return []
        was, self.paused = bool(self.paused), "" if up else told
        if not up:
            self.all_denied(told)
        return list(self.streams) if up and was else []

    def _block(self, stream: Stream, why: str) -> None:
        """Note why prices are not passed on, and tell once; what is shown while they are not is not believed afterwards."""
        stream.blocked = why
        why = self.paused or why
        if why:
            stream.bid = stream.ask = stream.bid_size = stream.ask_size = 0.0
            stream.sides, stream.changed = 0, False
        if bool(why) is not stream.told:
            stream.told = bool(why)
            severity, what = (ev.Severity.CRIT, f"no live prices: {why}") if why else (ev.Severity.INFO, "prices are live")
            self.emit(ev.Alert(ts=self._clock(), severity=severity, code="ib.market_data", text=f"{stream.instrument.id}: {what}"))
