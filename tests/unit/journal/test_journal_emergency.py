"""The emergency file: imported once and only once, whatever moment a crash chooses; damage is said, never passed over."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from bot.journal import codec, emergency
from bot.journal.emergency import SIZE, SLOT, EmergencyFile
from bot.journal.store import JournalReader, SqliteJournal
from bot.model.errors import JournalError
from bot.model.event import Alert, Event, OrderIntended, Severity, VenueSnapshot
from bot.model.order import Purpose
from tests.unit.journal.test_journal_store import fill, intent

WRITTEN = 6


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return a folder as a desk leaves it that died behind a lock: WRITTEN intents recorded, one of them committed late too."""
    run = tmp_path / "run"
    journal = SqliteJournal(run / "desk.db", timeout_s=30.0)
    journal.append(1, [fill(1)])
    journal.append(2, [fill(2), hedge(2)])
    for seq in range(2, 2 + WRITTEN):
        journal.emergency(seq, [fill(seq), hedge(seq)])
    copy = tmp_path / "left"
    shutil.copytree(run, copy)
    journal.close()
    return copy


def hedge(seq: int) -> OrderIntended:
    """Return the intent of a step."""
    return intent(seq, Purpose.HEDGE)


def wanted() -> list[tuple[int, int, Event]]:
    """Return the journal after the import, however often it was begun."""
    return [(1, 0, fill(1)), (2, 0, fill(2)), (2, 1, hedge(2)), *((seq, 0, hedge(seq)) for seq in range(3, 2 + WRITTEN))]


def settled(path: Path) -> None:
    """Open twice: everything is there once, nothing is left to import and all of it counts as released."""
    for again in (False, True):
        journal = SqliteJournal(path)
        assert list(journal.read()) == wanted()
        assert journal.reader.unconfirmed() == frozenset() and (not again or journal.imported == 0)
        assert journal.last_seq() == 1 + WRITTEN
        journal.close()
    assert not any(path.with_name("desk.db.emergency").read_bytes())


def test_imported_once(left: Path) -> None:
    """The first start takes what the database lacks; the second finds an empty file."""
    journal = SqliteJournal(left / "desk.db")
    assert journal.imported == WRITTEN - 1, "one was written by a late commit"
    journal.close()
    settled(left / "desk.db")


