"""What stands between an adapter and the loop: a line opened before the desk exists, and a shadow that trades nothing real.

An adapter has to be connected before a run starts, for its history and for what the account holds; what it says until then is
kept and handed over at the start. Everything is one asyncio loop: nothing here blocks and nothing raises for a venue's silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import msgspec

from bot.model import event as ev
from bot.model.command import Command, QueryVenue
from bot.model.errors import VenueError
from bot.model.ids import InstrumentId, VenueId
from bot.model.ports import Emit, SimulatedVenue, Venue
from bot.venues.finding import Finding

SHOWS = (ev.Quote, ev.MarkPrice, ev.FundingRate)
"""Market data: of what came before the start only the latest counts."""
LOOK_BACK_NS = 3_600_000_000_000
"""A statement comes with the bookings of this long before it: those of the account's time before a new run are then known."""
AGAIN_S = 0.5
"""Pause before a question that failed is asked once more."""
BOOKINGS = (ev.OrderFilled, ev.FundingPaid, ev.CashBooked)


class Adapter(Venue, Protocol):
    """A venue on the network, as its adapter offers it."""

    async def closed(self) -> None:
        """Wait until everything it started has ended."""

    async def history(self, instrument: InstrumentId, from_ns: int, to_ns: int) -> Sequence[Any]:
        """Return observations of [from_ns, to_ns) at one-minute pace, in order of time."""

    async def examine(self) -> list[Finding]:
        """Look at everything that must be right before orders may leave."""


class Line:
    """bot.model.ports.Venue on an adapter that `connect` has connected before. clock: UTC ns, the desk's.

    An event's time is when it passes here; an adapter may have stamped it a little earlier than another one's that came before.
    fresh: the run is new, so what the account booked before its opening statement belongs to it: it never reaches the desk,
    however often the venue repeats it.
    """

    def __init__(self, adapter: Adapter, clock: Callable[[], int], *, fresh: bool) -> None:
        self.adapter = adapter
        self.up = False
        self.reason = "not connected yet"
        self.statement: ev.VenueSnapshot | None = None
        self._failed = ""
        self._clock = clock
        self._fresh = fresh
        self._emit: Emit | None = None
        self._shown: dict[Hashable, ev.Event] = {}
        self._facts: list[ev.Event] = []
        self._before: set[Hashable] = set()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self.adapter.venue

    # The port.

    def start(self, emit: Emit) -> None:
        """Hand over what has been said so far, stamped now, and from here on everything."""
        now = self._clock()
        self._emit = emit
        status = ev.VenueStatus(ts=now, venue=self.venue, up=self.up, reason=self.reason)
        for event in (status, *self._facts, *self._shown.values()):
            emit(msgspec.structs.replace(event, ts=now))
        self._facts.clear()
        self._shown.clear()

    def send(self, command: Command, now_ns: int) -> None:
        """Pass a command on."""
        self.adapter.send(command, now_ns)

    def stop(self) -> None:
        """Disconnect; nothing is handed over any more."""
        self._emit = None
        self.adapter.stop()

    # Before the start, and at the end.

    def connect(self) -> None:
        """Start the adapter (needs a running loop); what it says is kept until the start."""
        self.adapter.start(self._hear)

    async def ready(self, timeout_s: float) -> None:
        """Wait until the venue is up. Raises VenueError with the last reason it gave for being down."""
        try:
            await self._until(lambda: self.up, timeout_s)
        except TimeoutError:
            raise VenueError(f"{self.venue}: not up within {timeout_s:g} s: {self.reason}") from None

    async def stated(self, timeout_s: float) -> ev.VenueSnapshot:
        """Ask for the account's whole state until it is told, and return it. Raises VenueError when no complete answer came in time."""
        self.statement, why = None, ""
        try:
            async with asyncio.timeout(timeout_s):
                while self.statement is None:
                    self._failed, now = "", self._clock()
                    self.adapter.send(QueryVenue(self.venue, now - LOOK_BACK_NS), now)
                    await self._until(lambda: self.statement is not None or bool(self._failed), timeout_s)
                    why = self._failed or why
                    if self.statement is None:
                        await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            raise VenueError(f"{self.venue}: no complete statement of the account within {timeout_s:g} s{': ' * bool(why)}{why}") from None
        return self.statement

    async def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition, looked at after every event."""
        if done():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((done, future))
        async with asyncio.timeout(timeout_s):
            await future

    def _hear(self, event: ev.Event) -> None:
        if isinstance(event, ev.VenueStatus):
            self.up, self.reason = event.up, event.reason
        elif isinstance(event, ev.Alert) and not self.up:
            self.reason = event.text
        elif isinstance(event, ev.VenueSnapshot):
            self.statement = event
        elif isinstance(event, ev.QueryFailed):
            self._failed = event.reason or "no answer"
        if not self._told_before(event):
            if self._emit is not None:
                self._emit(msgspec.structs.replace(event, ts=self._clock()))  # several adapters, one order of time
            elif isinstance(event, SHOWS):
                self._shown[type(event), event.instrument] = event
            elif isinstance(event, (*BOOKINGS, ev.Alert)):
                self._facts.append(event)
        for done, future in self._waiting:
            if done() and not future.done():
                future.set_result(None)
        self._waiting = [(done, future) for done, future in self._waiting if not future.done()]

    def _told_before(self, event: ev.Event) -> bool:
        """Return whether a booking belongs to the account's time before this run."""
        if not self._fresh or not isinstance(event, BOOKINGS):
            return False
        key = _key(event)
        if self._emit is None:
            self._before.add(key)
        return key in self._before


