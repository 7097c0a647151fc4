"""What outlives a process of the desk: journal, tape, latch and the venues' own logs; in memory for volume, on real files for truth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bot import composition
from bot.config import Settings
from bot.crash import crash_point
from bot.desk.runs import RunFolder, RunRecord, new_run
from bot.engine import fold
from bot.engine.obligations import Obligations
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import MemoryJournal, SqliteJournal
from bot.journal.tape import FileTape, TapeReader
from bot.kill.latch import Latch
from bot.model import event as ev
from bot.model.errors import JournalError
from bot.model.ids import VenueId
from bot.model.instrument import Instrument
from bot.model.ports import Tape
from bot.runtime import StoredJournal
from bot.sim.orders import OrderReceived
from bot.simulate.deaths import Reaper
from bot.simulate.plan import Commits, Plan
from bot.venues.simlog import VenueLog

PATIENCE_S = 60.0
"""Wall time in which a commit must be confirmed: no day may depend on how busy the machine is."""


class Kept(Protocol):
    """A journal that also knows what it promised. durable: intents that may leave. failed: commits it refused.

    lost: rows of the process that runs now were refused and are not written.
    """

    durable: set[str]
    failed: int
    lost: bool


class DayJournal(StoredJournal, Kept, Protocol):
    """The journal of a day."""

    def last_seq(self) -> int:
        """Return the highest seq."""

    def sha256(self) -> str:
        """Return the digest of every event in order."""


class ListTape:
    """A tape in memory, readable as a recording without gaps."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ev.Observation]] = []
        self.gaps: list[Any] = []

    def record(self, seq: int, event: ev.Observation) -> None:
        """Keep one observation (port)."""
        self.rows.append((seq, event))

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        return iter(self.rows)


def _intents(events: Sequence[ev.Event]) -> list[str]:
    return [e.order.client_id for e in events if isinstance(e, ev.OrderIntended)]


class Disk:
    """Whether the journal's disk confirms anything, as planned."""

    def __init__(self, plan: Commits | None) -> None:
        self.plan = plan
        self._filled = False

    def fails(self, ts: int) -> bool:
        """Return whether nothing is confirmed at `ts`."""
        c = self.plan
        return c is not None and c.from_ns <= ts < c.to_ns and (self._filled or not c.on_fill)

    def refuses(self, events: Sequence[ev.Event]) -> bool:
        """Return whether this step is not confirmed; a fill may be what it begins with."""
        c, ts = self.plan, events[0].ts
        if c is not None and c.on_fill and c.from_ns <= ts < c.to_ns and type(events[0]) is ev.OrderFilled:
            self._filled = True
        return self.fails(ts)

    def mend(self) -> None:
        """Work from now on."""
        self.plan = None


