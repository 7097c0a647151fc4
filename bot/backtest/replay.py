"""Replay: prove from the record alone that the desk did what its state and its inputs say.

Two proofs. The journal alone reproduces every order from its decision: fold up to the step, set the books it read, plan
again, compare. Journal and tape together reproduce every decision: the same inputs through a fresh engine must give the
same events and commands. Where inputs are lost the proofs stop for that stretch of the run and say so: a gap in the tape,
or steps of a process that had only the emergency file and died, whose intents are there and whose facts are not.
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
from bot.engine.pair import Ask, order_spec
from bot.engine.step import Engine
from bot.journal import codec
from bot.journal.tape import Gap
from bot.model import event as ev
from bot.model.ids import PairId
from bot.model.order import OrderSpec

MakeEngine = Callable[[Obligations, int | None], Engine]
"""Build an engine on given obligations with empty books and strategies warm as of an instant (UTC ns), or cold (None)."""
Row = tuple[int, int, ev.Event]


ALONE = (ev.BooksRead, ev.OrderIntended, ev.CancelIntended)
"""A step that begins with one of these has no trigger: it is what the emergency file kept of it."""


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
        step = [event for _, _, event in group]
        alone = isinstance(step[0], ALONE)
        for event in step:
            if isinstance(event, ev.BooksRead):
                for seen in event.books:
                    restore(engine.books[seen.instrument], seen)
            if isinstance(event, ev.OrderIntended) and not alone:
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

    From lost inputs to the first start of a process behind them nothing can be compared: a window may lack what was lost.
    """
    sha = hashlib.sha256()
    ob, engine = fresh, None
    lost = _Lost(rows, tape)
    for seq, trigger, decisions in _steps(lost.journal(), tape):
        skipping = lost.at(seq, trigger, found)
        if isinstance(trigger, ev.RunStarted):
            engine = make_engine(ob, trigger.ts)
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
            difference = _first_difference(seq, decisions, out.events)
            if not lost.beyond(difference, bool(decisions)):
                found.differ(difference)
                return
    lost.settle(found)
    found.unverifiable += lost.stretches()
    found.commands_sha256 = sha.hexdigest()


class _Lost:
    """Which inputs are not on record, known before the steps that would need them are compared.

    Journal and tape are each read one row ahead, so what is missing behind a row is found while that row is handed out.
    """

    def __init__(self, rows: Iterable[Row], tape: Recording) -> None:
        self._rows = rows
        self._tape = tape
        self._holes: list[Gap] = []
        self._seen = 0
        self._until: int | None = 0
        self._tail = False
        self._last = 0
        self._skipping = False
        self._pending: tuple[Mismatch, int] | None = None

    def journal(self) -> Iterator[Row]:
        """Yield the rows; note a step that came from the emergency file alone, and the last step of each process."""
        for seq, group in groupby(self._rows, key=lambda row: row[0]):
            step = list(group)
            if isinstance(step[0][2], ALONE):
                self._holes.append(Gap(self._last + 1, seq))
            self._tail = isinstance(step[0][2], ev.RunStarted)
            yield from step
            self._last = seq
        self._tail = True

    def at(self, seq: int, trigger: ev.Event, found: Replayed) -> bool:
        """Return whether the step cannot be compared. found: takes a difference that was no loss after all."""
        missing = len(self._tape.gaps) + len(self._holes)
        if missing > self._seen:
            ends = [gap.to_seq for gap in (*self._tape.gaps[-1:], *self._holes[-1:])]
            self._until = None if None in ends else max(end for end in ends if end is not None)
            self._seen, self._skipping = missing, True
        if isinstance(trigger, ev.RunStarted):
            self.settle(found)
            self._skipping = self._skipping and (self._until is None or seq <= self._until)  # one gap may hold whole processes
        return self._skipping

    def beyond(self, difference: Mismatch, recorded: bool) -> bool:
        """Return whether a difference may be a decision that never became durable: nothing of its process is recorded after it."""
        if recorded or not self._tail:
            return False
        self._pending, self._skipping = (difference, self._last), True
        return True

    def settle(self, found: Replayed) -> None:
        """At the end of a process: one that ended in order has lost nothing, so its difference is one."""
        if self._pending is None:
            return
        (difference, last), self._pending = self._pending, None
        behind = [gap for gap in self._tape.gaps if gap.from_seq > difference.seq]
        if behind:
            self._holes.append(Gap(last + 1, behind[0].from_seq - 1))
            self._seen += 1
        else:
            found.differ(difference)

    def stretches(self) -> list[str]:
        """Return what could not be compared, in order; a hole inside a gap of the tape is part of it."""
        gaps = [gap for gap in self._tape.gaps if not gap.empty]
        gaps += [hole for hole in self._holes if not any(_covers(gap, hole) for gap in gaps)]
        return [str(gap) for gap in sorted(gaps, key=lambda gap: gap.from_seq)]


def _covers(gap: Gap, hole: Gap) -> bool:
    return gap.from_seq <= hole.from_seq and (gap.to_seq is None or (hole.to_seq is not None and hole.to_seq <= gap.to_seq))


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
