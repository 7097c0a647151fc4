"""Which contract a CME row belongs to: mixed days, stray prints, rolls, holidays and splices, on markets of our own."""

from __future__ import annotations

from datetime import date, datetime

import msgspec
import pytest
from bar_files import PRICE, bar, write_daily

from bot.backtest.contracts import Contracts, chicago_date, is_mixed, roll_trade_date, session_open_ns, split_contracts, stray_rows
from bot.backtest.formats import DAY_NS, HOUR_NS, MINUTE_NS, Bar, Series, SeriesKind, read_cme
from bot.market.holidays import CHICAGO
from bot.model.notation import instant_ns

NEXT = PRICE * 1.0060
"""Price of the month behind: 60 bp above."""


def minutes(day: str, price_of, count: int = 600) -> list[Bar]:  # type: ignore[no-untyped-def]
    """Return minute bars of one UTC day from 06:00; price_of(n) with a small honest movement."""
    start = instant_ns(f"{day}T06:00Z")
    return [bar(start + n * MINUTE_NS, MINUTE_NS, price_of(n) + (n % 3) * 5.0, row=n + 2) for n in range(count)]


def series(*days: list[Bar]) -> Series:
    """Return a minute file of these days, rows counted through."""
    bars = [b for day in days for b in day]
    numbered = tuple(msgspec.structs.replace(b, row=n) for n, b in enumerate(bars, start=2))
    return Series("m.csv", SeriesKind.CME_MINUTE, MINUTE_NS, numbered)


def calm(n: int) -> float:
    """One level."""
    return PRICE


def test_two_interleaved_levels_are_a_mixed_day() -> None:
    """Every fifth minute from the next month is found; a day of one level, a trend and one lasting jump are not."""
    assert is_mixed(minutes("2026-01-26", lambda n: NEXT if n % 5 == 0 else PRICE))
    assert not is_mixed(minutes("2026-01-26", calm))
    assert not is_mixed(minutes("2026-01-26", lambda n: PRICE + 20 * n))
    assert not is_mixed(minutes("2026-01-26", lambda n: PRICE if n < 300 else NEXT))
    assert not is_mixed([])


def test_a_stray_print_is_dropped_alone() -> None:
    """One minute at the other month's level on a clean day goes, its neighbours stay."""
    bars = minutes("2026-01-20", lambda n: NEXT if n == 100 else PRICE)
    assert not is_mixed(bars) and stray_rows(bars) == {102}


def test_a_lasting_move_is_no_stray_print() -> None:
    """A real jump is not undone, so nothing is dropped."""
    assert stray_rows(minutes("2026-01-20", lambda n: PRICE if n < 100 else PRICE * 1.03)) == frozenset()


def test_the_roll_lies_at_the_mixed_days() -> None:
    """Mixed days near the last trading day, and what lies between them, part the months; what follows is the next one."""
    mixed = lambda n: NEXT if n % 5 == 0 else PRICE  # noqa: E731
    levels = {"2026-01-20": calm, "2026-01-26": mixed, "2026-01-27": calm, "2026-01-28": mixed, "2026-01-30": lambda n: NEXT}
    split = split_contracts(series(*(minutes(day, level) for day, level in levels.items())), "MBT")
    assert [(s.contract, chicago_date(s.first_ns).isoformat()) for s in split.segments] == [("MBTF26", "2026-01-20"), ("MBTG26", "2026-01-30")]
    assert split.rows_rejected == {"between_mixed_days": 600, "mixed_contracts": 1200}
    assert split.dropped_days == {date(2026, 1, 26): "mixed_contracts", date(2026, 1, 27): "between_mixed_days", date(2026, 1, 28): "mixed_contracts"}


def test_without_mixed_days_a_step_against_the_perp_is_the_roll() -> None:
    """A step of the premium shows the roll; its day is dropped, because nothing says which side of it a minute is on."""
    days = [f"2026-01-{d}" for d in (20, 21, 22, 23, 26, 27, 28)]
    rolled = "2026-01-27"
    bars = [minutes(d, lambda n, d=d: NEXT if d >= rolled else PRICE) for d in days]
    start = instant_ns("2026-01-20T06:00Z")
    perp = Series("p.csv", SeriesKind.PERP_BARS, HOUR_NS, tuple(bar(start + n * HOUR_NS, HOUR_NS, PRICE) for n in range(24 * 10)))
    split = split_contracts(series(*bars), "MBT", perp)
    assert list(split.dropped_days.values()) == ["splice_day"]
    (dropped,) = split.dropped_days
    assert date(2026, 1, 26) <= dropped <= date(2026, 1, 28)
    assert [s.contract for s in split.segments] == ["MBTF26", "MBTG26"]
    assert all(b.close < PRICE * 1.003 for b in split.segments[0].bars) and all(b.close > PRICE * 1.003 for b in split.segments[1].bars)


