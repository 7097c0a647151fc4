"""Every dated fact about last trading days and the London hour."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from bot.market.expiry import expiry_ns, fixing_window, last_trading_day

DAYS = ["2026-11-27", "2026-12-24", "2027-01-29", "2027-02-26", "2027-03-25", "2027-04-30", "2027-05-28", "2027-06-25",
        "2025-12-24", "2026-01-30", "2026-02-27", "2026-03-27", "2026-10-30"]  # fmt: skip


@pytest.mark.parametrize("day", DAYS)
def test_last_trading_day(day: str) -> None:
    """The rule gives each published day, Christmas and Good Friday included."""
    d = date.fromisoformat(day)
    assert last_trading_day(d.year, d.month) == d


@pytest.mark.parametrize(("year", "month", "hour"), [(2026, 3, 11), (2026, 10, 11), (2027, 3, 11), (2026, 11, 10), (2026, 7, 10)])
def test_london_hour_in_chicago(year: int, month: int, hour: int) -> None:
    """16:00 London is 11:00 in Chicago only while the US alone is on summer time."""
    local = datetime.fromtimestamp(expiry_ns(year, month) / 1e9, UTC).astimezone(ZoneInfo("America/Chicago"))
    assert local.hour == hour


def test_fixing_window_is_the_hour_before_expiry() -> None:
    """The index is computed over the hour that ends at expiry."""
    start, end = fixing_window(2026, 11)
    assert end == expiry_ns(2026, 11) and end - start == 3_600_000_000_000
