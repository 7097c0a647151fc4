"""What a seed decides about a day, as data: when it starts, how the pair trades, which faults strike whom, and when the desk dies.

A plan can be written down as JSON, shortened and run again: the day is a function of it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bot import config
from bot.market.calendar import DeskSessions
from bot.market.expiry import contract_symbol, expiry_ns
from bot.model.errors import ConfigError
from bot.model.event import KillLevel
from bot.sim.faults import LASTING, Fault, FaultKind, random_mix
from bot.sim.scenarios import ORDINARY, scripted
from bot.simulate.deaths import (
    BETWEEN,
    EMERGENCY_POINTS,
    END_POINTS,
    FILE_POINTS,
    FILE_RUNNING,
    FIRST_POINTS,
    IMPORT_POINTS,
    LATCH_POINTS,
    RUNNING_POINTS,
    SELDOM,
    START_POINTS,
)  # fmt: skip

S = 1_000_000_000
HOUR = 3_600 * S
DAY_NS = 24 * HOUR
HEAL = 18 * HOUR
"""Into the day: from here on nothing new goes wrong."""
FAULTS_DAY = 20
"""Faults planned on an average day at least: a swarm that draws fewer is joined by another."""

ORDINARILY = "ordinary"
"""The scenario of most days: excursions drawn from the seed, nothing scripted."""
DRILLS = (KillLevel.PAUSE, KillLevel.FREEZE, KillLevel.CANCEL, KillLevel.EVACUATE, KillLevel.FLATTEN, KillLevel.FLATTEN)
SECOND_NS = 20 * S
"""A drill's second level follows the first after this time."""


class Kill(msgspec.Struct, frozen=True):
    """The operator sets `level` at one instant, perhaps a `second` one SECOND_NS later, and resumes at another. venue: to EVACUATE."""

    at_ns: int
    level: KillLevel
    resume_ns: int
    second: KillLevel | None = None
    venue: str = ""


class Commits(msgspec.Struct, frozen=True):
    """A stretch in which the journal confirms nothing. kind: "late" (rows land all the same), "lost", "dead" (emergency file too).

    on_fill: it begins with the first fill inside the stretch, when a hedge is due.
    """

    from_ns: int
    to_ns: int
    kind: str
    on_fill: bool = False


