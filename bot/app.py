"""Composition root: from settings to running desks, one function per mode. The only place that knows every class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec

from bot import scenarios
from bot.backtest import replay as replays
from bot.checks import Checks
from bot.composition import LETTERS, desk, exchange, reference_price, seeded_market, warmed
from bot.config import Settings
from bot.desk import operate, read, snapshot
from bot.desk import report as reports
from bot.desk.feed import Together
from bot.desk.gap_watch import GapWatch, WatchedTape, watched
from bot.desk.runlog import NAME as RUN_LOG
from bot.desk.runlog import RunLog
from bot.desk.runs import RunFolder, RunRecord, find_run, latest_run, new_run
from bot.desk.shell import DeskShell, Shell
from bot.desk.traffic import Traffic
from bot.engine.obligations import Obligations
from bot.engine.step import Engine
from bot.journal.accounts import Accounts
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import JournalReader, SqliteJournal, lock_folder
from bot.journal.tape import FileTape, TapeReader, last_chunk
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.errors import ConfigError, DataError
from bot.model.ids import VenueId
from bot.model.notation import iso
from bot.model.position import ZERO
from bot.runtime import Observer, Runtime, recover
from bot.sim.budget import UNLIMITED
from bot.sim.faults import Fault, FaultPlan, decode_faults
from bot.sim.orders import OrderReceived
from bot.tally import RunResult, Score, Tally
from bot.venues.sim import SimVenue
from bot.venues.simlog import VenueLog

BREAK = Decimal("1e-9")
"""Average cost is a quotient of Decimals: fills booked in another order may differ by less than this, money never does."""
REPORT_NS = 10_000_000_000
"""A booking younger than this may not have been reported to the desk yet."""
class Screen(Protocol):
    """Where a run shows itself (bot.desk.screen.Screen)."""

    @property
    def exit_code(self) -> int:
        """0, or that of the signal by which somebody asked for the end."""

    @property
    def speed(self) -> float:
        """Market seconds per wall second, 0.0 for as fast as it goes."""

    def watch(self, engine: Engine, tally: Tally) -> Observer:
        """Return what listens to the run after the tally."""

    def ready(self, shell: DeskShell, *, run_id: str, data_dir: str, socket: str) -> None:
        """Announce the run before it trades."""

    def look(self, take: Callable[[], snapshot.Snapshot]) -> None:
        """Redraw if it is time."""


def result_of(
    score: Score, *, run_id: str, mode: str, seed: int, from_ns: int, to_ns: int, events: int, violations: int, journal_sha256: str
) -> RunResult:
    """Return a run's result object from its score."""
    return RunResult(
        run_id=run_id, mode=mode, seed=seed, market_from=iso(from_ns), market_to=iso(to_ns), events=events,
        funding_usd=score.attribution["funding"], fees_usd=score.attribution["fees"], invariant_violations=violations,
        journal_sha256=journal_sha256, **msgspec.structs.asdict(score),
    )  # fmt: skip


