"""Says which futures contract each CME row belongs to, and drops rows whose contract cannot be told.

A continuous file splices contracts, and a splice is not a price move: every contract is its own instrument
here, with its own bars. No side file is read; the exchange calendar and the prices decide.

Minute files. A Chicago date is MIXED when two price levels interleave: jumps of the open from the close
before that are larger than max(12 bp, 6 x the day's median jump) and are undone, within ten bars, by a jump
of opposite sign and similar size. Measured on MBT, January and February 2026: clean days 0 to 1.2 % of
their jumps, days with stray prints 0.6 to 2.1 %, mixed days 6.5 to 38 %; the limit is 4 %. On a day that is
not mixed a print of the other contract (a jump over max(25 bp, 10 x median) undone within five bars) is
dropped alone. The roll of a month lies within eight weekdays of its last trading day: at the mixed days if
there are any; else at the largest step of the premium over the perp, if it reaches 20 bp (medians of eight
pairs; clean dates stay under 17 bp, weekends included); else at the last trading day, which is dropped.

Daily files carry the settlement of the trade date and splice a fixed number of business days early.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from statistics import median
from zoneinfo import ZoneInfo

import msgspec

from bot.backtest.formats import DAY_NS, MINUTE_NS, SECOND_NS, Bar, Series, SeriesKind
from bot.market.calendar import CmeCalendar
from bot.market.expiry import contract_symbol, expiry_ns, last_trading_day
from bot.market.holidays import chicago_ns
from bot.market.settlement import REGULAR_CLOSE, settlement_date, settlement_ns

MIXED_SHARE = 0.04
MIXED_COUNT = 5
MIXED_JUMP_BP, MIXED_JUMP_MEDIANS = 12.0, 6.0
STRAY_JUMP_BP, STRAY_JUMP_MEDIANS = 25.0, 10.0
MIXED_BARS, STRAY_BARS = 10, 5
SIMILAR = 0.6
"""Two opposite jumps are one round trip when the smaller is at least this part of the larger."""
JUMP_GAP_NS = 5 * MINUTE_NS
"""Bars further apart than this say nothing about a jump: the market had time to move."""
ROLL_WEEKDAYS = 8
STEP_BP, STEP_PAIRS = 20.0, 8

_CHICAGO = ZoneInfo("America/Chicago")
_EPOCH = date(1970, 1, 1)


class Segment(msgspec.Struct, frozen=True):
    """One contract's believable bars.

    `bars` carry signals. `opens` also holds rows whose close is not used (merged holidays) but whose open
    was a price one could trade at. `first_ns` and `last_ns` bound the clean data, start to last end.
    """

    contract: str
    expiry_ns: int
    first_ns: int
    last_ns: int
    bars: tuple[Bar, ...]
    opens: tuple[Bar, ...]


class Contracts(msgspec.Struct, frozen=True):
    """A CME file split into contracts; `rows_rejected` counts dropped rows by reason."""

    kind: SeriesKind
    segments: tuple[Segment, ...]
    rows_read: int
    rows_rejected: dict[str, int]
    dropped_days: dict[date, str]


def split_contracts(series: Series, root: str, perp: Series | None = None) -> Contracts:
    """Split a CME series of product `root` ("MBT", "BTC", "ETH") into contracts, by the rules above.

    `perp` helps to find a roll of a minute file that shows no mixed day; daily files do not need it.
    """
    if series.kind is SeriesKind.CME_DAILY:
        return _daily(series, root)
    return _minute(series, root, perp)


def chicago_date(ts_ns: int) -> date:
    """Return the Chicago calendar date of an instant, UTC ns.

    >>> chicago_date(1_769_320_800_000_000_000).isoformat()
    '2026-01-25'
    """
    return datetime.fromtimestamp(ts_ns // SECOND_NS, _CHICAGO).date()


# -- minute files -----------------------------------------------------------------------------------------


class _Roll(msgspec.Struct, frozen=True):
    """A month is the front contract up to `last_date`; `dropped` are the dates near its end not believed."""

    year: int
    month: int
    last_date: date
    dropped: dict[date, str]


def _minute(series: Series, root: str, perp: Series | None) -> Contracts:
    days = {day: list(bars) for day, bars in groupby(series.bars, key=lambda bar: chicago_date(bar.start_ns))}
    dropped = {day: "mixed_contracts" for day, bars in days.items() if is_mixed(bars)}
    rolls = _rolls(sorted(days), sorted(dropped), _premium_steps(series, perp))
    for roll in rolls:
        for day, reason in roll.dropped.items():
            dropped.setdefault(day, reason)
    rejected: Counter[str] = Counter()
    kept: dict[tuple[int, int], list[Bar]] = {}
    for day, bars in days.items():
        if day in dropped:
            rejected[dropped[day]] += len(bars)
            continue
        strays = stray_rows(bars)
        if strays:
            rejected["stray_contract"] += len(strays)
        roll = next(roll for roll in rolls if day <= roll.last_date)
        kept.setdefault((roll.year, roll.month), []).extend(b for b in bars if b.row not in strays)
    segments = [_segment(root, month, bars, bars) for month, bars in kept.items() if bars]
    seen = {day: reason for day, reason in sorted(dropped.items()) if day in days}
    return Contracts(series.kind, tuple(segments), len(series.bars), dict(sorted(rejected.items())), seen)


def is_mixed(bars: list[Bar]) -> bool:
    """Return whether one day's minute bars interleave two price levels (share of undone jumps >= 4 %)."""
    jumps = _jumps(bars)
    known = [abs(jump) for jump in jumps if jump]
    if not known:
        return False
    limit = max(MIXED_JUMP_BP, MIXED_JUMP_MEDIANS * median(known))
    trips = sum(1 for at in range(len(jumps)) if _undone_at(jumps, at, limit, MIXED_BARS) is not None)
    return trips >= MIXED_COUNT and trips >= MIXED_SHARE * len(known)


