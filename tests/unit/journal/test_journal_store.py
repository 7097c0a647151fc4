"""The journal: durable or refused, in order, one desk, one mode, nothing confirmed is ever lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.journal.emergency import SLOT, EmergencyFile
from bot.journal.store import JournalReader, MemoryJournal, SqliteJournal
from bot.journal.writer import INSERT, Job, Writer
from bot.model.errors import ConfigError, JournalError
from bot.model.event import Event, OrderFilled, OrderIntended, Refused, VenueSnapshot
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce


def intent(number: int, purpose: Purpose = Purpose.LEAD) -> OrderIntended:
    """Return an intent with its own client id."""
    spec = OrderSpec(
        client_id=f"P00001{purpose.value}{number:08d}", pair="pair", venue="ib", instrument="MBT", side=Side.BUY,
        qty=Decimal(1), limit=Decimal("70505.0"), tif=TimeInForce.IOC, purpose=purpose,
    )  # fmt: skip
    return OrderIntended(ts=number, order=spec, lead_mid=1.0, hedge_mid=2.0, stable=0.999, index_usd=3.0)


def fill(number: int) -> OrderFilled:
    """Return a fill with its own execution id."""
    return OrderFilled(
        ts=number, venue="ib", client_id="P00001L00000001", instrument="MBT", exec_id=f"e{number}", side=Side.BUY,
        qty=Decimal(1), price=Decimal("70505.00"), fee=Decimal("3.00"), fee_currency="USD",
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal of the test lives."""
    return tmp_path / "run" / "desk.db"


@pytest.fixture
def lock(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a second connection that can hold SQLite's write lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_events_come_back_equal_and_in_order(path: Path) -> None:
    """What was appended is read after a reopen, exact to the digits of every decimal."""
    first: list[Event] = [fill(1), intent(2)]
    second: list[Event] = [fill(3)]
    journal = SqliteJournal(path)
    journal.append(5, first)
    journal.append(9, second)
    digest = journal.sha256()
    journal.close()
    journal = SqliteJournal(path)
    assert list(journal.read()) == [(5, 0, first[0]), (5, 1, first[1]), (9, 0, second[0])]
    assert [seq for seq, _, _ in journal.read(6)] == [9]
    assert journal.last_seq() == 9 and journal.sha256() == digest
    assert str(next(iter(journal.read(9)))[2].price) == "70505.00"  # type: ignore[union-attr]
    journal.close()


def test_memory_journal_has_the_same_rows(path: Path) -> None:
    """Both journals give the same events and the same digest."""
    disk, memory = SqliteJournal(path), MemoryJournal()
    for seq in (1, 2, 7):
        for journal in (disk, memory):
            journal.append(seq, [fill(seq), intent(seq)])
    assert list(disk.read()) == list(memory.read())
    assert disk.sha256() == memory.sha256()
    assert memory.last_seq() == 7 and memory.lease_run("bench") == 1
    disk.close()


def test_locked_database_is_reported_within_the_bound(path: Path, lock: sqlite3.Connection) -> None:
    """While somebody holds the write lock an append gives up after its 250 ms and the next one after 5 ms."""
    journal = SqliteJournal(path)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="seq 1 not confirmed within 250 ms"):
        journal.append(1, [intent(1)])
    with pytest.raises(JournalError, match="seq 2 not confirmed within 5 ms"):
        journal.append(2, [fill(2)])
    lock.execute("ROLLBACK")
    journal.close()
    reader = JournalReader(path)
    assert [seq for seq, _, _ in reader.read()] == [1, 2]
    assert reader.unconfirmed() == {1, 2}
    reader.close()