@pytest.mark.parametrize("slots_cleared", range(9))
def test_crash_while_the_file_is_emptied(left: Path, monkeypatch: pytest.MonkeyPatch, slots_cleared: int) -> None:
    """After the commit the file is emptied slot by slot; wherever that ends, the next start changes nothing."""
    real, calls = os.pwrite, 0

    def pwrite(fd: int, data: bytes, at: int) -> int:
        nonlocal calls
        if len(data) == SLOT and not any(data):
            if calls == slots_cleared:
                raise Crash
            calls += 1
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(Crash):
        SqliteJournal(left / "desk.db")
    monkeypatch.undo()
    reader = JournalReader(left / "desk.db")
    assert list(reader.read()) == wanted(), "the import was committed before"
    reader.close()
    settled(left / "desk.db")


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "UPDATE", "COMMIT"])
def test_crash_in_the_middle_of_the_import(left: Path, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Before the commit nothing was imported: one transaction, whichever statement is the last."""

    class Dying(sqlite3.Connection):
        """A connection that ends its process before a statement of the import."""

        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            if sql.startswith(statement):
                raise Crash
            return super().execute(sql, *args)  # type: ignore[arg-type]

        def executemany(self, sql: str, *args: object) -> sqlite3.Cursor:
            if sql.startswith(statement):
                raise Crash
            return super().executemany(sql, *args)  # type: ignore[arg-type]

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **({**k, "factory": Dying} if "isolation_level" in k else k)))
    with pytest.raises(Crash):
        SqliteJournal(left / "desk.db")
    monkeypatch.undo()
    reader = JournalReader(left / "desk.db")
    assert list(reader.read()) == wanted()[:3]
    reader.close()
    settled(left / "desk.db")


def test_database_that_refuses_the_import_keeps_the_file(left: Path) -> None:
    """Behind a lock the start is refused and the file holds what it held; when the lock is gone the import is whole."""
    before = (left / "desk.db.emergency").read_bytes()
    lock = sqlite3.connect(left / "desk.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="emergency file could not be imported: database is locked"):
        SqliteJournal(left / "desk.db", timeout_s=0.02)
    assert (left / "desk.db.emergency").read_bytes() == before
    lock.execute("ROLLBACK")
    lock.close()
    settled(left / "desk.db")


def test_the_same_event_twice_in_a_step_stays_twice(tmp_path: Path) -> None:
    """Only as many events are taken for known as the database has."""
    journal = SqliteJournal(tmp_path / "desk.db")
    journal.append(1, [hedge(1)])
    journal.emergency(1, [hedge(1), hedge(1)])
    journal.close()
    journal = SqliteJournal(tmp_path / "desk.db")
    assert list(journal.read()) == [(1, 0, hedge(1)), (1, 1, hedge(1))] and journal.imported == 1
    journal.close()


def large(number: int) -> VenueSnapshot:
    """Return an event of several slots."""
    return VenueSnapshot(ts=number, venue="x", positions={f"I{i:04d}": i * 1 for i in range(200)}, working=(), cash={})  # type: ignore[misc]


def rows_of(seq: int, *events: Event) -> list[codec.Row]:
    """Return the rows of one step."""
    return codec.encode(seq, events)


def test_every_cut_keeps_what_was_acknowledged_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space was allocated before, so a power loss tears only the last write: at every byte the steps before it are whole."""
    monkeypatch.setattr(emergency, "SIZE", 64 * SLOT)  # thousands of cuts of a small file
    path = tmp_path / "e"
    file = EmergencyFile(path)
    steps, ends = [], []
    for seq in range(1, 5):
        step = rows_of(seq, hedge(seq), Alert(ts=seq, severity=Severity.WARN, code="c", text="x" * 200 * seq))
        file.write(step)
        steps.append(step)
        ends.append(file._used * SLOT)
    file.close()
    raw = os.open(path, os.O_RDWR)
    for cut in range(ends[-1], -1, -1):
        os.pwrite(raw, b"\0", cut)
        file = EmergencyFile(path)
        found = list(file.rows())
        acknowledged = [row for step, end in zip(steps, ends, strict=True) if end <= cut for row in step]
        assert found[: len(acknowledged)] == acknowledged, f"cut {cut}"
        assert all(row in [r for s in steps for r in s] for row in found), f"cut {cut}: a row nobody wrote"
        file.close()
    os.close(raw)


def test_a_torn_last_write_in_any_order_of_sectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sectors of the unacknowledged write may reach the disk in any order; no row is mixed from parts and none before is lost."""
    seed = 11
    rng = random.Random(seed)
    monkeypatch.setattr(emergency, "SIZE", 64 * SLOT)
    path = tmp_path / "e"
    file = EmergencyFile(path)
    first, last = rows_of(1, hedge(1)), rows_of(2, large(2), hedge(2), large(3))
    file.write(first)
    end = file._used
    file.write(last)
    used = file._used
    file.close()
    whole = path.read_bytes()
    for _ in range(200):
        torn = bytearray(whole)
        for slot in range(end, used):
            if rng.random() < 0.4:
                torn[slot * SLOT : (slot + 1) * SLOT] = bytes(SLOT)
        path.write_bytes(bytes(torn))
        file = EmergencyFile(path)
        found = list(file.rows())
        assert found[:1] == first and all(row in last for row in found[1:]), f"seed {seed}"
        file.close()


def test_a_lost_slot_in_the_middle_is_refused(tmp_path: Path) -> None:
    """An acknowledged intent that cannot be read may be an order at a venue: the start says which file and slot."""
    path = tmp_path / "e"
    file = EmergencyFile(path)
    for seq in range(1, 6):
        file.write(rows_of(seq, hedge(seq)))
    file.close()
    raw = bytearray(path.read_bytes())
    raw[2 * SLOT + 100] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(JournalError, match=r"emergency file .*e is damaged: slot 2 cannot be read"):
        EmergencyFile(path)


@pytest.mark.parametrize("size", [1, SLOT, SIZE - 1])
def test_a_file_that_lost_its_end_is_refused(tmp_path: Path, size: int) -> None:
    """Its space was allocated in advance, so a shorter file with something in it has lost records."""
    path = tmp_path / "e"
    file = EmergencyFile(path)
    file.write(rows_of(1, hedge(1)))
    file.close()
    os.truncate(path, size)
    with pytest.raises(JournalError, match=f"{size} of {SIZE} bytes are left"):
        EmergencyFile(path)


@pytest.mark.parametrize("size", [0, 700])
def test_a_file_whose_making_was_interrupted_is_made_again(tmp_path: Path, size: int) -> None:
    """Zeros of any length hold no record."""
    path = tmp_path / "e"
    path.write_bytes(bytes(size))
    file = EmergencyFile(path)
    assert path.stat().st_size == SIZE and path.stat().st_blocks * 512 >= SIZE, "allocated, not only long"
    file.close()


def test_a_disk_without_room_for_it_refuses_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk that could not get flatter without its database does not begin."""

    def full(fd: int, at: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JournalError, match="emergency file .*No space left"):
        SqliteJournal(tmp_path / "run" / "desk.db")
    monkeypatch.undo()
    SqliteJournal(tmp_path / "run" / "desk.db").close()


def test_a_failed_write_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a refused call left of itself is neither a record nor in the way of the next one."""
    file = EmergencyFile(tmp_path / "e")
    file.write(rows_of(1, hedge(1)))
    real = os.pwrite

    def short(fd: int, data: bytes, at: int) -> int:
        if at == SLOT:
            return real(fd, data[: 2 * SLOT + 50], at)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", short)
    with pytest.raises(JournalError, match="Input/output error"):
        file.write(rows_of(2, large(2)))
    monkeypatch.undo()
    file.write(rows_of(3, hedge(3)))
    assert list(file.rows()) == [*rows_of(1, hedge(1)), *rows_of(3, hedge(3))]
    file.close()
    again = EmergencyFile(tmp_path / "e")
    assert list(again.rows()) == [*rows_of(1, hedge(1)), *rows_of(3, hedge(3))]
    again.close()
