"""Dated exceptions of the CME crypto calendar: holidays, early closes, halts, long Saturdays, what nobody has published.

A calendar is data with sources, not code: libraries were wrong on most recent early closes and still encode the week
before May 2026 (checked 2026-11). Every row says how well it is known:

V  primary page, source file, or measured in price files of the exchange (a session that exists or does not)
S  a secondary source only, or a rule stated for a class of days and not for this one
U  no source: by analogy or by rule; where an hour is U the row errs towards closed

Dates of holidays from 2018-01-15 to 2026-02-16 are confirmed by the sessions missing in the daily BTC file (read 2026-11): after
a trade-date holiday the session of the evening is merged, after a full closure it does not exist. The hours come from
the named source. "12:45" and the like are Chicago time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

CHICAGO = ZoneInfo("America/Chicago")
FIRST_DAY, LAST_DAY = date(2017, 12, 17), date(2027, 12, 31)
"""Chicago dates the calendar knows; BTC futures began on Sunday 2017-12-17 17:00."""

ALL_WEEK_DAY = date(2026, 5, 29)
ALL_WEEK_REOPENING = time(16, 30)
"""Friday on which the five-day week ended at 16:00 and trading around the clock began at 16:30, once (rule filing 26-114) [V]."""


class Effect(StrEnum):
    """What a holiday row does to its weekday."""

    FULL = "full closure"
    """No trading: closed from the close before to the next evening; no settlement."""
    EARLY = "early close"
    """Trading stops at `closes`; the day settles then."""
    MERGED = "trade date skipped"
    """Trading goes on (up to `closes` if given) and carries the next business day's trade date; no settlement."""
    UNKNOWN_DAY = "unknown day"
    """A holiday whose hours are not published: closed by GAPS, counted as no business day."""
    UNKNOWN_CLOSE = "unknown close"
    """A business day whose close is not published: taken as shut from `closes`; the settlement instant is unknown."""


class Holiday(msgspec.Struct, frozen=True):
    """One dated exception. closes: Chicago time of day, None for the regular close. status: V, S or U of the hours."""

    day: date
    effect: Effect
    name: str
    closes: time | None
    status: str
    source: str


class Gap(msgspec.Struct, frozen=True):
    """A dated stretch without trading that no rule of the week explains; half-open, UTC ns."""

    from_ns: int
    to_ns: int
    reason: str
    status: str
    source: str


FILE = "daily BTC file, sessions present and absent, read 2026-11"
TABLE = "CME holiday hours as checked 2026-11 against two calendar libraries"
PMC = "pandas_market_calendars, CME Globex Crypto, read 2026-11; it errs on several of these hours"
OLD_RULE = "CME rule before 2022: US holidays halt at 12:00; pandas_market_calendars, read 2026-11"
NEW_RULE = "from 2022 crypto keeps regular hours on US holidays without settlement, checked 2026-11"
WEEK_RULE = "rule filing 26-114: on holidays trading continues, next business day's trade date, checked 2026-11"
CHART = "session starts in a chart export of 2026-05..07, read 2026-11"
BY_RULE = "by rule: the exchange has not published this year, 2026-11"
BEFORE = "by analogy with later years"

_NEW_YEAR, _MLK, _PRESIDENTS, _GOOD_FRIDAY = "New Year's Day", "Martin Luther King Day", "Presidents' Day", "Good Friday"
_MEMORIAL, _JUNETEENTH, _JULY_EVE, _JULY = "Memorial Day", "Juneteenth", "eve of Independence Day", "Independence Day"
_LABOR, _THANKS, _THANKS_FRIDAY = "Labor Day", "Thanksgiving", "Friday after Thanksgiving"
_XMAS_EVE, _XMAS = "Christmas Eve", "Christmas Day"


def _full(day: str, name: str, status: str, source: str) -> Holiday:
    return Holiday(date.fromisoformat(day), Effect.FULL, name, None, status, source)


def _early(day: str, closes: str, name: str, status: str, source: str) -> Holiday:
    return Holiday(date.fromisoformat(day), Effect.EARLY, name, time.fromisoformat(closes), status, source)


def _merged(day: str, name: str, status: str, source: str, closes: str | None = None) -> Holiday:
    stop = None if closes is None else time.fromisoformat(closes)
    return Holiday(date.fromisoformat(day), Effect.MERGED, name, stop, status, source)


def _noon(day: str, name: str) -> Holiday:
    return _merged(day, name, "S", OLD_RULE, "12:00")


def _unknown_day(day: str, name: str) -> Holiday:
    return Holiday(date.fromisoformat(day), Effect.UNKNOWN_DAY, name, None, "U", BY_RULE)


