"""Faults of market and venues as data, and the plan that says which message suffers which of them.

A closed list: what can go wrong outside, never what the desk does about it. A fault waits from `at_ns` on for messages
it can hurt and hurts `count` of them; one with a duration lasts `for_ns`. Everything is a function of the plan and of the
order of messages, so the same seed hurts the same ones.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Iterable, Sequence
from enum import StrEnum
from random import Random
from typing import Any

import msgspec

from bot.model.errors import ConfigError
from bot.model.event import NEVER
from bot.model.ids import VenueId
from bot.model.notation import SECOND_NS, duration_ns


class FaultKind(StrEnum):
    """What can happen to a message, a feed or an account."""

    LOST_REQUEST = "lost_request"
    LOST_ACK = "lost_ack"
    LOST_FILL = "lost_fill"
    LATE_FILL = "late_fill"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    REJECT = "reject"
    PARTIAL_FILL = "partial_fill"
    CANCEL_RACE = "cancel_race"
    SNAPSHOT_FAIL = "snapshot_fail"
    CROSSED_QUOTE = "crossed_quote"
    BAD_QUOTE = "bad_quote"
    ONE_SIDED = "one_sided"
    OUTAGE = "outage"
    SLOW = "slow"
    SILENT = "silent"
    STALE_QUOTES = "stale_quotes"
    THIN_BOOK = "thin_book"
    ADL = "adl"
    LIQUIDATION = "liquidation"


K = FaultKind
ROWS: dict[FaultKind, tuple[str, ...]] = {
    K.LOST_REQUEST: ("F34", "F40"),
    K.LOST_ACK: ("F33", "F35"),
    K.LOST_FILL: ("F38",),
    K.LATE_FILL: ("F41",),
    K.DUPLICATE: ("F37",),
    K.REORDER: ("F36",),
    K.REJECT: ("F44", "F50"),
    K.PARTIAL_FILL: ("F53",),
    K.CANCEL_RACE: ("F42",),
    K.SNAPSHOT_FAIL: ("F18",),
    K.CROSSED_QUOTE: ("F7",),
    K.BAD_QUOTE: ("F8",),
    K.ONE_SIDED: ("F9",),
    K.OUTAGE: ("F27", "F45"),
    K.SLOW: ("F97",),
    K.SILENT: ("F1",),
    K.STALE_QUOTES: ("F2",),
    K.THIN_BOOK: ("F107",),
    K.ADL: ("F98",),
    K.LIQUIDATION: ("F99",),
}
"""Rows of the fault catalogue that a hit of each kind covers."""

LASTING = frozenset({K.OUTAGE, K.SLOW, K.SILENT, K.STALE_QUOTES, K.THIN_BOOK})
"""Kinds that last `for_ns` and hurt whatever comes by meanwhile."""
INSTANT = frozenset({K.ADL, K.LIQUIDATION})
"""Kinds that happen to the account at `at_ns`, or as soon after as it holds something."""
FEED = frozenset({K.SILENT, K.STALE_QUOTES, K.THIN_BOOK, K.CROSSED_QUOTE, K.BAD_QUOTE, K.ONE_SIDED})
"""Kinds that a quote has to be checked for."""

ARGS: dict[FaultKind, dict[str, float]] = {
    K.LATE_FILL: {"delay_s": 8.0},
    K.SLOW: {"delay_s": 1.5},
    K.PARTIAL_FILL: {"share": 0.5},
    K.THIN_BOOK: {"share": 0.02},
    K.ADL: {"share": 0.5},
    K.LIQUIDATION: {"share": 0.25},
}
"""Arguments each kind takes, with their defaults; delay_s > 0, 0 <= share <= 1."""

LASTS_NS = 30 * SECOND_NS
"""Length of a lasting fault when none is given."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted fault. at_ns: market time from which it strikes. for_ns: its length, or 0: until `count` were hurt."""

    at_ns: int
    venue: VenueId
    kind: FaultKind
    count: int = 1
    for_ns: int = 0
    args: dict[str, float] = {}

    def arg(self, name: str) -> float:
        """Return an argument or its default."""
        return self.args.get(name, ARGS[self.kind][name])

    @property
    def until_ns(self) -> int:
        """End of the time in which it can strike, exclusive."""
        if self.kind in LASTING:
            return self.at_ns + (self.for_ns or LASTS_NS)
        return self.at_ns + self.for_ns if self.for_ns else NEVER


