"""Plays one contract's decision points to a desk: what it may see at each instant, and what its orders really meet.

At a signal instant T both closes are shown with the half-spreads of the configuration and the same venue time, so the
desk is fresh exactly when it may compare them. Orders meet `Unseen` books made of the opens of the next obtainable bars,
worse by half-spread and slippage and as deep as a share of those bars' volume; a fill at the close that made the signal
would be a price nobody could get. Between signals only facts of the venue pass by: marks and funding stamps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time, timedelta
from heapq import merge
from typing import Any

import msgspec

from bot.backtest.align import Known, Sample
from bot.backtest.contracts import Contracts, Segment
from bot.backtest.formats import HOUR_NS, SECOND_NS, Bar, FundingRow, SeriesKind
from bot.config import Costs
from bot.market.holidays import chicago_ns
from bot.model.event import FundingRate, MarkPrice, Quote, Unseen
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument
from bot.model.ports import SessionSource

OBTAINABLE_NS = 60 * SECOND_NS
"""How long after its bar opened the open stands for what can be had: the hedge, and tries after a fruitless one."""
INDEX_LIFE_NS = 2 * HOUR_NS
"""Spot closes come hourly; an older one is an unknown index, not an old one."""
LEAD_IN_NS = 9 * HOUR_NS
"""Played before the first signal, so that one funding print is known by then."""
EXIT_SAMPLES = {SeriesKind.CME_MINUTE: 16, SeriesKind.CME_DAILY: 4}
"""Signals kept for leaving before a contract's data end: two bars of delay, the exit itself and a spare; 4 h of 15 min."""
STABLE_TICK = 0.0001
DEEP = 1e9


class Legs(msgspec.Struct, frozen=True):
    """The instruments of one contract's pair; `stable` prices the hedge's currency, None when that is USD."""

    lead: Instrument
    hedge: Instrument
    stable: InstrumentId | None


class Track(msgspec.Struct, frozen=True):
    """One contract as it is played. UTC ns: from_ns first instant, exit_ns from when only leaving is wanted.

    gone_ns: from here on the data do not have the contract, so the desk is told that its session is closed.
    """

    contract: str
    expiry_ns: int
    samples: tuple[Sample, ...]
    from_ns: int
    exit_ns: int
    gone_ns: int


def track(segment: Segment, samples: tuple[Sample, ...], kind: SeriesKind) -> Track:
    """Return how a contract with these samples (at least one) is played."""
    last = max(s.ts_ns + OBTAINABLE_NS if s.obtainable else s.signal_ns + SECOND_NS for s in samples)
    keep = EXIT_SAMPLES[kind]
    return Track(
        contract=segment.contract,
        expiry_ns=segment.expiry_ns,
        samples=samples,
        from_ns=samples[0].signal_ns - LEAD_IN_NS,
        exit_ns=samples[max(0, len(samples) - keep)].signal_ns,
        gone_ns=last,
    )


class Arrival:
    """When an order sent at an instant meets the market: at the next obtainable open, `delay` opens later if so chosen.

    What is sent while an open still stands (a hedge of what just filled) is not delayed: the delay is of decisions.
    Beyond the last open an order arrives after the contract has gone and is refused there.
    """

    def __init__(self, track: Track, delay: int) -> None:
        self._opens = [s.ts_ns for s in track.samples if s.obtainable]
        self._delay = delay
        self._gone_ns = track.gone_ns

    def __call__(self, now_ns: int) -> int:
        """Return the instant of arrival, UTC ns, >= now."""
        opens = self._opens
        at = bisect_left(opens, now_ns)
        if at and opens[at - 1] + 1 < now_ns < opens[at - 1] + OBTAINABLE_NS:
            return now_ns
        at += self._delay
        return opens[at] + 2 if at < len(opens) else max(now_ns, self._gone_ns) + 1


class TrackSessions(SessionSource):
    """The exchange's calendar, with the contract closed outside its data and on days whose contract cannot be told."""

    def __init__(self, calendar: SessionSource, lead: InstrumentId, track: Track, closed: Sequence[tuple[int, int]]) -> None:
        """closed: (from, to) of dropped days, UTC ns, in order."""
        self._calendar = calendar
        self._lead = lead
        self._gone_ns = track.gone_ns
        self._starts = [a for a, _ in closed]
        self._closed = closed

    def is_open(self, instrument: InstrumentId, now_ns: int) -> tuple[bool, int]:
        """Return whether it trades at `now_ns` and until when that answer holds."""
        is_open, until = self._calendar.is_open(instrument, now_ns)
        if instrument != self._lead:
            return is_open, until
        if now_ns >= self._gone_ns:
            return False, max(until, now_ns + HOUR_NS)
        at = bisect_right(self._starts, now_ns) - 1
        if at >= 0 and now_ns < self._closed[at][1]:
            return False, min(self._closed[at][1], self._gone_ns)
        if at + 1 < len(self._starts):
            until = min(until, self._starts[at + 1])
        return is_open, min(until, self._gone_ns)

    def trade_date(self, now_ns: int) -> tuple[str, int]:
        """Return the exchange's trade date."""
        return self._calendar.trade_date(now_ns)


def closed_days(contracts: Contracts) -> list[tuple[int, int]]:
    """Return the Chicago days of a minute file that are not played, as instants; a daily file drops closes, not days."""
    if contracts.kind is SeriesKind.CME_DAILY:
        return []
    days: list[date] = sorted(contracts.dropped_days)
    return [(chicago_ns(day, time(0)), chicago_ns(day + timedelta(days=1), time(0))) for day in days]


