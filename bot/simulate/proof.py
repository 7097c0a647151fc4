"""A whole day: chaos, healing, settling, an orderly end, and the proofs that need quiescence (I1, I3, I7, I18, I22, I23, R1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import msgspec

from bot.backtest import replay
from bot.engine import flatten
from bot.engine.obligations import Obligations, encode
from bot.engine.step import Engine
from bot.journal.accounts import Accounts
from bot.model.errors import BotError
from bot.model.event import LEVEL_RANK, KillLevel
from bot.simulate.day import Day, Hopeless
from bot.simulate.plan import DAY_NS, HEAL, Kill, Plan, S, plan_of
from bot.simulate.rows import rows_hit
from bot.simulate.storage import ListTape, folded
from strategies.excess import Memory

SETTLE_NS = 900 * S
"""After the day: longest time in which what is in flight or unhedged at its end must settle."""
FLAT_NS = 120 * S
"""I18: time in which a flatten on a day without faults is confirmed while CME trades."""

BUGS = (ArithmeticError, AssertionError, AttributeError, BotError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a desk with a bug may stop with; a desk that stops by itself has broken every promise at once."""


class Outcome(msgspec.Struct):
    """What a day showed. hits: faults that struck, by kind; rows: the same and everything else, by row of the fault catalogue.

    points: crash points that ended a process. attempts, openings: approvals or refusals, and opening orders. events: numbered ones.
    """

    plan: Plan
    violations: list[str]
    attempts: int
    openings: int
    fills: int
    events: int
    sha256: str
    quotes: dict[str, int]
    hits: dict[str, int]
    rows: dict[str, int]
    points: dict[str, int]
    counted: dict[str, int]


def run_seed(seed: int) -> Outcome:
    """Run the day of one seed."""
    return run_plan(plan_of(seed))


def run_plan(plan: Plan) -> Outcome:
    """Run one planned day."""
    with closing(Day(plan)) as day:
        return go(day)


def go(day: Day) -> Outcome:
    """Run a day from its start to its proofs and return what it showed."""
    try:
        _live(day)
    except Hopeless:
        day.violations.append("hopeless")
    except BUGS as error:
        day.violations.append(f"stopped: {type(error).__name__}: {error}")
    day.harvest()
    hits = Counter[str]()
    for p in day.plans.values():
        hits.update({kind.value: n for kind, n in p.hits.items()})
    day.counted.update({"sends": day.outlet.sends, "emergency sends": day.outlet.emergency_sends, "failed commits": day.store.journal.failed})
    return Outcome(
        plan=day.plan, violations=day.violations, attempts=day.attempts, openings=day.openings, fills=day.engine.ob.fills, events=day.runtime.seq,
        sha256=day.digest or day.store.journal.sha256(), quotes=dict(day.quotes), hits=dict(hits), rows=rows_hit(day), points=dict(day.reaper.struck),
        counted=dict(day.counted),
    )  # fmt: skip


def _live(day: Day) -> None:
    plan = day.plan
    acts = [(at, 1, act) for at, act in day.acts()]
    acts += [(k.resume_ns, 0, lambda k=k: _resume(day, k)) for k in plan.kills]  # type: ignore[misc]
    for at, _, act in sorted(acts, key=lambda a: a[:2]):
        day.drive(at)
        act()
    day.drive(plan.start_ns + HEAL)
    day.heal()
    day.drive(plan.start_ns + DAY_NS)
    _settle(day)
    _prove(day)
    _end(day)


