"""Composition root of runs on adapters: paper on the wire or on live data, and live. Connect, look, warm up, trade, tie out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bot import scenarios, wire_process
from bot.adapters import Adapters, Where, adapters, at_wire, shadowed
from bot.app import Screen, fault_lines, result_of, where_it_stopped
from bot.checks import Checks
from bot.clock import Steady, now_ns
from bot.composition import LETTERS, Desk, desk
from bot.config import Settings
from bot.desk import heap, operate, read, snapshot
from bot.desk.feed import Together
from bot.desk.gap_watch import GapWatch, WatchedTape, watched
from bot.desk.pace import LOOK_S, LiveShell
from bot.desk.runlog import NAME as RUN_LOG
from bot.desk.runlog import RunLog
from bot.desk.runs import RunFolder, RunRecord, find_run, new_run
from bot.desk.screen import StoppedAtOnce
from bot.desk.secrets import Credentials, credentials
from bot.desk.traffic import Traffic
from bot.engine.step import Engine
from bot.journal.accounts import Accounts
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import SqliteJournal, lock_folder
from bot.journal.tape import FileTape
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.errors import ConfigError, VenueError
from bot.model.ids import VenueId
from bot.model.instrument import Instrument
from bot.model.position import ZERO
from bot.runtime import Runtime, recover
from bot.sim.faults import decode_faults
from bot.tally import RunResult, Tally
from bot.venues.line import Adapter, Line, Shadow

T = TypeVar("T")
UP_S = 60.0
"""Seconds a venue may take to come up, and to show its account: a login at the broker may take most of it."""
CLOSING_S = 15.0
HISTORY_S = 120.0
BREAK = 1.0
"""Units of a currency by which desk and venue may differ at the end: the broker rounds to cents, the design blocks at one dollar."""
S = 1_000_000_000


class ConnectedRun:
    """One desk on adapters, in its own run folder, new or recovered; `run` sees it to its end.

    connect: makes the adapters, given a log. clock: UTC ns, the desk's and the adapters'.
    """

    def __init__(self, folder: RunFolder, record: RunRecord, clock: Callable[[], int], connect: Callable[[Desk, Callable[..., None]], Adapters]) -> None:
        self.folder, self.record, self.clock = folder, record, clock
        self.settings = msgspec.json.decode(record.settings, type=Settings)
        self.desk = desk(self.settings)
        self.journal = SqliteJournal(folder.journal, must_exist=folder.tape.exists())
        self.fresh = self.journal.lease_run(record.mode) == 1
        self.number = now_ns() // S  # ids must be new to the venue, whatever folder earlier runs were kept in
        _, self.first_seq = where_it_stopped(folder, self.journal, (), 0)
        self.seq: Callable[[], int] = lambda: self.first_seq
        self.log = RunLog(folder.path / RUN_LOG, run_id=folder.run_id, seq=lambda: self.seq())
        self.adapters = connect(self.desk, lambda name, more=None, **keys: self.log.said(clock(), name, {**(more or {}), **keys}))
        inside = self.adapters.inside
        self.lines: dict[VenueId, Line | Shadow] = {
            name: Shadow(adapter, inside[name], clock) if name in inside else Line(adapter, clock, fresh=self.fresh)
            for name, adapter in self.adapters.venues.items()
        }

    async def run(self, latch: Latch, screen: Screen, for_ns: int | None) -> RunResult:
        """Connect, warm up, trade until the end, a signal or a stop, and tie out.

        Raises VenueError when a venue does not answer, StoppedAtOnce for a signal before there was anything to settle.
        """
        why, tape = "failed", None
        try:
            cash, history = await unless_stopped(screen, self._prepared())
            ob = recover(self.journal, self.desk.terms, self.desk.obligations(self.number, LETTERS[self.record.mode]))
            ob.run = self.number
            tape = FileTape(self.folder.tape, from_seq=self.first_seq)
            trading = Trading(self, self.desk.engine(ob, self.desk.warm(history)), tape, watched(self.lead, history), latch, screen, for_ns)
            keep_history(self.folder.warm(trading.shell.start_ns), history)
            result = await trading.run(cash)
            why = trading.shell.stopping or "end"
            return result
        finally:
            await self._disconnect()
            self.log.stopped(self.clock(), why)
            if tape is not None:
                tape.close()
            self.journal.close()

    async def _prepared(self) -> tuple[dict[VenueId, dict[str, Decimal]], list[Any]]:
        """Connect; return the opening money and the warm history."""
        for line in self.lines.values():
            line.connect()
        for line in self.lines.values():
            await line.ready(UP_S)
        return await self._opening(), await self._history()

    @property
    def lead(self) -> Instrument:
        """Return the terms of the lead."""
        return self.desk.terms[self.desk.pair.lead]

    async def _opening(self) -> dict[VenueId, dict[str, Decimal]]:
        """Return the money the run begins with: the venues' own statements, or the settings' for venues in this process."""
        cash: dict[VenueId, dict[str, Decimal]] = {}
        for name, line in self.lines.items():
            cash[name] = dict((await line.stated(UP_S)).cash) if isinstance(line, Line) else dict(self.settings.cash[name])
        return cash

    async def _history(self) -> list[Any]:
        """Return the warm history of both legs and the stablecoin, in order of time. Raises VenueError when it cannot be had."""
        to_ns = self.clock()
        from_ns = to_ns - int(self.settings.strategy.window_s * S)
        try:
            async with asyncio.timeout(HISTORY_S):
                return await self.adapters.history(self.desk, from_ns, to_ns)
        except TimeoutError:
            raise VenueError(f"no history within {HISTORY_S:g} s") from None

    async def _disconnect(self) -> None:
        """Stop everything that runs, and wait until it has ended."""
        for venue in (*self.lines.values(), *self.adapters.prices.values()):
            venue.stop()
        adapters: tuple[Adapter, ...] = (*self.adapters.venues.values(), *self.adapters.prices.values())
        for adapter in adapters:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING_S):
                    await adapter.closed()


class Trading:
    """The desk of a connected run from its start to its result: engine, runtime, shell and what watches them."""

    def __init__(
        self, of: ConnectedRun, engine: Engine, tape: FileTape, gaps: GapWatch, latch: Latch, screen: Screen, for_ns: int | None
    ) -> None:  # fmt: skip
        self.of, self.engine, self.gaps, self.latch, self.screen = of, engine, gaps, latch, screen
        self.tally = Tally(engine, of.settings.strategy.carry_fixed)
        self.traffic, self.checks = Traffic(engine), Checks(engine, whole=not of.journal.imported)
        self.runtime = Runtime(
            engine, of.journal, WatchedTape(tape, gaps), {**of.lines, **of.adapters.prices}, seq=of.first_seq,
            observer=Together(self.tally, screen.watch(engine, self.tally), self.traffic, of.log, self.checks),
        )  # fmt: skip
        of.seq = lambda: self.runtime.seq
        end = ev.NEVER if for_ns is None else of.clock() + for_ns
        self.shell = LiveShell(self.runtime, clock=of.clock, end_ns=end, latch=latch, on_slice=lambda: screen.look(self.snapshot))

    def snapshot(self) -> snapshot.Snapshot:
        """Return the desk as it stands between two events."""
        market, record = self.of.settings.market, self.of.record
        label = scenarios.label(market.scenario) if record.venues == "wire" else record.venues
        return snapshot.take(self.engine, run_id=self.of.folder.run_id, seed=market.seed, scenario=label)

    async def run(self, cash: dict[VenueId, dict[str, Decimal]]) -> RunResult:
        """Serve the control socket and trade; then hold the books against the venues' statements."""
        of, shell = self.of, self.shell
        reading = read.handlers(self.engine, of.folder.run_id, self.traffic, dict, self.gaps)
        server = shell.serve({**operate.handlers(shell, self.snapshot), **reading})
        try:
            self.screen.ready(shell, run_id=of.folder.run_id, data_dir=str(self.latch.folder), socket=str(server.path))
            state, mode = self.latch.poll(), LETTERS[of.record.mode]
            heap.settled()
            self.runtime.start(
                ev.RunStarted(ts=shell.start_ns, run=of.number, mode=mode, cash=cash, kill_level=state.level, evacuate=state.evacuate)
            )
            await shell.run()
            breaks = await self._statements()
            self.runtime.checkpoint()
            ledger = Ledger(ledger_engine(of.folder.journal), of.desk.terms)
            ledger.project(of.journal.read(ledger.watermark()))
            return self.result(breaks, ledger.books)
        finally:
            server.close()
            of.log.broken(of.clock(), self.checks.violations)

    async def _statements(self) -> list[str]:
        """Return what the venues' closing statements have that the desk has not, after everything said by then was stepped."""
        found = []
        for name, line in self.of.lines.items():
            if isinstance(line, Shadow):
                continue
            try:
                told = await line.stated(CLOSING_S)
            except VenueError as error:
                found.append(str(error))
                continue
            self.runtime.pump()
            silo = self.engine.ob.silos[name]
            ours = {i: p.qty for i, p in silo.positions.items() if p.qty}
            theirs = {i: q for i, q in told.positions.items() if q}
            if ours != theirs:
                found.append(f"{name}: holds {_listed(theirs)}, desk {_listed(ours)}")
            found += _differences(name, "desk", silo.cash, told.cash)
            found += [f"{name}: works {w.client_id} at the end" for w in told.working]
            found += [f"{name}: {qty} {i} that no order explains" for i, qty in sorted(silo.unallocated.items()) if qty]
        return found

    def result(self, breaks: Sequence[str], books: Accounts) -> RunResult:
        """Return the score; a difference between ledger and desk is a break too."""
        of, found = self.of, [*breaks]
        for name in of.lines:
            found += _differences(name, "ledger", books.cash(name), self.engine.ob.silos[name].cash)
        to_ns = max(self.shell.now_ns, self.engine.ob.now)
        of.log.broken(to_ns, found)
        return result_of(
            self.tally.score(), run_id=of.folder.run_id, mode=of.record.mode, seed=of.settings.market.seed, from_ns=self.shell.start_ns,
            to_ns=to_ns, events=self.runtime.seq, violations=len(found) + self.checks.count, journal_sha256=of.journal.sha256(),
        )  # fmt: skip