class SlowConnection(sqlite3.Connection):
    """A connection whose first COMMIT waits for the test."""

    release: threading.Event
    slow = True

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Run a statement; hold the first COMMIT back."""
        if sql == "COMMIT" and self.slow:
            self.slow = False
            assert self.release.wait(10)
        return super().execute(sql, *args)


def test_commit_that_lands_late_is_marked(path: Path) -> None:
    """A commit that succeeds after its time is up is marked unconfirmed by the next transaction."""
    SqliteJournal(path).close()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=SlowConnection)
    assert isinstance(connection, SlowConnection)
    connection.release = threading.Event()
    writer = Writer(connection, timeout_s=0.02)
    with pytest.raises(JournalError, match="late"):
        writer.submit(Job(INSERT, [(1, 0, 1, "Timer", b"{}", 0)], 1))
    connection.release.set()
    writer.close()
    reader = JournalReader(path)
    assert reader.unconfirmed() == {1}
    reader.close()


def test_journal_recovers_after_a_lock(path: Path, lock: sqlite3.Connection) -> None:
    """Once the lock is gone appends are confirmed again and nothing in between is missing."""
    journal = SqliteJournal(path, timeout_s=0.05)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError):
        journal.append(1, [fill(1)])
    lock.execute("ROLLBACK")
    for seq in range(2, 1000):
        try:
            journal.append(seq, [fill(seq)])
            break
        except JournalError:
            continue
    else:
        pytest.fail("never recovered in 1000 appends")
    assert [s for s, _, _ in journal.read()] == list(range(1, seq + 1))
    assert journal.reader.unconfirmed() == set(range(1, seq))
    journal.close()


def test_seq_must_rise(path: Path) -> None:
    """A step is recorded once: the same or a lower seq is refused, also after a reopen."""
    journal = SqliteJournal(path)
    journal.append(3, [fill(1)])
    with pytest.raises(JournalError, match="does not follow 3"):
        journal.append(3, [fill(2)])
    journal.close()
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match="does not follow 3"):
        journal.append(2, [fill(2)])
    journal.close()


@pytest.mark.parametrize("observed", [float("inf"), float("nan")])
def test_event_that_could_not_be_read_back_is_refused(observed: float) -> None:
    """JSON would turn infinity into null and the row into poison for a recovery."""
    event = Refused(ts=1, pair="pair", rule="depth", observed=observed, limit=1.0)
    with pytest.raises(JournalError, match="seq 4 n 0"):
        MemoryJournal().append(4, [event])


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal_store import fill
from bot.journal.store import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]), timeout_s=5.0)
seq = 0
while True:
    seq += 1
    journal.append(seq, [fill(seq), fill(seq)])
    print(seq, flush=True)
"""


def test_kill_9_loses_nothing_confirmed(path: Path) -> None:
    """A desk killed in the middle of writing finds every step it was told is durable, whole."""
    here = Path(__file__)
    root = str(here.parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(here.parent)],
        stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    confirmed = 0
    for line in process.stdout:
        confirmed = int(line)
        if confirmed == 200:
            process.send_signal(signal.SIGKILL)
            break
    confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    journal = SqliteJournal(path)
    found = [seq for seq, _, _ in journal.read()]
    assert set(range(1, confirmed + 1)) <= set(found)
    assert len(found) == 2 * len(set(found)), "a step is whole or absent"
    assert journal.reader.unconfirmed() == frozenset()
    journal.close()


def test_second_desk_in_one_folder_is_refused(path: Path) -> None:
    """The error names the process that holds the folder; after its end the folder is free."""
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match=f"pid {os.getpid()}"):
        SqliteJournal(path.with_name("other.db"))
    journal.close()
    SqliteJournal(path).close()


def test_database_of_another_mode_is_refused(path: Path) -> None:
    """Paper and live never share a database: the error names both modes and leases nothing."""
    journal = SqliteJournal(path)
    assert journal.lease_run("paper") == 1
    assert journal.lease_run("paper") == 2
    journal.close()
    journal = SqliteJournal(path)
    with pytest.raises(ConfigError, match="'paper'.*'live'"):
        journal.lease_run("live")
    assert journal.lease_run("paper") == 3
    journal.close()