def _unknown_close(day: str, name: str) -> Holiday:
    """Shut from 12:15: the earliest close on record for these days (2019-2025)."""
    return Holiday(date.fromisoformat(day), Effect.UNKNOWN_CLOSE, name, time(12, 15), "U", BY_RULE)


_ROWS = (
    # fmt: off
    _full("2017-12-25", _XMAS, "U", BEFORE),
    _full("2018-01-01", _NEW_YEAR, "U", BEFORE),
    _noon("2018-01-15", _MLK), _noon("2018-02-19", _PRESIDENTS),
    _full("2018-03-30", _GOOD_FRIDAY, "V", FILE),
    _noon("2018-05-28", _MEMORIAL),
    _early("2018-07-03", "12:15", _JULY_EVE, "S", PMC),
    _noon("2018-07-04", _JULY), _noon("2018-09-03", _LABOR), _noon("2018-11-22", _THANKS),
    _early("2018-11-23", "12:15", _THANKS_FRIDAY, "S", PMC),
    _early("2018-12-24", "12:15", _XMAS_EVE, "S", PMC),
    _full("2018-12-25", _XMAS, "V", FILE),

    _full("2019-01-01", _NEW_YEAR, "V", FILE),
    _noon("2019-01-21", _MLK), _noon("2019-02-18", _PRESIDENTS),
    _full("2019-04-19", _GOOD_FRIDAY, "V", FILE),
    _noon("2019-05-27", _MEMORIAL),
    _early("2019-07-03", "12:15", _JULY_EVE, "S", PMC),
    _noon("2019-07-04", _JULY), _noon("2019-09-02", _LABOR), _noon("2019-11-28", _THANKS),
    _early("2019-11-29", "12:15", _THANKS_FRIDAY, "S", PMC),
    _early("2019-12-24", "12:15", _XMAS_EVE, "S", PMC),
    _full("2019-12-25", _XMAS, "V", FILE),

    _full("2020-01-01", _NEW_YEAR, "V", FILE),
    _noon("2020-01-20", _MLK), _noon("2020-02-17", _PRESIDENTS),
    _full("2020-04-10", _GOOD_FRIDAY, "V", FILE),
    _noon("2020-05-25", _MEMORIAL), _noon("2020-07-03", _JULY), _noon("2020-09-07", _LABOR), _noon("2020-11-26", _THANKS),
    _early("2020-11-27", "12:15", _THANKS_FRIDAY, "S", PMC),
    _early("2020-12-24", "12:15", _XMAS_EVE, "S", PMC),
    _full("2020-12-25", _XMAS, "V", FILE),

    _full("2021-01-01", _NEW_YEAR, "V", FILE),
    _noon("2021-01-18", _MLK), _noon("2021-02-15", _PRESIDENTS),
    _full("2021-04-02", _GOOD_FRIDAY, "S", FILE + "; pandas_market_calendars and CME's own sheet, as quoted, have an 08:15 close"),
    _noon("2021-05-31", _MEMORIAL), _noon("2021-07-05", _JULY), _noon("2021-09-06", _LABOR), _noon("2021-11-25", _THANKS),
    _early("2021-11-26", "12:45", _THANKS_FRIDAY, "S", PMC),
    _full("2021-12-24", _XMAS, "V", FILE),

    _merged("2022-01-17", _MLK, "S", NEW_RULE), _merged("2022-02-21", _PRESIDENTS, "S", NEW_RULE),
    _full("2022-04-15", _GOOD_FRIDAY, "V", FILE),
    _merged("2022-05-30", _MEMORIAL, "S", NEW_RULE), _merged("2022-06-20", _JUNETEENTH, "S", NEW_RULE),
    _merged("2022-07-04", _JULY, "S", NEW_RULE), _merged("2022-09-05", _LABOR, "S", NEW_RULE),
    _merged("2022-11-24", _THANKS, "S", NEW_RULE),
    _early("2022-11-25", "12:45", _THANKS_FRIDAY, "S", PMC),
    _full("2022-12-26", _XMAS, "V", FILE),

    _full("2023-01-02", _NEW_YEAR, "V", FILE),
    _merged("2023-01-16", _MLK, "S", NEW_RULE), _merged("2023-02-20", _PRESIDENTS, "S", NEW_RULE),
    _early("2023-04-07", "10:15", _GOOD_FRIDAY, "S", PMC + "; the daily file has the session"),
    _merged("2023-05-29", _MEMORIAL, "S", NEW_RULE), _merged("2023-06-19", _JUNETEENTH, "S", NEW_RULE),
    _merged("2023-07-04", _JULY, "S", NEW_RULE), _merged("2023-09-04", _LABOR, "S", NEW_RULE),
    _merged("2023-11-23", _THANKS, "S", NEW_RULE),
    _early("2023-11-24", "12:45", _THANKS_FRIDAY, "S", PMC),
    _full("2023-12-25", _XMAS, "V", FILE),

    _full("2024-01-01", _NEW_YEAR, "V", FILE),
    _merged("2024-01-15", _MLK, "S", NEW_RULE), _merged("2024-02-19", _PRESIDENTS, "S", NEW_RULE),
    _full("2024-03-29", _GOOD_FRIDAY, "V", FILE),
    _merged("2024-05-27", _MEMORIAL, "S", NEW_RULE), _merged("2024-06-19", _JUNETEENTH, "S", NEW_RULE),
    _merged("2024-07-04", _JULY, "S", NEW_RULE), _merged("2024-09-02", _LABOR, "S", NEW_RULE),
    _merged("2024-11-28", _THANKS, "S", NEW_RULE + "; one news summary has a 12:00 halt"),
    _early("2024-11-29", "12:45", _THANKS_FRIDAY, "S", PMC),
    _early("2024-12-24", "12:15", _XMAS_EVE, "S", PMC + "; 12:45 is possible, as in 2025"),
    _full("2024-12-25", _XMAS, "V", FILE),

    _full("2025-01-01", _NEW_YEAR, "V", TABLE),
    _merged("2025-01-20", _MLK, "S", NEW_RULE), _merged("2025-02-17", _PRESIDENTS, "S", NEW_RULE),
    _full("2025-04-18", _GOOD_FRIDAY, "V", TABLE),
    _merged("2025-05-26", _MEMORIAL, "S", NEW_RULE), _merged("2025-06-19", _JUNETEENTH, "S", NEW_RULE),
    _merged("2025-07-04", _JULY, "V", TABLE, "12:00"),
    _merged("2025-09-01", _LABOR, "S", NEW_RULE), _merged("2025-11-27", _THANKS, "S", NEW_RULE),
    _early("2025-11-28", "13:45", _THANKS_FRIDAY, "V", TABLE),
    _early("2025-12-24", "12:45", _XMAS_EVE, "V", TABLE),
    _full("2025-12-25", _XMAS, "V", TABLE),

    _full("2026-01-01", _NEW_YEAR, "V", TABLE),
    _merged("2026-01-19", _MLK, "V", "one-minute MBT file: bars to 15:59 and from 17:00, read 2026-11"),
    _merged("2026-02-16", _PRESIDENTS, "V", "one-minute MBT file: bars to 15:59 and from 17:00, read 2026-11"),
    _early("2026-04-03", "10:15", _GOOD_FRIDAY, "V", TABLE),
    _merged("2026-05-25", _MEMORIAL, "V", CHART), _merged("2026-06-19", _JUNETEENTH, "V", CHART),
    _merged("2026-07-03", _JULY, "V", CHART), _merged("2026-09-07", _LABOR, "S", WEEK_RULE),
    _merged("2026-11-26", _THANKS, "S", WEEK_RULE),
    _unknown_close("2026-11-27", _THANKS_FRIDAY), _unknown_close("2026-12-24", _XMAS_EVE), _unknown_day("2026-12-25", _XMAS),

    _unknown_day("2027-01-01", _NEW_YEAR),
    _merged("2027-01-18", _MLK, "U", BY_RULE), _merged("2027-02-15", _PRESIDENTS, "U", BY_RULE),
    _unknown_day("2027-03-26", _GOOD_FRIDAY),
    _merged("2027-05-31", _MEMORIAL, "U", BY_RULE), _merged("2027-06-18", _JUNETEENTH, "U", BY_RULE),
    _merged("2027-07-05", _JULY, "U", BY_RULE), _merged("2027-09-06", _LABOR, "U", BY_RULE),
    _merged("2027-11-25", _THANKS, "U", BY_RULE),
    _unknown_close("2027-11-26", _THANKS_FRIDAY), _unknown_close("2027-12-23", _XMAS_EVE), _unknown_day("2027-12-24", _XMAS),
    # fmt: on
)

