"""Contracts by rule: which are listed on a trade date, when each ends, over which hour it is fixed, when to roll it.

The rule belongs to the product (bot.market.products). The broker's own last trade date is asserted against it before live
use; where two wordings of the rule differ, the other day is carried as `disputed`, never hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time, timedelta

import msgspec

from bot.market.expiry import (
    LONDON,
    NEW_YORK,
    contract_symbol,
    fixing_hour,
    last_trading_day,
    last_trading_day_either,
    parse_contract,
    parse_weekly,
    weekly_last_day,
    weekly_symbol,
)
from bot.market.holidays import FIRST_DAY, LAST_DAY, chicago_ns
from bot.market.products import Cycle, Fixing, Product, product
from bot.market.settlement import business_day_before, is_business_day

_ZONES = {Fixing.LONDON: LONDON, Fixing.NEW_YORK: NEW_YORK}
_WEEK = timedelta(days=7)
RELIEF_GONE_DAYS = 3
"""Business days, the last trading day included, on which a broker's relief for calendar spreads fades (ibkr.info, read 2026-11) [V]."""
DECOUPLED = (0.1, 0.2, 0.3)
"""Share of the relief gone on those days, in order (same source); whether the last trading day counts as one is our reading [U]."""
ROLL_DAYS = (8, 5)
"""Suggested roll: from 8 to 5 business days before the last trading day, clear of the fading relief. A choice, not a rule."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """One contract by rule. fixing: half-open hour of its index, UTC ns; trading ends with it, at expiry_ns.

    disputed: the last trading day under the other wording, None where both agree (always for weeklies).
    """

    symbol: str
    root: str
    last_day: date
    disputed: date | None
    fixing: tuple[int, int]

    @property
    def expiry_ns(self) -> int:
        """End of trading, UTC ns."""
        return self.fixing[1]


class RollWindow(msgspec.Struct, frozen=True):
    """Business days of a roll: first and last suggested day, and the first day on which spread relief has begun to fade."""

    opens: date
    closes: date
    relief_fades: date


def month_contract(root: str, year: int, month: int) -> Contract:
    """Return the contract of `root` for a month. Raises ValueError for an unknown product and for a weekly one."""
    found = product(root)
    if found.cycle is Cycle.FRIDAYS:
        raise ValueError(f"{root} has weekly contracts, named like {weekly_symbol(root, date(2026, 11, 27))}")
    both, either = last_trading_day(year, month), last_trading_day_either(year, month)
    return Contract(
        symbol=contract_symbol(root, year, month), root=root, last_day=both, disputed=None if both == either else either,
        fixing=fixing_hour(both, _ZONES[found.fixing]),
    )  # fmt: skip


def week_contract(root: str, friday: date) -> Contract:
    """Return the weekly of `root` named after `friday`. Raises ValueError for another weekday or a product without weeklies."""
    found = product(root)
    if found.cycle is not Cycle.FRIDAYS:
        raise ValueError(f"{root} has no weekly contracts")
    last = weekly_last_day(friday)
    return Contract(symbol=weekly_symbol(root, friday), root=root, last_day=last, disputed=None, fixing=fixing_hour(last, _ZONES[found.fixing]))


def contract_of(symbol: str) -> Contract:
    """Return the contract of a symbol like MBTX26 or BFFX2627. Raises ValueError naming what is wrong with it.

    >>> contract_of("MBTZ25").last_day.isoformat(), contract_of("MBTZ25").disputed
    ('2025-12-24', datetime.date(2025, 12, 26))
    """
    try:
        root, year, month = parse_contract(symbol)
    except ValueError:
        return week_contract(*parse_weekly(symbol))
    return month_contract(root, year, month)


def listed(root: str, day: date) -> tuple[Contract, ...]:
    """Return the contracts of `root` that can trade on trade date `day`, nearest first; none before the product's first day.

    By today's rule: that it was always so is not known, and it says nothing about whether a month has traded. Raises ValueError
    for an unknown product and for a date outside the calendar.
    """
    found = product(root)
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"no CME calendar for {day}; known are {FIRST_DAY} to {LAST_DAY}")
    if day < found.first_day:
        return ()
    if found.cycle is Cycle.FRIDAYS:
        return tuple(_weeklies(root, day))
    return tuple(month_contract(root, year, month) for year, month in sorted(set(_months(found, day))))


def _weeklies(root: str, day: date) -> Iterator[Contract]:
    """Yield the Fridays whose listing, the trade date a fortnight before them, has come and whose last day has not passed."""
    friday = day + timedelta(days=(4 - day.weekday()) % 7)
    while friday - 2 * _WEEK <= day:
        contract = week_contract(root, friday)
        if contract.last_day >= day:
            yield contract
        friday += _WEEK


def _months(found: Product, day: date) -> Iterator[tuple[int, int]]:
    """Yield (year, month) of the listed months, some of them twice."""
    ahead = [(day.year + (day.month - 1 + n) // 12, (day.month - 1 + n) % 12 + 1) for n in range(37)]
    if last_trading_day(*ahead[0]) < day:
        del ahead[0]
    if found.cycle is Cycle.JUNE:
        yield next(m for m in ahead if m[1] == 6)
        return
    yield from ahead[:6]
    yield from [m for m in ahead if m[1] == 12][:2]
    if found.cycle is Cycle.QUARTERLIES:
        yield from [m for m in ahead[6:] if m[1] % 3 == 0][:4]


def listed_from_ns(contract: Contract) -> int | None:
    """Return when a weekly begins to trade, UTC ns: Thursday 17:00 Chicago, fifteen days before its Friday. None for months.

    When a month was first listed follows from an expiry in the past and from rules that have changed: not known.
    """
    if product(contract.root).cycle is not Cycle.FRIDAYS:
        return None
    return chicago_ns(parse_weekly(contract.symbol)[1] - 2 * _WEEK - timedelta(days=1), time(17))


def roll_window(contract: Contract) -> RollWindow | None:
    """Return when a position in `contract` is better rolled than kept; None for a weekly, which lives too short for it.

    >>> window = roll_window(contract_of("MBTX26"))
    >>> window.opens.isoformat(), window.closes.isoformat(), window.relief_fades.isoformat()
    ('2026-11-16', '2026-11-19', '2026-11-24')
    """
    if product(contract.root).cycle is Cycle.FRIDAYS:
        return None
    first, last = (business_day_before(contract.last_day, n) for n in ROLL_DAYS)
    return RollWindow(first, last, business_day_before(contract.last_day, RELIEF_GONE_DAYS - 1))


def decoupled(contract: Contract, day: date) -> float:
    """Return the share 0..0.3 of calendar-spread margin relief that is gone on trade date `day`; 0 before, 0.3 from the last day on."""
    left = 0
    while left < RELIEF_GONE_DAYS and day < contract.last_day:
        day += timedelta(days=1)
        left += is_business_day(day)
    return 0.0 if left >= RELIEF_GONE_DAYS else DECOUPLED[RELIEF_GONE_DAYS - 1 - left]
