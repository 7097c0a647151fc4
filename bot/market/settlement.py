"""Business days of CME crypto futures: which trade date a session carries and when that date settles.

The daily settlement is the volume-weighted price of 14:59-15:00 Chicago (CME client wiki, Bitcoin, read 2026-11), not the
last trade. On an early close it is taken at the close: CME publishes no hour of its own for crypto on those days. The
rule is weaker than the ordinary one: against the perp the settlement of 2025-12-24 fits its 12:45 close, that of
2025-11-28 fits 12:00-13:00 better than its 13:45 close (the close was moved by the outage), earlier years are too noisy
to tell (measured 2026-11). There is no settlement on Saturdays, Sundays and holidays: those trades carry the next
business day's trade date.
"""

from __future__ import annotations

from datetime import date, time, timedelta
from functools import lru_cache

from bot.market.holidays import FIRST_DAY, HOLIDAYS, LAST_DAY, Effect, chicago_ns
from bot.market.products import product

REGULAR_CLOSE = time(16)
SETTLES = time(15)
_DAY = timedelta(days=1)
_NO_SETTLEMENT = (Effect.FULL, Effect.MERGED, Effect.UNKNOWN_DAY)


def is_business_day(day: date) -> bool:
    """Return whether `day` is a trade date: a weekday that is no holiday. Beyond the table every weekday counts.

    >>> is_business_day(date(2026, 6, 19)), is_business_day(date(2025, 1, 9))
    (False, True)
    """
    row = HOLIDAYS.get(day)
    return day.weekday() < 5 and (row is None or row.effect not in _NO_SETTLEMENT)


@lru_cache(maxsize=1024)
def business_day_after(day: date) -> date:
    """Return the first business day later than `day`.

    >>> business_day_after(date(2026, 6, 18)).isoformat()
    '2026-06-22'
    """
    day += _DAY
    while not is_business_day(day):
        day += _DAY
    return day


def business_day_before(day: date, count: int = 1) -> date:
    """Return the `count`-th business day earlier than `day`; count >= 0, and 0 is `day` itself.

    >>> business_day_before(date(2026, 12, 24), 2).isoformat()
    '2026-12-22'
    """
    while count > 0:
        day -= _DAY
        count -= is_business_day(day)
    return day


@lru_cache(maxsize=1024)
def closes_ns(day: date) -> int:
    """Return when trading for business day `day` ends and the trade date rolls, UTC ns: 16:00 Chicago or the early close."""
    row = HOLIDAYS.get(day)
    return chicago_ns(day, row.closes if row is not None and row.closes is not None else REGULAR_CLOSE)


def settlement_date(root: str, session: date) -> date:
    """Return the trade date of the session of product `root` that opens on the evening of Chicago date `session`.

    The next business day: a Sunday before a Monday holiday carries Tuesday, the eve of Thanksgiving carries Friday.
    Raises ValueError for an unknown product and for a date outside the calendar.

    >>> settlement_date("BTC", date(2026, 1, 18)).isoformat(), settlement_date("BTC", date(2025, 11, 26)).isoformat()
    ('2026-01-20', '2025-11-28')
    """
    _check(root, session)
    return business_day_after(session)


def settlement_ns(root: str, trade_date: date) -> int | None:
    """Return the instant to which the settlement of `trade_date` belongs, UTC ns: 15:00 Chicago, or an earlier close.

    None on a day without settlement, and on a day whose close nobody has published (2026-11-27, 2026-12-24): an unknown
    instant is not 15:00. None too for spot-quoted products, which settle to a marker whose hour is not known
    (2026-11). Raises ValueError for an unknown product and for a date outside the calendar.

    >>> settlement_ns("MBT", date(2026, 1, 20)), settlement_ns("MBT", date(2026, 1, 19))
    (1768942800000000000, None)
    """
    _check(root, trade_date)
    row = HOLIDAYS.get(trade_date)
    if not product(root).settles or not is_business_day(trade_date) or (row is not None and row.effect is Effect.UNKNOWN_CLOSE):
        return None
    return min(chicago_ns(trade_date, SETTLES), closes_ns(trade_date))


def _check(root: str, day: date) -> None:
    product(root)
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"no CME calendar for {day}; known are {FIRST_DAY} to {LAST_DAY}")
