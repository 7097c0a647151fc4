"""CME crypto expiries: last trading day, the fixing hour in London or New York, and contract codes.

Rule: 16:00 London on the last Friday of the month, else the business day before, a business day in both the UK and
the US (CME contract specifications, read 2026-11). Newer product pages read "either": DISPUTED lists where it differs.
Weeklies end 16:00 New York on a Friday, else the business day before. 16:00 London is 10:00 or 11:00 in Chicago, so an
expiry is never stored as a CT or UTC time of day. Months alone mean London here; bot.market.listing knows the product.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

LONDON, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("America/New_York")
MONTH_CODES = "FGHJKMNQUVXZ"
DISPUTED = {(2025, 12): date(2025, 12, 26)}
"""Months where "either country open" gives another day than "both open" (26 December 2025: Boxing Day, UK only). None other 2017-2027."""


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
    return shut_in_london(d) or shut_in_new_york(d)


def shut_in_london(d: date) -> bool:
    """Return whether a Friday, or the weekday before one, is an English bank holiday (one-off holidays of 2017-2027 included)."""
    if d == easter(d.year) - timedelta(days=2) or (d.month, d.day) in ((1, 1), (12, 25), (12, 26)):
        return True
    return d in (date(2020, 5, 8), date(2022, 6, 2), date(2022, 6, 3))


def shut_in_new_york(d: date) -> bool:
    """Return whether a Friday, or the weekday before one, is a holiday of US markets, on its day or the Friday it is observed on.

    New Year on a Saturday is not observed on the Friday before. Thanksgiving, a Thursday, counts.
    """
    if d == easter(d.year) - timedelta(days=2) or (d.month, d.day) in ((1, 1), (7, 4), (12, 25)):
        return True
    if (d.month, d.weekday()) == (11, 3) and 22 <= d.day <= 28:
        return True
    if d.year >= 2022 and (d.month, d.day) == (6, 19):
        return True
    observed = ((7, 3), (12, 24), (6, 18)) if d.year >= 2022 else ((7, 3), (12, 24))
    return d.weekday() == 4 and (d.month, d.day) in observed


def last_trading_day(year: int, month: int) -> date:
    """Return the last trading day of a contract month.

    >>> last_trading_day(2026, 12).isoformat(), last_trading_day(2027, 3).isoformat()
    ('2026-12-24', '2027-03-25')
    """
    d = last_friday(year, month)
    while is_holiday_near_month_end(d) or d.weekday() > 4:
        d -= timedelta(days=1)
    return d


def last_friday(year: int, month: int) -> date:
    """Return the last Friday of a month, holiday or not."""
    day = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return day - timedelta(days=(day.weekday() - 4) % 7)


def last_trading_day_either(year: int, month: int) -> date:
    """Return the last trading day under the other wording: the last Friday on which the UK or the US is open, else before.

    >>> last_trading_day_either(2025, 12).isoformat(), last_trading_day(2025, 12).isoformat()
    ('2025-12-26', '2025-12-24')
    """
    day = last_friday(year, month)
    while shut_in_london(day) and shut_in_new_york(day):
        day -= timedelta(days=1)
    return day


def weekly_last_day(friday: date) -> date:
    """Return the last trading day of the weekly named after `friday`: it, or the day before if the UK or the US is shut.

    Raises ValueError for another weekday.

    >>> weekly_last_day(date(2026, 12, 25)).isoformat(), weekly_last_day(date(2027, 1, 1)).isoformat()
    ('2026-12-24', '2026-12-31')
    """
    if friday.weekday() != 4:
        raise ValueError(f"{friday} is no Friday")
    day = friday
    while is_holiday_near_month_end(day):
        day -= timedelta(days=1)
    return day


def local_ns(day: date, hour: int, zone: ZoneInfo) -> int:
    """Return a full hour of a day in `zone` as UTC ns."""
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=zone).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000


def fixing_hour(day: date, zone: ZoneInfo = LONDON) -> tuple[int, int]:
    """Return 15:00-16:00 of `day` in `zone`, the half-open hour over which a reference rate is computed, UTC ns.

    London for BRR and its like, New York for BRRNY (CME CF methodology, read 2026-11); every day of the year.
    """
    return local_ns(day, 15, zone), local_ns(day, 16, zone)


def expiry_ns(year: int, month: int) -> int:
    """Return 16:00 London of the last trading day, UTC ns."""
    return local_ns(last_trading_day(year, month), 16, LONDON)


def fixing_window(year: int, month: int) -> tuple[int, int]:
    """Return the half-open hour over which the settlement index is computed, UTC ns."""
    return fixing_hour(last_trading_day(year, month))


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


def weekly_symbol(root: str, friday: date) -> str:
    """Return root, month code, two-digit year and day of the Friday it is named after, moved or not.

    The exchange's own code seems to be like BFFX627, with one digit of the year (a public repository, read 2026-11) [S].

    >>> weekly_symbol("BFF", date(2026, 11, 27))
    'BFFX2627'
    """
    return f"{contract_symbol(root, friday.year, friday.month)}{friday.day:02d}"


def parse_weekly(symbol: str) -> tuple[str, date]:
    """Return (root, Friday) of a weekly symbol. Raises ValueError naming it, also for a day that is no Friday.

    >>> parse_weekly("BFFX2627")
    ('BFF', datetime.date(2026, 11, 27))
    """
    try:
        root, year, month = parse_contract(symbol[:-2])
        friday = date(year, month, int(symbol[-2:]))
    except ValueError as error:
        raise ValueError(f"{symbol!r} is not a weekly symbol like BFFX2627") from error
    if friday.weekday() != 4:
        raise ValueError(f"{symbol!r}: {friday} is no Friday")
    return root, friday
