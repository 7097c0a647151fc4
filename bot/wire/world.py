"""The world behind the wire servers: one seeded market and its venues, paced by a clock, heard by their fronts.

Matching, margin, funding and the scripted faults are those of the in-process venues, which arrive here as values; a front
only translates. Everything runs in one asyncio loop: a front calls `send` and hears what the venue has to say through
its listener, in the same call for an instant venue, later for one with latency.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from bot.model import event as ev
from bot.model.command import Cancel, Command
from bot.model.ids import InstrumentId, VenueId
from bot.model.ports import SimulatedVenue
from bot.sim.exchange import Exchange
from bot.sim.faults import FaultPlan
from bot.wire.bars import MINUTE_NS, Bar, Minutes

Listener = Callable[[Any], None]
"""Hears, in order, every event a venue emits and every market observation it shows."""
STEP_S = 0.02
"""Longest sleep between two looks at what is due."""


class Site(SimulatedVenue, Protocol):
    """A simulated venue whose exchange can be read (orders, positions, money, listings), and whose plan holds the faults of its wire too."""

    exchange: Exchange
    plan: FaultPlan


class World:
    """Venues by id, fed from `source` at the pace of `clock` (UTC ns of the world; the fronts stamp with it too).

    history: what was observed before the source begins, in order of time; its quotes become bars.
    """

    def __init__(self, sites: Mapping[VenueId, Site], source: Iterator[Any], clock: Callable[[], int], history: Iterable[ev.Observation] = ()) -> None:
        self.sites = sites
        self.clock = clock
        self._of = {i: v for v, site in sites.items() for i in site.exchange.listings}
        self._minutes = {i: Minutes() for i in self._of}
        for event in history:
            if isinstance(event, ev.Quote) and event.instrument in self._minutes:
                self._minutes[event.instrument].add(event)
        self._source = source
        self._next: Any = next(source, None)
        self._listeners: dict[VenueId, list[Listener]] = {venue: [] for venue in sites}
        self._looks: list[Callable[[int], None]] = []

    def listen(self, venue: VenueId, listener: Listener) -> None:
        """Add a listener of one venue: a front hears account events and market data alike."""
        self._listeners[venue].append(listener)

    def attend(self, look: Callable[[int], None]) -> None:
        """Call `look` with the time whenever time has passed: what a front does by the clock, its wire's faults above all."""
        self._looks.append(look)

    def exchange(self, venue: VenueId) -> Exchange:
        """Return the exchange core of a venue, to read its truth (never to write)."""
        return self.sites[venue].exchange

    def bars(self, instrument: InstrumentId, from_ns: int, to_ns: int, step_ns: int = MINUTE_NS) -> list[Bar]:
        """Return the bars of `step_ns` of the minutes that begin in [from_ns, to_ns): history, then what the market has been since.

        They are the market's truth, whatever a faulty feed has shown. KeyError for an instrument that no venue lists.
        """
        fills = (e for e in self.exchange(self._of[instrument]).account.history if isinstance(e, ev.OrderFilled) and e.instrument == instrument)
        return self._minutes[instrument].between(from_ns, to_ns, fills, step_ns)

    def start(self) -> None:
        """Connect the listeners to the venues."""
        for venue, site in self.sites.items():
            site.start(lambda event, venue=venue: self._tell(venue, event))  # type: ignore[misc]

    def send(self, venue: VenueId, command: Command) -> None:
        """Put a command to a venue now; what it answers reaches the listeners."""
        self.catch_up()
        self.sites[venue].send(command, self.clock())

    def race(self, venue: VenueId, cancel: Cancel) -> None:
        """Let somebody take a resting order whole just before a cancel of it arrives; the venue reports both."""
        self.catch_up()
        self.exchange(venue).fill_resting(cancel.client_id, self.clock())
        self.sites[venue].send(cancel, self.clock())

    def catch_up(self) -> None:
        """Let everything due by now happen: market observations, stamps, session ends, scripted faults."""
        now = self.clock()
        while self._next is not None and self._next.ts <= now:
            event, self._next = self._next, next(self._source, None)
            self._feed(event)
        for site in self.sites.values():
            if site.due_ns <= now:
                site.advance(now)
        for look in self._looks:
            look(now)

    async def run(self) -> None:
        """Feed the venues until cancelled."""
        while True:
            self.catch_up()
            due = min((site.due_ns for site in self.sites.values()), default=ev.NEVER)
            if self._next is not None:
                due = min(due, self._next.ts)
            await asyncio.sleep(max(0.0, min(STEP_S, (due - self.clock()) / 1e9)))

    def _feed(self, event: Any) -> None:
        """Let the market move one venue, the stablecoin's observer being whoever lists it."""
        venue = self._of.get(event.instrument)
        if venue is None:
            return
        site = self.sites[venue]
        if site.due_ns <= event.ts:
            site.advance(event.ts)
        seen = site.observe(event)
        x = site.exchange.listings[event.instrument]
        if isinstance(event, ev.Quote) and x.quote is not None and not x.halted_until:
            self._minutes[event.instrument].add(x.quote)
        if seen is not None:
            self._tell(venue, seen)

    def _tell(self, venue: VenueId, event: Any) -> None:
        for listener in self._listeners[venue]:
            listener(event)
