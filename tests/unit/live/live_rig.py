"""A desk on the wall clock: adapters that answer from tasks of their own, around in-process venues, and a strategy told what to want."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import MBT, PAIR, PERP, STABLE, START, S, Wish

from bot.clock import Steady, now_ns
from bot.desk.pace import LiveShell
from bot.engine.obligations import PairTerms, fresh
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import Engine
from bot.journal.store import MemoryJournal
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.command import Command
from bot.model.instrument import Instrument
from bot.model.ports import Emit
from bot.runtime import Runtime
from bot.sim.exchange import Exchange
from bot.sim.wire import Delays
from bot.venues.line import Line
from bot.venues.sim import SimVenue
from risk.limits import Limits

TERMS = {i.id: i for i in (MBT, PERP, STABLE)}
CASH = {"cme": {"USD": Decimal(600_000)}, "perp": {"USDT": Decimal(400_000)}}
PRICE = 70_000.0
HASTY = Execution(ack_timeout_ns=S // 5, query_every_ns=S // 10, absent_grace_ns=S // 4)
"""A test waits for real seconds, so silence is short."""


class Adapter:
    """Speaks for an exchange core as an adapter does: from a task, late, and never in the call that asked. sent: what came in.

    deaf: commands are lost. on_stop: what a test wants to know.
    """

    def __init__(self, terms: Instrument, clock: Callable[[], int], shown: tuple[Instrument, ...] = ()) -> None:
        self.terms, self.clock, self.shown = terms, clock, (terms, *shown)
        self.core = SimVenue(Exchange(terms.venue, [terms], CASH[terms.venue], AlwaysOpen(), now_ns=clock()), delays=Delays(), now_ns=clock())
        self.sent: list[Command] = []
        self.deaf = False
        self.stopped = False
        self.premium = 60.0 if terms is PERP else 0.0
        self._emit: Emit | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def venue(self) -> str:
        """Return the venue's id."""
        return self.terms.venue

    def start(self, emit: Emit) -> None:
        """Connect a little later."""
        self._emit = emit
        self._task = asyncio.get_running_loop().create_task(self._live())

    def send(self, command: Command, now_ns: int) -> None:
        """Take a command; the answer comes from the task."""
        self.sent.append(command)
        if not self.deaf:
            asyncio.get_running_loop().call_soon(lambda: self.core.send(command, self.clock()))

    def stop(self) -> None:
        """Disconnect."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Wait for the task."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def history(self, instrument: str, from_ns: int, to_ns: int) -> list[Any]:
        """Nothing happened before."""
        return []

    def say(self, event: ev.Event) -> None:
        """Say something out of turn."""
        assert self._emit is not None
        self._emit(event)

    async def _live(self) -> None:
        await asyncio.sleep(0)
        self.core.start(self.say)
        while True:
            for terms in self.shown:
                self._show(terms, self.clock())
            await asyncio.sleep(0.005)

    def _show(self, terms: Instrument, now: int) -> None:
        if terms is STABLE:
            self.say(ev.Quote(now, terms.id, 0.9999, 1.0001, 1e6, 1e6, now))
            return
        bid = PRICE + self.premium
        for event in (
            *((ev.MarkPrice(now, terms.id, bid, bid), ev.FundingRate(now, terms.id, 0.0001, 28_800, now + 3_600 * S, 0.003)) if terms is PERP else ()),
            ev.Quote(now, terms.id, bid, bid + float(terms.tick), 500.0, 500.0, now),
        ):  # fmt: skip
            seen = self.core.observe(event)
            if seen is not None:
                self.say(seen)


class Desk:
    """Engine, runtime and shell on two adapters. clock: the market's start is now."""

    def __init__(self, folder: Path, for_s: float | None = None) -> None:
        self.clock = Steady(START - now_ns())
        self.wish = Wish()
        self.journal = MemoryJournal()
        self.adapters = {"cme": Adapter(MBT, self.clock), "perp": Adapter(PERP, self.clock, (STABLE,))}
        self.lines = {name: Line(a, self.clock, fresh=True) for name, a in self.adapters.items()}
        pairs = (PairTerms(id=PAIR, strategy="wish", lead="MBTX26", hedge="BTCUSDT", stable="USDT/USD"),)
        self.engine = Engine(fresh(1, "P", pairs, ("cme", "perp")), TERMS, AlwaysOpen(), {"wish": (self.wish, None)}, Limits(), HASTY,
                             {"USDT": "USDT/USD"})  # fmt: skip
        self.runtime = Runtime(self.engine, self.journal, None, self.lines)
        end = ev.NEVER if for_s is None else self.clock() + int(for_s * S)
        self.latch = Latch(folder)
        self.shell = LiveShell(self.runtime, clock=self.clock, end_ns=end, latch=self.latch)

    def connect(self) -> None:
        """Open the lines; needs the running loop."""
        for line in self.lines.values():
            line.connect()

    async def start(self) -> None:
        """Connect, then begin the run."""
        self.connect()
        for line in self.lines.values():
            await line.ready(5.0)
        self.runtime.start(ev.RunStarted(ts=self.clock(), run=1, mode="P", cash=CASH))

    async def end(self) -> None:
        """Disconnect."""
        self.runtime.stop()
        for adapter in self.adapters.values():
            await adapter.closed()

    @property
    def pair(self) -> Any:
        """The pair's state."""
        return self.engine.ob.pairs[PAIR]

    def events(self, kind: type) -> list[Any]:
        """Return the journalled events of one type."""
        return [e for _, _, e in self.journal.read() if isinstance(e, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to become true, bounded by the caller's timeout."""
        while not condition():
            await asyncio.sleep(0.002)