def _key(event: ev.OrderFilled | ev.FundingPaid | ev.CashBooked) -> Hashable:
    """Return what tells one booking of a venue from every other."""
    if isinstance(event, ev.OrderFilled):
        return event.exec_id
    if isinstance(event, ev.FundingPaid):
        return event.instrument, event.stamp_ns
    return event.kind, event.ref


class Shadow:
    """bot.model.ports.SimulatedVenue that shows an adapter's market to an in-process venue and sends it every order.

    Nothing is ever sent to the adapter. What it says of its account is not the desk's and is dropped.
    """

    def __init__(self, adapter: Adapter, inside: SimulatedVenue, clock: Callable[[], int]) -> None:
        self.adapter = adapter
        self.inside = inside
        self._clock = clock
        self._emit: Emit | None = None
        self._line = Line(adapter, clock, fresh=True)

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self.adapter.venue

    @property
    def due_ns(self) -> int:
        """Return when the in-process venue has something to do."""
        return self.inside.due_ns

    def connect(self) -> None:
        """Start the adapter (Line.connect)."""
        self._line.connect()

    async def ready(self, timeout_s: float) -> None:
        """Wait until the market data is up (Line.ready)."""
        await self._line.ready(timeout_s)

    def start(self, emit: Emit) -> None:
        """Connect the in-process venue, then let the market in."""
        self._emit = emit
        self.inside.start(emit)
        self._line.start(self._hear)

    def send(self, command: Command, now_ns: int) -> None:
        """Send to the in-process venue."""
        self.inside.send(command, now_ns)

    def stop(self) -> None:
        """Disconnect both."""
        self._emit = None
        self._line.stop()
        self.inside.stop()

    def observe(self, event: Any) -> Any:
        """Let the in-process market move (port)."""
        return self.inside.observe(event)

    def advance(self, now_ns: int) -> None:
        """Let the in-process venue act on what is due."""
        self.inside.advance(now_ns)

    def _hear(self, event: ev.Event) -> None:
        if self._emit is None:
            return
        if isinstance(event, SHOWS):
            seen = self.inside.observe(event)
            if seen is not None:
                self._emit(seen)
        elif isinstance(event, ev.VenueStatus | ev.BookDepth):  # the in-process market has a depth of its own
            self._emit(event)
