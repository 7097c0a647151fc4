"""The tape: what it keeps, and that it says what it lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.journal.tape import FileTape, Gap, TapeReader
from bot.model.event import FundingRate, MarkPrice, Observation, Quote, Timer


def quote(ts: int) -> Quote:
    """Return a quote that differs by its time."""
    return Quote(ts, "BTCUSDT", 70_000.5, 70_001.0, 1.5, 2.0, ts - 1)


def filled(path: Path, seqs: range, chunk: int = 10, close: bool = True) -> None:
    """Record quotes with these seqs."""
    tape = FileTape(path, from_seq=seqs.start - 1, chunk_events=chunk)
    for seq in seqs:
        tape.record(seq, quote(seq * 10))
    if close:
        tape.close()


def test_every_observation_comes_back_equal(tmp_path: Path) -> None:
    """All four types survive the file, with their seqs, and a closed tape has no gap."""
    events: list[Observation] = [
        quote(1), MarkPrice(2, "BTCUSDT", 70_000.1, 70_000.2), Timer(3),
        FundingRate(4, "BTCUSDT", 0.0001, 28_800, 5, 0.02),
    ]  # fmt: skip
    tape = FileTape(tmp_path / "tape", from_seq=6)
    for seq, event in enumerate(events, 7):
        tape.record(seq, event)
    tape.close()
    reader = TapeReader(tmp_path / "tape")
    assert list(reader) == list(enumerate(events, 7))
    assert reader.gaps == [] and reader.last_seq == 10


def test_torn_tail_is_tolerated_and_reported(tmp_path: Path) -> None:
    """A file cut inside its last chunk yields the whole chunks and an open gap after them."""
    path = tmp_path / "tape"
    filled(path, range(1, 41), close=False)
    path.write_bytes(path.read_bytes()[:-7])
    reader = TapeReader(path)
    assert [seq for seq, _ in reader] == list(range(1, 31))
    assert reader.gaps == [Gap(31, None)]
    assert str(reader.gaps[0]) == "unverifiable 31..end"


def test_append_after_a_crash_bounds_the_gap(tmp_path: Path) -> None:
    """A second session continues after the last whole chunk; what the first had buffered is a named range."""
    path = tmp_path / "tape"
    filled(path, range(1, 26), close=False)
    path.write_bytes(path.read_bytes() + b"torn")
    filled(path, range(50, 60))
    reader = TapeReader(path)
    assert [seq for seq, _ in reader] == [*range(1, 21), *range(50, 60)]
    assert [str(gap) for gap in reader.gaps] == ["unverifiable 21..49"]


def test_append_after_a_clean_end_has_no_gap(tmp_path: Path) -> None:
    """A closed tape continues without a gap although seqs jump over journal events."""
    path = tmp_path / "tape"
    filled(path, range(1, 26))
    filled(path, range(50, 60))
    reader = TapeReader(path)
    assert len(list(reader)) == 35
    assert reader.gaps == []


def test_a_writer_killed_before_its_first_chunk_leaves_a_gap(tmp_path: Path) -> None:
    """Nothing of it reached the file, but that it had begun: the next one bounds the gap exactly, a reader without one leaves it open."""
    path = tmp_path / "tape"
    filled(path, range(1, 26))
    filled(path, range(30, 35), close=False)
    reader = TapeReader(path)
    assert len(list(reader)) == 25 and reader.gaps == [Gap(30, None)]
    filled(path, range(40, 45), close=False)
    filled(path, range(50, 60))
    reader = TapeReader(path)
    assert [seq for seq, _ in reader] == [*range(1, 26), *range(50, 60)]
    assert reader.gaps == [Gap(30, 39), Gap(40, 49)]


def test_damaged_chunk_in_the_middle_is_skipped_and_named(tmp_path: Path) -> None:
    """One flipped byte costs one chunk and no more."""
    path = tmp_path / "tape"
    filled(path, range(1, 31))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    reader = TapeReader(path)
    assert [seq for seq, _ in reader] == [*range(1, 11), *range(21, 31)]
    assert reader.gaps == [Gap(11, 20)]


def test_full_disk_costs_chunks_but_never_raises(tmp_path: Path) -> None:
    """Writing to a device without space counts the loss and goes on."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    path = tmp_path / "tape"
    tape = FileTape(path, from_seq=0, chunk_events=2)
    tape.record(1, quote(1))
    tape.record(2, quote(2))
    real = tape._file
    tape._file = Path("/dev/full").open("wb", buffering=0)
    tape.record(3, quote(3))
    tape.record(4, quote(4))
    tape._file.close()
    tape._file = real
    tape.record(5, quote(5))
    tape.close()
    reader = TapeReader(path)
    assert [seq for seq, _ in reader] == [1, 2, 5]
    assert tape.lost == 2 and reader.gaps == [Gap(3, 4)]
