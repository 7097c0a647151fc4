"""Market data under faults: first what is true for everyone, then what of it the desk is shown.

A collapse of depth, a shock to prices, a locked limit, a mark away from the market and an announced funding rate are
real: the exchange trades, margins and pays by them. Everything else goes wrong on the way to the desk only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bot.model.event import FundingRate, MarkPrice, Quote
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, Kind
from bot.sim.faults import FaultKind, FaultPlan

K = FaultKind
ABSURD = (
    (math.nan, math.nan), (0.0, 0.0), (-1.0, 1.0), (math.inf, math.inf), (1e308, 1e308), (1e-9, 2e-9),
)  # fmt: skip
"""Prices no market ever meant (fault catalogue, row 8)."""


class Feed:
    """One venue's market data as its fault plan lets it happen (`real`) and lets it through (`shown`)."""

    def __init__(self, plan: FaultPlan, terms: Mapping[InstrumentId, Instrument]) -> None:
        self._plan = plan
        self._terms = terms
        self._frozen: dict[InstrumentId, Quote] = {}
        self._before: dict[InstrumentId, Quote] = {}
        self._locked: dict[InstrumentId, float] = {}

    # What is so for everyone.

    def real(self, event: Any, now: int) -> Any:
        """Return a market observation as the faults of the market make it."""
        kind = type(event)
        if kind is Quote:
            return self._thinned(self._locked_up(self._moved(event, now), now), now)
        if kind is MarkPrice:
            return self._marked(event, now)
        if kind is FundingRate:
            fault = self._plan.strike(K.FUNDING_SPIKE, now)
            if fault is not None:
                cap = event.cap or self._terms[event.instrument].funding_cap or 0.0
                return FundingRate(event.ts, event.instrument, math.copysign(cap, fault.arg("sign")), event.interval_s, event.stamp_ns, event.cap)
        return event

    def _shock(self, terms: Instrument, now: int) -> tuple[float, float]:
        """Return what a depeg and what a blow-out multiply an instrument's prices by.

        Coins keep their price in USD: one quoted in the stablecoin rises as the coin of reckoning falls.
        """
        stable = terms.kind is Kind.STABLE
        currency = market = 1.0
        if stable or (terms.kind is Kind.PERP and terms.settle != "USD" and not terms.inverse):
            fault = self._plan.strike(K.DEPEG, now)
            if fault is not None:
                par = 1.0 - fault.displacement(now)
                currency = par if stable else 1.0 / par
        if not stable:
            fault = self._plan.strike(K.BLOW_OUT, now)
            if fault is not None:
                market = 1.0 + fault.displacement(now)
        return currency, market

    def _moved(self, q: Quote, now: int) -> Quote:
        """Return the quote shifted as a whole, in ticks: its spread and sizes stay."""
        terms = self._terms[q.instrument]
        currency, market = self._shock(terms, now)
        if currency == market == 1.0:
            return q
        tick = float(terms.tick)
        shift = round(q.bid * (currency * market - 1.0) / tick) * tick
        digits = max(0, -int(terms.tick.normalize().as_tuple().exponent))
        bid, ask = (max(tick, round(price + shift, digits)) for price in (q.bid, q.ask))
        return Quote(q.ts, q.instrument, bid, ask, q.bid_size, q.ask_size, q.venue_ts)

    def _locked_up(self, q: Quote, now: int) -> Quote:
        """Return the quote while a price limit holds: everybody waits at the first price beyond which nothing may trade."""
        fault = self._plan.strike(K.PRICE_LIMIT, now)
        if fault is None:
            self._locked.pop(q.instrument, None)
            return q
        up = fault.arg("sign") > 0.0
        at = self._locked.setdefault(q.instrument, q.ask if up else q.bid)
        return Quote(q.ts, q.instrument, at, at, q.bid_size if up else 0.0, 0.0 if up else q.ask_size, q.venue_ts)

    def _thinned(self, q: Quote, now: int) -> Quote:
        """Return the quote with what is left of its depth while a collapse lasts: whole lots, at least one of what there was."""
        fault = self._plan.strike(K.THIN_BOOK, now)
        if fault is None:
            return q
        share, lot = fault.arg("share"), float(self._terms[q.instrument].lot)
        bid, ask = (min(size, max(lot, math.floor(size * share / lot) * lot)) for size in (q.bid_size, q.ask_size))
        return Quote(q.ts, q.instrument, q.bid, q.ask, bid, ask, q.venue_ts)

    def _marked(self, m: MarkPrice, now: int) -> MarkPrice:
        """Return mark and index: a depeg moves both, a blow-out the mark alone, a split the mark away from everything."""
        currency, market = self._shock(self._terms[m.instrument], now)
        split = self._plan.strike(K.MARK_SPLIT, now)
        if split is not None:
            market *= 1.0 + split.arg("bp") * 1e-4
        if currency == market == 1.0:
            return m
        return MarkPrice(m.ts, m.instrument, round(m.mark * currency * market, 2), round(m.index * currency, 2))

    # What the desk is shown.

    def shown(self, event: Any, now: int) -> tuple[Any, ...]:
        """Return what reaches the desk of an observation, in order; nothing when it gets nothing."""
        if type(event) is Quote:
            return self._quotes(event, now)
        if type(event) is FundingRate and self._plan.strike(K.FUNDING_MISSING, now):
            return ()
        return (event,)

    def _quotes(self, q: Quote, now: int) -> tuple[Quote, ...]:
        plan = self._plan
        if plan.on(K.HALT, now) or plan.strike(K.SILENT, now):
            return ()
        seen = self._spoilt(q, now)
        before, self._before[q.instrument] = self._before.get(q.instrument), seen
        if before is not None and before.venue_ts < seen.venue_ts and plan.strike(K.DUPLICATE_BOOK, now):
            return (seen, Quote(now, before.instrument, before.bid, before.ask, before.bid_size, before.ask_size, before.venue_ts))
        burst = plan.strike(K.BURST, now)
        return (seen,) if burst is None else (seen,) * int(burst.arg("copies"))

    def _spoilt(self, q: Quote, now: int) -> Quote:
        """Return the quote with stale, crossed, absurd or missing content."""
        plan = self._plan
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