def stray_rows(bars: list[Bar]) -> frozenset[int]:
    """Return the row numbers of single prints at another contract's level on a day that is not mixed."""
    jumps = _jumps(bars)
    known = [abs(jump) for jump in jumps if jump]
    limit = max(STRAY_JUMP_BP, STRAY_JUMP_MEDIANS * median(known)) if known else STRAY_JUMP_BP
    rows: set[int] = set()
    at = 0
    while at < len(jumps):
        back = _undone_at(jumps, at, limit, STRAY_BARS)
        if back is not None:
            rows.update(bar.row for bar in bars[at + 1 : back + 1])
            at = back
        at += 1
    return frozenset(rows)


def _jumps(bars: list[Bar]) -> list[float]:
    """Return the jump in bp into each bar but the first; 0 where the bars are too far apart to compare."""
    return [
        math.log(b.open / a.close) * 1e4 if b.start_ns - a.start_ns <= JUMP_GAP_NS else 0.0
        for a, b in pairwise(bars)
    ]


def _undone_at(jumps: list[float], at: int, limit: float, within: int) -> int | None:
    """Return the index of the jump that undoes the one at `at`, or None."""
    jump = jumps[at]
    if abs(jump) <= limit:
        return None
    for index in range(at + 1, min(at + 1 + within, len(jumps))):
        back = jumps[index]
        if jump * back < 0.0 and min(abs(jump), abs(back)) >= SIMILAR * max(abs(jump), abs(back)):
            return index
    return None


def _premium_steps(series: Series, perp: Series | None) -> list[tuple[date, float]]:
    """Return (Chicago date, step in bp of CME over perp there), medians of eight pairs on each side."""
    if perp is None:
        return []
    closes = {bar.end_ns: bar.close for bar in perp.bars}
    pairs = [
        (chicago_date(bar.start_ns), (bar.close / closes[bar.end_ns] - 1.0) * 1e4)
        for bar in series.bars
        if bar.end_ns in closes
    ]
    levels = [level for _, level in pairs]
    return [
        (pairs[at][0], median(levels[at : at + STEP_PAIRS]) - median(levels[at - STEP_PAIRS : at]))
        for at in range(STEP_PAIRS, len(pairs) - STEP_PAIRS + 1)
    ]


def _rolls(days: list[date], mixed: list[date], steps: list[tuple[date, float]]) -> list[_Roll]:
    """Return the rolls of every contract month the days touch, in order."""
    rolls: list[_Roll] = []
    year, month = days[0].year, days[0].month
    while not rolls or rolls[-1].last_date < days[-1]:
        if last_trading_day(year, month) >= days[0]:
            rolls.append(_roll(year, month, days[0], mixed, steps))
        year, month = year + month // 12, month % 12 + 1
    return rolls