HOLIDAYS: dict[date, Holiday] = {row.day: row for row in _ROWS}
"""The exceptions by Chicago weekday. 2025-01-09 (day of mourning) is absent on purpose: crypto traded regular hours [V]. So did
2023-07-03, 2024-07-03 (the settlement fits 15:00, not noon, against the perp) and 2025-07-03 [V]."""

LONG_SATURDAYS = {date(2026, 8, 1): time(9), date(2026, 8, 29): time(6), date(2026, 9, 19): time(8)}
"""Saturdays whose maintenance was announced to end later than 04:00 Chicago (Globex notices, checked 2026-11) [V]."""


def chicago_ns(day: date, at: time) -> int:
    """Return a Chicago wall-clock instant as UTC ns; `at` has no zone. No time used here falls into a clock change.

    >>> chicago_ns(date(2026, 5, 29), time(16)) // 10**9
    1780088400
    """
    moment = datetime.combine(day, at, CHICAGO).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000 + at.microsecond * 1_000


def chicago_date(ts_ns: int) -> date:
    """Return the Chicago date of an instant, UTC ns."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).astimezone(CHICAGO).date()


def _gap(start: str, end: str, reason: str, status: str, source: str) -> Gap:
    bounds = [datetime.fromisoformat(text) for text in (start, end)]
    from_ns, to_ns = (chicago_ns(at.date(), at.time()) for at in bounds)
    return Gap(from_ns, to_ns, reason, status, source)


def _unpublished(start: str, end: str, what: str) -> Gap:
    return _gap(start, end, f"unknown: {what} hours are not documented", "U", BY_RULE)


GAPS: tuple[Gap, ...] = (
    _gap("2025-11-27T20:40", "2025-11-28T07:30", "halt: data centre cooling failure", "V",
         "CME annual report for the reopening at 07:30; the beginning, 02:40Z, is from press reports [S]; checked 2026-11"),
    _unpublished("2026-11-27T12:15", "2026-11-27T16:02", f"{_THANKS_FRIDAY} 2026"),
    _unpublished("2026-12-24T12:15", "2026-12-27T17:00", "Christmas 2026"),
    _unpublished("2026-12-31T16:00", "2027-01-03T17:00", "New Year 2027"),
    _unpublished("2027-03-25T16:00", "2027-03-28T17:00", "Good Friday 2027"),
    _unpublished("2027-11-26T12:15", "2027-11-26T16:02", f"{_THANKS_FRIDAY} 2027"),
    _unpublished("2027-12-23T12:15", "2027-12-26T17:00", "Christmas 2027"),
)  # fmt: skip
"""Stretches without known trading. The unknown ones reach from the earliest close on record to the latest reopening, Sunday 17:00."""


class Doubt(msgspec.Struct, frozen=True):
    """What this calendar holds, what speaks against it, and how well that is known; kept so that nobody takes it for settled."""

    days: str
    held: str
    against: str
    status: str


QUOTED = "a public repository quoting CME's trading-hours service, retrieved there 2026-09-12, read 2026-11"
DOUBTS: tuple[Doubt, ...] = (
    Doubt("early closes", "the day settles at its close", "CME publishes no settlement hour of its own for them", "U"),
    Doubt("2025-11-28", "settles at 13:45, its close", "the settlement fits prices of 12:00-13:00 better; the outage had moved the close", "U"),
    Doubt("3 July of 2018, 2019", "closes 12:15", "2023, 2024 and 2025 were regular days; the early years rest on one library", "S"),
    Doubt("2025-07-04", "12:00 close under the trade date of 07-07", f"{QUOTED}: the close carried 07-04", "S"),
    Doubt("2021-04-02 Good Friday", "no session: none in the daily file", f"08:15 close in a library and in CME's sheet: {QUOTED}", "S"),
    Doubt("2024-12-24", "closes 12:15", f"12:45: {QUOTED}; 12:45 is also the hour of 2025", "S"),
    Doubt("2024-11-28 Thanksgiving", "regular hours, trade date skipped", "one news summary has a 12:00 halt", "S"),
    Doubt("2026-11-27, 2026-12-24", "closed from 12:15, hours unknown", f"around the clock without an early close: {QUOTED}; spot-quoted 13:45, 12:45", "U"),
    Doubt("2026-12-25, 2027-01-01, 2027-03-26, 2027-12-24", "closed, hours unknown", f"trading goes on and the trade date skips: {QUOTED}", "U"),
    Doubt("2026-11-26 and other Monday or Thursday holidays", "two-minute stop at 16:00", f"the 16:00 stop falls away: {QUOTED}", "S"),
    Doubt("holidays of spot-quoted products", "closed, hours unknown", f"Labor Day 2026 had no session: {QUOTED}; other holidays not found", "U"),
)  # fmt: skip
"""Open questions of the calendar. Each is to be closed against the exchange's own page or the broker's trading hours before live use."""
