"""A run told again from its record: journal and tape folded side by side, so that a report needs no running desk.

Observations set the books, facts and decisions fold into obligations exactly as a recovery folds them; nothing is decided
anew. Money comes from the accounts (bot.journal.accounts) and causes from the tally (bot.tally), two implementations whose
difference is the residual. Where the tape has a gap the books stand still until the next decision shows what it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import groupby
from typing import Protocol

import msgspec

from bot.engine import fold
from bot.engine.assess import note_margin
from bot.engine.observations import restore
from bot.engine.step import Engine, Step
from bot.journal.tape import Gap
from bot.model import event as ev
from bot.model.market import Book

Row = tuple[int, int, ev.Event]


class Recording(Protocol):
    """A tape as it is read (bot.journal.tape.TapeReader)."""

    gaps: list[Gap]

    def __iter__(self) -> Iterator[tuple[int, ev.Observation]]:
        """Yield (seq, observation) in order."""


class Watcher(Protocol):
    """What listens to the story; the engine's books and obligations are as they stood after the step."""

    def stepped(self, event: ev.Event, out: Step) -> None: ...
    def marked(self, now_ns: int) -> None: ...


class Told(msgspec.Struct, kw_only=True):
    """How much was read. gaps: stretches of seq that the tape does not cover; from_ns, to_ns: first and last instant, UTC."""

    events: int = 0
    observations: int = 0
    from_ns: int = 0
    to_ns: int = 0
    gaps: list[str] = []


def tell(
    engine: Engine, rows: Iterable[Row], tape: Recording, watchers: Iterable[Watcher], *,
    estimated: Callable[[ev.FundingRate], None] | None = None, progress: Callable[[int], None] | None = None,
) -> Told:  # fmt: skip
    """Fold a whole record into `engine` (fresh obligations, empty books) while `watchers` look on.

    estimated: hears every funding estimate of the tape. progress: hears the number of steps so far now and then.

    Raises JournalError or DataError for a record that cannot be read.
    """
    told, listening = Told(), tuple(watchers)
    for count, (_, trigger, decisions, observed) in enumerate(_steps(rows, tape), 1):
        told.from_ns = told.from_ns or trigger.ts
        told.observations += observed
        if observed:
            see(engine, trigger)
            if estimated is not None and isinstance(trigger, ev.FundingRate):
                estimated(trigger)
        else:
            fold.apply(engine.ob, engine.terms, trigger)
        for event in decisions:
            if isinstance(event, ev.BooksRead):
                _as_read(engine, event)
            fold.apply(engine.ob, engine.terms, event)
        told.events += (not observed) + len(decisions)
        if decisions or not observed:
            step = Step(events=tuple(decisions))
            for watcher in listening:
                watcher.stepped(trigger, step)
        elif type(trigger) is ev.MarkPrice:
            for watcher in listening:
                watcher.marked(trigger.ts)
        if progress is not None and count % 4096 == 0:
            progress(count)
    told.to_ns = engine.ob.now
    told.gaps = [str(gap) for gap in tape.gaps if not gap.empty]
    return told


def see(engine: Engine, event: ev.Event) -> None:
    """Let one observation move the books as Engine.step does, without asking strategies or monitors."""
    if isinstance(event, ev.Quote):
        _quote(engine.books[event.instrument], event)
        engine.ob.now = max(engine.ob.now, event.ts)
    elif isinstance(event, ev.MarkPrice | ev.FundingRate | ev.BookDepth):
        engine.step(event)
    else:
        if isinstance(event, ev.VenueSnapshot):
            note_margin(engine.desk, event)
        engine.ob.now = max(engine.ob.now, event.ts)


def _quote(book: Book, q: ev.Quote) -> None:
    """As bot.engine.step.Engine.on_quote: a quote that cannot be is no price, and takes the sizes away."""
    if not 0.0 < q.bid <= q.ask < 1e12:
        book.bid_size = book.ask_size = 0.0
        return
    book.ts, book.venue_ts = q.ts, q.venue_ts
    book.bid, book.ask, book.bid_size, book.ask_size = q.bid, q.ask, q.bid_size, q.ask_size
    book.mid = 0.5 * (q.bid + q.ask)


def _as_read(engine: Engine, event: ev.BooksRead) -> None:
    """Bring books up to what a decision read, where the tape lost what came before."""
    for seen in event.books:
        book = engine.books[seen.instrument]
        if seen.ts > book.ts or seen.mark_ts > book.mark_ts:
            restore(book, seen)


def _steps(rows: Iterable[Row], tape: Recording) -> Iterator[tuple[int, ev.Event, list[ev.Event], bool]]:
    """Yield (seq, trigger, decisions, whether the trigger is an observation) in order.

    An observation that decided something is in both records; one that only the journal has was lost from the tape.
    """
    journal = ((seq, 1 + n, event) for seq, n, event in rows)
    seen = ((seq, 0, event) for seq, event in tape)
    for seq, group in groupby(merge(seen, journal, key=lambda row: row[:2]), key=lambda row: row[0]):
        step = list(group)
        if step[0][1] == 0:
            step = step[:1] + step[2:]
        yield seq, step[0][2], [event for _, _, event in step[1:]], type(step[0][2]) in ev.OBSERVATIONS
