"""What a start refuses: a record that is damaged, gone, old, or not this folder's; each in one line that names the file."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from bot.journal.mark import SIZE, Mark, MarkFile
from bot.journal.reader import JournalReader
from bot.journal.store import SqliteJournal
from bot.model.errors import ConfigError, JournalError
from tests.unit.journal.test_journal_store import fill, intent

STEPS = 120


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a journal of STEPS confirmed steps, run 1, closed in order."""
    path = tmp_path / "run" / "desk.db"
    write(path, 1, STEPS)
    return path


def write(path: Path, first: int, last: int, *, crash: bool = False) -> None:
    """Run one desk that confirms these steps; crash: leave the files as a SIGKILL would."""
    journal = SqliteJournal(path)
    journal.lease_run("paper")
    for seq in range(first, last + 1):
        journal.append(seq, [fill(seq), intent(seq)])
    if not crash:
        journal.close()
        return
    spare = path.parent.with_name("spare")
    shutil.copytree(path.parent, spare)
    journal.close()
    shutil.rmtree(path.parent)
    spare.rename(path.parent)


def why(path: Path, must_exist: bool = False) -> str:
    """Return the one line a start is refused with; it must name the file and leave every byte as it was."""
    before = {f.name: f.read_bytes() for f in path.parent.iterdir() if f.suffix != ".lock" and not f.name.endswith("-shm")}
    with pytest.raises(JournalError) as caught:
        SqliteJournal(path, must_exist=must_exist)
    text = str(caught.value)
    assert "\n" not in text and path.name in text
    after = {f.name: f.read_bytes() for f in path.parent.iterdir() if f.suffix != ".lock" and not f.name.endswith("-shm")}
    after = {name: raw for name, raw in after.items() if name in before or raw}
    assert after == before, "evidence was changed"
    return text


def backup(path: Path) -> Path:
    """Return a copy of the database as a backup program makes it."""
    copy = path.parent.with_name("backup.db")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    return copy


def put_back(copy: Path, path: Path) -> None:
    """Replace the database by a copy."""
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.copy(copy, path)


