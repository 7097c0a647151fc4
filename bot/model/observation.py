"""What is seen of the world: the half of the state that may be lost, and is rebuilt from tape, history or the next message.

Observations change no obligation. They go to the tape, and to the journal only as the trigger of a decision, with the books
it read. `ts` is the engine's time of the event, UTC ns; `venue_ts` is the venue's own.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.market import Levels

# Positional, hot, not tracked by the garbage collector.


class Quote(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Top of book as the desk sees it."""

    ts: int
    instrument: InstrumentId
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    venue_ts: int


class BookDepth(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a book shows from the touch outwards where the venue was asked for it: (price, contracts), none for not known."""

    ts: int
    instrument: InstrumentId
    bids: Levels
    asks: Levels


class MarkPrice(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Mark and venue index, in the instrument's quote currency."""

    ts: int
    instrument: InstrumentId
    mark: float
    index: float


class FundingRate(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The venue's estimate for the next stamp: fraction per interval, > 0 means longs pay."""

    ts: int
    instrument: InstrumentId
    rate: float
    interval_s: int
    stamp_ns: int
    cap: float


class Timer(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A due timer passed through step; one event however often it fell due."""

    ts: int


class Unseen(msgspec.Struct, frozen=True, gc=False):
    """A quote that moves the exchange's book and is not shown to the desk: what a later order will really meet.

    Never an event of the desk: only a market source yields it (backtests fill at the next bar's open).
    """

    ts: int
    quote: Quote


# Answers and what decisions keep.


class WorkingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An open order as a venue reports it in a snapshot."""

    client_id: ClientId
    venue_order_id: str
    filled: Decimal


class VenueSnapshot(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Answer to a full query of one venue: what is working and held there, cash, and maintenance margin asked (absent: not told)."""

    ts: int
    venue: VenueId
    positions: dict[InstrumentId, Decimal]
    working: tuple[WorkingOrder, ...]
    cash: dict[str, Decimal]
    maintenance: dict[str, float] = {}


class BookRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of one book a decision read. bids, asks: what was known of its depth at depth_ts."""

    instrument: InstrumentId
    ts: int
    venue_ts: int
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    mark: float
    mark_ts: int
    index: float
    funding_rate: float
    funding_interval_s: int
    funding_stamp_ns: int
    funding_cap: float
    funding_ts: int
    bids: Levels = ()
    asks: Levels = ()
    depth_ts: int = 0


Observation = Quote | BookDepth | MarkPrice | FundingRate | Timer | VenueSnapshot

OBSERVATIONS: frozenset[type] = frozenset({Quote, BookDepth, MarkPrice, FundingRate, Timer, VenueSnapshot})
"""Types that change no obligation: they go to the tape, and to the journal only as the trigger of a decision."""
