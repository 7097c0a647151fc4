"""When CME crypto futures trade, and which trade date a trade carries.

The week changed on 2026-05-29: five days with an hour's stop before it, around the clock with a two-minute stop at 16:00
and a Saturday window after it (CME rule filing 26-114, Globex notice 20260525, checked 2026-11). Times of day are
Chicago's and are turned into instants day by day, so both clock changes come out right. A trade date ends when its
business day closes; from then on the next one is carried, through stops, weekends and holidays, so that an order entered
in a pre-open already has the date it will trade under. What is not published is closed, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache

import msgspec

from bot.market.expiry import parse_contract
from bot.market.holidays import (
    ALL_WEEK_REOPENING,
    FIRST_DAY,
    GAPS,
    HOLIDAYS,
    LAST_DAY,
    LONG_SATURDAYS,
    Effect,
    Holiday,
    chicago_date,
    chicago_ns,
)
from bot.market.products import product
from bot.market.settlement import REGULAR_CLOSE, business_day_after, closes_ns, is_business_day
from bot.model.event import NEVER
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, Kind
from bot.model.ports import SessionSource

_DAY = timedelta(days=1)
_MIDNIGHT = time(0)
_EVENING = time(17)
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6
START_NS, END_NS = chicago_ns(FIRST_DAY, _MIDNIGHT), chicago_ns(LAST_DAY + _DAY, _MIDNIGHT)
"""Bounds of what the calendar knows, UTC ns, half-open."""


class State(StrEnum):
    """Phase of the market; only OPEN is tradable."""

    OPEN = "open"
    CLOSED = "closed"
    PRE_OPEN = "pre_open"
    NO_CANCEL = "no_cancel"


class Interval(msgspec.Struct, frozen=True):
    """A half-open stretch of one state, UTC ns. reason: "" when open. trade_date: ISO date carried, "" outside the calendar and before listing."""

    from_ns: int
    to_ns: int
    state: State
    reason: str
    trade_date: str


Piece = tuple[time, State, str]
"""Beginning (Chicago time of day), state and reason; a piece lasts until the next one or midnight."""


def _five_day(day: date, spot_quoted: bool = False) -> list[Piece]:
    """Return the pieces of a day of the five-day week: Sunday 17:00 to Friday 16:00 with a stop 16:00-17:00."""
    weekday, row = day.weekday(), HOLIDAYS.get(day)
    if weekday == _SATURDAY:
        return [(_MIDNIGHT, State.CLOSED, "weekend")]
    evening = _evening(day, spot_quoted)
    if weekday == _SUNDAY:
        return [(_MIDNIGHT, State.CLOSED, "weekend"), evening]
    stop: list[Piece] = [(REGULAR_CLOSE, State.CLOSED, "daily stop"), evening]
    if weekday == _FRIDAY:
        stop = [(REGULAR_CLOSE, State.CLOSED, "weekend")]
    shut = _shut(row, spot_quoted)
    if shut:
        return [(_MIDNIGHT, State.CLOSED, shut), stop[-1]]
    pieces: list[Piece] = [(_MIDNIGHT, State.OPEN, "")]
    if row is not None and row.closes is not None:
        pieces.append((row.closes, State.CLOSED, f"early close: {row.name}"))
    return pieces + stop


def _shut(row: Holiday | None, spot_quoted: bool) -> str:
    """Return why the whole session of a holiday does not trade, "" if it does.

    Spot-quoted products were seen without a session on a holiday that others traded through: unknown there means closed.
    """
    if row is not None and row.effect is Effect.FULL:
        return f"holiday: {row.name}"
    if row is not None and row.effect is Effect.MERGED and spot_quoted:
        return f"unknown: spot-quoted hours on {row.name} are not documented"
    return ""


def _evening(day: date, spot_quoted: bool) -> Piece:
    """Return what follows 17:00: the session of the next day, unless that day is closed."""
    shut = _shut(HOLIDAYS.get(day + _DAY), spot_quoted)
    return (_EVENING, State.CLOSED, shut) if shut else (_EVENING, State.OPEN, "")


def _all_week(day: date) -> list[Piece]:
    """Return the pieces of a day of the week around the clock; an extended Saturday keeps its last quarter hour."""
    pieces: list[Piece] = [(_MIDNIGHT, State.OPEN, "")]
    if day.weekday() == _SUNDAY:
        return pieces
    if day.weekday() == _SATURDAY:
        reason = "Saturday maintenance"
        last = datetime.combine(day, LONG_SATURDAYS.get(day, time(4)))
        pre, lock = (last - timedelta(minutes=15)).time(), (last - timedelta(seconds=30)).time()
        stop = [(time(2), State.CLOSED), (pre, State.PRE_OPEN), (lock, State.NO_CANCEL)]
        return pieces + [(at, state, reason) for at, state in stop] + [(last.time(), State.OPEN, "")]
    stop = [(REGULAR_CLOSE, State.CLOSED), (time(16, 1), State.PRE_OPEN), (time(16, 1, 30), State.NO_CANCEL)]
    return pieces + [(at, state, "daily stop") for at, state in stop] + [(time(16, 2), State.OPEN, "")]


def _pieces(changes: date, day: date) -> list[Piece]:
    """Return the pieces of a day for a product whose five-day week ended on `changes`."""
    if day < changes:
        return _five_day(day, changes == date.max)
    if day > changes:
        return _all_week(day)
    first = (REGULAR_CLOSE, State.CLOSED, "change to trading around the clock")
    return [(_MIDNIGHT, State.OPEN, ""), first, (ALL_WEEK_REOPENING, State.OPEN, "")]


def _label(day: date, ts_ns: int) -> date:
    """Return the trade date carried at an instant of Chicago date `day`."""
    return day if is_business_day(day) and ts_ns < closes_ns(day) else business_day_after(day)


@lru_cache(maxsize=1024)
def _day(changes: date, day: date) -> tuple[Interval, ...]:
    """Return the intervals of one Chicago date inside the calendar; neighbours may be equal but for their bounds."""
    pieces = _pieces(changes, day)
    starts = [chicago_ns(day, at) for at, _, _ in pieces] + [chicago_ns(day + _DAY, _MIDNIGHT)]
    found: list[Interval] = []
    for (_, state, reason), from_ns, to_ns in zip(pieces, starts, starts[1:], strict=False):
        for a, b, gap in _cut(from_ns, to_ns):
            label = _label(day, a).isoformat()
            found.append(Interval(a, b, State.CLOSED if gap else state, gap or reason, label))
    return tuple(found)


def _cut(from_ns: int, to_ns: int) -> Iterator[tuple[int, int, str]]:
    """Split a stretch at the dated gaps: (from, to, reason of the gap or "")."""
    at = from_ns
    for gap in GAPS:
        start, end = max(at, gap.from_ns), min(to_ns, gap.to_ns)
        if start >= end:
            continue
        if at < start:
            yield at, start, ""
        yield start, end, gap.reason
        at = end
    if at < to_ns:
        yield at, to_ns, ""


_BEFORE = Interval(-NEVER, START_NS, State.CLOSED, "no calendar", "")
_AFTER = Interval(END_NS, NEVER, State.CLOSED, "no calendar", "")


class _Week(msgspec.Struct, frozen=True):
    """What of a product decides its states. changes: Friday its five-day week ended. opens_ns: its first opening, UTC ns."""

    changes: date
    opens_ns: int


def _week_of(code: str) -> _Week:
    found = product(code)
    opens_ns = START_NS if found.first_day == FIRST_DAY + _DAY else chicago_ns(found.first_day - _DAY, _EVENING)
    return _Week(found.week_ended, opens_ns)


def _from(week: _Week, ts_ns: int) -> Iterator[Interval]:
    """Yield intervals in order from the one that holds `ts_ns` to the end of time, not yet merged."""
    if ts_ns < START_NS:
        yield _BEFORE
    if ts_ns < week.opens_ns and START_NS < week.opens_ns:
        yield Interval(START_NS, week.opens_ns, State.CLOSED, "not listed", "")
    first_ns = max(ts_ns, week.opens_ns)
    day = chicago_date(first_ns) if first_ns < END_NS else LAST_DAY + _DAY
    while day <= LAST_DAY:
        for interval in _day(week.changes, day):
            if interval.to_ns > first_ns:
                yield interval if interval.from_ns >= week.opens_ns else msgspec.structs.replace(interval, from_ns=week.opens_ns)
        day += _DAY
    yield _AFTER


def _same(a: Interval, b: Interval) -> bool:
    return a.state is b.state and a.reason == b.reason and a.trade_date == b.trade_date


def _merged(pieces: Iterator[Interval]) -> Iterator[Interval]:
    """Join neighbours that differ only in their bounds."""
    held = next(pieces)
    for piece in pieces:
        if _same(held, piece):
            held = msgspec.structs.replace(held, to_ns=piece.to_ns)
        else:
            yield held
            held = piece
    yield held


def intervals(code: str, from_ns: int, to_ns: int) -> list[Interval]:
    """Return the states of product `code` over [from, to), UTC ns: contiguous, merged, cut at both ends.

    Outside 2017-12-17..2027-12-31 the market is closed, "no calendar"; before a product's first session, "not listed".
    Raises ValueError for an unknown product.
    """
    week = _week_of(code)
    found: list[Interval] = []
    if from_ns >= to_ns:
        return found
    for interval in _merged(_from(week, from_ns)):
        if interval.from_ns >= to_ns:
            break
        a, b = max(interval.from_ns, from_ns), min(interval.to_ns, to_ns)
        found.append(Interval(a, b, interval.state, interval.reason, interval.trade_date))
    return found


class CmeCalendar:
    """The calendar of one product asked instant by instant; the last answer is kept, so a rising clock costs a comparison."""

    __slots__ = ("_held", "_week")

    def __init__(self, code: str = "BTC") -> None:
        """Raise ValueError for an unknown product."""
        self._week = _week_of(code)
        self._held = _BEFORE

    def at(self, now_ns: int) -> Interval:
        """Return the whole interval that holds `now_ns`, merged across midnights."""
        held = self._held
        if not held.from_ns <= now_ns < held.to_ns:
            held = self._held = _whole(self._week, now_ns)
        return held

    def next_open_ns(self, now_ns: int) -> int:
        """Return the first tradable instant not before `now_ns`, NEVER beyond the calendar."""
        interval = self.at(now_ns)
        while interval.state is not State.OPEN:
            if interval.to_ns >= NEVER:
                return NEVER
            interval = _whole(self._week, interval.to_ns)
        return max(now_ns, interval.from_ns)


def _whole(week: _Week, ts_ns: int) -> Interval:
    """Return the merged interval at an instant, with its true beginning."""
    whole = next(_merged(_from(week, ts_ns)))
    while whole.from_ns > START_NS:
        before = next(_from(week, whole.from_ns - 1))
        if not _same(before, whole):
            break
        whole = msgspec.structs.replace(whole, from_ns=before.from_ns)
    return whole


class DeskSessions(SessionSource):
    """Sessions of the desk's instruments: futures follow CME until they expire, everything else always trades."""

    __slots__ = ("_always", "_futures")

    def __init__(self, instruments: Mapping[InstrumentId, Instrument]) -> None:
        """Raise ValueError for a future whose product has no calendar, or that has no expiry."""
        self._always: set[InstrumentId] = set()
        self._futures: dict[InstrumentId, tuple[CmeCalendar, int]] = {}
        for key, instrument in instruments.items():
            if instrument.kind is not Kind.FUTURE:
                self._always.add(key)
            elif instrument.expiry_ns is None:
                raise ValueError(f"future {key} has no expiry")
            else:
                code = instrument.product or parse_contract(instrument.id)[0]
                self._futures[key] = CmeCalendar(code), instrument.expiry_ns

    def is_open(self, instrument: InstrumentId, now_ns: int) -> tuple[bool, int]:
        """Return whether it trades at `now_ns` and until when that answer holds. Raises KeyError for an unknown instrument."""
        if instrument in self._always:
            return True, NEVER
        calendar, expiry_ns = self._futures[instrument]
        if now_ns >= expiry_ns:
            return False, NEVER
        interval = calendar.at(now_ns)
        if interval.state is State.OPEN:
            return True, min(interval.to_ns, expiry_ns)
        opens_ns = calendar.next_open_ns(now_ns)
        return False, opens_ns if opens_ns < expiry_ns else NEVER

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return CME's trade date at `now_ns` and when it rolls; "" outside the calendar."""
        if not START_NS <= now_ns < END_NS:
            return "", START_NS if now_ns < START_NS else NEVER
        label = _label(chicago_date(now_ns), now_ns)
        return label.isoformat(), min(closes_ns(label), END_NS)
