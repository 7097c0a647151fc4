"""The desk's side of the benchmark: real adapters, runtime, journal and observers; a strategy that turns the pair at every tick.

One cycle: a tick of the lead makes the engine send one lot, its fill makes it send the hedge, and the next tick finds the pair
hedged and at rest. Every other cycle opens, through the whole gate; the ones in between close.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot import wire_process
from bot.checks import Checks
from bot.clock import Steady
from bot.composition import Desk, desk
from bot.config import Settings
from bot.desk import heap
from bot.desk.feed import Together
from bot.desk.pace import LiveShell
from bot.desk.runlog import RunLog
from bot.desk.traffic import Traffic
from bot.engine.obligations import PairTerms, fresh
from bot.engine.step import Step
from bot.journal.tape import FileTape
from bot.kill.latch import Latch
from bot.latency.market import alone
from bot.latency.summary import Series, WireResult, of_series, result, us
from bot.latency.taps import DurableJournal, FleetingJournal, Tape, TappedLoop, TimedEngine, TimedLine, TimedRuntime, Way, now, paths
from bot.model import event as ev
from bot.model.errors import VenueError
from bot.model.ids import VenueId
from bot.model.intent import PairIntent
from bot.model.order import Purpose
from bot.model.view import View
from bot.tally import Tally
from bot.venues.budget import Allowance
from bot.venues.ib import IbEndpoint, IbVenue
from bot.venues.perp import PerpEndpoint, PerpVenue
from bot.wire.ready import HOST, Ready

S = 1_000_000_000
WARM_UP = 100
"""Cycles before the first one counted, at most as many as are counted: caches fill, code specialises, connections are dialled."""
UP_S = 30.0
SYNCS, SYNC_PAUSE_S = 50, 0.005
"""Bare syncs before each series and after the last, and the pause between two."""
STALLED_S = 20.0
"""A series without a hedge for this long has failed."""
WIDE = (Allowance(limit=1_000, span_ns=S),)
"""The exchange's message budget must not be what is measured: it is asked, and has room."""
SERIES = ((True, True), (False, True), (True, False))
"""(durable, hedges over the order socket), in the order they are run."""


class Memory(msgspec.Struct):
    """Nothing is remembered."""


class Turn:
    """The strategy: the other target at every tick of the lead that finds the pair at rest."""

    id = "turn"

    def __init__(self, lead: str) -> None:
        self.lead = lead
        self.at_rest: Callable[[], bool] = lambda: False

    def start(self, params: Any, history: Sequence[ev.Event]) -> Memory:
        """Return an empty memory."""
        return Memory()

    def on_event(self, memory: Any, view: View, event: ev.Event) -> PairIntent | None:
        """Ask for the other side."""
        if not isinstance(event, ev.Quote) or event.instrument != self.lead or not self.at_rest():
            return None
        return PairIntent(pair=view.pair, target_lead=Decimal(0) if view.target else Decimal(1), reason="benchmark", edge_bp=10.0, horizon_days=1.0)

    def rearms(self, memory: Any, view: View) -> bool:
        """A stop ends the benchmark."""
        return False