def market(track: Track, legs: Legs, known: Known, funding: Sequence[FundingRow], costs: Costs) -> Iterator[Any]:
    """Yield the contract's market in order of exchange time: Observations for all, Unseen books for the exchange."""
    rows = [row for row in funding if track.from_ns <= row.ts_ns <= track.gone_ns]
    index = _Index(track.samples, known)
    return merge(
        _funding(rows, legs, known, index),
        _marks(track, legs, known, index),
        _samples(track, legs, known, costs),
        _end(track, legs),
        key=lambda event: event.ts,
    )


def index_at(known: Known, ts_ns: int, stand_in: float) -> float:
    """Return the latest known spot close in the hedge's currency, 0.0 (unknown) when it is old.

    stand_in: the perp's own price, used when no spot file is given at all.
    """
    if not known.has_spot:
        return stand_in
    bar = known.spot_at(ts_ns)
    return bar.close if bar is not None and ts_ns - bar.end_ns <= INDEX_LIFE_NS else 0.0


class _Index:
    """The index between signals: that of the last signal, so that it is of the same instant as the mids the desk holds.

    A newer one beside older mids would move profit between the lines of the attribution without any of it being real.
    """

    def __init__(self, samples: Sequence[Sample], known: Known) -> None:
        self._samples = samples
        self._signals = [s.signal_ns for s in samples]
        self._known = known

    def at(self, ts_ns: int, price: float) -> float:
        """Return it at an instant; price: of the perp then, for before the first signal."""
        at = bisect_right(self._signals, ts_ns) - 1
        if at < 0:
            return index_at(self._known, ts_ns, price)
        return index_at(self._known, self._signals[at], self._samples[at].mark)


def _funding(rows: Iterable[FundingRow], legs: Legs, known: Known, index: _Index) -> Iterator[Any]:
    """Announce each print, with its mark, just before its stamp; from the stamp on it is the estimate of the next one.

    The files hold what was paid, not what was estimated before: the desk never sees a print before its stamp has come.
    """
    hedge = legs.hedge
    interval_s, cap = hedge.funding_interval_s or 0, hedge.funding_cap or 0.0
    for row in rows:
        stamp = row.ts_ns
        yield FundingRate(stamp - 1, hedge.id, row.rate, interval_s, stamp, cap)
        price = known.mark_at(stamp)
        if price is not None:
            yield MarkPrice(stamp - 1, hedge.id, price, index.at(stamp - 1, price))
        yield FundingRate(stamp, hedge.id, row.rate, interval_s, stamp + interval_s * SECOND_NS, cap)


def _marks(track: Track, legs: Legs, known: Known, index: _Index) -> Iterator[Any]:
    """Yield the mark at the end of every perp bar that is no signal: margin is watched while CME is shut, too."""
    signals = {s.signal_ns for s in track.samples}
    for bar in known.perp_between(track.from_ns, track.gone_ns):
        if bar.end_ns not in signals:
            price = known.marks.get(bar.end_ns, bar.close)
            yield MarkPrice(bar.end_ns, legs.hedge.id, price, index.at(bar.end_ns, price))


def _samples(track: Track, legs: Legs, known: Known, costs: Costs) -> Iterator[Any]:
    """Yield what the desk sees at each signal and the books that its orders meet.

    CME comes first: an exit that waits for nothing (the exit window) then leaves from a CME close that is not a day old.
    """
    lead, hedge = legs.lead.id, legs.hedge.id
    tick = float(legs.lead.tick)
    half = costs.lead_half_spread_ticks * costs.spread_multiple * tick
    worse = half + costs.lead_slippage_ticks * costs.spread_multiple * tick
    half_share = costs.hedge_half_spread_bp * costs.spread_multiple * 1e-4
    for s in track.samples:
        t = s.signal_ns
        yield MarkPrice(t, hedge, s.mark, index_at(known, t, s.mark))
        if legs.stable is not None:
            yield Quote(t, legs.stable, s.stable - STABLE_TICK / 2, s.stable + STABLE_TICK / 2, DEEP, DEEP, s.stable_ns)
        yield _quote(t, lead, s.cme.close, half, costs.depth_share * s.cme.volume)
        yield _quote(t, hedge, s.perp.close, half_share * s.perp.close, _depth(legs.hedge, s.perp, costs))
        if s.cme_next is not None and s.perp_next is not None:
            at, price = s.ts_ns + 1, s.perp_next.open
            yield Unseen(at, _quote(at, hedge, price, half_share * price, _depth(legs.hedge, s.perp_next, costs)))
            yield Unseen(at, _quote(at, lead, s.cme_next.open, worse, costs.depth_share * s.cme_next.volume))


def _end(track: Track, legs: Legs) -> Iterator[Any]:
    """Empty both books when the contract has gone: nothing fills at a price that is no longer there."""
    last, at = track.samples[-1], track.gone_ns
    yield Unseen(at, _quote(at, legs.hedge.id, last.perp.close, 0.0, 0.0))
    yield Unseen(at, _quote(at, legs.lead.id, last.cme.close, 0.0, 0.0))


def _quote(ts_ns: int, instrument: InstrumentId, price: float, half: float, size: float) -> Quote:
    return Quote(ts_ns, instrument, price - half, price + half, size, size, ts_ns)


def _depth(hedge: Instrument, bar: Bar, costs: Costs) -> float:
    """Return the hedge contracts shown: offshore volume is in coins."""
    per_coin = bar.close if hedge.inverse else 1.0
    return costs.depth_share * bar.volume * per_coin / float(hedge.unit)
