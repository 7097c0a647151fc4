"""Which trade date a session carries and when it settles."""

from __future__ import annotations

import csv
import gzip
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from bot.market.holidays import HOLIDAYS, Effect, chicago_ns
from bot.market.settlement import business_day_after, business_day_before, closes_ns, is_business_day, settlement_date, settlement_ns

CME_FILES = Path(__file__).parents[2] / "../shared/data/cme"


@pytest.mark.parametrize(
    ("session", "trade_date"),
    [
        ("2026-01-14", "2026-01-15"),  # an ordinary evening
        ("2026-01-22", "2026-01-23"),
        ("2026-01-25", "2026-01-26"),  # Sunday
        ("2026-01-18", "2026-01-20"),  # Sunday before a Monday holiday
        ("2020-01-19", "2020-01-21"),
        ("2025-11-26", "2025-11-28"),  # eve of Thanksgiving
        ("2025-07-03", "2025-07-07"),  # Friday holiday
        ("2020-07-02", "2020-07-06"),
        ("2025-12-25", "2025-12-26"),  # evening of a full closure
        ("2023-01-02", "2023-01-03"),
        ("2025-04-20", "2025-04-21"),
        ("2026-06-05", "2026-06-08"),  # Friday around the clock
        ("2026-06-18", "2026-06-22"),  # Juneteenth 2026
        ("2025-01-08", "2025-01-09"),  # day of mourning: ordinary
        ("2023-04-06", "2023-04-07"),  # Good Friday that settled
    ],
)
def test_settlement_date(session: str, trade_date: str) -> None:
    """A session carries the next business day, holidays merged."""
    assert settlement_date("BTC", date.fromisoformat(session)) == date.fromisoformat(trade_date)


@pytest.mark.parametrize(
    ("day", "hour"),
    [
        ("2026-01-20", time(15)),
        ("2026-07-21", time(15)),
        ("2025-12-24", time(12, 45)),
        ("2025-11-28", time(13, 45)),
        ("2026-04-03", time(10, 15)),
        ("2019-11-29", time(12, 15)),
        ("2025-07-03", time(15)),
        ("2025-01-09", time(15)),
    ],
)
def test_settlement_instant(day: str, hour: time) -> None:
    """15:00 Chicago in winter and in summer, the close on an early close."""
    settled = date.fromisoformat(day)
    assert settlement_ns("MBT", settled) == chicago_ns(settled, hour)


@pytest.mark.parametrize(
    "day",
    ["2026-01-17", "2026-01-18", "2026-01-19", "2025-12-25", "2025-04-18", "2025-07-04", "2026-06-19", "2026-11-26", "2026-12-25", "2026-11-27"],
)
def test_days_without_a_known_settlement(day: str) -> None:
    """Weekends and holidays do not settle, and a day with an unpublished close has no known instant."""
    assert settlement_ns("BTC", date.fromisoformat(day)) is None


def test_spot_quoted_products_have_no_known_settlement_instant() -> None:
    """They settle to a marker of an hour nobody read: unknown, not 15:00; the weekly settles like the monthlies."""
    assert settlement_ns("QBTC", date(2026, 1, 20)) is None
    assert settlement_ns("BFF", date(2026, 1, 20)) == settlement_ns("BTC", date(2026, 1, 20))


def test_business_days_count_backwards_over_holidays() -> None:
    """Weekends and holidays do not count; no step leaves the day where it is."""
    assert business_day_before(date(2026, 11, 27), 2) == date(2026, 11, 24)
    assert business_day_before(date(2026, 6, 22)) == date(2026, 6, 18)
    assert business_day_before(date(2026, 6, 20), 0) == date(2026, 6, 20)


def test_an_unpublished_close_is_still_a_business_day() -> None:
    """Only the instant is unknown: trades before it carry that date."""
    assert is_business_day(date(2026, 12, 24)) and business_day_after(date(2026, 12, 23)) == date(2026, 12, 24)


def test_unknown_products_and_dates_are_refused() -> None:
    """The error names the product or the date."""
    for ask in (settlement_date, settlement_ns):
        with pytest.raises(ValueError, match="'DOGE'"):
            ask("DOGE", date(2026, 1, 20))
        for day in (date(2017, 12, 16), date(2028, 1, 1)):
            with pytest.raises(ValueError, match=str(day)):
                ask("BTC", day)


def test_no_settlement_is_later_than_its_close() -> None:
    """Nothing settles after trading of its date has ended."""
    day = date(2017, 12, 17)
    while day < date(2028, 1, 1):
        settled = settlement_ns("BTC", day)
        assert settled is None or settled <= closes_ns(day), day
        early = HOLIDAYS.get(day)
        assert early is None or early.effect is not Effect.EARLY or settled is not None, day
        day += timedelta(days=1)


def test_merged_rows_of_the_daily_file() -> None:
    """43 rows since the perp file begins (2019-09-08) carry a date other than their own plus one, each over a weekday holiday."""
    path = CME_FILES / "BTC_front_1d.csv.gz"
    if not path.exists():
        pytest.skip(f"no price files at {path}")
    with gzip.open(path, "rt") as text:
        sessions = [date.fromisoformat(row["date"][:10]) for row in csv.DictReader(text)]
    merged = [day for day in sessions if settlement_date("BTC", day) != day + timedelta(days=1)]
    assert len([day for day in merged if day >= date(2019, 9, 8)]) == 43
    assert len(merged) == 56
    for day in merged:
        assert HOLIDAYS[day + timedelta(days=1)].effect in (Effect.MERGED, Effect.FULL), day
    carried = [settlement_date("BTC", day) for day in sessions]
    assert len(set(carried)) == len(carried) and all(settlement_ns("BTC", day) is not None for day in carried)