class FaultPlan:
    """The faults of one venue, consumed as messages pass. hits: messages hurt (or things done), by kind.

    quote_ns: before this no quote needs a look. next_ns: when an outage begins or ends or an account is hit.
    """

    def __init__(self, venue: VenueId, faults: Iterable[Fault] = ()) -> None:
        self.hits: dict[FaultKind, int] = {}
        mine = sorted((f for f in faults if f.venue == venue), key=lambda f: f.at_ns)
        self._left: dict[FaultKind, list[list[Any]]] = {}
        for fault in mine:
            self._left.setdefault(fault.kind, []).append([fault, fault.count])
        self.timed: list[tuple[int, bool, Fault]] = sorted(
            [(f.at_ns, True, f) for f in mine if f.kind is K.OUTAGE or f.kind in INSTANT]
            + [(f.until_ns, False, f) for f in mine if f.kind is K.OUTAGE],
            key=lambda row: row[:2],
        )
        self.quote_ns = self._first_feed()

    @property
    def next_ns(self) -> int:
        """Return when the next outage begins or ends or the account is hit next, NEVER if not at all."""
        return self.timed[0][0] if self.timed else NEVER

    def due(self, now_ns: int) -> list[tuple[bool, Fault]]:
        """Return, once each, the (begins, fault) of outages and account faults due up to and including `now_ns`."""
        out = []
        while self.timed and self.timed[0][0] <= now_ns:
            _, begins, fault = self.timed.pop(0)
            out.append((begins, fault))
        return out

    def again(self, fault: Fault, at_ns: int) -> None:
        """Let a fault of the account that could not strike try at `at_ns`, unless its time is over by then."""
        if at_ns < fault.until_ns:
            insort(self.timed, (at_ns, True, fault), key=lambda row: row[:2])

    def strike(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """Let a waiting fault of `kind` hurt the message at hand; return it, or None. Each call uses up one count."""
        rows = self._left.get(kind)
        if rows is None:
            return None
        while rows:
            fault, left = rows[0]
            if now_ns < fault.at_ns:
                return None
            if now_ns < fault.until_ns and left > 0:
                if kind not in LASTING:
                    rows[0][1] = left - 1
                self.hit(kind)
                return fault  # type: ignore[no-any-return]
            rows.pop(0)
        del self._left[kind]
        self.quote_ns = self._first_feed()
        return None

    def hit(self, kind: FaultKind) -> None:
        """Count something hurt."""
        self.hits[kind] = self.hits.get(kind, 0) + 1

    def rows_hit(self) -> dict[str, int]:
        """Return hits by row of the catalogue."""
        out: dict[str, int] = {}
        for kind, count in self.hits.items():
            for row in ROWS[kind]:
                out[row] = out.get(row, 0) + count
        return dict(sorted(out.items(), key=lambda kv: int(kv[0][1:])))

    def _first_feed(self) -> int:
        return min((rows[0][0].at_ns for kind, rows in self._left.items() if kind in FEED and rows), default=NEVER)


_KEYS = ("at", "venue", "fault", "count", "for", "args")


def decode_faults(lines: Iterable[str], start_ns: int, venues: Sequence[VenueId] = ()) -> list[Fault]:
    """Return the faults of a JSON lines file; `at` counts from `start_ns`. Empty lines are skipped.

    venues: the known ones, none for any. Raises ConfigError naming line and key.
    """
    return [_decode(line, f"faults line {n}", start_ns, venues) for n, line in enumerate(lines, 1) if line.strip()]


def _decode(line: str, where: str, start_ns: int, venues: Sequence[VenueId]) -> Fault:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: an object is needed, not {type(row).__name__}")
    for key in row:
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key {key!r}; known: {', '.join(_KEYS)}")
    for key in ("at", "venue", "fault"):
        if key not in row:
            raise ConfigError(f"{where}: {key} is missing")
    if row["fault"] not in list(FaultKind):
        raise ConfigError(f"{where}: fault: unknown {row['fault']!r}; known: {', '.join(FaultKind)}")
    kind = FaultKind(row["fault"])
    venue = row["venue"]
    if not isinstance(venue, str) or not venue or (venues and venue not in venues):
        raise ConfigError(f"{where}: venue: unknown {venue!r}" + (f"; known: {', '.join(venues)}" if venues else ""))
    count = row.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"{where}: count: {count!r} is not a whole number >= 1")
    return Fault(
        at_ns=start_ns + _duration(row["at"], f"{where}: at", zero=True), venue=venue, kind=kind, count=count,
        for_ns=_duration(row["for"], f"{where}: for") if "for" in row else 0,
        args=_args(kind, row.get("args", {}), f"{where}: args"),
    )  # fmt: skip


def _duration(value: Any, where: str, zero: bool = False) -> int:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: a duration like PT35M is needed, not {value!r}")
    if zero and value in ("PT0S", "0s"):
        return 0
    try:
        return duration_ns(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _args(kind: FaultKind, given: Any, where: str) -> dict[str, float]:
    known = ARGS.get(kind, {})
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: an object is needed, not {given!r}")
    out = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: {kind} takes {', '.join(known) or 'no arguments'}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (0.0 <= value <= 1.0 if name == "share" else 0.0 < value <= 86_400.0):
            raise ConfigError(f"{where}.{name}: {value!r} is out of range")
        out[name] = float(value)
    return out


def random_mix(rng: Random, start_ns: int, days: int, venues: Sequence[VenueId]) -> list[Fault]:
    """Draw a swarm of faults: every day its own subset of kinds and rates, some days quiet, some with one kind alone.

    Uses rng.random() only. The last quarter of each day is left in peace, so that recovery can be demanded.
    """
    day_ns = 86_400 * SECOND_NS
    out: list[Fault] = []
    for day in range(days):
        mood = rng.random()
        if mood < 0.1:
            continue
        kinds = list(FaultKind)
        if mood < 0.25:
            chosen = [kinds[int(rng.random() * len(kinds))]]
        else:
            density = 0.3 + 0.7 * rng.random()
            chosen = [k for k in kinds if rng.random() < density]
        for kind in chosen:
            for _ in range(1 + int(rng.random() * (1 if kind in INSTANT else 3))):
                at = start_ns + day * day_ns + int(rng.random() * 0.75 * day_ns)
                out.append(_drawn(rng, kind, at, venues))
    return sorted(out, key=lambda f: f.at_ns)


def _drawn(rng: Random, kind: FaultKind, at_ns: int, venues: Sequence[VenueId]) -> Fault:
    venue = venues[int(rng.random() * len(venues))]
    for_ns = int((5.0 + 115.0 * rng.random() ** 2) * SECOND_NS) if kind in LASTING else 0
    return Fault(at_ns=at_ns, venue=venue, kind=kind, count=1 + int(rng.random() * 3), for_ns=for_ns)
