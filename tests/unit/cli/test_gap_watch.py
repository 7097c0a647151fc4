"""Gaps as a desk sees them: quotes on both sides of a closure, what counts as one, and where the list comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bot import app, config
from bot.cli import main
from bot.desk.gap_watch import GapWatch, WatchedTape, watched
from bot.journal.tape import TapeReader
from bot.market.calendar import CmeCalendar
from bot.market.fair import DAY_NS
from bot.model.event import MarkPrice, Quote
from bot.model.notation import instant_ns, iso

S = 1_000_000_000
LEAD = config.load("paper", environ={}).settings.catalogue.named("MBTX26")
STOP = instant_ns("2026-11-03T22:00Z")
"""16:00 Chicago, winter time: two minutes' stop of the week around the clock."""
SCHEMAS = Path(__file__).parents[3] / "bot/schemas"


def quote(at: int | str, mid: float, *, size: float = 10.0, name: str = LEAD.id) -> Quote:
    """Return a quote of the future, five USD wide."""
    ts = instant_ns(at) if isinstance(at, str) else at
    return Quote(ts, name, mid - 2.5, mid + 2.5, size, size, ts)


def seen(*events: Any) -> GapWatch:
    """Return a watch that has seen these."""
    return watched(LEAD, events)


def test_a_gap_lies_between_the_last_and_the_first_mid_around_a_closure() -> None:
    """Close, open, size, direction, regime and both fills are those of the quotes; nothing else is looked at."""
    watch = seen(
        quote("2026-11-03T21:00Z", 80_300.0), quote("2026-11-03T21:59:57Z", 80_000.0), quote(STOP - S, 99_000.0, name="BTCUSDT"),
        MarkPrice(STOP, LEAD.id, 1.0, 1.0), quote("2026-11-03T22:02:01Z", 80_400.0), quote("2026-11-03T22:30Z", 80_250.0),
    )  # fmt: skip
    (row,) = watch.rows(10.0)
    assert (row.prior_close_at, row.open_at) == ("2026-11-03T21:59:57Z", "2026-11-03T22:02:01Z")
    assert (row.prior_close, row.open, row.direction, row.regime) == (80_000.0, 80_400.0, "up", "all_week")
    assert row.gap_bps == pytest.approx(50.0) and not row.is_roll and row.kind is None
    assert row.filled_range_at == "2026-11-03T22:30:00Z" and row.filled_close_at is None
    assert row.age_days == pytest.approx((30 * 60 - 121) / 86_400.0)
    watch.saw(quote("2026-11-03T23:00Z", 79_999.0))
    assert watch.rows(10.0)[0].filled_close_at == "2026-11-03T23:00:00Z" and watch.rows(60.0) == []


def test_a_level_touched_between_two_looks_stays_touched() -> None:
    """A dip that is over when somebody asks has filled the gap when it happened."""
    watch = seen(quote(STOP - S, 80_000.0), quote(STOP + 121 * S, 80_400.0), quote(STOP + 200 * S, 79_990.0), quote(STOP + 300 * S, 80_390.0))
    assert watch.rows(0.0)[0].filled_close_at == iso(STOP + 200 * S)


NOT_A_GAP: list[tuple[str, list[Quote]]] = [
    ("no closure between", [quote("2026-11-03T20:00Z", 80_000.0), quote("2026-11-03T21:00Z", 80_400.0)]),
    ("a day missing between", [quote(STOP - S, 80_000.0), quote(STOP + DAY_NS + 121 * S, 80_400.0)]),
    ("no price near the closure", [quote(STOP - 2 * 3600 * S, 80_000.0), quote(STOP + 121 * S, 80_400.0)]),
    ("a quote while it is shut", [quote(STOP - S, 80_000.0), quote(STOP + 60 * S, 80_400.0), quote(STOP + 121 * S, 80_000.0)]),
    ("an empty book", [quote(STOP - S, 80_000.0), quote(STOP + 121 * S, 80_400.0, size=0.0), quote(STOP + 122 * S, 80_000.0)]),
    ("one bad tick", [quote(STOP - S, 80_000.0), quote(STOP + 121 * S, 1.0), quote(STOP + 122 * S, 80_000.0)]),
    ("an old stamp", [quote(STOP - S, 80_000.0), quote(STOP + 121 * S, 80_000.0), quote(STOP - 60 * S, 70_000.0)]),
]  # fmt: skip