def _roll(
    year: int, month: int, first_day: date, mixed: list[date], steps: list[tuple[date, float]]
) -> _Roll:
    """Find where one month gives way to the next within eight weekdays of its last trading day."""
    last_day = last_trading_day(year, month)
    window = _weekdays_before(last_day, ROLL_WEEKDAYS)
    inside = [day for day in mixed if window <= day <= last_day]
    if inside:
        span = (inside[-1] - inside[0]).days
        between = [inside[0] + timedelta(days=offset) for offset in range(span + 1)]
        return _Roll(year, month, inside[-1], {day: "between_mixed_days" for day in between})
    near = [(day, step) for day, step in steps if window <= day <= last_day + timedelta(days=3)]
    day, step = max(near, key=lambda pair: abs(pair[1]), default=(last_day, 0.0))
    if abs(step) >= STEP_BP:
        return _Roll(year, month, day, {day: "splice_day"})
    if first_day > window:
        # The file begins inside the window and shows no roll: it may have rolled before its first row.
        span = (last_day - first_day).days
        unknown = [first_day + timedelta(days=offset) for offset in range(span + 1)]
        return _Roll(year, month, last_day, {day: "contract_unknown" for day in unknown})
    return _Roll(year, month, last_day, {last_day: "splice_day"})


def _weekdays_before(day: date, count: int) -> date:
    while count:
        day -= timedelta(days=1)
        count -= day.weekday() < 5
    return day


# -- daily files ------------------------------------------------------------------------------------------


def roll_trade_date(root: str, year: int, month: int) -> date:
    """Return the first trade date on which the continuous daily file shows the next month.

    Two business days before the last trading day, one for expiries 2021-01 to 2024-10 (measured on the BTC
    file against the perp; a day is a business day when CME settles).
    """
    day = last_trading_day(year, month)
    left = 1 if (2021, 1) <= (year, month) <= (2024, 10) else 2
    while left:
        day -= timedelta(days=1)
        left -= day.weekday() < 5 and settlement_ns(root, day) is not None
    return day


def session_open_ns(session: date) -> int:
    """Return when the session labelled by this Chicago date starts trading: the first open instant from its 16:00 on, UTC ns.

    >>> session_open_ns(date(2026, 1, 14)) // SECOND_NS, session_open_ns(date(2026, 1, 16)) // SECOND_NS
    (1768431600, 1768777200)
    """
    return CmeCalendar().next_open_ns(chicago_ns(session, REGULAR_CLOSE))


def usual_trade_date(session: date) -> date:
    """Return the trade date of a session without holidays: the next weekday after it opens.

    >>> usual_trade_date(date(2026, 1, 18)).isoformat()
    '2026-01-19'
    """
    day = session + timedelta(days=1)
    while day.weekday() > 4:
        day += timedelta(days=1)
    return day


def _daily(series: Series, root: str) -> Contracts:
    """Give every daily row its real instants (session open, settlement) and its contract."""
    rejected: Counter[str] = Counter()
    dropped: dict[date, str] = {}
    signals: dict[tuple[int, int], list[Bar]] = {}
    opens: dict[tuple[int, int], list[Bar]] = {}
    last_month: tuple[int, int] | None = None
    for bar in series.bars:
        session = _EPOCH + timedelta(days=bar.start_ns // DAY_NS)
        trade_date = settlement_date(root, session)
        settled = settlement_ns(root, trade_date)
        month = _front_month(root, trade_date)
        reason = None
        if trade_date != usual_trade_date(session):
            reason = "holiday_merged"
        elif settled is None:
            reason = "no_settlement"
        spliced = last_month is not None and month != last_month
        last_month = month
        if spliced:
            reason = reason or "splice_day"
        if reason is not None:
            rejected[reason] += 1
            dropped[session] = reason
        real = _at(bar, session_open_ns(session), settled)
        if not spliced:
            opens.setdefault(month, []).append(real)
        if reason is None:
            signals.setdefault(month, []).append(real)
    segments = [_segment(root, month, bars, opens[month]) for month, bars in signals.items()]
    return Contracts(series.kind, tuple(segments), len(series.bars), dict(sorted(rejected.items())), dropped)


def _at(bar: Bar, start_ns: int, end_ns: int | None) -> Bar:
    end = bar.end_ns if end_ns is None else end_ns
    return Bar(start_ns, end, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.row)


def _front_month(root: str, trade_date: date) -> tuple[int, int]:
    year, month = trade_date.year, trade_date.month
    if trade_date.day > 15 and trade_date >= roll_trade_date(root, year, month):
        return year + month // 12, month % 12 + 1
    return year, month


def _segment(root: str, month: tuple[int, int], bars: list[Bar], opens: list[Bar]) -> Segment:
    return Segment(
        contract=contract_symbol(root, *month),
        expiry_ns=expiry_ns(*month),
        first_ns=bars[0].start_ns,
        last_ns=bars[-1].end_ns,
        bars=tuple(bars),
        opens=tuple(opens),
    )
