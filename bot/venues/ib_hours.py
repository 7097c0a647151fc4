"""The broker's trading hours of a contract against the desk's own calendar: a session that only one of them knows is told before it matters.

The broker writes a few days ahead, `20261103:0000-20261103:1600;20261107:CLOSED`, in the zone it names beside them. Some of its
servers write a span's end without a date. Minutes are its unit, so a difference shorter than one is none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.market.calendar import State, intervals
from bot.model.notation import iso

MINUTE_NS = 60_000_000_000
SHOWN = 3
"""Differences that are spelt out; the others are counted."""

Span = tuple[int, int]


def spans(hours: str, zone: str) -> tuple[Span, list[Span]]:
    """Return (stretch that the text speaks of, when it is open within), UTC ns, half-open: the days of which it names a beginning, and
    what runs beyond them. Raises ValueError for a text that is neither.
    """
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"no zone {zone!r}") from error
    days: list[str] = []
    found: list[Span] = []
    for part in filter(None, hours.split(";")):
        begin, dash, end = part.partition("-")
        day, colon, clock = begin.partition(":")
        if not colon:
            raise ValueError(f"no day and time in {part!r}")
        days.append(day)
        if clock == "CLOSED":
            continue
        if not dash:
            raise ValueError(f"no end in {part!r}")
        a, b = _instant(begin, place), _instant(end if ":" in end else f"{day}:{end}", place)
        if b <= a:
            raise ValueError(f"{part!r} ends before it begins")
        found.append((a, b))
    if not days:
        raise ValueError("no trading hours")
    first = _instant(f"{min(days)}:0000", place)
    return (first, max(_after(max(days), place), max((b for _, b in found), default=0))), _merged(found)


def differences(code: str, hours: str, zone: str, now_ns: int) -> list[str]:
    """Return what broker and calendar disagree about for product `code` from now on, in words. Raises ValueError as `spans`."""
    (first, last), theirs = spans(hours, zone)
    first = max(first, now_ns)
    ours = [(x.from_ns, x.to_ns) for x in intervals(code, first, last) if x.state is State.OPEN]
    theirs = [(max(a, first), b) for a, b in theirs if b > first]
    out = [(a, b, "open here, closed at the broker") for a, b in _less(ours, theirs)]
    out += [(a, b, "open at the broker, closed here") for a, b in _less(theirs, ours)]
    return [f"{iso(a)} to {iso(b)} {what}" for a, b, what in sorted(out) if b - a >= MINUTE_NS]


def told(found: list[str]) -> str:
    """Return differences as one line, the first of them spelt out."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _merged(found: list[Span]) -> list[Span]:
    """Return spans in order, those that touch as one."""
    out: list[Span] = []
    for a, b in sorted(found):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out


def _less(these: list[Span], those: list[Span]) -> list[Span]:
    """Return what of some spans is not in others; both sorted, none overlapping its own."""
    out: list[Span] = []
    for a, b in these:
        for c, d in those:
            if d <= a or c >= b:
                continue
            if c > a:
                out.append((a, c))
            a = d
        if a < b:
            out.append((a, b))
    return out


def _instant(text: str, place: ZoneInfo) -> int:
    """Return YYYYMMDD:HHMM as UTC ns; 2400 is the end of a day."""
    day, _, clock = text.partition(":")
    if clock == "2400":
        return _after(day, place)
    return _ns(datetime.strptime(f"{day} {clock}", "%Y%m%d %H%M").replace(tzinfo=place))


def _after(day: str, place: ZoneInfo) -> int:
    """Return the midnight that ends a day."""
    following = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() + timedelta(days=1)
    return _ns(datetime(following.year, following.month, following.day, tzinfo=place))


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000
