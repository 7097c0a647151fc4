"""Instants and durations as people write them, and back; inside everything is integer UTC nanoseconds.

One place, because a duration read differently by two verbs, or a time of day without a zone, moves a trade by hours.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

SECOND_NS = 1_000_000_000
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = r"(\d+(?:\.\d+)?)"
_SHORT = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)
_ISO = re.compile(rf"P(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?", re.ASCII)


def duration_ns(text: str) -> int:
    """Return a duration > 0 in ns. Forms: `6h`, `90s`, `1h30m`, `2d`, `1.5h`, ISO 8601 `PT35M`, `P1DT2H`.

    Raises ValueError naming the text; a bare number has no unit and is refused.

    >>> duration_ns("90s") // SECOND_NS, duration_ns("PT35M") // SECOND_NS, duration_ns("1h30m") // SECOND_NS
    (90, 2100, 5400)
    """
    match = (_ISO if text.startswith("P") else _SHORT).fullmatch(text)
    parts = match.groups() if match else ()
    total = sum(round(float(part) * size * SECOND_NS) for part, size in zip(parts, _UNITS.values(), strict=False) if part)
    if total <= 0:
        raise ValueError(f"{text!r} is not a duration > 0 like 6h, 90s, 1h30m, 2d or PT35M")
    return total


def instant_ns(text: str) -> int:
    """Return an ISO 8601 UTC instant in ns: `2026-11-03T15:45Z`, with seconds and fractions, or a date (its 00:00Z).

    Raises ValueError naming the text; an instant without a zone is refused, it would mean another one elsewhere.

    >>> instant_ns("1970-01-01T00:01Z"), instant_ns("1970-01-02") // SECOND_NS
    (60000000000, 86400)
    """
    try:
        moment = datetime.fromisoformat(text + "T00:00Z" if len(text) == 10 else text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{text!r} is not a UTC time like 2026-11-03T15:45Z")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def iso(ns: int) -> str:
    """Return `ns` as ISO 8601 UTC with Z, with as many digits of the second as it has.

    >>> iso(60 * SECOND_NS), iso(1_500_000_000)
    ('1970-01-01T00:01:00Z', '1970-01-01T00:00:01.5Z')
    """
    seconds, rest = divmod(ns, SECOND_NS)
    stamp = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{stamp}{fraction}Z"