def test_a_file_that_begins_inside_a_roll_window_says_so() -> None:
    """Rows that may be of either month are dropped as unknown instead of guessed."""
    split = split_contracts(series(minutes("2026-01-28", calm), minutes("2026-02-03", calm)), "MBT")
    assert split.rows_rejected == {"contract_unknown": 600} and [s.contract for s in split.segments] == ["MBTG26"]


# Daily files.


def daily(tmp_path, rows) -> Contracts:  # type: ignore[no-untyped-def]
    """Split a daily file of (session date, settlement)."""
    return split_contracts(read_cme(write_daily(tmp_path / "d.csv", [(day, close, close, 5_000.0) for day, close in rows])), "BTC")


def clock(ts_ns: int) -> str:
    """Return Chicago date and time of an instant."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, CHICAGO).strftime("%Y-%m-%d %H:%M")


def test_a_daily_row_gets_its_real_instants(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The label is the evening the session opens: Tuesday's row trades from Tuesday 17:00 and settles on Wednesday at 15:00."""
    split = daily(tmp_path, [("2026-01-06", PRICE), ("2026-01-07", PRICE)])
    (segment,) = split.segments
    assert segment.contract == "BTCF26"
    assert [(clock(b.start_ns), clock(b.end_ns)) for b in segment.bars] == [("2026-01-06 17:00", "2026-01-07 15:00"), ("2026-01-07 17:00", "2026-01-08 15:00")]


def test_a_merged_holiday_gives_no_signal_but_an_open(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The Sunday row before a Monday holiday carries Tuesday's settlement: its close is dropped, its open can be had."""
    split = daily(tmp_path, [("2026-01-14", PRICE), ("2026-01-15", PRICE), ("2026-01-18", PRICE), ("2026-01-20", PRICE)])
    (segment,) = split.segments
    assert split.rows_rejected == {"holiday_merged": 1} and split.dropped_days == {date(2026, 1, 18): "holiday_merged"}
    assert "2026-01-18 17:00" in [clock(b.start_ns) for b in segment.opens]
    assert "2026-01-18 17:00" not in [clock(b.start_ns) for b in segment.bars]


def test_thanksgiving_carries_friday(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The row of Thanksgiving's eve carries Friday's settlement and is dropped."""
    split = daily(tmp_path, [("2025-11-24", PRICE), ("2025-11-25", PRICE), ("2025-11-26", PRICE)])
    assert split.dropped_days == {date(2025, 11, 26): "holiday_merged"}


@pytest.mark.parametrize("day", ["2020-06-24", "2021-01-28", "2024-10-24", "2024-11-26", "2026-01-28"])
def test_the_continuous_file_splices_early(day: str) -> None:
    """Two business days before the last trading day, one from 2021-01 to 2024-10."""
    rolled = date.fromisoformat(day)
    assert roll_trade_date("BTC", rolled.year, rolled.month) == rolled


def test_a_spliced_row_belongs_to_nobody(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The first row of the next month opened in one contract and settled in another: it is dropped whole."""
    split = daily(tmp_path, [("2026-01-25", PRICE), ("2026-01-26", PRICE), ("2026-01-27", NEXT), ("2026-01-28", NEXT)])
    assert split.rows_rejected == {"splice_day": 1} and split.dropped_days == {date(2026, 1, 27): "splice_day"}
    assert [(s.contract, len(s.bars), len(s.opens)) for s in split.segments] == [("BTCF26", 2, 2), ("BTCG26", 1, 1)]


@pytest.mark.parametrize(
    ("session", "opens"),
    [
        ("2026-01-13", "2026-01-13 17:00"), ("2026-01-18", "2026-01-18 17:00"), ("2026-01-16", "2026-01-18 17:00"),
        ("2026-03-08", "2026-03-08 17:00"), ("2026-06-03", "2026-06-03 16:02"), ("2026-05-29", "2026-05-29 16:30"),
    ],  # fmt: skip
)
def test_a_session_opens_when_the_calendar_says(session: str, opens: str) -> None:
    """17:00 in the old week, 16:02 in the new one, once 16:30, and after a weekend on Sunday."""
    assert clock(session_open_ns(date.fromisoformat(session))) == opens


def test_days_are_chicago_days() -> None:
    """Midnight is Chicago's, in summer and in winter."""
    assert chicago_date(instant_ns("2026-01-26T05:59Z")) == date(2026, 1, 25) and chicago_date(instant_ns("2026-07-01T05:01Z")) == date(2026, 7, 1)
    assert DAY_NS == 24 * HOUR_NS
