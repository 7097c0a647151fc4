"""Gaps of files: sessions between closures, what is left out, and what the verb prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from bar_files import DAILY_HEADER, MINUTE_HEADER, bar, write_bars

from bot.backtest import gap_text
from bot.backtest.formats import MINUTE_NS, Bar, InputError
from bot.backtest.gaps import GapsResult, run
from bot.market.calendar import CmeCalendar, State
from bot.model.notation import instant_ns
from strategies.gaps import CloseKind, GapParams

FROM, TO = instant_ns("2026-02-09T14:00Z"), instant_ns("2026-02-13T22:00Z")
"""Monday to Friday in one contract month, five-day week."""


def minutes(levels: dict[str, float], *, code: str = "MBT", since: int = FROM, until: int = TO, step: int = 10) -> list[Bar]:
    """Return a bar every ten minutes at the level last set by an instant, while CME is open."""
    calendar = CmeCalendar(code)
    changes = sorted((instant_ns(t), level) for t, level in levels.items())
    found = []
    for t in range(since, until, step * MINUTE_NS):
        if calendar.at(t).state is State.OPEN:
            level = [x for at, x in changes if at <= t][-1]
            found.append(bar(t, MINUTE_NS, level, row=len(found) + 2))
            found.append(bar(t + MINUTE_NS, MINUTE_NS, level, row=len(found) + 2))
    return [b for b in found if calendar.at(b.start_ns).state is State.OPEN]


def of_minutes(tmp_path: Path, bars: list[Bar], code: str = "MBT", close: CloseKind | None = None) -> GapsResult:
    """Return the gaps of a minute file."""
    return run(write_bars(tmp_path / "cme.csv", bars, MINUTE_HEADER), code, close=close)


def daily(tmp_path: Path, rows: list[tuple[str, float, float, float, float]], code: str = "BTC", floor: float = 10.0) -> GapsResult:
    """Return the gaps of a daily file of (session date, open, high, low, settlement)."""
    path = tmp_path / "daily.csv"
    path.write_text("\n".join([DAILY_HEADER, *(",".join([d, *(repr(x) for x in prices), "100"]) for d, *prices in rows)]) + "\n")
    return run(path, code, params=GapParams(floor_bp=floor))


def test_a_daily_stop_makes_a_gap_and_a_jump_inside_a_session_none(tmp_path: Path) -> None:
    """Of two equal steps the one over the stop is a gap, the one at noon is not; it is filled when the close is touched."""
    found = of_minutes(tmp_path, minutes({
        "2026-02-09T14:00Z": 80_000.0, "2026-02-10T18:00Z": 81_000.0, "2026-02-10T23:00Z": 82_000.0, "2026-02-12T15:00Z": 81_000.0,
    }))  # fmt: skip
    (gap,) = found.gaps
    assert (gap.prior_close, gap.open, gap.direction, gap.regime, gap.is_roll) == (81_000.0, 82_000.0, "up", "five_day", False)
    assert (gap.open_at, gap.filled_close_at) == ("2026-02-10T23:00:00Z", "2026-02-12T15:01:00Z")
    assert gap.gap_bps == pytest.approx(1e4 / 81) and gap.kind is None
    assert gap.age_days == pytest.approx((24 + 16 + 1 / 60) / 24) and found.close is CloseKind.LAST_TRADE


def test_settlement_and_last_trade_are_named_and_differ(tmp_path: Path) -> None:
    """The settlement is the bar that ends at 15:00 Chicago, the last trade the one before 16:00."""
    bars = minutes({"2026-02-09T14:00Z": 80_000.0, "2026-02-10T21:10Z": 80_500.0, "2026-02-10T23:00Z": 82_000.0}, step=2)
    last, settled = (of_minutes(tmp_path, bars, close=kind).gaps[0] for kind in (CloseKind.LAST_TRADE, CloseKind.SETTLEMENT))
    assert (last.prior_close, last.prior_close_at) == (80_500.0, "2026-02-10T22:00:00Z")
    assert (settled.prior_close, settled.prior_close_at) == (80_000.0, "2026-02-10T21:00:00Z")


def test_a_missing_session_is_a_hole_and_no_gap(tmp_path: Path) -> None:
    """A step over two closures is counted as a missing session, and one far from its closure as no trade near it."""
    bars = minutes({"2026-02-09T14:00Z": 80_000.0, "2026-02-11T23:00Z": 82_000.0})
    first, last = instant_ns("2026-02-10T23:00Z"), instant_ns("2026-02-11T22:00Z")
    holed = of_minutes(tmp_path, [b for b in bars if not first <= b.start_ns < last])
    assert holed.gaps == [] and holed.skipped["session missing between"] == 1
    late = instant_ns("2026-02-12T01:00Z")
    assert of_minutes(tmp_path, [b for b in bars if not last <= b.start_ns < late]).skipped["no trade near the closure"] == 1


def test_the_week_around_the_clock_has_two_minutes_and_a_saturday(tmp_path: Path) -> None:
    """After the change a weekend is open: steps over 16:00-16:02 and Saturday's window are gaps, a Sunday evening's is none."""
    found = of_minutes(tmp_path, minutes(
        {"2026-06-04T12:00Z": 70_000.0, "2026-06-04T21:02Z": 70_500.0, "2026-06-06T09:00Z": 71_000.0, "2026-06-07T22:00Z": 73_000.0},
        since=instant_ns("2026-06-04T12:00Z"), until=instant_ns("2026-06-08T12:00Z"), step=2,
    ))  # fmt: skip
    assert [(g.open_at, g.regime) for g in found.gaps] == [("2026-06-04T21:02:00Z", "all_week"), ("2026-06-06T09:00:00Z", "all_week")]


def test_spot_quoted_products_keep_their_weekend(tmp_path: Path) -> None:
    """The same weeks of QBTC have a weekend gap in the regime of their own, and no contract months."""
    found = of_minutes(tmp_path, minutes(
        {"2026-06-04T12:00Z": 70_000.0, "2026-06-07T22:00Z": 73_000.0}, code="QBTC",
        since=instant_ns("2026-06-04T12:00Z"), until=instant_ns("2026-06-08T12:00Z"),
    ), code="QBTC")  # fmt: skip
    assert [(g.open_at, g.regime, g.direction) for g in found.gaps] == [("2026-06-07T22:00:00Z", "spot_quoted", "up")]


def test_bars_while_shut_are_left_out(tmp_path: Path) -> None:
    """A print during the stop neither closes a session nor opens one."""
    bars = minutes({"2026-02-09T14:00Z": 80_000.0, "2026-02-10T23:00Z": 82_000.0})
    stray = bar(instant_ns("2026-02-10T22:30Z"), MINUTE_NS, 90_000.0)
    found = of_minutes(tmp_path, sorted([*bars, stray], key=lambda b: b.start_ns))
    assert [(g.prior_close, g.open) for g in found.gaps] == [(80_000.0, 82_000.0)] and found.skipped["bar while CME is shut"] == 1


WEEK = [
    ("2026-02-08", 70_000.0, 71_000.0, 69_000.0, 70_500.0), ("2026-02-09", 70_500.0, 71_500.0, 70_000.0, 71_000.0),
    ("2026-02-10", 70_800.0, 71_200.0, 70_300.0, 70_600.0), ("2026-02-11", 70_600.0, 71_000.0, 70_000.0, 70_800.0),
    ("2026-02-12", 70_900.0, 71_800.0, 70_700.0, 71_500.0), ("2026-02-15", 72_500.0, 73_000.0, 72_000.0, 72_800.0),
]  # fmt: skip


def test_daily_rows_are_settlements_and_mondays_holiday_is_no_hole(tmp_path: Path) -> None:
    """From Friday's settlement to Sunday's open over Presidents' Day: one gap, open at the end, its range not entered."""
    found = daily(tmp_path, WEEK)
    assert found.close is CloseKind.SETTLEMENT and found.skipped == {"first session or row before unknown": 1}
    gap = found.gaps[-1]
    assert (gap.prior_close_at, gap.open_at) == ("2026-02-13T21:00:00Z", "2026-02-15T23:00:00Z")
    assert (gap.filled_close_at, gap.filled_range_at, gap.gap_bps) == (None, None, pytest.approx(1e4 / 71.5))
    assert gap.age_days == pytest.approx((24 + 22) / 24), "up to Tuesday's settlement, which that row holds"
    inside = found.gaps[0]
    assert (inside.filled_range_at, inside.filled_close_at) == (inside.open_at, "2026-02-11T21:00:00Z")


