"""Replay: prove from the record alone that the desk did what its state and its inputs say.

Two proofs. The journal alone reproduces every order from its decision: fold up to the step, set the books it read, plan
again, compare. Journal and tape together reproduce every decision: the same inputs through a fresh engine must give the
same events and commands. Where the tape has a gap the second proof stops for that stretch of the run and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import groupby
from typing import Any, Protocol

import msgspec

from bot.engine import fold
from bot.engine.evacuate import plan
from bot.engine.obligations import Obligations
from bot.engine.observations import restore
from bot.engine.pair import Ask
from bot.engine.step import Engine, order_spec
from bot.journal import codec
from bot.journal.tape import Gap
from bot.model import event as ev
from bot.model.ids import PairId
from bot.model.order import OrderSpec

MakeEngine = Callable[[Obligations, int | None], Engine]
"""Build an engine on given obligations with empty books and strategies warm as of an instant (UTC ns), or cold (None)."""
Row = tuple[int, int, ev.Event]


class Mismatch(msgspec.Struct, frozen=True):
    """The first place where record and replay differ. proof: "orders" or "decisions"."""

    proof: str
    seq: int
    recorded: str
    replayed: str


class Replayed(msgspec.Struct, kw_only=True):
    """Outcome of both proofs. unverifiable: stretches of seq that the tape does not cover."""

    orders: int = 0
    commands: int = 0
    decisions: int = 0
    mismatches: int = 0
    first_mismatch: Mismatch | None = None
    commands_sha256: str = ""
    unverifiable: list[str] = []

    def differ(self, mismatch: Mismatch) -> None:
        """Count a difference and keep the first."""
        self.mismatches += 1
        self.first_mismatch = self.first_mismatch or mismatch


def orders_from_journal(rows: Iterable[Row], fresh: Obligations, make_engine: MakeEngine, found: Replayed) -> None:
    """First proof, on journal rows alone."""
    engine = make_engine(fresh, None)
    for seq, group in groupby(rows, key=lambda row: row[0]):
        planned: dict[PairId, list[Ask]] = {}
        for _, _, event in group:
            if isinstance(event, ev.BooksRead):
                for seen in event.books:
                    restore(engine.books[seen.instrument], seen)
            if isinstance(event, ev.OrderIntended):
                _compare_order(engine, seq, event.order, planned, found)
            fold.apply(engine.ob, engine.terms, event)


def _compare_order(engine: Engine, seq: int, recorded: OrderSpec, planned: dict[PairId, list[Ask]], found: Replayed) -> None:
    """Compare one journalled order with what the planner asks for in the same state.

    A pair plans both legs at once, before either order is folded, so its plan is kept for the step's second order.
    """
    found.orders += 1
    ob = engine.ob
    loop = next(x for x in engine.loops if x.state.terms.id == recorded.pair)
    if recorded.pair not in planned:
        loop.window.now = ob.now
        planned[recorded.pair] = [a for a in plan(ob, loop.state, loop.window, engine.x) if isinstance(a, Ask)]
    specs = [order_spec(ob, loop.window, ask) for ask in planned[recorded.pair]]
    if recorded not in specs:
        found.differ(Mismatch("orders", seq, _text(recorded), "; ".join(_text(s) for s in specs) or "no order"))


class Recording(Protocol):
    """A tape as it is read: `gaps` grows while iterating (bot.journal.tape.TapeReader)."""

    gaps: list[Gap]

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        """Yield (seq, observation) in order."""


def decisions_from_tape(
    rows: Iterable[Row], tape: Recording, fresh: Obligations, make_engine: MakeEngine, found: Replayed
) -> None:
    """Second proof: the same inputs through fresh engines, one per process that wrote this run.

    From a gap in the tape to the next start of the run nothing can be compared: a window may lack what was lost.
    """
    sha = hashlib.sha256()
    ob, engine, gaps = fresh, None, 0
    skipping = False
    for seq, trigger, decisions in _steps(rows, tape):
        if len(tape.gaps) > gaps:
            gaps, skipping = len(tape.gaps), True
        if isinstance(trigger, ev.RunStarted):
            engine, skipping = make_engine(ob, trigger.ts), False
        if engine is None:
            found.differ(Mismatch("decisions", seq, _text(trigger), "a run that has not started"))
            return
        if skipping:
            for event in (trigger, *decisions):
                fold.apply(engine.ob, engine.terms, event)
            continue
        out = engine.step(trigger)
        ob = engine.ob
        for command in out.commands:
            sha.update(codec.command_bytes(command))
        found.commands += len(out.commands)
        found.decisions += len(out.events)
        if tuple(decisions) != out.events:
            found.differ(_first_difference(seq, decisions, out.events))
            return
    found.unverifiable += [str(gap) for gap in tape.gaps]
    found.commands_sha256 = sha.hexdigest()


def _steps(rows: Iterable[Row], tape: Recording) -> Iterator[tuple[int, ev.Event, list[ev.Event]]]:
    """Yield (seq, trigger, decisions) of every step, in order; an observation that decided something is in both records."""
    journal = ((seq, 1 + n, event) for seq, n, event in rows)
    seen = ((seq, 0, event) for seq, event in tape)
    for seq, group in groupby(merge(seen, journal, key=lambda row: row[:2]), key=lambda row: row[0]):
        step = list(group)
        if step[0][1] == 0:
            step = step[:1] + step[2:]
        yield seq, step[0][2], [event for _, _, event in step[1:]]


def _first_difference(seq: int, recorded: list[ev.Event], replayed: tuple[ev.Event, ...]) -> Mismatch:
    for index in range(max(len(recorded), len(replayed))):
        a = recorded[index] if index < len(recorded) else None
        b = replayed[index] if index < len(replayed) else None
        if a != b:
            return Mismatch("decisions", seq, _text(a), _text(b))
    raise AssertionError("called without a difference")


def _text(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()[:400]
