"""Faults of market and venues as data, and the plan that says which message suffers which of them.

A closed list: what can go wrong outside, never what the desk does about it. A fault waits from `at_ns` on for messages
it can hurt and hurts `count` of them; one with a duration lasts `for_ns`. Everything is a function of the plan and of the
order of messages, so the same seed hurts the same ones.
"""

from __future__ import annotations

import json
import math
from bisect import insort
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import msgspec

from bot.model.errors import ConfigError
from bot.model.event import NEVER
from bot.model.ids import VenueId
from bot.model.notation import SECOND_NS, duration_ns
from bot.sim.fault_kinds import ARGS, BREAKS, FEED, IN_PROCESS, INSTANT, LASTING, LENGTH_S, OFFSHORE, ROWS, TIMED, WIRE, FaultKind, in_range

__all__ = ["ARGS", "FEED", "INSTANT", "LASTING", "OFFSHORE", "ROWS", "Fault", "FaultKind", "FaultPlan", "decode_faults", "random_mix"]

K = FaultKind


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
            return self.at_ns + (self.for_ns or int(LENGTH_S[self.kind][0] * SECOND_NS))
        return self.at_ns + self.for_ns if self.for_ns else NEVER

    def displacement(self, now_ns: int) -> float:
        """Return its `bp` as a fraction at `now_ns`: whole for the first half of its time, then halving six times towards its end."""
        half = (self.until_ns - self.at_ns) / 2
        return self.arg("bp") * 1e-4 * math.pow(0.5, 6.0 * max(0.0, now_ns - self.at_ns - half) / half)


