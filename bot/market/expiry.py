"""CME crypto expiries: last trading day, the London fixing hour, and contract codes.

Rule: 16:00 London on the last Friday of the month, else the business day before, a business day in both the UK and
the US (CME contract specifications, read 2026-11). Newer product pages read "either": DISPUTED lists where it differs.
16:00 London is 10:00 or 11:00 in Chicago, so an expiry is never stored as a CT or UTC time of day.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
MONTH_CODES = "FGHJKMNQUVXZ"
DISPUTED = {(2025, 12): date(2025, 12, 26)}
"""Months where "either country open" gives another day than "both open" (26 December 2025: Boxing Day, UK only)."""


def easter(year: int) -> date:
    """Return Easter Sunday (anonymous Gregorian computus).

    >>> easter(2027).isoformat()
    '2027-03-28'
    """
    a, b, c = year % 19, year // 100, year % 100
    d = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    e = (32 + 2 * (b % 4) + 2 * (c // 4) - d - c % 4) % 7
    f = d + e - 7 * ((a + 11 * d + 22 * e) // 451) + 114
    return date(year, f // 31, f % 31 + 1)


def is_holiday_near_month_end(d: date) -> bool:
    """Return whether a weekday that can be a last Friday, or lie just before one, is a UK or US holiday."""
    if d == easter(d.year) - timedelta(days=2):
        return True
    return (d.month, d.day) in ((12, 25), (12, 26))


def last_trading_day(year: int, month: int) -> date:
    """Return the last trading day of a contract month.

    >>> last_trading_day(2026, 12).isoformat(), last_trading_day(2027, 3).isoformat()
    ('2026-12-24', '2027-03-25')
    """
    first_next = date(year + month // 12, month % 12 + 1, 1)
    d = first_next - timedelta(days=1)
    d -= timedelta(days=(d.weekday() - 4) % 7)
    while is_holiday_near_month_end(d) or d.weekday() > 4:
        d -= timedelta(days=1)
    return d


def _london_ns(d: date, hour: int) -> int:
    moment = datetime(d.year, d.month, d.day, hour, tzinfo=LONDON).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000


def expiry_ns(year: int, month: int) -> int:
    """Return 16:00 London of the last trading day, UTC ns."""
    return _london_ns(last_trading_day(year, month), 16)


def fixing_window(year: int, month: int) -> tuple[int, int]:
    """Return the half-open hour over which the settlement index is computed, UTC ns."""
    day = last_trading_day(year, month)
    return _london_ns(day, 15), _london_ns(day, 16)


def contract_symbol(root: str, year: int, month: int) -> str:
    """Return root, month code and two-digit year.

    >>> contract_symbol("MBT", 2026, 11)
    'MBTX26'
    """
    return f"{root}{MONTH_CODES[month - 1]}{year % 100:02d}"


def parse_contract(symbol: str) -> tuple[str, int, int]:
    """Return (root, year, month) of a contract symbol. Raises ValueError naming it.

    >>> parse_contract("MBTX26")
    ('MBT', 2026, 11)
    """
    root, code, year = symbol[:-3], symbol[-3:-2], symbol[-2:]
    if not root or code not in MONTH_CODES or not code or not year.isdigit():
        raise ValueError(f"{symbol!r} is not a contract symbol like MBTX26")
    return root, 2000 + int(year), MONTH_CODES.index(code) + 1
