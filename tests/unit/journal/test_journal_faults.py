"""The disk under a running journal: locked, full, read-only, failing, hanging. Nothing is lost, nothing blocks, order is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.journal import emergency
from bot.journal.emergency import SLOT, SLOTS, EmergencyFile
from bot.journal.store import JournalReader, SqliteJournal
from bot.journal.writer import INSERT, Job, Writer
from bot.kill.latch import Latch
from bot.model.errors import JournalError
from bot.model.event import Event, KillLevel
from bot.model.order import Purpose
from tests.unit.journal.faulty_disk import FULL, IOERR_FSYNC, IOERR_WRITE, OK, READONLY, FaultyDisk, faulty_disk
from tests.unit.journal.test_journal_store import fill, intent

ROOT = Path(__file__).parents[3]
QUICK_S = 0.05


def refused(journal: SqliteJournal, seq: int, *events: Event) -> str:
    """Append and return why it was refused."""
    with pytest.raises(JournalError) as caught:
        journal.append(seq, events)
    return str(caught.value)


def until_confirmed(journal: SqliteJournal, make: Callable[[int], Event]) -> int:
    """Append until a step is confirmed again and return its seq; a journal that never recovers fails the test."""
    for seq in range(journal.last_seq() + 1, journal.last_seq() + 2000):
        try:
            journal.append(seq, [make(seq)])
        except JournalError:
            continue
        return seq
    pytest.fail("the journal did not recover within 2000 steps")


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [("write", FULL, "full"), ("write", READONLY, "readonly"), ("write", IOERR_WRITE, "I/O"), ("sync", IOERR_FSYNC, "I/O")],
    ids=["full", "read-only", "write-error", "sync-error"],
)
def test_a_disk_that_refuses_is_survived_and_mended(tmp_path: Path, name: str, code: int, reason: str) -> None:
    """Steps are refused with the reason, the emergency file still takes intents, and when the disk heals all is there in order."""
    path = tmp_path / "desk.db"
    with faulty_disk() as disk:
        journal = SqliteJournal(path, timeout_s=QUICK_S)
        journal.append(1, [fill(1)])
        setattr(disk, name, code)
        assert reason in refused(journal, 2, fill(2))
        assert "seq 3" in refused(journal, 3, intent(3, Purpose.HEDGE))
        journal.emergency(3, [intent(3, Purpose.HEDGE)])
        setattr(disk, name, OK)
        last = until_confirmed(journal, fill)
        assert [s for s, _, _ in journal.read()] == list(range(1, last + 1))
        assert journal.reader.unconfirmed() == set(range(2, last))
        journal.close()
    journal = SqliteJournal(path)
    assert journal.imported == 0, "the late commit wrote what the emergency file holds"
    assert journal.reader.unconfirmed() == set(range(2, last)) - {3}, "an intent that was released counts as released"
    journal.close()


def test_a_real_size_limit_refuses_and_leaves_a_whole_journal(tmp_path: Path) -> None:
    """With the system itself refusing growth (RLIMIT_FSIZE) confirmed steps stay, and the preallocated file works."""
    code = """
import resource, sys
from pathlib import Path
from bot.journal.store import SqliteJournal
from bot.model.errors import JournalError
from tests.unit.journal.test_journal_store import fill, intent
journal = SqliteJournal(Path(sys.argv[1]), timeout_s=0.25)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
seq = 0
try:
    while True:
        journal.append(seq + 1, [fill(seq + 1)] * 50)
        seq += 1
except JournalError as error:
    journal.emergency(seq + 1, [intent(seq + 1)])
    print(seq, "disk I/O error" in str(error) or "full" in str(error), flush=True)
