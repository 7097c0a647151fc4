"""Market data gone wrong on its way: what the desk is shown while a feed fault strikes. The exchange keeps the truth.

Only a collapse of depth is real: it is thin for everyone.
"""

from __future__ import annotations

import math

from bot.model.event import Quote
from bot.sim.faults import FaultKind, FaultPlan

K = FaultKind
ABSURD = (
    (math.nan, math.nan), (0.0, 0.0), (-1.0, 1.0), (math.inf, math.inf), (1e308, 1e308), (1e-9, 2e-9),
)  # fmt: skip
"""Prices no market ever meant (fault catalogue, row 8)."""


class Feed:
    """One venue's market data as its fault plan lets it through."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._frozen: dict[str, Quote] = {}

    def thinned(self, q: Quote, lot: float) -> Quote:
        """Return the quote with what is left of its depth while a collapse lasts: whole lots, at least one."""
        fault = self._plan.strike(K.THIN_BOOK, q.ts)
        if fault is None:
            return q
        share = fault.arg("share")
        bid, ask = (max(lot, math.floor(size * share / lot) * lot) for size in (q.bid_size, q.ask_size))
        return Quote(q.ts, q.instrument, q.bid, q.ask, bid, ask, q.venue_ts)

    def spoilt(self, q: Quote, now: int) -> Quote | None:
        """Return the quote as the desk gets it, None when it gets nothing."""
        plan = self._plan
        if plan.strike(K.SILENT, now):
            return None
        if plan.strike(K.STALE_QUOTES, now):  # frames flow, content and venue time stand still
            old = self._frozen.setdefault(q.instrument, q)
            return Quote(now, old.instrument, old.bid, old.ask, old.bid_size, old.ask_size, old.venue_ts)
        self._frozen.pop(q.instrument, None)
        if plan.strike(K.CROSSED_QUOTE, now):
            return Quote(now, q.instrument, q.ask + (q.ask - q.bid), q.bid, q.bid_size, q.ask_size, q.venue_ts)
        if plan.strike(K.BAD_QUOTE, now):
            bid, ask = ABSURD[plan.hits[K.BAD_QUOTE] % len(ABSURD)]
            return Quote(now, q.instrument, bid, ask, q.bid_size, q.ask_size, q.venue_ts)
        if plan.strike(K.ONE_SIDED, now):
            return Quote(now, q.instrument, q.bid, q.ask, q.bid_size, 0.0, q.venue_ts)
        return q
