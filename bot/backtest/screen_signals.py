"""One contract as every trial of a screen meets it, and what the strategy's window sees there while nothing is on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bot.backtest.feed import Arrival, Legs, Track, TrackSessions
from bot.backtest.play import MODE, PAIR
from bot.engine.obligations import PairTerms, fresh
from bot.engine.observations import Session, Window
from bot.engine.step import PRICE_MAX
from bot.model import event as ev
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.market import Book
from strategies.convergence import Convergence, weigh
from strategies.convergence_params import ConvergenceParams
from strategies.excess import Memory

Books = dict[InstrumentId, Book]


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """One contract as every trial meets it. events: its market in order of time; starts: where each signal begins in it.

    rates: the funding estimate known before each signal, None before the first.
    """

    track: Track
    legs: Legs
    terms: dict[InstrumentId, Instrument]
    sessions: dict[InstrumentId, Session]
    source: TrackSessions
    events: list[Any]
    starts: list[int]
    rates: list[ev.FundingRate | None]
    arrival: Arrival
    stable_of: dict[str, InstrumentId]


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What the strategy's memory held after one signal (strategies.excess.Memory), without what a trade changes."""

    sampled_ns: int
    warm: bool
    z: float
    mean_bp: float
    sigma_bp: float
    sd_bp: float
    coverage: float
    half_life_days: float
    excess_bp: float
    premium_bp: float
    carry: float | None
    implied: float
    funding_year: float
    differential: float


_SEEN = Seen.__struct_fields__


def show(books: Books, e: Any) -> None:
    """Let the desk see one observation, as the engine does."""
    book = books[e.instrument]
    if type(e) is ev.Quote:
        if not 0.0 < e.bid <= e.ask < PRICE_MAX:
            book.bid_size = book.ask_size = 0.0
            return
        book.ts, book.venue_ts, book.bid, book.ask = e.ts, e.venue_ts, e.bid, e.ask
        book.bid_size, book.ask_size, book.mid = e.bid_size, e.ask_size, 0.5 * (e.bid + e.ask)
    elif type(e) is ev.MarkPrice:
        book.mark, book.index, book.mark_ts = e.mark, e.index, e.ts
    else:
        book.funding_rate, book.funding_interval_s, book.funding_stamp_ns = e.rate, e.interval_s, e.stamp_ns
        book.funding_cap, book.funding_ts = e.cap, e.ts


def pair_of(one: Strip) -> PairTerms:
    """Return the pair that trades a contract."""
    return PairTerms(id=PAIR, strategy=Convergence.id, lead=one.legs.lead.id, hedge=one.legs.hedge.id, stable=one.legs.stable)


def look_at(one: Strip, p: ConvergenceParams) -> Iterator[Seen | None]:
    """Yield what the strategy sees at every signal while nothing is on; None where it could not compare."""
    looker = Looker(one)
    strategy = Convergence(one.legs.lead, one.legs.hedge, one.legs.stable)
    memory = strategy.start(p)
    for sample in range(len(one.starts)):
        quote = looker.turn(sample)
        strategy.on_event(memory, looker.window, quote)
        if memory.sampled_ns == quote.ts:
            yield Seen(*(getattr(memory, name) for name in Seen.__struct_fields__))
        else:
            yield None


class Looker:
    """A desk that holds nothing and can be shown any signal of a contract, in any order."""

    def __init__(self, one: Strip) -> None:
        self.one = one
        self.books: Books = {i: Book(i) for i in one.terms}
        state = fresh(1, MODE, (pair_of(one),), ()).pairs[PAIR]
        self.window = Window(state, one.terms, self.books, one.sessions, (0, 0))

    def turn(self, sample: int) -> ev.Quote:
        """Show what was known at a signal; return the quote that completed it."""
        one, hedge = self.one, self.one.legs.hedge.id
        rate, at = one.rates[sample], one.starts[sample]
        if rate is not None:
            show(self.books, rate)
        while True:
            e = one.events[at]
            show(self.books, e)
            if type(e) is ev.Quote and e.instrument == hedge:
                self.window.now = e.ts
                return e
            at += 1

    def worth(self, sample: int, direction: int, memory: Memory, seen: Seen) -> tuple[float, float] | None:
        """Return (edge, what it must be) of opening at a signal, bp of index, None where it cannot be told."""
        self.turn(sample)
        recall(memory, seen)
        memory.direction = direction
        return None if weigh(memory, self.window, direction) is None else (memory.edge_bp, memory.required_bp)


def recall(memory: Memory, seen: Seen) -> None:
    """Bring a memory to where it stood after a signal."""
    for name in _SEEN:
        setattr(memory, name, getattr(seen, name))