import os
os._exit(9)
"""
    path = tmp_path / "desk.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr[-2000:]
    confirmed, told = done.stdout.split()
    assert told == "True" and int(confirmed) > 10
    journal = SqliteJournal(path)
    found = list(journal.read())
    assert {s for s, _, _ in found} >= set(range(1, int(confirmed) + 1))
    assert intent(int(confirmed) + 1) in [e for _, _, e in found] and journal.imported == 1
    journal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_file_system(tmp_path: Path) -> None:
    """On a file system without a free block the journal refuses and the emergency file still makes an intent durable."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.strip()}")
    try:
        journal = SqliteJournal(tmp_path / "run" / "desk.db", timeout_s=QUICK_S)
        journal.append(1, [fill(1)])
        with (tmp_path / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        for seq in range(2, 200):
            try:
                journal.append(seq, [fill(seq)] * 20)
            except JournalError as error:
                assert "full" in str(error)
                break
        else:
            pytest.fail("the file system was never full")
        journal.emergency(seq, [intent(seq, Purpose.HEDGE)])
        (tmp_path / "filler").unlink()
        last = until_confirmed(journal, fill)
        assert [s for s, n, _ in journal.read() if n == 0] == list(range(1, last + 1))
        journal.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_hanging_sync_costs_its_time_once_and_blocks_nothing(tmp_path: Path) -> None:
    """While one sync hangs every step is refused in bounded time, the latch works, and afterwards everything is in order."""
    path = tmp_path / "desk.db"
    with faulty_disk() as disk:
        journal = SqliteJournal(path, timeout_s=QUICK_S)
        journal.append(1, [fill(1)])
        disk.hold = threading.Event()
        assert "not confirmed within 50 ms: commit is late" in refused(journal, 2, fill(2))
        assert disk.held.is_set(), "the thread is inside the sync"
        for seq in range(3, 23):
            assert "not confirmed within 5 ms" in refused(journal, seq, intent(seq, Purpose.HEDGE))
            journal.emergency(seq, [intent(seq, Purpose.HEDGE)])
        assert Latch(tmp_path).raise_to(KillLevel.FLATTEN, reason="disk hangs", who="test", channel="test", now_ns=1).level is KillLevel.FLATTEN
        assert [s for s, _, _ in journal.read()] == [1], "a reader waits for nobody"
        disk.hold.set()
        last = until_confirmed(journal, fill)
        assert [s for s, _, _ in journal.read()] == list(range(1, last + 1))
        assert journal.reader.unconfirmed() == set(range(2, last))
        journal.close()


def test_the_bound_is_a_wait_on_a_lock_and_no_poll(tmp_path: Path) -> None:
    """The desk's bound is 250 ms: the time an append may wait is handed to one lock, whose clock no sleep of ours stretches."""
    SqliteJournal(tmp_path / "desk.db").close()
    waits: list[float] = []

    class Gate:
        """A lock whose time is up at once."""

        def acquire(self, timeout: float) -> bool:
            waits.append(timeout)
            return False

        def release(self) -> None:
            """Nobody waits."""

    connection = sqlite3.connect(tmp_path / "desk.db", isolation_level=None, check_same_thread=False)
    writer = Writer(connection, timeout_s=0.25)
    for seq in (1, 2):
        job = Job(INSERT, [(seq, 0, 1, "Timer", b"{}", 0)], seq)
        job.gate = Gate()  # type: ignore[assignment]
        writer._behind = seq > 1
        try:
            writer.submit(job)
        except JournalError:
            pass
    writer.close()
    assert waits == [0.25, 0.005]


def test_a_batch_that_fails_and_lands_before_anybody_looks_is_answered_once(tmp_path: Path) -> None:
    """The retry may overtake the loop's waking up: a second answer to the same wait would kill the journal's thread."""
    SqliteJournal(tmp_path / "desk.db").close()
    landed = threading.Event()

    class Failing(sqlite3.Connection):
        """A connection whose first COMMIT fails; the test is told when one succeeds."""

        failed = False

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and not self.failed:
                self.failed = True
                raise sqlite3.OperationalError("disk I/O error")
            found = super().execute(sql, *args)
            if sql == "COMMIT":
                landed.set()
            return found

    class SlowToWake:
        """A wait from which the loop returns only after the retry."""

        def __init__(self) -> None:
            self.answers = 0

        def acquire(self, timeout: float) -> bool:
            assert landed.wait(10)
            return True

        def release(self) -> None:
            self.answers += 1

    connection = sqlite3.connect(tmp_path / "desk.db", isolation_level=None, check_same_thread=False, factory=Failing)
    writer = Writer(connection, timeout_s=0.25)
    job = Job(INSERT, [(1, 0, 1, "Timer", b"{}", 0)], 1)
    job.gate = gate = SlowToWake()  # type: ignore[assignment]
    with pytest.raises(JournalError, match="I/O"):
        writer.submit(job)
    writer.close()
    assert gate.answers == 1
    reader = JournalReader(tmp_path / "desk.db")
    assert reader.last_seq() == 1 and reader.unconfirmed() == {1}
    reader.close()


def test_a_hanging_disk_under_the_emergency_file_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call comes back in its time and later calls at once; what landed late is found by the next start."""
    file = EmergencyFile(tmp_path / "e", timeout_s=0.02)
    hold, real = threading.Event(), os.pwrite

    def slow(fd: int, data: bytes, at: int) -> int:
        assert hold.wait(60)
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", slow)
    with pytest.raises(JournalError, match="no answer within 20 ms"):
        file.write([(7, 0, 1, "Alert", b"first")])
    with pytest.raises(JournalError, match="still owes the answer"):
        file.write([(8, 0, 1, "Alert", b"second")])
    hold.set()
    _settled(file)
    file.write([(9, 0, 1, "Alert", b"third")])
    assert [row[0] for row in file.rows()] == [7, 9]
    file.close()


def test_the_bound_of_the_emergency_file_is_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call waits on one lock for exactly the time it was given; the desk gives it the 250 ms of a commit."""
    waits: list[float] = []

    class Write(emergency._Write):
        """A call whose time is up at once."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.gate = self  # type: ignore[assignment]

        def acquire(self, timeout: float) -> bool:
            waits.append(timeout)
            return False

        def release(self) -> None:
            """Nobody waits."""

    monkeypatch.setattr(emergency, "_Write", Write)
    journal = SqliteJournal(tmp_path / "desk.db")
    with pytest.raises(JournalError, match="no answer within 250 ms"):
        journal.emergency(1, [intent(1, Purpose.HEDGE)])
    journal.close()
    assert waits == [0.25]


def _settled(file: EmergencyFile) -> None:
    """Wait until nothing is outstanding."""
    deadline = time.monotonic() + 10
    while file._outstanding is not None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_a_closed_journal_on_a_hanging_disk_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose thread may still write to the database owns it: nobody else may open the folder before it has ended."""
    with faulty_disk() as disk:
        journal = SqliteJournal(tmp_path / "desk.db", timeout_s=0.01)
        disk.hold = threading.Event()
        refused(journal, 1, fill(1))
        monkeypatch.setattr(journal._writer._thread, "join", lambda timeout: None)
        with pytest.raises(JournalError, match="could not be written at close"):
            journal.close()
        with pytest.raises(JournalError, match="in use"):
            SqliteJournal(tmp_path / "desk.db")
        disk.hold.set()
        threading.Thread.join(journal._writer._thread, 10)
        journal._files.close()
        SqliteJournal(tmp_path / "desk.db").close()


def test_the_lock_of_another_connection_delays_and_loses_nothing(tmp_path: Path) -> None:
    """Five hundred steps behind a lock: all refused, some in the emergency file, all written in order once it is gone."""
    path = tmp_path / "desk.db"
    journal = SqliteJournal(path, timeout_s=0.02)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    sent = []
    for seq in range(1, 101):
        hedge = intent(seq, Purpose.HEDGE)
        assert f"seq {seq} " in refused(journal, seq, fill(seq), hedge)
        if seq % 3 == 0:
            journal.emergency(seq, [fill(seq), hedge])
            sent.append(hedge)
    lock.execute("ROLLBACK")
    last = until_confirmed(journal, fill)
    assert [(s, n) for s, n, _ in journal.read()] == [(s, n) for s in range(1, 101) for n in (0, 1)] + [(s, 0) for s in range(101, last + 1)]
    journal.close()
    journal = SqliteJournal(path)
    events = [e for _, _, e in journal.read()]
    assert journal.imported == 0 and all(events.count(e) == 1 for e in sent)
    journal.close()
    lock.close()


def test_a_desk_that_dies_behind_a_lock_keeps_every_intent_it_released(tmp_path: Path) -> None:
    """What the database never got is taken from the emergency file: what was meant to be sent, without facts that need lost steps."""
    path = tmp_path / "desk.db"
    journal = SqliteJournal(path, timeout_s=0.02)
    journal.append(1, [fill(1)])
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    refused(journal, 2, fill(2))
    refused(journal, 3, fill(3), intent(3, Purpose.HEDGE))
    journal.emergency(3, [fill(3), intent(3, Purpose.HEDGE)])
    died = tmp_path / "copy"
    died.mkdir()
    for name in ("desk.db", "desk.db-wal", "desk.db.emergency", "desk.db.mark"):
        shutil.copy(tmp_path / name, died / name)
    lock.execute("ROLLBACK")
    lock.close()
    journal.close()
    for imported in (1, 0):
        journal = SqliteJournal(died / "desk.db")
        assert list(journal.read()) == [(1, 0, fill(1)), (3, 0, intent(3, Purpose.HEDGE))]
        assert journal.imported == imported and journal.reader.unconfirmed() == frozenset() and journal.last_seq() == 3
        journal.close()


def test_a_dead_journal_thread_is_named(tmp_path: Path) -> None:
    """A thread that died of a bug is not called a late commit."""
    SqliteJournal(tmp_path / "desk.db").close()
    connection = sqlite3.connect(tmp_path / "desk.db", isolation_level=None, check_same_thread=False)
    writer = Writer(connection, timeout_s=0.02)
    silent = threading.excepthook
    threading.excepthook = lambda args: None
    try:
        with pytest.raises(JournalError, match="its thread has died"):
            writer.submit(Job(INSERT, [(1 << 70, 0, 1, "Timer", b"{}", 0)], 1))
    finally:
        threading.excepthook = silent
    with pytest.raises(JournalError):
        writer.close()


def test_a_full_emergency_file_and_a_dead_journal_refuse_everything(tmp_path: Path) -> None:
    """There is no third place: with both gone every attempt raises and what was recorded before stays."""
    with faulty_disk() as disk:
        journal = SqliteJournal(tmp_path / "desk.db", timeout_s=0.02)
        disk.write = FULL
        refused(journal, 1, intent(1))
        written = 0
        with pytest.raises(JournalError, match="is full"):
            while True:
                journal.emergency(2 + written, [intent(2 + written)] * 8)
                written += 1
        assert written > 100
        assert (tmp_path / "desk.db.emergency").stat().st_size == SLOT * SLOTS
        disk.write = OK
        journal.close()
    journal = SqliteJournal(tmp_path / "desk.db")
    assert journal.imported == 8 * written
    journal.close()


def test_disk_double_is_honest(tmp_path: Path) -> None:
    """The faulty disk sees the write and the sync of every commit, or none of these tests would mean anything."""
    with faulty_disk() as disk:
        journal = SqliteJournal(tmp_path / "desk.db")
        disk.recording = True
        journal.append(1, [fill(1)])
        operations = [(file, op) for file, op, _, _ in disk.log]
        assert ("desk.db-wal", "write") in operations and operations[-1] == ("desk.db-wal", "sync")
        journal.close()
    assert isinstance(disk, FaultyDisk) and JournalReader(tmp_path / "desk.db").last_seq() == 1
