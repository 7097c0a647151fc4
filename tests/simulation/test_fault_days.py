"""Seeded days of the whole desk with everything that can go wrong drawn from the seed: every invariant after every event, recovery at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fault_days
from fault_days import HOUR, Outcome, S

from bot.market.calendar import DeskSessions
from bot.model.event import KillLevel
from bot.sim.faults import FaultKind

DAYS = 320
EPOCH_24_7 = int(datetime(2026, 5, 29, 21, tzinfo=UTC).timestamp()) * S
RESIDUAL_USD = 0.01


def in_two(work: Callable[..., Outcome], *args: Iterable[object]) -> Iterator[Outcome]:
    """Run days in two processes; the order of outcomes is that of the arguments."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, *args, chunksize=4)


def alone(seed: int, kind: FaultKind) -> Outcome:
    """Run a day with one fault kind alone; a cancel race needs orders that rest."""
    return fault_days.run_plan(fault_days.faulty(seed, kind, passive=kind is FaultKind.CANCEL_RACE))[0]


def wrong(o: Outcome) -> list[str]:
    """Return what is wrong with a day besides its violations."""
    found = list(o.violations[:3])
    if o.attempts < 1:
        found.append("nothing reached the gate")
    if not o.hits.get(FaultKind.MANUAL_TRADE):  # what a person trades belongs to no pair, so no line explains it
        found += [f"residual {r} USD" for r in o.residuals if abs(r) >= RESIDUAL_USD]
    minutes = open_minutes(o)
    for instrument, needed in ((o.plan.lead, 2 * minutes), ("BTCUSD" if o.plan.inverse else "BTCUSDT", 2 * 1_440)):
        if o.quotes[instrument] < needed:
            found.append(f"{o.quotes[instrument]} quotes of {instrument}, {needed:.0f} needed")
    return found


def open_minutes(o: Outcome) -> float:
    """Return the minutes of the day in which CME trades."""
    sessions = DeskSessions({o.plan.lead: fault_days.settings(False).catalogue.named(o.plan.lead)})
    at, end, total = o.plan.start_ns, o.plan.start_ns + fault_days.DAY_NS, 0
    while at < end:
        is_open, until = sessions.is_open(o.plan.lead, at)
        total += is_open * (min(until, end) - at)
        at = until
    return total / S / 60


@pytest.fixture(scope="module")
def days() -> list[Outcome]:
    """Every day of the ordinary run, each printed with its fault mix and what struck."""
    found = list(in_two(fault_days.run, range(DAYS)))
    for o in found:
        print(f"{o.plan}; {o.attempts} attempts, {o.openings} openings, {o.fills} fills, hits {o.hits}, {o.counted}")
    return found


def test_no_day_breaks_an_invariant(days: list[Outcome]) -> None:
    """Checks after every event, the send gate, journal, books and recovery: nothing on any day, and every day tried to trade."""
    bad = [f"{o.plan}: {w}" for o in days for w in wrong(o)]
    assert not bad, "\n".join(bad[:10])
    assert len(days) >= 300


def test_the_days_are_worth_passing(days: list[Outcome]) -> None:
    """Every fault kind struck, every way to intervene, fail and die occurred, on both weeks, both sides and both kinds of hedge."""
    hits, counted, kinds = Counter[str](), Counter[str](), Counter[str]()
    for o in days:
        hits.update(o.hits)
        counted.update(o.counted)
        p = o.plan
        kinds[p.side] += o.openings > 0
        kinds["five-day week" if p.start_ns < EPOCH_24_7 else "24/7 week"] += 1
        kinds["closed over a weekend"] += open_minutes(o) < 1_440 - 90
        kinds["passive"] += p.passive
        kinds["inverse traded"] += p.inverse and o.openings > 0
        kinds["mirrored traded"] += p.mirrored and o.openings > 0
        kinds["quiet"] += not p.faults
        kinds["one kind alone"] += len({f.kind for f in p.faults}) == 1
        for k in p.kills:
            kinds[k.level] += 1
        for d in p.deaths:
            kinds[f"dies {d.point}"] += 1
        if p.commits is not None:
            kinds[f"journal {p.commits.kind}"] += 1
    print(hits, counted, kinds, sep="\n")
    assert set(hits) == set(FaultKind), f"never struck: {set(FaultKind) - set(hits)}"
    assert min(hits.values()) >= 10 and sum(hits.values()) >= 20 * len(days) // 2, hits
    for kind in ("long_cme", "short_cme", "both", "five-day week", "24/7 week", "closed over a weekend", "passive", "inverse traded", "mirrored traded",
                 "quiet", "one kind alone", "dies before", "dies after", "dies sent", "dies between", "journal late", "journal lost", "journal dead",
                 KillLevel.PAUSE, KillLevel.FREEZE, KillLevel.CANCEL, KillLevel.FLATTEN):  # fmt: skip
        assert kinds[kind] >= 4, f"{kind}: only {kinds[kind]} days"
    assert counted["deaths"] >= 50 and counted["failed commits"] >= 50 and counted["flattened"] >= 40 and counted["emergency sends"] >= 1, counted


def test_each_fault_alone() -> None:
    """One fault kind alone, twice at each venue around every trade, is survived as well, and it strikes."""
    kinds = list(FaultKind)
    bad = []
    for kind, o in zip(kinds, in_two(alone, [1_000 + 20 * n for n in range(len(kinds))], kinds), strict=True):
        bad += [f"{o.plan}: {w}" for w in wrong(o)]
        if not o.hits.get(kind):
            bad.append(f"{o.plan}: {kind} never struck")
    assert not bad, "\n".join(bad[:10])


def test_the_harness_counts_what_it_should() -> None:
    """A day long enough to fail: chaos ends before the day does and no fault outlives it."""
    for seed in range(50):
        plan = fault_days.plan_of(seed)
        assert all(f.until_ns <= plan.start_ns + fault_days.HEAL + HOUR for f in plan.faults), f"seed {seed}"
        assert plan == fault_days.plan_of(seed), f"seed {seed}: not a function of its seed"
