"""Many seeded days, in several processes, and what they showed together."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

import msgspec

from bot.model.errors import ConfigError
from bot.sim.fault_kinds import IN_PROCESS
from bot.sim.faults import Fault, FaultKind, random_mix
from bot.simulate.plan import FAULTS_DAY, Plan, bounded, plan_of
from bot.simulate.proof import Outcome, run_plan
from bot.simulate.rows import in_order
from bot.simulate.shrink import invariant_of

ALL, NONE = "all", "none"
OWN = {"kill": "kills", "death": "deaths", "journal": "commits"}
"""What can go wrong beside the venues, by its word, and the field of a plan that says so."""
KEPT = 100
"""Violations a result keeps: the first ones."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """One violation: its day, the invariant and what was seen."""

    seed: int
    invariant: str
    text: str
    plan: Plan


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation showed. faults_injected: faults, kills, failing journals and deaths in the plans of the days run.

    faults_hit: how often something of each row of the catalogue really struck. violations: all of them, of which `broken` keeps the
    first. crash_points: processes ended at each. log_hash: SHA-256 over the days' journals in order of days. wall_s: all in.
    """

    days: int
    seed: int
    events: int
    faults_injected: int
    faults_hit: dict[str, int]
    violations: int
    log_hash: str
    days_per_minute: float
    wall_s: float
    workers: int
    deaths: int
    crash_points: dict[str, int]
    orders: int
    fills: int
    broken: tuple[Broken, ...] = ()


def plan_for(seed: int, faults: str = ALL) -> Plan:
    """Return the day of `seed` with all faults, none, or only those named, comma-separated. Raises ConfigError for an unknown one.

    Named kinds of venue faults are drawn as in any day, FAULTS_DAY of them at least.
    """
    plan = plan_of(seed)
    if faults == ALL:
        return plan
    words = [] if faults == NONE else faults.split(",")
    for word in words:
        if word not in OWN and word not in IN_PROCESS:
            raise ConfigError(f"faults: unknown {word!r}; known: {ALL}, {NONE}, {', '.join([*OWN, *IN_PROCESS])}")
    kept = {field: None if field == "commits" else () for word, field in OWN.items() if word not in words}
    kinds = [FaultKind(word) for word in words if word not in OWN]
    drawn = _drawn(plan, kinds)
    passive = plan.passive or FaultKind.CANCEL_RACE in kinds  # a cancel race needs orders that rest
    return msgspec.structs.replace(plan, faults=drawn, mood=faults, passive=passive, **kept)


def _drawn(plan: Plan, kinds: list[FaultKind]) -> tuple[Fault, ...]:
    """Draw days of random mixes and keep of each what is asked for."""
    rng = Random(plan.seed)
    out: list[Fault] = []
    while kinds and len(out) < FAULTS_DAY:
        out += [f for f in random_mix(rng, plan.start_ns, 1, plan.venues) if f.kind in kinds]
    return tuple(bounded(f, plan.start_ns) for f in sorted(out, key=lambda f: f.at_ns))


def survey(plans: Iterable[Plan], workers: int = 0, stopped: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """Run the days of `plans` and yield their outcomes in that order. workers: processes, 0 for as many as cores.

    stopped: asked now and then; days that have not begun are then left out.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        for plan in plans:
            if stopped():
                return
            yield run_plan(plan)
        return
    rest = iter(plans)
    waiting: deque[Future[Outcome]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_deaf) as pool:
        while True:
            while not stopped() and len(waiting) < 2 * workers and (following := next(rest, None)) is not None:
                waiting.append(pool.submit(run_plan, following))
            if stopped():
                for future in waiting:
                    future.cancel()
            if not waiting:
                return
            first = waiting.popleft()
            if not first.cancelled():
                yield first.result()


def _deaf() -> None:
    """Leave an interrupt from the terminal to the process that asked for the days."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(
    days: int, seed: int, faults: str = ALL, *, workers: int = 0, stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:  # fmt: skip
    """Run `days` days from `seed` on and return what they showed; progress: told the days done after each.

    Raises ConfigError for an unknown fault.
    """
    plan_for(seed, faults)
    return gather((plan_for(n, faults) for n in range(seed, seed + days)), seed, workers, stopped, progress)


def gather(
    plans: Iterable[Plan], seed: int, workers: int = 0, stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:  # fmt: skip
    """Run planned days and add them up."""
    began, totals, digest = time.monotonic(), Counter[str](), hashlib.sha256()
    rows, points, broken = Counter[str](), Counter[str](), []

    for o in survey(plans, workers, stopped):
        totals.update(days=1, events=o.events, planned=o.plan.planned, violations=len(o.violations), fills=o.fills, sends=o.counted["sends"],
                      deaths=o.counted.get("deaths", 0))  # fmt: skip
        rows.update(o.rows)
        points.update(o.points)
        digest.update(f"{o.plan.seed} {o.sha256}\n".encode())
        broken += [Broken(seed=o.plan.seed, invariant=invariant_of(v), text=v, plan=o.plan) for v in o.violations]
        progress(totals["days"])
    wall = time.monotonic() - began
    return Result(
        days=totals["days"], seed=seed, events=totals["events"], faults_injected=totals["planned"], faults_hit=in_order(rows),
        violations=totals["violations"], log_hash=digest.hexdigest(), days_per_minute=round(60.0 * totals["days"] / max(wall, 1e-9), 1),
        wall_s=round(wall, 2), workers=workers or os.cpu_count() or 1, deaths=totals["deaths"], crash_points=dict(sorted(points.items())),
        orders=totals["sends"], fills=totals["fills"], broken=tuple(broken[:KEPT]),
    )  # fmt: skip


def lines(r: Result) -> Iterator[str]:
    """Yield a result for people."""
    yield f"{r.days} days from seed {r.seed}: {r.events:,} events, {r.orders:,} orders, {r.fills:,} fills"
    yield f"{r.days_per_minute:,.0f} days a minute, {r.workers} processes"
    yield f"{r.faults_injected:,} faults injected ({r.faults_injected / max(1, r.days):.1f} a day), {r.deaths} deaths at {len(r.crash_points)} crash points"
    yield "rows hit: " + (", ".join(f"{row} {n}" for row, n in r.faults_hit.items()) or "none")
    yield f"violations: {r.violations or 'none'}"
    yield f"log {r.log_hash}"