@pytest.mark.parametrize("quotes", [q for _, q in NOT_A_GAP], ids=[name for name, _ in NOT_A_GAP])
def test_what_is_no_gap(quotes: list[Quote]) -> None:
    """A gap needs exactly one closure with believable prices near both of its ends."""
    assert seen(*quotes).rows(0.0) == []


def test_a_new_level_that_stays_is_believed() -> None:
    """Two quotes at a far level are the market: a crash over a closure is a gap, opened at the second one."""
    watch = seen(quote(STOP - S, 80_000.0), quote(STOP + 121 * S, 60_000.0), quote(STOP + 124 * S, 60_010.0))
    assert [r.open for r in watch.rows(0.0)] == [60_010.0]


def test_the_kind_is_known_after_two_weeks_of_sessions() -> None:
    """With enough sessions behind it a gap has a kind."""
    def days(n: int) -> Iterable[Quote]:
        calendar = CmeCalendar("MBT")
        for at in range(STOP - n * DAY_NS, STOP + 3600 * S, 600 * S):
            if calendar.at(at).state.value == "open":
                yield quote(at, 80_000.0 + (at // (600 * S) % 7) * 20.0)

    assert seen(*days(20)).found[-1].gap.kind is not None and seen(*days(3)).found[-1].gap.kind is None


class _Tape:
    """A tape that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Any]] = []

    def record(self, seq: int, event: Any) -> None:
        """Keep one."""
        self.kept.append((seq, event))


def test_the_watched_tape_keeps_everything() -> None:
    """What the watch does not want is recorded all the same."""
    tape, watch = _Tape(), GapWatch(LEAD)
    for seq, event in enumerate((quote(STOP - S, 80_000.0), MarkPrice(STOP, "BTCUSDT", 1.0, 1.0), quote(STOP + 121 * S, 80_400.0))):
        WatchedTape(tape, watch).record(seq, event)
    assert [seq for seq, _ in tape.kept] == [0, 1, 2] and len(watch.rows(0.0)) == 1


# From the command line.


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    """Return the result of `gaps --json` held against its schema."""
    capsys.readouterr()
    assert main(["gaps", *words, "--json"]) == code
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(line, json.loads((SCHEMAS / "gaps.json").read_text(encoding="utf-8")))
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of our own."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path))
    return tmp_path


def test_without_a_desk_and_a_run_the_list_is_empty(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, and where it would have come from."""
    found = told(capsys)
    assert (found["gaps"], found["running"], found["stale"], found["run_id"]) == ([], False, True, None)
    assert main(["gaps"]) == 0 and "no run to read" in capsys.readouterr().out


def test_options_of_a_file_need_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a desk cannot do is refused and not ignored."""
    for words in (["--symbol", "MBT"], ["--close", "settlement"], ["--seed", "3"], ["--atr-multiple", "0.2"], ["--set", "market.lead=BTCX26"]):
        assert main(["gaps", *words]) == 2 and "needs --cme FILE" in capsys.readouterr().err


def test_the_record_of_a_run_gives_the_gaps_it_saw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warm history and the run's own reopening, stale after its end; a later start goes on where it was; a bad record is an error."""
    assert main(["paper", "--for", "8h", "--speed", "max", "--scenario", "gap", "--seed", "5", "--json"]) == 0
    found = told(capsys, "--floor-bp", "100")
    assert found["run_id"] == "paper-00001" and not found["running"] and found["stale"] and found["stale_s"] >= 0.0
    assert [g["open_at"][:16] for g in found["gaps"]][-1] == "2026-11-03T22:02" and found["gaps"][-1]["gap_bps"] > 150.0
    assert len(told(capsys, "--floor-bp", "0")["gaps"]) > 25, "thirty days of history"
    assert main(["gaps", "--floor-bp", "100"]) == 0 and "STALE" in capsys.readouterr().out
    run = app.find_run(folder, "paper-00001")
    assert sum(1 for _ in TapeReader(run.tape)) > 0
    run.record.write_text("{")
    assert main(["gaps"]) in (1, 3) and "run.json" in capsys.readouterr().err