def test_damaged_page(path: Path) -> None:
    """A page of which the head is garbage is found before anything is read from it."""
    raw = bytearray(path.read_bytes())
    page = 4096 * (len(raw) // 4096 // 2)
    raw[page : page + 64] = bytes(range(100, 164))
    path.write_bytes(bytes(raw))
    assert "damaged" in why(path) or "malformed" in why(path)


def test_damaged_head(path: Path) -> None:
    """A file that no longer begins like a database is refused."""
    raw = bytearray(path.read_bytes())
    raw[:16] = b"SQLite was here!"
    path.write_bytes(bytes(raw))
    assert "not a database" in why(path)


def test_any_flipped_byte_is_refused_or_harmless(path: Path) -> None:
    """400 files with one flipped byte: a start is refused, a read names the row, or every event is as it was."""
    seed = 20261125
    rng = random.Random(seed)
    journal = SqliteJournal(path)
    whole = list(journal.read())
    journal.close()
    good = path.read_bytes()
    refused = named = 0
    for round_ in range(400):
        raw = bytearray(good)
        at = rng.randrange(len(raw))
        raw[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(raw))
        for left in ("-wal", "-shm"):
            path.with_name(path.name + left).unlink(missing_ok=True)
        try:
            journal = SqliteJournal(path)
        except (JournalError, ConfigError):
            refused += 1
            continue
        try:
            found = list(journal.read())
        except JournalError as error:
            assert "seq" in str(error) or path.name in str(error), f"seed {seed} round {round_} byte {at}"
            named += 1
        else:
            assert found == whole, f"seed {seed} round {round_} byte {at}: events changed unnoticed"
        journal.close()
    assert refused + named > 100, f"seed {seed}: only {refused} refused and {named} named of 400"


def test_garbage_row_is_named(path: Path) -> None:
    """A row that somebody wrote or changed by hand is named by file, seq and place."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE journal SET body = replace(body, '70505', '70506') WHERE seq = 60 AND n = 0")
    connection.execute("INSERT INTO journal (seq, n, ts, kind, body) VALUES (61, 7, 1, 'OrderFilled', x'00ff')")
    connection.commit()
    connection.close()
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match=r"desk\.db: journal row seq 60 n 0 is damaged"):
        list(journal.read())
    with pytest.raises(JournalError, match=r"desk\.db: journal row seq 61 n 7 is damaged"):
        list(journal.read(61))
    journal.close()


def test_damaged_checkpoint_is_passed_over(path: Path) -> None:
    """Recovery begins at the newest checkpoint that is whole, and without any at the beginning."""
    journal = SqliteJournal(path)
    for seq in (200, 201):
        journal.checkpoint(seq, b"state %d" % seq)
    journal.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE checkpoint SET body = x'00' WHERE seq = 201")
    connection.commit()
    reader = JournalReader(path)
    assert reader.latest_checkpoint() == (200, b"state 200") and reader.last_seq() == 201
    connection.execute("UPDATE checkpoint SET body = x'00'")
    connection.commit()
    assert reader.latest_checkpoint() is None
    reader.close()
    connection.close()


@pytest.mark.parametrize("left", [".mark", ".emergency", "-wal"])
def test_deleted_database_is_not_begun_anew(path: Path, left: str) -> None:
    """One companion file is enough to know that a database was there."""
    for name in (".mark", ".emergency"):
        if name != left:
            path.with_name(path.name + name).unlink()
    if left == "-wal":
        path.with_name("desk.db-wal").write_bytes(b"x" * 100)
    path.unlink()
    assert f"missing or empty although {path.name}{left} is left" in why(path)
    path.touch()
    assert "missing or empty" in why(path)


def test_a_caller_that_knows_of_a_run_gets_no_fresh_database(tmp_path: Path) -> None:
    """With nothing left of the journal but the rest of a run there, a start is refused and nothing is created."""
    (tmp_path / "run").mkdir()
    assert "the run's other files are there" in why(tmp_path / "run" / "desk.db", must_exist=True)
    assert not (tmp_path / "run" / "desk.db").exists()


def test_lost_log_is_refused(tmp_path: Path) -> None:
    """A write-ahead log that is deleted after a crash takes confirmed steps with it, and the mark knows."""
    path = tmp_path / "run" / "desk.db"
    write(path, 1, 40, crash=True)
    whole = path.with_name("desk.db-wal").read_bytes()
    path.with_name("desk.db-wal").unlink()
    assert "run" in why(path)
    path.with_name("desk.db-wal").write_bytes(whole)
    SqliteJournal(path).close()


def test_torn_log_is_refused_where_it_held_confirmed_steps(tmp_path: Path) -> None:
    """A flipped byte in the middle of the log ends it there for SQLite; every such loss of a confirmed step is refused."""
    seed, refused = 5, 0
    rng = random.Random(seed)
    path = tmp_path / "run" / "desk.db"
    write(path, 1, 40, crash=True)
    crashed = {f: f.read_bytes() for f in path.parent.iterdir() if not f.name.endswith("-shm")}
    for _ in range(60):
        for file, raw in crashed.items():
            file.write_bytes(raw)
        path.with_name("desk.db-shm").unlink(missing_ok=True)
        log = path.with_name("desk.db-wal")
        torn = bytearray(crashed[log])
        at = rng.randrange(len(torn))
        torn[at] ^= 0x10
        log.write_bytes(bytes(torn))
        try:
            journal = SqliteJournal(path)
        except JournalError as error:
            assert "desk.db" in str(error) and "\n" not in str(error)
            refused += 1
            continue
        found = {s for s, _, _ in journal.read()}
        journal.close()
        assert found == set(range(1, 41)), f"seed {seed} byte {at}: a confirmed step is gone and nobody said so"
    assert refused > 30, f"seed {seed}"


def test_old_copy_of_the_same_run(path: Path) -> None:
    """A copy taken in the middle of a run is refused by the step it lacks."""
    copy = backup(path)
    journal = SqliteJournal(path)
    journal.append(STEPS + 1, [fill(STEPS + 1)])
    journal.close()
    put_back(copy, path)
    assert f"old copy or lost its log: it ends at seq {STEPS}, seq {STEPS + 1} was confirmed" in why(path)


def test_old_copy_of_an_earlier_run(path: Path) -> None:
    """A copy from before the last lease is refused even if that run wrote nothing: its number must never be leased again."""
    copy = backup(path)
    journal = SqliteJournal(path)
    assert journal.lease_run("paper") == 2
    journal.close()
    put_back(copy, path)
    assert "it knows run 1, run 2 was leased" in why(path)


def test_a_foreign_history(path: Path, tmp_path: Path) -> None:
    """A database that is as long but not the same is not taken for this one."""
    other = tmp_path / "other" / "desk.db"
    journal = SqliteJournal(other)
    journal.lease_run("paper")
    for seq in range(1, STEPS + 9):
        journal.append(seq, [intent(seq)])
    journal.close()
    put_back(other, path)
    assert f"another history: its seq {STEPS} is not what was confirmed" in why(path)


def test_ledger_ahead_of_its_journal(path: Path) -> None:
    """Rows deleted under a ledger that has booked them are missed."""
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO watermark VALUES ('ledger', ?)", (STEPS,))
    connection.execute("DELETE FROM journal WHERE seq > 100")
    connection.commit()
    connection.close()
    path.with_name("desk.db.mark").unlink()
    assert f"ends at seq 100, but its ledger has booked up to {STEPS}" in why(path)


def test_newest_copy_is_welcome(path: Path) -> None:
    """A copy of exactly what was confirmed opens, and one newer than the mark does too (a mark may lag after a power loss)."""
    copy = backup(path)
    put_back(copy, path)
    SqliteJournal(path).close()
    mark = path.with_name("desk.db.mark").read_bytes()
    write(path, STEPS + 1, STEPS + 5)
    path.with_name("desk.db.mark").write_bytes(mark)
    SqliteJournal(path).close()


def test_order_that_only_the_venue_knows(path: Path) -> None:
    """An order of ours at a venue without an intent here proves an old journal; one that is intended proves nothing."""
    journal = SqliteJournal(path)
    known = intent(3).order.client_id
    journal.refuse_unknown("cme", [known])
    with pytest.raises(JournalError, match="is behind venue cme: it does not know order P00009L00000001, 1 in all"):
        journal.refuse_unknown("cme", [known, "P00009L00000001"])
    journal.close()


@pytest.mark.parametrize("size", [0, 1, SIZE // 2, SIZE - 1])
def test_a_mark_that_is_not_whole_is_no_mark(tmp_path: Path, size: int) -> None:
    """Unsynced bytes may be lost with the power: what cannot be read accuses nobody."""
    file = MarkFile(tmp_path / "m")
    file.leased(3)
    file.step(9, 77)
    file.close()
    assert MarkFile(tmp_path / "m").found == Mark(seq=9, run=3, seal=77)
    os.truncate(tmp_path / "m", size)
    assert MarkFile(tmp_path / "m").found is None


def test_a_disk_that_refuses_the_mark_does_not_stop_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older mark is as true as before; a commit that was confirmed is not called failed."""
    journal = SqliteJournal(path)
    real = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        if len(data) == SIZE:
            raise OSError(28, "No space left on device")
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    journal.append(STEPS + 1, [fill(STEPS + 1)])
    journal.close()
    SqliteJournal(path).close()


def test_run_numbers_rise_over_every_end(tmp_path: Path) -> None:
    """Closed in order, killed, or refused in another mode: no number is leased twice."""
    path = tmp_path / "run" / "desk.db"
    leased = []
    for round_ in range(6):
        journal = SqliteJournal(path)
        leased.append(journal.lease_run("paper"))
        with pytest.raises(ConfigError, match="'paper'.*'live'"):
            journal.lease_run("live")
        if round_ % 2:
            spare = tmp_path / "spare"
            shutil.copytree(path.parent, spare)
            journal.close()
            shutil.rmtree(path.parent)
            spare.rename(path.parent)
        else:
            journal.close()
    assert leased == [1, 2, 3, 4, 5, 6]


def test_a_lease_that_is_not_durable_is_no_lease(path: Path) -> None:
    """Behind a lock no number is given; afterwards the next one is higher than any that may have landed."""
    journal = SqliteJournal(path, timeout_s=0.02)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError):
        journal.lease_run("paper")
    lock.execute("ROLLBACK")
    lock.close()
    for _ in range(1000):  # a busy machine may need more than one short wait to catch up
        try:
            leased = journal.lease_run("paper")
            break
        except JournalError:
            continue
    else:
        pytest.fail("never leased in 1000 attempts")
    assert leased >= 2
    journal.close()