class PaperRun:
    """A paper desk on the seeded market in its own run folder, new or recovered; `run` drives it to its end."""

    def __init__(self, folder: RunFolder, record: RunRecord, latch: Latch, screen: Screen, for_ns: int | None) -> None:
        self.folder = folder
        self.screen = screen
        self.settings = settings = msgspec.json.decode(record.settings, type=Settings)
        self.desk = desk(settings)
        self.journal = SqliteJournal(folder.journal, must_exist=folder.tape.exists())
        self.number = self.journal.lease_run("paper")
        logs = {name: VenueLog(folder.venue_log(name)) for name in self.desk.venues}
        self.from_ns, seq = where_it_stopped(folder, self.journal, logs.values(), settings.market.start_ns)
        ob = recover(self.journal, self.desk.terms, self.desk.obligations(self.number, LETTERS["paper"]))
        ob.run = self.number
        market = seeded_market(self.desk)
        self.gaps = GapWatch(self.desk.terms[self.desk.pair.lead])
        memory, self.source, last = warmed(self.desk, market, self.from_ns, self.gaps.saw)
        self.engine = self.desk.engine(ob, memory)
        self.tally = Tally(self.engine, settings.strategy.carry_fixed)
        self.tape = FileTape(folder.tape, from_seq=seq)
        scripted = [*market.faults(), *decode_faults(record.faults, settings.market.start_ns, self.desk.venues)]
        self.venues = self._venues(scripted, last, logs)
        self.opening = [event for event in last if isinstance(event, ev.Quote)]
        self.traffic, self.checks = Traffic(self.engine), Checks(self.engine, whole=not self.journal.imported)
        self.log = RunLog(folder.path / RUN_LOG, run_id=folder.run_id, seq=lambda: self.runtime.seq)
        self.runtime = Runtime(
            self.engine, self.journal, WatchedTape(self.tape, self.gaps),
            {**self.venues, **reference_price(self.desk, scripted, self.from_ns)}, seq=seq,
            observer=Together(self.tally, screen.watch(self.engine, self.tally), self.traffic, self.log, self.checks),
        )  # fmt: skip
        self.latch = latch
        self.shell = Shell(
            self.runtime, self.source, start_ns=self.from_ns, end_ns=ev.NEVER if for_ns is None else self.from_ns + for_ns,
            speed=screen.speed, latch=self.latch, on_slice=lambda: screen.look(self.snapshot),
        )  # fmt: skip

    def _venues(
        self, scripted: Sequence[Fault], last: Iterable[ev.Observation], logs: Mapping[VenueId, VenueLog]
    ) -> dict[VenueId, SimVenue]:
        """Return the in-process venues, restored from their own logs and shown the market as it stood."""
        settings = self.settings
        venues: dict[VenueId, SimVenue] = {}
        for name in self.desk.venues:
            log = logs[name]
            self.journal.refuse_unknown(name, (r.spec.client_id for r in log.restored if isinstance(r, OrderReceived)))
            venues[name] = SimVenue(
                exchange(self.desk, name, self.from_ns), delays=settings.latency[name],
                plan=FaultPlan(name, scripted, self.from_ns), log=log, now_ns=self.from_ns,
                budget=settings.messages.get(name, UNLIMITED), seed=settings.market.seed,
            )  # fmt: skip
            for event in last:
                venues[name].prime(event)
        return venues

    def snapshot(self) -> snapshot.Snapshot:
        """Return the desk as it stands between two events."""
        market = self.settings.market
        return snapshot.take(self.engine, run_id=self.folder.run_id, seed=market.seed, scenario=scenarios.label(market.scenario))

    def faults_hit(self) -> dict[str, dict[str, int]]:
        """Return how often each scripted fault has struck, by venue and kind."""
        return {name: {kind.value: n for kind, n in venue.plan.hits.items()} for name, venue in self.venues.items()}

    def run(self) -> RunResult:
        """Serve the control socket and trade until the end, a signal or a stop; then close every file."""
        reading = read.handlers(self.engine, self.folder.run_id, self.traffic, self.faults_hit, self.gaps)
        server = self.shell.serve({**operate.handlers(self.shell, self.snapshot), **reading})
        self.screen.ready(
            self.shell, run_id=self.folder.run_id, data_dir=str(self.latch.folder), socket=str(server.path)
        )  # fmt: skip
        cash = {venue: dict(self.settings.cash[venue]) for venue in self.desk.venues}
        state = self.latch.poll()
        self.runtime.start(
            ev.RunStarted(ts=self.from_ns, run=self.number, mode=LETTERS["paper"], cash=cash, kill_level=state.level, evacuate=state.evacuate)
        )
        for quote in self.opening:  # as a feed does on connecting: the last quote, with the venue's own time
            self.runtime.emit(msgspec.structs.replace(quote, ts=self.from_ns))
        self.runtime.pump()
        try:
            self.shell.run()
            self.runtime.checkpoint()
            ledger = Ledger(ledger_engine(self.folder.journal), self.desk.terms)
            ledger.project(self.journal.read(ledger.watermark()))
            return self.result(ledger.books)
        finally:
            self.log.broken(self.engine.ob.now, self.checks.violations)
            self.log.stopped(self.engine.ob.now, self.shell.stopping or "end")
            self.tape.close()
            self.journal.close()

    def result(self, books: Accounts) -> RunResult:
        """Return the score, with the ledger's books held against the venues' own statements."""
        to_ns = max(self.shell.now_ns, self.engine.ob.now)
        breaks = self.breaks(books, to_ns)
        self.log.broken(to_ns, breaks)
        return result_of(
            self.tally.score(), run_id=self.folder.run_id, mode="paper", seed=self.settings.market.seed, from_ns=self.from_ns,
            to_ns=to_ns, events=self.runtime.seq, violations=len(breaks) + self.checks.count, journal_sha256=self.journal.sha256(),
        )  # fmt: skip

    def breaks(self, books: Accounts, to_ns: int) -> list[str]:
        """Return every silo and currency on which the desk, the ledger's books and the venue's statement disagree.

        A payment that the venue booked just before the end may still be under way: it is no disagreement.
        """
        found = []
        for name, venue in self.venues.items():
            account = venue.exchange.account
            for currency, amount in account.cash.items():
                told = [amount - late for late in under_way(account.history, currency, to_ns - REPORT_NS)]
                for who, cash in (("desk", self.engine.ob.silos[name].cash), ("ledger", books.cash(name))):
                    if all(abs(cash.get(currency, ZERO) - known) > BREAK for known in told):
                        found.append(f"{name} {currency}: {who} {cash.get(currency, ZERO)}, venue {amount}")
        return found


def under_way(history: Sequence[ev.Event], currency: str, since_ns: int) -> Iterator[Decimal]:
    """Yield 0, then what the newest payments of a statement booked from `since_ns` on come to, one more each time."""
    total = ZERO
    yield total
    for entry in reversed(history):
        if entry.ts < since_ns or not isinstance(entry, ev.FundingPaid | ev.CashBooked):
            return
        if entry.currency == currency:
            total += entry.amount
            yield total


