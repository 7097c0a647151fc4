"""Composition root of runs on adapters: paper on the wire or on live data, and live. Connect, look, warm up, trade, tie out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bot import scenarios
from bot.app import Screen, result_of, where_it_stopped
from bot.checks import Checks
from bot.clock import now_ns
from bot.composition import LETTERS, Desk, desk
from bot.config import Settings
from bot.connect import Adapters
from bot.desk import operate, read, snapshot
from bot.desk.feed import Together
from bot.desk.gap_watch import GapWatch, WatchedTape
from bot.desk.pace import LiveShell
from bot.desk.runlog import NAME as RUN_LOG
from bot.desk.runlog import RunLog
from bot.desk.runs import RunFolder, RunRecord
from bot.desk.traffic import Traffic
from bot.engine.step import Engine
from bot.journal.accounts import Accounts
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import SqliteJournal
from bot.journal.tape import FileTape
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.errors import ConfigError, VenueError
from bot.model.ids import VenueId
from bot.model.ports import Venue
from bot.model.position import ZERO
from bot.runtime import Runtime, recover
from bot.tally import RunResult, Tally
from bot.venues.line import Line, Shadow

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

    def __init__(
        self, folder: RunFolder, record: RunRecord, latch: Latch, screen: Screen, clock: Callable[[], int],
        connect: Callable[[Desk, Callable[..., None]], Adapters],
    ) -> None:  # fmt: skip
        self.folder, self.record, self.latch, self.screen, self.clock = folder, record, latch, screen, clock
        self.settings = msgspec.json.decode(record.settings, type=Settings)
        self.desk = desk(self.settings)
        self.mode = record.mode
        self.journal = SqliteJournal(folder.journal, must_exist=folder.tape.exists())
        self.fresh = self.journal.lease_run(self.mode) == 1
        self.number = now_ns() // S  # ids must be new to the venue whatever folder earlier runs were kept in
        _, self.seq = where_it_stopped(folder, self.journal, (), 0)
        self.log = RunLog(folder.path / RUN_LOG, run_id=folder.run_id, seq=lambda: self.seq)
        self.adapters = connect(self.desk, lambda name, **keys: self.log.said(self.clock(), name, keys))
        self.gaps = GapWatch(self.desk.terms[self.desk.pair.lead])
        self.engine: Engine
        self.runtime: Runtime
        self.shell: LiveShell
        self.tally: Tally
        self.traffic: Traffic
        self.checks: Checks

    async def run(self, for_ns: int | None) -> RunResult:
        """Connect, warm up, trade until the end, a signal or a stop, and tie out. Raises VenueError when a venue does not answer."""
        lines = self.lines()
        tape = None
        try:
            for line in lines.values():
                await line.ready(UP_S)
            cash = await self._opening(lines)
            memory = self.desk.warm(await self._warmed())
            ob = recover(self.journal, self.desk.terms, self.desk.obligations(self.number, LETTERS[self.mode]))
            ob.run = self.number
            tape = FileTape(self.folder.tape, from_seq=self.seq)
            self._build(self.desk.engine(ob, memory), WatchedTape(tape, self.gaps), {**lines, **self.adapters.prices}, for_ns)
            return await self._traded(lines, cash)
        finally:
            await self._disconnect(lines)
            if tape is not None:
                tape.close()
            self.journal.close()

    def lines(self) -> dict[VenueId, Line | Shadow]:
        """Return what the runtime sends to: the adapters themselves, or in-process venues that see their market."""
        inside = self.adapters.inside
        return {
            name: Shadow(adapter, inside[name], self.clock) if name in inside else Line(adapter, self.clock, fresh=self.fresh)
            for name, adapter in self.adapters.venues.items()
        }

    async def _opening(self, lines: Mapping[VenueId, Line | Shadow]) -> dict[VenueId, dict[str, Any]]:
        """Return the money the run begins with: the venues' own statements, or the settings' for venues in this process."""
        cash: dict[VenueId, dict[str, Any]] = {}
        for name, line in lines.items():
            cash[name] = dict((await line.stated(UP_S)).cash) if isinstance(line, Line) else dict(self.settings.cash[name])
        return cash

    async def _warmed(self) -> list[Any]:
        """Return the warm history of both legs and the stablecoin, in order of time. Raises VenueError when one cannot be had."""
        to_ns = self.clock()
        from_ns = to_ns - int(self.settings.strategy.window_s * S)
        try:
            async with asyncio.timeout(HISTORY_S):
                return await self.adapters.history(self.desk, from_ns, to_ns)
        except TimeoutError:
            raise VenueError(f"no history within {HISTORY_S:g} s") from None

    def _build(self, engine: Engine, tape: WatchedTape, venues: Mapping[VenueId, Venue], for_ns: int | None) -> None:
        self.engine = engine
        self.tally = Tally(engine, self.settings.strategy.carry_fixed)
        self.traffic, self.checks = Traffic(engine), Checks(engine, whole=not self.journal.imported)
        self.runtime = Runtime(
            engine, self.journal, tape, venues, seq=self.seq,
            observer=Together(self.tally, self.screen.watch(engine, self.tally), self.traffic, self.log, self.checks),
        )  # fmt: skip
        end = ev.NEVER if for_ns is None else self.clock() + for_ns
        self.shell = LiveShell(
            self.runtime, clock=self.clock, end_ns=end, latch=self.latch, on_slice=lambda: self.screen.look(self.snapshot)
        )  # fmt: skip

    def snapshot(self) -> snapshot.Snapshot:
        """Return the desk as it stands between two events."""
        market = self.settings.market
        self.seq = self.runtime.seq
        return snapshot.take(self.engine, run_id=self.folder.run_id, seed=market.seed, scenario=self.record.venues or scenarios.label(market.scenario))

    async def _traded(self, lines: Mapping[VenueId, Line | Shadow], cash: dict[VenueId, dict[str, Any]]) -> RunResult:
        """Serve the control socket and trade; then hold the books against the venues' statements."""
        shell, started = self.shell, self.shell.start_ns
        reading = read.handlers(self.engine, self.folder.run_id, self.traffic, dict, self.gaps)
        server = shell.serve({**operate.handlers(shell, self.snapshot), **reading})
        try:
            self.screen.ready(shell, run_id=self.folder.run_id, data_dir=str(self.latch.folder), socket=str(server.path))
            state = self.latch.poll()
            self.runtime.start(
                ev.RunStarted(ts=started, run=self.number, mode=LETTERS[self.mode], cash=cash, kill_level=state.level, evacuate=state.evacuate)
            )
            await shell.run()
            breaks = await self._statements(lines)
            self.runtime.checkpoint()
            ledger = Ledger(ledger_engine(self.folder.journal), self.desk.terms)
            ledger.project(self.journal.read(ledger.watermark()))
            return self.result(breaks, ledger.books)
        finally:
            server.close()
            self.log.broken(self.clock(), self.checks.violations)
            self.log.stopped(self.clock(), shell.stopping or "end")

    async def _statements(self, lines: Mapping[VenueId, Line | Shadow]) -> list[str]:
        """Return what the venues' closing statements have that the desk has not, after everything said by then was stepped."""
        found = []
        for name, line in lines.items():
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
        return found

    def result(self, breaks: Sequence[str], books: Accounts) -> RunResult:
        """Return the score; a difference between ledger and desk is a break too."""
        found = [*breaks]
        for name in self.adapters.venues:
            found += _differences(name, "ledger", books.cash(name), self.engine.ob.silos[name].cash)
        to_ns = max(self.shell.now_ns, self.engine.ob.now)
        self.log.broken(to_ns, found)
        return result_of(
            self.tally.score(), run_id=self.folder.run_id, mode=self.mode, seed=self.settings.market.seed, from_ns=self.shell.start_ns,
            to_ns=to_ns, events=self.runtime.seq, violations=len(found) + self.checks.count, journal_sha256=self.journal.sha256(),
        )  # fmt: skip

    async def _disconnect(self, lines: Mapping[VenueId, Line | Shadow]) -> None:
        """Stop everything that runs, and wait until it has ended."""
        for venue in (*lines.values(), *self.adapters.prices.values()):
            venue.stop()
        for adapter in (*self.adapters.venues.values(), *self.adapters.prices.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING_S):
                    await adapter.closed()


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
