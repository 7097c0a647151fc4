"""What is known of a market now: one mutable book per instrument, owned by the engine, read by everyone else.

Observations are floats and may be lost; nothing here is an obligation.
"""

from __future__ import annotations

from bot.model.ids import InstrumentId

Levels = tuple[tuple[float, float], ...]
"""(price, contracts) from the touch outwards."""
DEPTH_NS = 5_000_000_000
"""Depth that is so much older than the touch counts no more: the touch is then all that is known of a book."""


class Book:
    """Latest top of book, optional depth, mark, index and funding of one instrument.

    `ts` is when we learned the quote and `venue_ts` when the venue says it happened, UTC ns; 0 = never.
    bids, asks: what was shown at `depth_ts`, first the touch of that moment.
    """

    __slots__ = (
        "ask", "ask_size", "asks", "bid", "bid_size", "bids", "depth_ts", "funding_cap", "funding_interval_s", "funding_rate",
        "funding_stamp_ns", "funding_ts", "index", "instrument", "mark", "mark_ts", "mid", "ts", "venue_ts",
    )  # fmt: skip

    def __init__(self, instrument: InstrumentId) -> None:
        self.instrument = instrument
        self.ts = 0
        self.venue_ts = 0
        self.bid = 0.0
        self.ask = 0.0
        self.bid_size = 0.0
        self.ask_size = 0.0
        self.mid = 0.0
        self.bids: Levels = ()
        self.asks: Levels = ()
        self.depth_ts = 0
        self.mark = 0.0
        self.index = 0.0
        self.mark_ts = 0
        self.funding_rate = 0.0
        self.funding_interval_s = 0
        self.funding_stamp_ns = 0
        self.funding_cap = 0.0
        self.funding_ts = 0

    @property
    def two_sided(self) -> bool:
        """Return whether both sides show a price and a size and do not cross."""
        return 0.0 < self.bid < self.ask and self.bid_size > 0.0 and self.ask_size > 0.0

    def levels(self, buy: bool) -> Levels:
        """Return what a buyer (asks) or seller (bids) would walk: the touch, and what is known to stand behind it."""
        touch = (self.ask, self.ask_size) if buy else (self.bid, self.bid_size)
        shown = self.asks if buy else self.bids
        if not shown or self.ts - self.depth_ts > DEPTH_NS:
            return (touch,)
        if buy:
            return (touch, *(level for level in shown if level[0] > touch[0]))
        return (touch, *(level for level in shown if level[0] < touch[0]))