async def unless_stopped(screen: Screen, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` gives; a signal before it is done cancels it. Raises StoppedAtOnce then: there is nothing to settle yet."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if screen.exit_code:
                raise StoppedAtOnce(screen.exit_code)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _listed(held: Mapping[str, Any]) -> str:
    return ", ".join(f"{i} {q}" for i, q in sorted(held.items())) or "nothing"


def _differences(venue: VenueId, who: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    """Yield every currency in which two purses differ by more than BREAK."""
    for currency in sorted({*ours, *theirs}):
        mine, other = ours.get(currency, ZERO), theirs.get(currency, ZERO)
        if abs(mine - other) > BREAK:
            yield f"{venue} {currency}: {who} {mine}, venue {other}"


def keep_history(path: Path, history: Sequence[Any]) -> None:
    """Keep what a start was warmed with, for its replay."""
    tape = FileTape(path, from_seq=0)
    for n, event in enumerate(history, start=1):
        tape.record(n, event)
    tape.close()


def check_continued(record: RunRecord, venues: str, run_id: str) -> None:
    """Raise ConfigError if a run was not on `venues`: it is recovered where it traded."""
    if record.venues != venues:
        raise ConfigError(f"{run_id} traded on {record.venues or 'in-process venues'}: it cannot be continued on {venues}")


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb asks of a connected run."""

    settings: Settings
    data_dir: Path
    screen: Screen
    latch: Latch
    for_ns: int | None
    resumed: str | None = None


@contextmanager
def run_folder(request: RunRequest, mode: str, venues: str, faults: Sequence[str] = ()) -> Iterator[tuple[RunFolder, RunRecord]]:
    """Hold the data folder and give the run's own, new or to be continued. Raises BotError when another desk holds it, ConfigError."""
    request.data_dir.mkdir(parents=True, exist_ok=True)
    held = lock_folder(request.data_dir)
    try:
        if request.resumed is not None:
            folder = find_run(request.data_dir, request.resumed)
            record = folder.read_record()
            check_continued(record, venues, request.resumed)
        else:
            body = msgspec.Raw(msgspec.json.encode(request.settings))
            record = RunRecord(mode=mode, seed=request.settings.market.seed, settings=body, faults=tuple(faults), venues=venues)
            folder = new_run(request.data_dir, record)
        yield folder, record
    finally:
        os.close(held)


def on_wire(request: RunRequest, ports: Sequence[int], options: Sequence[str], faults: Path | None) -> RunResult:
    """Run a paper desk against the wire's servers: those on `ports`, or, where these are 0, new ones started with `options`.

    Raises ConfigError for settings or faults that cannot be used, VenueError for servers that do not start or answer.
    """
    lines = fault_lines(faults) if faults is not None else []
    given = credentials("wire") if all(ports) else Credentials()
    decode_faults(lines, request.settings.market.start_ns, request.settings.venues, wire=True)

    async def live(folder: RunFolder, record: RunRecord) -> RunResult:
        async with AsyncExitStack() as stack:
            if all(ports):
                ready = await unless_stopped(request.screen, wire_process.found(ports))
            else:
                serving = stack.enter_async_context(wire_process.servers(options, folder.path / "wire.log"))
                ready = await unless_stopped(request.screen, serving)
            clock = Steady(ready.offset_ns)

            def connect(built: Desk, log: Callable[..., None]) -> Adapters:
                return adapters(built, at_wire(ready, built.settings, given), clock, log)

            return await ConnectedRun(folder, record, clock, connect).run(request.latch, request.screen, request.for_ns)

    with run_folder(request, "paper", "wire", lines) as (folder, record):
        return asyncio.run(live(folder, record))


def on_live_data(request: RunRequest, at: Where, clock: Callable[[], int]) -> RunResult:
    """Run a paper desk on the market data found where `at` says; every order goes to a venue in this process."""

    def connect(built: Desk, log: Callable[..., None]) -> Adapters:
        return shadowed(built, adapters(built, at, clock, log), clock())

    with run_folder(request, "paper", "live-data") as (folder, record):
        return asyncio.run(ConnectedRun(folder, record, clock, connect).run(request.latch, request.screen, request.for_ns))
