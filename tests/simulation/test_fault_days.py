"""Seeded days of the whole desk with everything that can go wrong drawn from the seed: every invariant after every event, recovery at the end."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from bot.crash import POINTS
from bot.market.calendar import DeskSessions
from bot.model.event import KillLevel
from bot.sim.fault_kinds import IN_PROCESS
from bot.sim.faults import ROWS, FaultKind
from bot.simulate.plan import DAY_NS, FAULTS_DAY, HEAL, HOUR, Plan, S, faulty, plan_of, settings
from bot.simulate.proof import Outcome
from bot.simulate.run import survey

DAYS = 500
EPOCH_24_7 = int(datetime(2026, 5, 29, 21, tzinfo=UTC).timestamp()) * S
OWN_ROWS = ("F49", "F59", "F70", "F71", "F72", "F77", "F81", "F82", "F91")
"""Rows of the catalogue that no fault of a venue shows, but a day does."""
RARE = 3
"""Hits that even the rarest thing needs."""


def wrong(o: Outcome) -> list[str]:
    """Return what is wrong with a day besides its violations."""
    found = list(o.violations[:3])
    if o.attempts < 1:
        found.append("nothing reached the gate")
    minutes = open_minutes(o.plan)
    for instrument, needed in ((o.plan.lead, 2 * minutes), ("BTCUSD" if o.plan.inverse else "BTCUSDT", 2 * 1_440)):
        if o.quotes[instrument] < needed:
            found.append(f"{o.quotes[instrument]} quotes of {instrument}, {needed:.0f} needed")
    return found


def open_minutes(plan: Plan) -> float:
    """Return the minutes of the day in which CME trades."""
    sessions = DeskSessions({plan.lead: settings().catalogue.named(plan.lead)})
    at, end, total = plan.start_ns, plan.start_ns + DAY_NS, 0
    while at < end:
        is_open, until = sessions.is_open(plan.lead, at)
        total += is_open * (min(until, end) - at)
        at = until
    return total / S / 60


@pytest.fixture(scope="module")
def days() -> list[Outcome]:
    """Every day of the ordinary run, each printed with its fault mix and what struck."""
    found = list(survey(plan_of(seed) for seed in range(DAYS)))
    for o in found:
        print(f"{o.plan}; {o.attempts} attempts, {o.openings} openings, {o.fills} fills, hits {o.hits}, {o.points}, {o.counted}")
    return found


def test_no_day_breaks_an_invariant(days: list[Outcome]) -> None:
    """Checks after every event, the send gate, journal, books and recovery: nothing on any day, and every day tried to trade."""
    bad = [f"{o.plan}: {w}" for o in days for w in wrong(o)]
    assert not bad, "\n".join(bad[:10])
    assert len(days) >= 500


def sorts(o: Outcome) -> list[str]:
    """Return every word that says what sort of day this was."""
    p = o.plan
    found = [p.side] if o.openings else []
    found.append("five-day week" if p.start_ns < EPOCH_24_7 else "24/7 week")
    found += ["closed over a weekend"] * (open_minutes(p) < 1_440 - 90)
    found += [p.scenario, *(name for name in ("passive", "files") if getattr(p, name))]
    found += [f"{name} traded" for name in ("inverse", "mirrored") if getattr(p, name) and o.openings]
    found += ["quiet"] * (not p.faults) + ["one kind alone"] * (len({f.kind for f in p.faults}) == 1)
    found += [k.level for k in p.kills] + ["dies again at the start" for d in p.deaths if d.again]
    return found + ([f"journal {p.commits.kind}"] if p.commits is not None else [])


def test_the_days_are_worth_passing(days: list[Outcome]) -> None:
    """Every fault kind struck, every way to intervene, fail and die occurred, on both weeks, both sides and both kinds of hedge."""
    hits, counted, kinds, rows = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for o in days:
        hits.update(o.hits)
        counted.update(o.counted)
        rows.update(o.rows)
        kinds.update(sorts(o))
    print(hits, counted, kinds, rows, sep="\n")
    assert set(hits) == set(IN_PROCESS), f"never struck: {set(IN_PROCESS) - set(hits)}"
    assert min(hits.values()) >= 10 and sum(hits.values()) >= 20 * len(days), hits
    for kind in ("long_cme", "short_cme", "both", "five-day week", "24/7 week", "closed over a weekend", "passive", "inverse traded", "mirrored traded",
                 "quiet", "one kind alone", "dies again at the start", "files", "journal late", "journal lost", "journal dead", "story", "widen", "gap",
                 KillLevel.PAUSE, KillLevel.FREEZE, KillLevel.CANCEL, KillLevel.FLATTEN):  # fmt: skip
        assert kinds[kind] >= 4, f"{kind}: only {kinds[kind]} days"
    assert sum(o.plan.planned for o in days) >= FAULTS_DAY * len(days)
    assert counted["deaths"] >= 300 and counted["failed commits"] >= 50 and counted["flattened"] >= 40 and counted["emergency sends"] >= 1, counted
    for row in {*OWN_ROWS, *(row for kind in IN_PROCESS for row in ROWS[kind])}:
        assert rows[row] >= RARE, f"{row}: only {rows[row]} hits"


def test_processes_died_at_every_crash_point(days: list[Outcome]) -> None:
    """No named point is there for nothing."""
    struck = Counter[str]()
    for o in days:
        struck.update(o.points)
    print(struck)
    assert set(POINTS) <= set(struck), f"nobody died at {sorted(set(POINTS) - set(struck))}"


def test_each_fault_alone() -> None:
    """One fault kind alone, twice at each venue around every trade, is survived as well, and it strikes."""
    plans = [faulty(1_000 + 20 * n, kind, passive=kind is FaultKind.CANCEL_RACE) for n, kind in enumerate(IN_PROCESS)]  # a race needs orders that rest
    bad = []
    for kind, o in zip(IN_PROCESS, survey(plans), strict=True):
        bad += [f"{o.plan}: {w}" for w in wrong(o)]
        if not o.hits.get(kind):
            bad.append(f"{o.plan}: {kind} never struck")
    assert not bad, "\n".join(bad[:10])


def test_the_harness_counts_what_it_should() -> None:
    """A day long enough to fail: chaos ends before the day does and no fault outlives it."""
    for seed in range(50):
        plan = plan_of(seed)
        assert all(f.until_ns <= plan.start_ns + HEAL + HOUR for f in plan.faults), f"seed {seed}"
        assert plan == plan_of(seed), f"seed {seed}: not a function of its seed"