class Death(msgspec.Struct, frozen=True):
    """The process dies at the nth passage of a crash point from `at_ns` on; `again`: and its successor at this one while it starts."""

    at_ns: int
    point: str
    nth: int = 1
    again: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a seed decides. mirrored: the premium's excursions go down. files: journal, tape and venue logs are real files."""

    seed: int
    start_ns: int
    lead: str
    side: str = "both"
    mirrored: bool = False
    passive: bool = False
    inverse: bool = False
    feed: bool = False
    files: bool = False
    scenario: str = ORDINARILY
    faults: tuple[Fault, ...] = ()
    kills: tuple[Kill, ...] = ()
    commits: Commits | None = None
    deaths: tuple[Death, ...] = ()
    mood: str = "swarm"

    def __str__(self) -> str:
        """Return the day in one line, enough to see what a failure was about."""
        when = datetime.fromtimestamp(self.start_ns // S, UTC).strftime("%a %Y-%m-%dT%H:%MZ")
        what = [self.mood, self.scenario, self.side, *(w for w in ("mirrored", "passive", "inverse", "files") if getattr(self, w))]
        what += [f"{k.level}+{(k.at_ns - self.start_ns) / HOUR:.1f}h" for k in self.kills]
        what += [f"journal {self.commits.kind}"] if self.commits else []
        what += [f"dies {d.point}{' and ' + d.again if d.again else ''}" for d in self.deaths]
        return f"seed {self.seed}: {when} {self.lead} {' '.join(what)}; faults {dict(Counter(f.kind.value for f in self.faults))}"

    @property
    def venues(self) -> tuple[str, str]:
        """Return the venues of the lead and of the hedge."""
        return "cme", "perp-inverse" if self.inverse else "perp"

    @property
    def planned(self) -> int:
        """Return how many things are to go wrong: faults of venues, kills, a failing journal, deaths."""
        return len(self.faults) + len(self.kills) + (self.commits is not None) + len(self.deaths)


def write(plan: Plan, path: Path) -> None:
    """Write a plan where `simulate --plan` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read(path: Path) -> Plan:
    """Return the plan of a file. Raises ConfigError naming what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: not a plan: {error}") from None


@cache
def settings(inverse: bool = False, scenario: str = ORDINARILY) -> config.Settings:
    """Return the profile `simulate` as it is shipped, in the market of a shipped scenario; inverse: hedged with the coin-margined perp."""
    plain = scenario == ORDINARILY
    made = config.load("simulate", sets=() if plain else (f"market.scenario={scenario}",), environ={}).settings
    if plain:
        made = msgspec.structs.replace(made, scenario=ORDINARY)
    if not inverse:
        return made
    alike = {name: {**table, "perp-inverse": table["perp"]} for name, table in (("latency", made.latency), ("messages", made.messages))}
    return msgspec.structs.replace(
        made, market=msgspec.structs.replace(made.market, hedge="BTCUSD"), cash={**made.cash, "perp-inverse": {"BTC": Decimal(6)}}, **alike
    )


@cache
def _sessions() -> DeskSessions:
    return DeskSessions({"MBTZ26": settings().catalogue.named("MBTZ26")})


def plan_of(seed: int) -> Plan:
    """Draw one day. Every tenth seed is told what to be, so that no property of a day is left to luck."""
    rng = Random(seed)
    kind = seed % 10
    start = _start(rng, seed)
    sided = ("long_cme", "short_cme", "both", "both")[int(rng.random() * 4)]
    inverse = seed % 20 == 7
    plan = Plan(
        seed=seed, start_ns=start, lead=front(start), side=sided, mirrored=sided == "short_cme" or (sided == "both" and rng.random() < 0.5),
        passive=rng.random() < 0.3, inverse=inverse, feed=rng.random() < 0.25, files=seed % 8 == 6, scenario=ORDINARILY if inverse else _scenario(rng),
    )  # fmt: skip
    faults = () if kind == 2 else _swarm(rng, start, plan.venues) + scripted(settings(scenario=plan.scenario).scenario, start, *plan.venues)
    commits = _commits(rng, start) if kind in (4, 8) or seed % 16 == 6 else None
    if commits is not None and plan.files:
        commits = msgspec.structs.replace(commits, kind="lost")
    kills = _kills(rng, start, plan.venues) if kind in (2, 3, 8) else ()
    dies = kind in (0, 3, 5, 6, 9) or plan.files or commits is not None
    deaths = _deaths(rng, plan, commits, kills) if dies else ()
    passive = plan.passive or any(d.point.startswith("cancel.") for d in deaths)  # only what rests is cancelled
    return msgspec.structs.replace(
        plan, passive=passive, faults=faults, kills=kills, commits=commits, deaths=deaths, mood="swarm" if faults else "quiet"
    )


def faulty(seed: int, kind: FaultKind, for_ns: int = 0, **changes: Any) -> Plan:
    """Return the day of `seed` with one fault kind alone, several of it at both venues around every trade, lasting ones `for_ns`."""
    plan = plan_of(seed)
    start = plan.start_ns
    faults = tuple(Fault(at_ns=start + int(h * HOUR), venue=v, kind=kind, count=2, for_ns=for_ns) for h in (0.1, 2.0, 6.0) for v in ("cme", "perp"))
    fixed = {"faults": tuple(bounded(f, start) for f in faults), "mood": kind.value, "inverse": False, "kills": (), "commits": None, "deaths": (),
             "files": False, "scenario": ORDINARILY}  # fmt: skip
    return msgspec.structs.replace(plan, **{**fixed, **changes})


def front(start_ns: int) -> str:
    """Return the first contract month that stays clear of its expiry for six days."""
    at = datetime.fromtimestamp(start_ns // S, UTC)
    year, month = at.year, at.month
    while expiry_ns(year, month) < start_ns + 6 * DAY_NS:
        year, month = year + month // 12, month % 12 + 1
    return contract_symbol("MBT", year, month)


CLOCK_CHANGES = tuple(int(datetime(2026, month, day, hour, tzinfo=UTC).timestamp()) * S for month, day, hour in ((10, 25, 1), (11, 1, 7)))
"""Changes of the clocks in London and in Chicago while CME trades around the clock, UTC ns."""


def _start(rng: Random, seed: int) -> int:
    """Return an instant of 2026 from which CME trades for the first hours, so that a trade can begin.

    Some seeds start shortly before a weekend, some on the eve of a change of the clocks.
    """
    while True:
        day = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=int(rng.random() * 318))
        if seed % 10 in (1, 5):
            day += timedelta(days=4 - day.weekday())
        day += timedelta(minutes=int(rng.random() * 1_440))
        if seed % 50 == 13:
            start = CLOCK_CHANGES[seed // 50 % 2] - int(rng.random() * DAY_NS) // S * S
        else:
            start = int(day.timestamp()) * S
        if all(_sessions().is_open("MBTZ26", start + int(h * HOUR))[0] for h in (-2.0, 0.1, 1.3, 2.0, 2.7, 3.4)):
            return start


def _scenario(rng: Random) -> str:
    u = rng.random()
    return "widen" if u < 0.08 else "gap" if u < 0.16 else "story" if u < 0.22 else ORDINARILY


def _swarm(rng: Random, start: int, venues: Sequence[str]) -> tuple[Fault, ...]:
    """Draw the day's own mix; a swarm of few is joined by others, a quiet day and one with a single kind stay what they are."""
    found = random_mix(rng, start, 1, venues)
    while len({f.kind for f in found}) > 1 and len(found) < FAULTS_DAY * 1.3:
        found += random_mix(rng, start, 1, venues)
    return tuple(bounded(f, start) for f in sorted(found, key=lambda f: f.at_ns))


def bounded(f: Fault, start: int) -> Fault:
    """Return the fault with an end before healing: what found nothing to hurt by then never does, what still lasts is over."""
    at = min(f.at_ns, start + HEAL - 600 * S)
    return msgspec.structs.replace(f, at_ns=at, for_ns=min(f.until_ns - f.at_ns, start + HEAL - at) if f.kind in LASTING else start + HEAL - at)


def _kills(rng: Random, start: int, venues: Sequence[str]) -> tuple[Kill, ...]:
    out: list[Kill] = []
    at = start + int((1.6 + 2.0 * rng.random()) * HOUR)
    while at < start + HEAL - HOUR and len(out) < 4:
        second = DRILLS[int(rng.random() * len(DRILLS))] if rng.random() < 0.3 else None
        level, venue = DRILLS[int(rng.random() * len(DRILLS))], venues[int(rng.random() * len(venues))]
        out.append(Kill(at, level, at + int((2.0 + 20.0 * rng.random()) * 60 * S), second, venue))
        at = out[-1].resume_ns + int(5.0 * rng.random() * HOUR)
    return tuple(out)


def _commits(rng: Random, start: int) -> Commits:
    at = start + int((1.0 + 2.0 * rng.random()) * HOUR)
    kind = ("late", "lost", "dead")[int(rng.random() * 3)]
    on_fill = rng.random() < 0.7
    return Commits(at, at + int((5.0 + 600.0 * rng.random() ** 2 + 3_600.0 * on_fill) * S), kind, on_fill)


def _deaths(rng: Random, plan: Plan, commits: Commits | None, kills: tuple[Kill, ...]) -> tuple[Death, ...]:
    """Return the deaths of a day, a third of them with another during the recovery. Points go round by seed, so that each comes up.

    A desk whose rows were lost dies before its disk recovers: as long as it lives its journal keeps them and writes them later.
    """
    start, turn, out = plan.start_ns, plan.seed // 2, []
    if commits is not None and commits.kind != "late":
        again = IMPORT_POINTS[plan.seed // 16 % len(IMPORT_POINTS)] if plan.files else _again(rng, plan)
        out.append(Death(commits.to_ns, BETWEEN, again=again))
        if rng.random() < 0.5:
            out.append(Death(commits.from_ns, EMERGENCY_POINTS[turn % len(EMERGENCY_POINTS)], again=again))
    else:
        running = [p for p in RUNNING_POINTS if plan.files or p not in FILE_POINTS]
        for n in range(1 + plan.files + int(rng.random() * 3)):
            pool = FILE_RUNNING if plan.files and n % 2 else running
            point = BETWEEN if rng.random() < 0.2 else pool[(turn * 3 + n) % len(pool)]
            nth = 1 if point.startswith(SELDOM) else 1 + int(rng.random() * 4)
            out.append(Death(start + int((0.5 + 14.0 * rng.random() ** 2) * HOUR), point, nth, _again(rng, plan)))
    if kills:
        out.append(Death(kills[0].at_ns, LATCH_POINTS[turn % len(LATCH_POINTS)]))
        if len(kills) > 1 and rng.random() < 0.5:
            out.append(Death(kills[1].at_ns, BETWEEN))  # the kill is there before the next start
    if plan.files:
        turn = plan.seed // 8
        out.append(Death(start, FIRST_POINTS[turn % len(FIRST_POINTS)]))
        out.append(Death(start + DAY_NS, END_POINTS[turn % len(END_POINTS)]))
    return tuple(sorted(out, key=lambda d: d.at_ns))


def _again(rng: Random, plan: Plan) -> str:
    """Return where the start after a death dies as well, "" for most."""
    points = [p for p in START_POINTS if p not in IMPORT_POINTS and (plan.files or p not in FILE_POINTS)]
    return points[int(rng.random() * len(points))] if rng.random() < (0.6 if plan.files else 0.25) else ""
