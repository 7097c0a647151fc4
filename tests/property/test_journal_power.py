"""Power loss: whatever the disk had not been told to keep may be gone, in any combination; what was acknowledged is not."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from bot.journal.store import SqliteJournal
from bot.journal.tape import FileTape, Gap, TapeReader
from bot.model.errors import JournalError
from bot.model.event import CashBooked, Quote
from bot.model.order import Purpose
from bot.venues.simlog import VenueLog
from tests.unit.journal.faulty_disk import after_power_loss, faulty_disk
from tests.unit.journal.test_journal_store import fill, intent

CUTS = 250
APPENDS = 40
SEED = 20261125

Log = list[tuple[str, str, int, bytes]]


def recorded(path: Path, synchronous: str | None) -> tuple[Log, list[tuple[int, int, bytes]]]:
    """Run a desk (synchronous: not as it does by itself); return what reached its disk, and (length of that log, seq, mark) at each acknowledgement."""
    with faulty_disk() as disk:
        disk.recording = True
        journal = SqliteJournal(path, timeout_s=5.0)
        connection = journal._writer._connection
        if synchronous is not None:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 25")  # so that the log is moved into the file and reused in between
        acknowledged = []
        for seq in range(1, APPENDS + 1):
            journal.append(seq, [fill(seq), intent(seq, Purpose.HEDGE)])
            acknowledged.append((len(disk.log), seq, path.with_name("desk.db.mark").read_bytes()))
        disk.recording = False
        journal.close()
    return list(disk.log), acknowledged


def losses(tmp_path: Path, synchronous: str | None = None) -> list[str]:
    """Cut the power at CUTS moments, keep any part of what was not synced, start again; return every acknowledged loss."""
    log, acknowledged = recorded(tmp_path / "run" / "desk.db", synchronous)
    rng = random.Random(SEED)
    found = []
    path = tmp_path / "after" / "desk.db"
    path.parent.mkdir()
    for _ in range(CUTS):
        at = rng.randrange(acknowledged[0][0], len(log) + 1)
        before = log[:at]
        if before[-1][1] == "write" and rng.random() < 0.5:  # the last write itself is torn
            name, op, offset, data = before[-1]
            before[-1] = (name, op, offset, data[: rng.randrange(len(data))])
        chance = rng.choice((0.0, 0.5, 1.0))
        for name in ("desk.db", "desk.db-wal"):
            path.with_name(name).write_bytes(after_power_loss(before, name, lambda _: rng.random() < chance))  # noqa: B023
        path.with_name("desk.db-shm").unlink(missing_ok=True)
        _, last, mark = max(a for a in acknowledged if a[0] <= at)
        path.with_name("desk.db.mark").write_bytes(mark)
        try:
            journal = SqliteJournal(path)
            steps = [s for s, _, _ in journal.read()]
            journal.close()
        except JournalError as error:
            found.append(f"seed {SEED} cut {at}: {error}")
            continue
        if not set(range(1, last + 1)) <= set(steps):
            found.append(f"seed {SEED} cut {at}: acknowledged up to {last}, found up to {max(steps, default=0)}")
        assert len(steps) == 2 * len(set(steps)), f"seed {SEED} cut {at}: half a step"
    return found


def test_no_acknowledged_intent_is_lost(tmp_path: Path) -> None:
    """With every commit synced (FULL, as the desk runs) each start after a power loss has all that was acknowledged, whole."""
    assert losses(tmp_path) == []


def test_the_proof_can_fail(tmp_path: Path) -> None:
    """With NORMAL, which syncs the log only now and then, the same cuts lose acknowledged steps, and the mark says so."""
    found = losses(tmp_path, "NORMAL")
    assert len(found) > CUTS // 10
    assert all("was confirmed" in text or "was leased" in text for text in found), "never lost in silence"


def quote(seq: int) -> Quote:
    """Return a quote that differs by its time."""
    return Quote(seq, "BTCUSDT", 70_000.5, 70_001.0, 1.5, 2.0, seq)


def test_a_tape_cut_at_any_byte_says_from_where_it_is_missing(tmp_path: Path) -> None:
    """Whole chunks are read, the rest is an open gap; a writer that continues bounds the gap and loses nothing more."""
    path = tmp_path / "tape"
    tape = FileTape(path, from_seq=0, chunk_events=4)
    ends = {}
    for seq in range(1, 13):
        tape.record(seq, quote(seq))
        if seq % 4 == 0:
            ends[seq] = path.stat().st_size
    tape.close()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        last = max((seq for seq, end in ends.items() if end <= cut), default=0)
        reader = TapeReader(path)
        assert [seq for seq, _ in reader] == list(range(1, last + 1)), f"cut {cut}"
        assert reader.gaps == [Gap(last + 1, None)], f"cut {cut}"
        tape = FileTape(path, from_seq=49, chunk_events=4)
        tape.record(50, quote(50))
        tape.close()
        reader = TapeReader(path)
        assert [seq for seq, _ in reader] == [*range(1, last + 1), 50], f"cut {cut}"
        assert reader.gaps == ([Gap(last + 1, 49)] if cut else []), f"cut {cut}"


@pytest.mark.parametrize("torn", [True, False])
def test_a_venue_log_cut_at_any_byte_keeps_its_whole_records(tmp_path: Path, torn: bool) -> None:
    """A torn last record was never answered for and is dropped; everything before it stays, and the log goes on after it."""
    path = tmp_path / "venue.log"
    records = [CashBooked(ts=i, venue="x", kind="deposit", amount=Decimal(i), currency="USD", ref=f"r{i}") for i in range(4)]
    log = VenueLog(path)
    log.append(records)
    log.close()
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1) if torn else ends:
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        log = VenueLog(path)
        assert log.restored == records[:kept], f"cut {cut}"
        log.append(records[:1])
        log.close()
        assert VenueLog(path).restored == [*records[:kept], records[0]], f"cut {cut}"