def paper(
    settings: Settings, data_dir: Path, screen: Screen, *, for_ns: int | None, faults: Path | None = None, resumed: str | None = None,
    latch: Latch | None = None,
) -> RunResult:  # fmt: skip
    """Run a paper desk to its end. resumed: id of a run to recover instead of starting a new one. latch: that of the data folder.

    Raises BotError when another desk holds the folder, ConfigError for a run, setting or fault that cannot be used.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    held = lock_folder(data_dir)
    try:
        if resumed is not None:
            folder = find_run(data_dir, resumed)
            record = folder.read_record()
        else:
            lines = fault_lines(faults) if faults is not None else []
            decode_faults(lines, settings.market.start_ns, desk(settings).venues)
            record = RunRecord(
                mode="paper", seed=settings.market.seed, settings=msgspec.Raw(msgspec.json.encode(settings)), faults=tuple(lines)
            )
            folder = new_run(data_dir, record)
        return PaperRun(folder, record, latch or Latch(data_dir), screen, for_ns).run()
    finally:
        os.close(held)


def fault_lines(path: Path) -> list[str]:
    """Return the lines of a faults file. Raises ConfigError for one that is no text, OSError."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file ({error.reason} at byte {error.start})") from error


def where_it_stopped(folder: RunFolder, journal: SqliteJournal, logs: Iterable[VenueLog], start_ns: int) -> tuple[int, int]:
    """Return (market time, seq) of a run's last event; the market's start and 0 for a new run.

    What a venue has booked happened, whether or not the desk lived to hear of it: a market set back to before would let
    it happen again (the same funding paid twice).
    """
    seq, now = journal.last_seq(), start_ns
    for log in logs:
        now = max(now, max((record.ts for record in log.restored), default=now))
    for _, _, event in journal.read(max(0, seq - 1)):
        now = max(now, event.ts)
    for seen, event in last_chunk(folder.tape):
        seq, now = max(seq, seen), max(now, event.ts)
    return now, seq


def replay(data_dir: Path, run_id: str) -> replays.Replayed:
    """Prove a run from its record (bot.backtest.replay). Raises ConfigError for a run that is not there."""
    folder = find_run(data_dir, run_id)
    record = folder.read_record()
    built = desk(msgspec.json.decode(record.settings, type=Settings))

    def make_engine(ob: Obligations, at_ns: int | None) -> Engine:
        if at_ns is None:
            return built.engine(ob, built.warm())
        return built.engine(ob, built.warm(kept_history(folder, at_ns)) if record.venues else warmed(built, seeded_market(built), at_ns)[0])

    found, reader, tape = replays.Replayed(), JournalReader(folder.journal), TapeReader(folder.tape)
    try:
        mode = LETTERS[record.mode]
        replays.orders_from_journal(reader.read(), built.obligations(1, mode), make_engine, found)
        replays.decisions_from_tape(reader.read(), tape, built.obligations(1, mode), make_engine, found)
    finally:
        reader.close()
    return found


def kept_history(folder: RunFolder, at_ns: int) -> list[ev.Observation]:
    """Return what a start at `at_ns` on live venues was warmed with. Raises DataError when that was not kept or has a gap."""
    reader = TapeReader(folder.warm(at_ns))
    history = [event for _, event in reader]
    if reader.gaps:
        raise DataError(f"{folder.warm(at_ns)}: damaged")
    return history


def recalled(folder: RunFolder) -> Engine:
    """Return an engine on what the journal of a run says is owed: no books, a cold strategy. Raises BotError for a bad record."""
    record = folder.read_record()
    built = desk(msgspec.json.decode(record.settings, type=Settings))
    return built.engine(operate.owed(folder, built.terms, built.obligations(0, LETTERS[record.mode])), built.warm())


def gaps_seen(folder: RunFolder) -> GapWatch:
    """Return a watch on the warm history and the tape of a run. Raises BotError for a bad record, DataError for a bad tape."""
    record = folder.read_record()
    built = desk(msgspec.json.decode(record.settings, type=Settings))
    lead, tape = built.terms[built.pair.lead], (event for _, event in TapeReader(folder.tape))
    first = folder.warm_starts()[:1] if record.venues else []
    history = chain.from_iterable(kept_history(folder, at) for at in first) if record.venues else seeded_market(built).history()
    return watched(lead, chain(history, tape if folder.tape.exists() else ()))


def report(data_dir: Path, run_id: str | None, progress: Callable[[float], None]) -> reports.Report:
    """Return the report of a run, the newest without an id. progress: told how much is done, 0 to 1.

    Raises ConfigError for a run that is not there, JournalError or DataError for a record that cannot be read.
    """
    folder = find_run(data_dir, run_id) if run_id is not None else latest_run(data_dir)
    if folder is None:
        raise ConfigError(f"no run in {data_dir}")
    record = folder.read_record()
    settings = msgspec.json.decode(record.settings, type=Settings)
    built = desk(settings)
    reader = JournalReader(folder.journal)
    try:
        steps = max(1, reader.last_seq())
    finally:
        reader.close()
    engine = built.engine(built.obligations(1, LETTERS[record.mode]), built.warm())
    return reports.build(folder, record, settings, engine, lambda done: progress(min(1.0, done / steps)))