def test_checkpoints(path: Path) -> None:
    """The newest checkpoint is returned and counts for last_seq; old ones go."""
    journal = SqliteJournal(path)
    assert journal.latest_checkpoint() is None and journal.last_seq() == 0
    for seq in range(1, 8):
        journal.checkpoint(seq * 10, b"state %d" % seq)
    journal.close()
    journal = SqliteJournal(path)
    assert journal.latest_checkpoint() == (70, b"state 7")
    assert journal.last_seq() == 70
    journal.close()
    kept = sqlite3.connect(path).execute("SELECT count(*) FROM checkpoint").fetchone()[0]
    assert kept == 3


def test_damaged_file_is_refused(path: Path) -> None:
    """A file that is no database, or a broken one, is named instead of used."""
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database, only text" * 100)
    with pytest.raises(JournalError, match="desk.db"):
        SqliteJournal(path)


def test_emergency_file_is_imported_once(path: Path) -> None:
    """Intents recorded beside the database enter it at the next open, and only then."""
    journal = SqliteJournal(path)
    journal.append(1, [fill(1)])
    journal.emergency(2, [intent(2, Purpose.HEDGE), intent(3, Purpose.HEDGE)])
    journal.close()
    expected: list[tuple[int, int, Event]] = [
        (1, 0, fill(1)), (2, 0, intent(2, Purpose.HEDGE)), (2, 1, intent(3, Purpose.HEDGE)),
    ]  # fmt: skip
    for imported in (2, 0, 0):
        journal = SqliteJournal(path)
        assert list(journal.read()) == expected and journal.imported == imported
        journal.close()


def test_interrupted_import_changes_nothing(path: Path) -> None:
    """A crash between the import and the clearing of the file repeats the import without effect."""
    journal = SqliteJournal(path)
    journal.emergency(2, [intent(2, Purpose.HEDGE)])
    spare = path.with_name("desk.db.emergency").read_bytes()
    journal.close()
    SqliteJournal(path).close()
    path.with_name("desk.db.emergency").write_bytes(spare)
    journal = SqliteJournal(path)
    assert list(journal.read()) == [(2, 0, intent(2, Purpose.HEDGE))]
    journal.close()


def test_emergency_confirms_what_committed_late(path: Path, lock: sqlite3.Connection) -> None:
    """An intent both written late and recorded in the emergency file exists once and counts as released."""
    journal = SqliteJournal(path, timeout_s=0.05)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError):
        journal.append(4, [fill(4), intent(4, Purpose.HEDGE)])
    journal.emergency(4, [intent(4, Purpose.HEDGE)])
    lock.execute("ROLLBACK")
    journal.close()
    assert JournalReader(path).unconfirmed() == {4}
    journal = SqliteJournal(path)
    assert list(journal.read()) == [(4, 0, fill(4)), (4, 1, intent(4, Purpose.HEDGE))]
    rows = sqlite3.connect(path).execute("SELECT n, confirmed FROM journal ORDER BY n").fetchall()
    assert rows == [(0, 0), (1, 1)]
    journal.close()


def test_emergency_event_larger_than_a_slot(tmp_path: Path) -> None:
    """A large event takes several slots; when the last of them is torn the event was never confirmed."""
    snapshot = VenueSnapshot(ts=1, venue="x", positions={f"I{i:04d}": Decimal(i) for i in range(200)}, working=(), cash={})
    journal = MemoryJournal()
    journal.append(8, [fill(1), snapshot])
    file = EmergencyFile(tmp_path / "e")
    file.write(journal._rows)
    assert list(file.rows()) == journal._rows
    with (tmp_path / "e").open("r+b") as raw:
        raw.seek(4 * SLOT)
        raw.write(b"torn")
    assert list(file.rows()) == journal._rows[:1]
    file.close()


def test_full_emergency_file_is_an_error(tmp_path: Path) -> None:
    """There is no silent loss: without room the call raises."""
    file = EmergencyFile(tmp_path / "e")
    row = (1, 0, 1, "Alert", b"x" * 100)
    file.write([row] * 4096)
    with pytest.raises(JournalError, match="full"):
        file.write([row])
    file.close()
