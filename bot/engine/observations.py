"""What the desk sees: the half of its state that may be lost and is rebuilt from tape, history or the next quote."""

from __future__ import annotations

from decimal import Decimal

from bot.engine.obligations import PairState
from bot.model.event import NEVER, BookRead, Quote
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.intent import PairIntent
from bot.model.market import Book
from bot.model.ports import SessionSource


class Session:
    """Cached session state of one instrument; asks its source only when the cached answer expires."""

    __slots__ = ("instrument", "is_open", "since_ns", "source", "until_ns")

    def __init__(self, instrument: InstrumentId, source: SessionSource) -> None:
        self.instrument = instrument
        self.source = source
        self.is_open = False
        self.since_ns = 0
        self.until_ns = 0

    def open_at(self, now: int) -> bool:
        """Return whether the instrument trades at `now`."""
        if not self.since_ns <= now < self.until_ns:
            self.is_open, self.until_ns = self.source.is_open(self.instrument, now)
            self.since_ns = now
        return self.is_open

    def closes_ns(self, now: int) -> int:
        """Return when the present session ends, 0 if it does not."""
        if not self.open_at(now) or self.until_ns >= NEVER:
            return 0
        return self.until_ns


class AlwaysOpen:
    """Session source of a market that never closes."""

    def is_open(self, instrument: InstrumentId, now_ns: int) -> tuple[bool, int]:
        """Return open, for ever."""
        return True, NEVER

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return one endless date."""
        return "always", NEVER


class Window:
    """A strategy's window on its pair (model.view.View), also the engine's handle on the pair's books."""

    __slots__ = (
        "_age_max_ns", "_state", "hedge", "hedge_session", "hedge_terms", "hedge_unit", "lead", "lead_session",
        "lead_terms", "lead_unit", "now", "pair", "stable",
    )  # fmt: skip

    def __init__(
        self,
        state: PairState,
        terms: dict[InstrumentId, Instrument],
        books: dict[InstrumentId, Book],
        sessions: dict[InstrumentId, Session],
        age_max_ns: tuple[int, int],
    ) -> None:
        t = state.terms
        self._state = state
        self._age_max_ns = age_max_ns
        self.pair = t.id
        self.now = 0
        self.lead, self.hedge = books[t.lead], books[t.hedge]
        self.stable = books[t.stable] if t.stable is not None else None
        self.lead_terms, self.hedge_terms = terms[t.lead], terms[t.hedge]
        self.lead_unit, self.hedge_unit = float(self.lead_terms.unit), float(self.hedge_terms.unit)
        self.lead_session, self.hedge_session = sessions[t.lead], sessions[t.hedge]

    @property
    def target(self) -> Decimal:
        """Approved target of the lead, signed lots."""
        return self._state.target

    @property
    def lead_qty(self) -> Decimal:
        """Filled lead position, signed lots."""
        return self._state.lead.qty

    @property
    def intent(self) -> PairIntent | None:
        """The intent that opened the trade that is on, else the latest one."""
        return self._state.entry or self._state.intent

    @property
    def entered_ns(self) -> int:
        """When the trade that is on began, 0 when flat."""
        return self._state.entered_ns

    @property
    def armed(self) -> bool:
        """False from a stop until the strategy re-arms."""
        return self._state.armed

    @property
    def disarmed_ns(self) -> int:
        """When the last stop disarmed the pair."""
        return self._state.disarmed_ns

    @property
    def session_open(self) -> bool:
        """Whether both legs trade now."""
        return self.lead_session.open_at(self.now) and self.hedge_session.open_at(self.now)

    @property
    def fresh(self) -> bool:
        """Whether both books are two-sided and young by venue time."""
        lead_max, hedge_max = self._age_max_ns
        return (
            self.now - self.lead.venue_ts <= lead_max
            and self.now - self.hedge.venue_ts <= hedge_max
            and self.lead.two_sided
            and self.hedge.two_sided
        )

    @property
    def stable_usd(self) -> float:
        """USD per unit of the hedge's currency; 0.0 when it was never seen."""
        return 1.0 if self.stable is None else self.stable.mid

    @property
    def index_usd(self) -> float:
        """Venue index in USD; 0.0 when it was never seen."""
        return self.hedge.index * self.stable_usd


REPLAY_NS = 10_000_000_000
"""A book younger than this is better than any picture older than itself; an older book takes whatever comes, so that a
venue whose clock has stepped back is believed again."""


def outdated(book: Book, q: Quote) -> bool:
    """Return whether a quote that is not newer than the book says nothing new: an older picture, or the same once more."""
    if q.venue_ts < book.venue_ts:
        return 0 <= q.ts - book.venue_ts < REPLAY_NS
    return q.bid == book.bid and q.ask == book.ask and q.bid_size == book.bid_size and q.ask_size == book.ask_size


def read(book: Book) -> BookRead:
    """Return what a decision read of `book`, for the journal."""
    return BookRead(
        instrument=book.instrument,
        ts=book.ts,
        venue_ts=book.venue_ts,
        bid=book.bid,
        ask=book.ask,
        bid_size=book.bid_size,
        ask_size=book.ask_size,
        mark=book.mark,
        mark_ts=book.mark_ts,
        index=book.index,
        funding_rate=book.funding_rate,
        funding_interval_s=book.funding_interval_s,
        funding_stamp_ns=book.funding_stamp_ns,
        funding_cap=book.funding_cap,
        funding_ts=book.funding_ts,
        bids=book.bids,
        asks=book.asks,
        depth_ts=book.depth_ts,
    )


def restore(book: Book, seen: BookRead) -> None:
    """Set `book` to what a journalled decision read."""
    for name in BookRead.__struct_fields__:
        if name != "instrument":
            setattr(book, name, getattr(seen, name))
    book.mid = 0.5 * (book.bid + book.ask)