class PlannedJournal(MemoryJournal):
    """A journal in memory that fails for the stretch its plan says."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk
        self.durable: set[str] = set()
        self.failed = 0
        self.lost = False

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep, lose or keep late."""
        if self.disk.refuses(events):
            self.failed += 1
            if self._kind == "late":
                super().append(seq, events)
            else:
                self.lost = True
            raise JournalError(f"no confirmation in time ({self._kind})")
        super().append(seq, events)
        self.durable.update(_intents(events))

    def emergency(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep in the second place, which an import merges by content: a late row is there already."""
        crash_point("emergency.before_write")
        if self._kind == "dead":
            raise JournalError("emergency file: no space")
        if self.last_seq() < seq:
            super().append(seq, events)
        self.durable.update(_intents(events))
        crash_point("emergency.after_write")

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep the state after `seq`, unless rows before it wait for the disk: it is written in order."""
        if self.lost:
            raise JournalError("checkpoint: rows before it are not written")
        super().checkpoint(seq, state)

    @property
    def _kind(self) -> str:
        return self.disk.plan.kind if self.disk.plan is not None else ""


class Store(Protocol):
    """Storage of one day. journal, tape: those of the process that runs now. run: its number. disk: what the journal lies on."""

    disk: Disk
    journal: DayJournal
    tape: Tape | None
    latch: Latch
    run: int

    def open(self) -> None:
        """Open everything, as a starting process does."""

    def resumes_at(self) -> int:
        """Return the last seq that anything kept."""

    def venue_log(self, venue: VenueId) -> VenueLog | None:
        """Return a venue's own record, None if the venue outlives the process by itself."""

    def abandon(self, between: bool) -> None:
        """Take the process away as it stands. between: between two events."""

    def stop(self, terms: dict[str, Instrument]) -> None:
        """Close as an orderly stop does."""

    def close(self) -> None:
        """Give everything back."""


class MemoryStore:
    """Journal and tape in memory; the latch alone is files, for a kill is nothing else."""

    def __init__(self, plan: Plan, record: bool) -> None:
        self.disk = Disk(plan.commits)
        self.journal: DayJournal = PlannedJournal(self.disk)
        self._tape = ListTape() if record else None
        self.tape: Tape | None = self._tape
        self.run = 0
        self._folder = _folder()
        self.latch = Latch(Path(self._folder.name))

    def open(self) -> None:
        """Count the run."""
        self.run += 1

    def resumes_at(self) -> int:
        """Return the last seq of journal and tape."""
        rows = self._tape.rows if self._tape is not None else []
        return max(self.journal.last_seq(), rows[-1][0] if rows else 0)

    def venue_log(self, venue: VenueId) -> VenueLog | None:
        """Return None."""
        return None

    def abandon(self, between: bool) -> None:
        """Lose what the tape still held in memory."""
        self.journal.lost = False
        rows = self._tape.rows if self._tape is not None else []
        while rows and not between and rows[-1][0] > self.journal.last_seq():
            rows.pop()

    def stop(self, terms: dict[str, Instrument]) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Remove the latch's folder."""
        self._folder.cleanup()


class FileJournal:
    """The desk's real journal with a plan for its disk; while it fails it stays failed until the process is gone."""

    def __init__(self, path: Path, reaper: Reaper, disk: Disk, must_exist: bool) -> None:
        self.durable: set[str] = set()
        self.failed = 0
        self.lost = False
        self._reaper = reaper
        self._disk = disk
        self.inner = SqliteJournal(path, timeout_s=PATIENCE_S, must_exist=must_exist)

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Commit the events of one step."""
        if self._disk.refuses(events):
            self._reaper.fail()
        try:
            with self._reaper.mortal():
                self.inner.append(seq, events)
        except JournalError:
            self.failed += 1
            self.lost = True
            raise
        self.durable.update(_intents(events))

    def emergency(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Write beside the database."""
        self.inner.emergency(seq, events)
        self.durable.update(_intents(events))

    def read(self, from_seq: int = 0) -> Iterator[tuple[int, int, ev.Event]]:
        """Yield (seq, n, event) from `from_seq` on."""
        return self.inner.read(from_seq)

    def last_seq(self) -> int:
        """Return the highest seq."""
        return self.inner.last_seq()

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (seq, state) of the newest checkpoint."""
        return self.inner.latest_checkpoint()

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep the state after `seq`."""
        with self._reaper.mortal():
            self.inner.checkpoint(seq, state)

    def sha256(self) -> str:
        """Return the digest of every durable event."""
        return self.inner.sha256()


class FileStore:
    """A run folder as paper has it, on a file system in memory where there is one."""

    def __init__(self, plan: Plan, settings: Settings, reaper: Reaper) -> None:
        self.disk = Disk(plan.commits)
        self._reaper = reaper
        self._temporary = _folder()
        self.folder = Path(self._temporary.name)
        self.latch = Latch(self.folder)
        self.record = RunRecord(mode="simulate", seed=plan.seed, settings=msgspec.Raw(msgspec.json.encode(settings)))
        self.paths: RunFolder | None = None
        self.run = 0
        self._durable: set[str] = set()
        self._failed = self._seq = 0
        self._open = False
        self.journal: DayJournal
        self.tape: Tape | None = None

    def open(self) -> None:
        """Begin the run if it has not begun, then open its files; a run number is leased each time."""
        if self.paths is None:
            self.paths = new_run(self.folder, self.record)
        paths = self.paths
        journal = FileJournal(paths.journal, self._reaper, self.disk, must_exist=paths.tape.exists())
        self.journal, self._open = journal, True
        journal.durable, journal.failed = self._durable, self._failed
        with self._reaper.mortal():
            self.run = journal.inner.lease_run("simulate")
        self._seq = max([journal.last_seq(), *(seq for seq, _ in TapeReader(paths.tape))] if paths.tape.exists() else [journal.last_seq()])
        self._file_tape = FileTape(paths.tape, from_seq=self._seq)
        self.tape = self._file_tape

    def resumes_at(self) -> int:
        """Return the last seq of journal and tape, as paper finds it."""
        return self._seq

    def venue_log(self, venue: VenueId) -> VenueLog | None:
        """Open the log of an in-process venue; what it held is what the venue knows."""
        assert self.paths is not None and isinstance(self.journal, FileJournal)
        log = VenueLog(self.paths.venue_log(venue))
        self.journal.inner.refuse_unknown(venue, (r.spec.client_id for r in log.restored if isinstance(r, OrderReceived)))
        return log

    def abandon(self, between: bool) -> None:
        """Drop what the tape had not written, and everything the process held. Commits that were refused stay refused."""
        if self._open:
            journal = self.journal
            assert isinstance(journal, FileJournal)
            self._failed, self._open = journal.failed, False
            with suppress(JournalError):
                journal.inner.close()
        self.tape = None
        self._reaper.rest()

    def stop(self, terms: dict[str, Instrument]) -> None:
        """Book the ledger, end the tape and close the database, as paper does at its end."""
        assert self.paths is not None and isinstance(self.journal, FileJournal)
        ledger = Ledger(ledger_engine(self.paths.journal), terms)
        ledger.project(list(self.journal.read(ledger.watermark())))
        self._file_tape.close()
        with self._reaper.mortal():
            self.journal.inner.close()
        self._open = False

    def close(self) -> None:
        """Remove the folder."""
        self.abandon(between=False)
        self._temporary.cleanup()


def folded(built: composition.Desk, store: Store) -> Obligations:
    """Return what the journal alone gives."""
    ob = built.obligations(store.run, "S")
    for _, _, event in store.journal.read():
        fold.apply(ob, built.terms, event)
    return ob


def _folder() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="simulate-", dir=memory if memory.is_dir() else None)