def test_a_daily_hole_and_the_last_trade_are_refused(tmp_path: Path) -> None:
    """Without Tuesday's row no gap is made of Wednesday's open; a daily file has no last trade to measure from."""
    found = daily(tmp_path, [r for r in WEEK if r[0] != "2026-02-09"])
    assert found.skipped["session missing between"] == 1 and [g.open_at[:10] for g in found.gaps] == ["2026-02-12", "2026-02-15"]
    with pytest.raises(InputError, match="daily rows hold settlements"):
        run(tmp_path / "daily.csv", "BTC", close=CloseKind.LAST_TRADE)


def test_a_roll_is_listed_and_neither_followed_nor_counted(tmp_path: Path) -> None:
    """The row that shows the next contract is a roll; gaps of the month before end there unfilled, whatever comes."""
    rows = [
        ("2026-02-19", 67_000.0, 68_000.0, 66_000.0, 67_000.0), ("2026-02-22", 68_500.0, 69_000.0, 68_100.0, 68_600.0),
        ("2026-02-23", 68_600.0, 69_000.0, 68_200.0, 68_700.0), ("2026-02-24", 69_500.0, 70_000.0, 60_000.0, 69_600.0),
        ("2026-02-25", 69_600.0, 70_000.0, 60_000.0, 69_500.0),
    ]  # fmt: skip
    found = daily(tmp_path, rows)
    assert [(g.open_at[:10], g.is_roll, g.filled_close_at, g.age_days is None) for g in found.gaps] == [
        ("2026-02-22", False, None, False), ("2026-02-24", True, None, True),
    ]  # fmt: skip
    assert found.significant == [] and found.open_gaps == []


def test_text_fits_and_says_what_is_counted(tmp_path: Path) -> None:
    """Every line fits 80 columns and the roll, the close and the fills are told in words."""
    found = daily(tmp_path, WEEK)
    lines = list(gap_text.lines(found))
    assert max(map(len, lines)) <= 80
    assert "close = settlement" in lines[0] and any(line.startswith("  2026-02-15T23:00") and " no " in line for line in lines)


def test_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    """Rows after the last year the calendar knows stop the verb in one line."""
    with pytest.raises(InputError, match="beyond the CME calendar"):
        daily(tmp_path, [("2031-01-06", 1.0, 2.0, 1.0, 1.5), ("2031-01-07", 1.0, 2.0, 1.0, 1.5)])