def _resume(day: Day, k: Kill) -> None:
    """I18: a flatten has ended confirmed flat, or says what is left; then the operator resumes."""
    level = day.engine.ob.kill_level
    if level is not KillLevel.NONE:
        left = flatten.residual(day.engine.ob, day.engine.contacts)
        held = {i: q for e in day.exchanges.values() for i, q in e.positions().items()}
        working = [c for e in day.exchanges.values() for x in e.listings.values() for c in x.resting]
        if LEVEL_RANK[level] >= LEVEL_RANK[KillLevel.CANCEL] and not left and working:
            day.violations.append(f"I18: {level} confirmed while {working} rest")
        if level is KillLevel.FLATTEN:
            day.counted["flattened"] += not left
            day.counted["residual"] += bool(left)
            if not left and held:
                day.violations.append(f"I18: confirmed flat while the venues hold {held}")
            quiet = day.plan.mood == "quiet" and not day.plan.deaths and k.level is KillLevel.FLATTEN
            if left and quiet and day.now >= k.at_ns + FLAT_NS and _open_since(day, k.at_ns):
                day.violations.append(f"I18: nothing is wrong and {left} is left after {(day.now - k.at_ns) / S:.0f} s")
    day.kill(KillLevel.NONE, "resumed")


def _open_since(day: Day, at_ns: int) -> bool:
    """Return whether CME has traded without a break from before `at_ns` to now."""
    sessions, at = day.built.sessions, at_ns - FLAT_NS
    while at < day.now:
        is_open, until = sessions.is_open(day.plan.lead, at)
        if not is_open:
            return False
        at = until
    return True


def _settle(day: Day) -> None:
    """I22, I23: without faults the desk gets ready, resolves what is unknown and hedges what is open, in bounded time."""
    until = day.now + SETTLE_NS
    while day.now < until and not (day.engine.ob.ready and day.observers.checks.settled()):
        day.drive(day.now + 10 * S)
    ob, broken = day.engine.ob, day.violations.append
    if not ob.ready:
        broken(f"I23: not ready after healing: {ob.cause}")
    if ob.live:
        broken(f"I22: unresolved after healing: {[(c, ob.orders[c].status.value) for c in ob.live]}")
    if not day.observers.checks.settled():
        broken(f"I23: delta open after healing: {day.observers.checks.legs}")
    stuck = [p.frozen or "unwinding" for p in ob.pairs.values() if p.frozen or p.unwind]
    if stuck or ob.halted:
        broken(f"I23: still {stuck or ob.halted} after healing")


def _prove(day: Day) -> None:
    """The books tie out to the last digit, and the journal alone is the engine's record."""
    books = Accounts(day.built.terms)
    for _, _, event in day.store.journal.read():
        books.fold(event)
    if day.observers.checks.settled():
        day.observers.checks.tie_out(day.exchanges, books)
    mine = folded(day.built, day.store)
    mine.now = day.engine.ob.now
    if encode(mine) != encode(day.engine.ob):
        day.violations.append("R1: the journal alone does not fold to the engine's record")


def _end(day: Day) -> None:
    """Stop in order; a desk that dies on the way starts again, settles and stops again."""
    for death in day.plan.deaths:
        if death.at_ns >= day.plan.start_ns + DAY_NS:
            day.arm(death)
    ended = day.counted["deaths"]
    day.through(lambda: _stop(day, again=day.counted["deaths"] > ended))


def _stop(day: Day, again: bool) -> None:
    if again:
        _settle(day)
        _prove(day)
    day.runtime.checkpoint()
    day.digest = day.store.journal.sha256()
    day.harvest()
    day.runtime.stop()
    day.store.stop(day.built.terms)


def replayed(day: Day, rows: Sequence[replay.Row] | None = None) -> replay.Replayed:
    """Prove a recorded day: every order from the journal alone, every decision from journal and tape. rows: another journal."""
    found = replay.Replayed()
    rows = list(day.store.journal.read()) if rows is None else rows

    def make_engine(ob: Obligations, at_ns: int | None) -> Engine:
        memory = day.built.warm() if at_ns is None else msgspec.json.decode(day.memories[at_ns], type=Memory)
        return day.built.engine(ob, memory)

    tape = day.store.tape
    assert isinstance(tape, ListTape)
    replay.orders_from_journal(rows, day.built.obligations(1, "S"), make_engine, found)
    replay.decisions_from_tape(rows, tape, day.built.obligations(1, "S"), make_engine, found)
    return found