class Cycles:
    """Observer that counts hedges and ends the run after enough of them."""

    def __init__(self, wanted: int, done: Callable[[int], None]) -> None:
        self.hedged = 0
        self.refusals: dict[str, int] = {}
        self.at_s = 0.0
        self._wanted = wanted
        self._done = done

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Count."""
        for decided in out.events:
            if isinstance(decided, ev.OrderIntended) and decided.order.purpose is Purpose.HEDGE:
                self.hedged += 1
                self.at_s = asyncio.get_running_loop().time()
                self._done(self.hedged)
            elif isinstance(decided, ev.Refused):
                self.refusals[decided.rule] = self.refusals.get(decided.rule, 0) + 1

    def marked(self, now_ns: int) -> None:
        """Marks are not counted."""


class Bench:
    """One series: a desk connected, warmed up, turned `cycles` times and taken apart."""

    def __init__(self, settings: Settings, ready: Ready, folder: Path, number: int, tape: Tape, progress: Callable[[int], None]) -> None:
        self.settings, self.folder, self.number, self.tape, self.progress = settings, folder, number, tape, progress
        self.built: Desk = desk(settings)
        self.clock = Steady(ready.offset_ns)
        self.ready = ready

    def lines(self, socket: bool) -> dict[VenueId, TimedLine]:
        """Return the lines to both venues."""
        built, ready = self.built, self.ready
        lead, hedge = built.venues
        offshore = PerpEndpoint(exchange="binanceusdm", key=ready.key, secret=ready.secret, base_url=f"http://{HOST}:{ready.perp_port}", order_socket=socket)
        broker = IbEndpoint(host=HOST, port=ready.tws_port, client_id=self.number, account=ready.account)
        adapters = (
            IbVenue(lead, built.terms, broker, clock=self.clock), PerpVenue(hedge, built.terms, offshore, clock=self.clock, allowances=WIDE),
        )  # fmt: skip
        found = {adapter.venue: TimedLine(adapter, self.clock, fresh=True) for adapter in adapters}
        for line in found.values():
            line.tape = self.tape
        return found

    def engine(self) -> tuple[TimedEngine, Turn]:
        """Return an engine and its strategy."""
        built = self.built
        strategy = Turn(built.pair.lead)
        pair = PairTerms(id="bench", strategy=strategy.id, lead=built.pair.lead, hedge=built.pair.hedge, stable=built.pair.stable)
        stable = {} if pair.stable is None else {built.terms[pair.hedge].settle: pair.stable}
        engine = TimedEngine(
            fresh(self.number, "B", (pair,), built.venues), built.terms, built.sessions, {strategy.id: (strategy, Memory())}, self.settings.limits,
            self.settings.execution, stable,
        )  # fmt: skip
        engine.tape = self.tape
        ob, hedge = engine.ob, engine.books[built.pair.hedge]
        strategy.at_rest = lambda: ob.ready and not ob.live and hedge.mark_ts > 0 and hedge.funding_ts > 0
        return engine, strategy

    async def run(self, cycles: int, durable: bool, socket: bool) -> None:
        """Run the series; its marks are on the tape. Raises VenueError when a venue does not come up or the cycles stop."""
        lines = self.lines(socket)
        journal = DurableJournal(self.folder / "journal.db", self.tape) if durable else FleetingJournal(self.tape)
        seen = FileTape(self.folder / "tape", from_seq=0)
        try:
            for line in lines.values():
                line.connect()
            for line in lines.values():
                await line.ready(UP_S)
            cash = {name: dict((await line.stated(UP_S)).cash) for name, line in lines.items()}
            if isinstance(journal, DurableJournal):
                journal.lease_run("bench")
            await self._turn(lines, journal, seen, cycles, cash)
        finally:
            for line in lines.values():
                line.stop()
            await asyncio.gather(*(line.adapter.closed() for line in lines.values()))
            seen.close()
            journal.close()

    async def _turn(self, lines: dict[VenueId, TimedLine], journal: Any, seen: FileTape, cycles: int, cash: dict[VenueId, dict[str, Decimal]]) -> None:
        engine, _ = self.engine()
        start_ns = self.clock()
        log = RunLog(self.folder / "run.log", run_id="bench", seq=lambda: runtime.seq)
        counted = Cycles(cycles, lambda n: done(n))
        runtime = TimedRuntime(engine, journal, seen, lines, observer=Together(Tally(engine, 0.0), Traffic(engine), log, Checks(engine), counted))
        shell = LiveShell(runtime, clock=self.clock, end_ns=ev.NEVER, latch=Latch(self.folder))

        def done(hedged: int) -> None:
            self.progress(hedged)
            if hedged >= cycles:
                shell.stop("enough")

        heap.settled()
        runtime.start(ev.RunStarted(ts=start_ns, run=self.number, mode="B", cash=cash))
        if self.built.pair.stable is not None:  # a peg that does not move: the reference price is not in the path
            runtime.emit(ev.Quote(start_ns, self.built.pair.stable, 1.0, 1.0, 1e6, 1e6, start_ns))
        counted.at_s = asyncio.get_running_loop().time()
        watching = asyncio.ensure_future(_watched(counted))
        running = asyncio.ensure_future(shell.run())
        await asyncio.wait({watching, running}, return_when=asyncio.FIRST_COMPLETED)
        log.stopped(self.clock(), "enough")
        if counted.refusals:
            raise VenueError(f"the gate refused openings: {counted.refusals}")
        for task in (watching, running):
            if task.done():
                task.result()
            task.cancel()


async def _watched(counted: Cycles) -> None:
    """Raise VenueError when cycles stop."""
    loop = asyncio.get_running_loop()
    while loop.time() - counted.at_s < STALLED_S:
        await asyncio.sleep(1.0)
    raise VenueError(f"no hedge for {STALLED_S:g} s after {counted.hedged} cycles; refused: {counted.refusals or 'nothing'}")


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Give a folder on the desk's own disk, gone afterwards: what a commit costs depends on the disk."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=root) as name:
        yield Path(name)


def synced(path: Path) -> Iterator[float]:
    """Yield how long bare syncs of a few appended bytes take here, in microseconds."""
    with path.open("ab", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 300)
            began = now()
            os.fdatasync(file.fileno())
            yield us(now() - began)
            time.sleep(SYNC_PAUSE_S)


def run(settings: Settings, data_dir: Path, *, cycles: int, pace_ms: int, options: Sequence[str], progress: Callable[[float], None]) -> WireResult:
    """Run every series on servers in a process of their own and return what was measured.

    Raises VenueError when the servers or the cycles fail, ConfigError.
    """
    out: list[Series] = []
    disk: list[float] = []
    warm_up = min(WARM_UP, cycles)
    whole = cycles + warm_up
    with _scratch(data_dir) as folder:
        for number, (durable, socket) in enumerate(SERIES, start=1):
            tape: Tape = []
            place = folder / str(number)
            place.mkdir()

            async def series(number: int = number, durable: bool = durable, socket: bool = socket, tape: Tape = tape, place: Path = place) -> None:
                words = ("bench", "wire", "--serve", "--pace-ms", str(pace_ms))
                async with wire_process.servers(options, place / "servers.log", words) as ready:
                    before = alone(0)
                    try:
                        bench = Bench(settings, ready, place, number, tape, lambda n: progress((number - 1 + n / whole) / len(SERIES)))
                        await bench.run(whole, durable, socket)
                    finally:
                        if before:
                            os.sched_setaffinity(0, before)

            disk += synced(place / "probe")
            with asyncio.Runner(loop_factory=lambda tape=tape: TappedLoop(tape)) as runner:  # type: ignore[misc]
                runner.run(series())
            ways: list[tuple[str, Way]] = list(paths(tape))
            out += of_series(ways, warm_up=warm_up, durable=durable, socket=socket)
        disk += synced(folder / "probe")
    return result(cycles, pace_ms, disk, out)
