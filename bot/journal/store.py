"""The journal: obligations made durable before anything is sent (SQLite), or kept in memory for bench and simulate.

The stdlib driver with fixed SQL is used, not SQLAlchemy: 303 us against 449 us for one WAL FULL commit (2 virtual
cores, Python 3.11), and the guardian must not load an ORM. One folder belongs to one desk (file lock) and one
database to one mode (checked when the run number is leased).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bot.crash import crash_point
from bot.journal import codec, migrations, opening
from bot.journal.emergency import EmergencyFile
from bot.journal.mark import MarkFile
from bot.journal.reader import Entry, JournalReader
from bot.journal.writer import INSERT, Job, Writer
from bot.model.errors import ConfigError, JournalError
from bot.model.event import Event

COMMIT_TIMEOUT_S = 0.25
BUSY_SHARE = 0.8
"""Part of the commit time that SQLite may spend waiting for a lock, so that the answer comes in time."""
CHECKPOINTS_KEPT = 3

_SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_SET_CHECKPOINT = "INSERT OR REPLACE INTO checkpoint (seq, body, crc) VALUES (?, ?, ?)"
_DROP_CHECKPOINTS = "DELETE FROM checkpoint WHERE seq NOT IN (SELECT seq FROM checkpoint ORDER BY seq DESC LIMIT ?)"

__all__ = ["CHECKPOINTS_KEPT", "COMMIT_TIMEOUT_S", "Entry", "JournalReader", "MemoryJournal", "SqliteJournal", "lock_folder"]


class SqliteJournal:
    """The desk's journal (port bot.model.ports.Journal). Opening checks, migrates and imports what is left over.

    must_exist: other files of the run are there, so a missing database is a loss and no beginning. imported: events that
    came from the emergency file. Raises JournalError if another desk holds the folder, or if the file is missing,
    damaged, half migrated, older than what it had confirmed, or cannot be opened.
    """

    def __init__(self, path: Path, *, timeout_s: float = COMMIT_TIMEOUT_S, must_exist: bool = False) -> None:
        path = Path(path)
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            lock_fd = lock_folder(path.parent)
            undo.callback(os.close, lock_fd)
            self._mark = MarkFile(path.with_name(path.name + ".mark"))
            undo.callback(self._mark.close)
            opening.refuse(path, self._mark.found, must_exist)
            migrations.open_current(path)
            connection = _connect(path, timeout_s)
            undo.callback(connection.close)
            self.reader = JournalReader(path)
            undo.callback(self.reader.close)
            self._emergency = EmergencyFile(path.with_name(path.name + ".emergency"), timeout_s)
            undo.callback(self._emergency.close)
            self.imported = opening.import_emergency(connection, self._emergency)
            self._last_seq = self.reader.last_seq()
            self._writer = Writer(connection, timeout_s)
            self._files = ExitStack()
            self._files.callback(os.close, lock_fd)
            for file in (self._mark, self._emergency):
                self._files.callback(file.close)
            undo.pop_all()

    def append(self, seq: int, events: Sequence[Event]) -> None:
        """Make the events of one step durable (port). seq must rise. JournalError: late, failed or out of order."""
        if seq <= self._last_seq:
            raise JournalError(f"journal: seq {seq} does not follow {self._last_seq}")
        rows = codec.sealed(codec.encode(seq, events))
        self._last_seq = seq
        crash_point("journal.before_write")
        self._writer.submit(Job(INSERT, rows, seq))
        crash_point("journal.before_mark")
        self._mark.step(seq, codec.seal(rows))
        crash_point("journal.after_mark")

    def emergency(self, seq: int, events: Sequence[Event]) -> None:
        """Record events beside the database (port); they enter the journal at the next open."""
        crash_point("emergency.before_write")
        self._emergency.write(codec.encode(seq, events))
        crash_point("emergency.after_write")

    def lease_run(self, mode: str) -> int:
        """Return the next run number of this database, durable before it returns.

        Raises ConfigError if the database belongs to another mode: paper and live never share one.
        """
        held = self.reader.meta("mode")
        if held is not None and held != mode:
            raise ConfigError(f"this database was written in mode {held!r} and cannot be used in mode {mode!r}")
        run = self.reader.run() + 1
        crash_point("lease.before_commit")
        self._writer.submit(Job(_SET_META, [("mode", mode), ("run", str(run))]))
        crash_point("lease.after_commit")
        self._mark.leased(run)
        return run

    def refuse_unknown(self, venue: str, client_ids: Iterable[str]) -> None:
        """Raise JournalError if `venue` knows an order of ours that this journal never meant to send: it is an old copy."""
        opening.refuse_unknown(self._path, self.reader, venue, client_ids)

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep the encoded state after `seq`; JournalError only means that a recovery reads a longer tail."""
        crash_point("checkpoint.before_write")
        self._writer.submit(Job(_SET_CHECKPOINT, [(seq, state, codec.checkpoint_checksum(seq, state))]))
        crash_point("checkpoint.after_write")
        self._writer.submit(Job(_DROP_CHECKPOINTS, [(CHECKPOINTS_KEPT,)]))
        crash_point("checkpoint.after_drop")

    def read(self, from_seq: int = 0) -> Iterator[Entry]:
        """Yield (seq, n, event) from `from_seq` on, in order."""
        return self.reader.read(from_seq)

    def last_seq(self) -> int:
        """Return the highest seq ever handed in; a run continues above it (and above its tape)."""
        return self._last_seq

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (seq, state) of the newest checkpoint."""
        return self.reader.latest_checkpoint()

    def sha256(self) -> str:
        """Return the digest of every durable event in order."""
        return self.reader.sha256()

    def close(self) -> None:
        """Write what is pending and release files and lock. Raises JournalError if something could not be written.

        While the disk hangs the folder stays locked until the process ends: the thread may still write to it.
        """
        crash_point("close.before")
        self.reader.close()  # first, so that the writer's is the last connection and leaves one file without a log
        try:
            self._writer.close()
        finally:
            if not self._writer.alive:
                self._files.close()
        crash_point("close.after")


class MemoryJournal:
    """The same encoding kept in a list: bench and simulate pay what the desk pays, except for the disk."""

    def __init__(self) -> None:
        self._rows: list[codec.Row] = []
        self._checkpoint: tuple[int, bytes] | None = None
        self._run = 0

    def append(self, seq: int, events: Sequence[Event]) -> None:
        """Keep the events of one step (port)."""
        rows = codec.encode(seq, events)
        crash_point("journal.before_write")
        self._rows += rows
        crash_point("journal.after_mark")

    def emergency(self, seq: int, events: Sequence[Event]) -> None:
        """Keep the events like any others: memory has no second place."""
        self.append(seq, events)

    def read(self, from_seq: int = 0) -> Iterator[Entry]:
        """Yield (seq, n, event) from `from_seq` on, decoded from the kept bytes."""
        for seq, n, _, _, body in self._rows:
            if seq >= from_seq:
                yield seq, n, codec.decode(seq, n, body)

    def last_seq(self) -> int:
        """Return the highest seq, 0 for an empty journal."""
        return self._rows[-1][0] if self._rows else 0

    def lease_run(self, mode: str) -> int:
        """Return the next run number; a journal that lives and dies with one process has one mode."""
        self._run += 1
        return self._run

    def checkpoint(self, seq: int, state: bytes) -> None:
        """Keep the encoded state after `seq`."""
        self._checkpoint = (seq, state)

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (seq, state) of the newest checkpoint."""
        return self._checkpoint

    def sha256(self) -> str:
        """Return the digest of every event in order."""
        return codec.sha256((seq, n, body) for seq, n, _, _, body in self._rows)

    def close(self) -> None:
        """Nothing is held."""


def lock_folder(folder: Path) -> int:
    """Take the folder for this process until the descriptor closes; a crash releases it. Raises JournalError."""
    fd = os.open(folder / "desk.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise JournalError(f"folder {folder} is in use by the desk with pid {holder}") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open the write connection. Raises JournalError naming what is wrong."""
    try:
        connection = sqlite3.connect(path, timeout=timeout_s * BUSY_SHARE, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        raise JournalError(f"journal {path}: {error}") from error
    return connection