class FaultPlan:
    """The faults of one venue, consumed as messages pass. hits: messages hurt (or things done), by kind.

    quote_ns: before this no quote needs a look. next_ns: when a timed fault begins or ends next.
    now_ns: market time at which the process begins; of what began before, only what still lasts goes on.
    """

    def __init__(self, venue: VenueId, faults: Iterable[Fault] = (), now_ns: int = 0) -> None:
        self.hits: dict[FaultKind, int] = {}
        mine = sorted((f for f in faults if f.venue == venue), key=lambda f: f.at_ns)
        mine = [f for f in mine if f.at_ns >= now_ns or (f.kind in LASTING and f.until_ns > now_ns)]
        self._left: dict[FaultKind, list[list[Any]]] = {}
        for fault in mine:
            self._left.setdefault(fault.kind, []).append([fault, fault.count])
        self._begun = [f for f in mine if f.kind is K.MANUAL_TRADE and f.at_ns < now_ns]  # done before; its end is still due
        rows = [row for f in mine if f.kind in TIMED for row in _turns(f, now_ns) if not row[1] or f not in self._begun]
        self.timed: list[tuple[int, bool, Fault]] = sorted(rows, key=lambda row: row[:2])
        self.quote_ns = self._first_feed()

    @property
    def next_ns(self) -> int:
        """Return when the next timed fault begins or ends, NEVER if none does."""
        return self.timed[0][0] if self.timed else NEVER

    def due(self, now_ns: int) -> list[tuple[bool, Fault]]:
        """Return, once each, the (begins, fault) of timed faults due up to and including `now_ns`; only what has begun ends."""
        out = []
        while self.timed and self.timed[0][0] <= now_ns:
            _, begins, fault = self.timed.pop(0)
            if not begins:
                if fault not in self._begun:
                    continue
                self._begun.remove(fault)
            elif fault.kind not in INSTANT:
                self._begun.append(fault)
            out.append((begins, fault))
        return out

    def begun(self, kind: FaultKind) -> list[Fault]:
        """Return the timed faults of `kind` that have begun and not ended."""
        return [f for f in self._begun if f.kind is kind]

    @property
    def cut(self) -> bool:
        """Return whether the line is down."""
        return any(f.kind in BREAKS for f in self._begun)

    def again(self, begins: bool, fault: Fault, at_ns: int) -> None:
        """Let a timed fault that could not act try at `at_ns`, unless its time is over by then; an end tries until it can."""
        if fault.kind not in INSTANT:
            if begins:
                self._begun.remove(fault)
            else:
                self._begun.append(fault)
        if not begins or at_ns < fault.until_ns:
            insort(self.timed, (at_ns, begins, fault), key=lambda row: row[:2])

    def on(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """Return the fault of `kind` that waits for something to hurt or is under way, None if there is none."""
        rows = self._left.get(kind)
        if rows is None:
            return None
        while rows:
            fault, left = rows[0]
            if now_ns < fault.at_ns:
                return None
            if now_ns < fault.until_ns and left > 0:
                return fault  # type: ignore[no-any-return]
            rows.pop(0)
        del self._left[kind]
        self.quote_ns = self._first_feed()
        return None

    def strike(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """Let a waiting fault of `kind` hurt the message at hand; return it, or None. Each call uses up one count."""
        fault = self.on(kind, now_ns)
        if fault is not None:
            if kind not in LASTING:
                self._left[kind][0][1] -= 1
            self.hit(kind)
        return fault

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


def _turns(f: Fault, now_ns: int) -> list[tuple[int, bool, Fault]]:
    """Return when a timed fault begins (True) and ends, what is over at `now_ns` left out; a flapping line does so again and again."""
    if f.kind in INSTANT:
        return [(f.at_ns, True, f)]
    down = up = f.until_ns - f.at_ns
    if f.kind is K.FLAP:
        down, up = (int(f.arg(name) * SECOND_NS) for name in ("down_s", "up_s"))
    starts = range(f.at_ns, f.until_ns, down + up)
    return [row for at in starts if at + down > now_ns for row in ((at, True, f), (min(at + down, f.until_ns), False, f))]


_KEYS = ("at", "venue", "fault", "count", "for", "args")


def decode_faults(lines: Iterable[str], start_ns: int, venues: Sequence[VenueId] = (), wire: bool = False) -> list[Fault]:
    """Return the faults of a JSON lines file; `at` counts from `start_ns`. Empty lines are skipped.

    venues: the known ones, none for any. wire: whether the venues sit behind a socket, without which WIRE kinds mean
    nothing. Raises ConfigError naming line and key.
    """
    found = [(f"faults line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    faults = [_decode(line, where, start_ns, venues) for where, line in found]
    for (where, _), fault in zip(found, faults, strict=True):
        if fault.kind in WIRE and not wire:
            raise ConfigError(f"{where}: fault: {fault.kind} needs a venue behind a socket: paper --venues wire, or wire --faults")
    return faults


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
        if not number or not in_range(name, value):
            raise ConfigError(f"{where}.{name}: {value!r} is out of range")
        out[name] = float(value)
    return out


def random_mix(rng: Random, start_ns: int, days: int, venues: Sequence[VenueId], offshore: Sequence[VenueId] | None = None) -> list[Fault]:
    """Draw a swarm of faults: every day its own subset of kinds and rates, some days quiet, some with one kind alone.

    venues: the lead's first. offshore: those of perpetuals, by default all but the first; what only they know is drawn
    for them. Uses rng.random() only. The last quarter of each day is left in peace, so that recovery can be demanded.
    """
    day_ns = 86_400 * SECOND_NS
    abroad = venues[1:] if offshore is None else offshore
    kinds = [k for k in IN_PROCESS if abroad or k not in OFFSHORE]
    out: list[Fault] = []
    for day in range(days):
        mood = rng.random()
        if mood < 0.1:
            continue
        if mood < 0.25:
            chosen = [kinds[int(rng.random() * len(kinds))]]
        else:
            density = 0.3 + 0.7 * rng.random()
            chosen = [k for k in kinds if rng.random() < density]
        for kind in chosen:
            for _ in range(1 + int(rng.random() * (1 if kind in TIMED - BREAKS else 3))):
                at = start_ns + day * day_ns + int(rng.random() * 0.75 * day_ns)
                out.append(_drawn(rng, kind, at, abroad if kind in OFFSHORE else venues))
    return sorted(out, key=lambda f: f.at_ns)


def _drawn(rng: Random, kind: FaultKind, at_ns: int, venues: Sequence[VenueId]) -> Fault:
    venue = venues[int(rng.random() * len(venues))]
    for_ns = 0
    if kind in LASTING:
        _, low, high = LENGTH_S[kind]
        for_ns = int((low + (high - low) * rng.random() ** 2) * SECOND_NS)
    args = {}
    for name in sorted({"bp", "sign", "coins"} & ARGS.get(kind, {}).keys()):  # what has a direction comes in both, a shock in every size
        size = 1.0 if name == "sign" else ARGS[kind][name] * (0.25 + 1.25 * rng.random())
        args[name] = size if rng.random() < 0.5 else -size
    return Fault(at_ns=at_ns, venue=venue, kind=kind, count=1 + int(rng.random() * 3), for_ns=for_ns, args=args)
