"""A fast screen of the convergence strategy: the same bars, signals, gate and monitors as a backtest, without its machinery.

What a trial cannot change is worked out once: the market of every contract, and what the strategy's window saw at every
signal (per window, carry and funding parameter). A trial then only looks at the signals whose z asks for a trade, and
follows the market from there until the trade is over. Whether to open, how much, when to leave and when to stop is
decided by the very functions of the strategy, the gate and the monitors; fills, fees, funding and profit are the
screen's own, so that engine and screen check each other.

Left out, and why a row can differ from the full engine's:
- There are no orders and no venues: an opening is filled at the first open it meets, in what both books show there, and
  what is not filled then is given up. What is left of a close goes at the next open. The hedge of a close is always had.
- No margin calls by a venue: the desk's own buffers are watched, a liquidation is not played.
- A target is approved once; the engine asks the gate again for every clip of it.
- While nothing is on, no trade date is opened: the day's loss and the peak count from when a trade is first considered. While
  something is, the engine opens one when it is stirred and the screen at the first event: drawdowns of minutes differ a little.
Resting orders and inverse hedges are refused, and so are quotes of different instants.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np

from bot.backtest.feed import Arrival, Legs, Track, TrackSessions, closed_days, market
from bot.backtest.formats import MINUTE_NS
from bot.backtest.play import Purse, Study, funding_interval_s, legs_of, tracks, tuned
from bot.backtest.screen_fills import Followed
from bot.backtest.screen_signals import Looker, Seen, Strip, look_at
from bot.backtest.screen_walk import Walk
from bot.backtest.sweep_stats import Deal, Outcome, drawdown
from bot.config import Settings
from bot.engine.observations import Session
from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.errors import ConfigError
from strategies.convergence_params import ConvergenceParams
from strategies.excess import fresh as fresh_memory

T = TypeVar("T")
Array = np.ndarray[Any, Any]

SIGNAL_FIELDS = (
    "window_s", "bucket_s", "hold_s", "coverage_min", "sigma_floor_bp", "half_life_days", "horizon_cap_days", "carry_source", "carry_fixed",
    "carry_samples", "carry_sample_s", "index_age_s_max", "check_s", "funding_half_life_h", "funding_baseline_8h",
)  # fmt: skip
"""Parameters that change what the window sees; all others only change what is made of it."""
JUDGING = {
    "side": "both", "z_in": 1e9, "z_stop": 2e9, "z_watch": 1.0, "edge_always": False, "edge_min_bp": 0.0, "cooldown_s": 0.0, "entry_valid_s": 1.0,
}  # fmt: skip
"""Parameters that change neither a signal nor what a trade there is worth, only what is asked of it; and what they are set to for that."""
KEPT = 16
"""Sets of signals, and of their edges, that are kept: the axes of a grid that change them seldom have more values."""


class Signals(msgspec.Struct, frozen=True):
    """What the strategy's window saw at every signal of one contract: rows as `Seen`, None where nothing could be compared."""

    rows: list[Seen | None]
    z: Array
    differential: Array
    warm: Array


class Worth:
    """What is known so far of opening at every signal of one contract, long in row 0 and short in row 1: edge and hurdle, bp."""

    def __init__(self, signals: int) -> None:
        self.known = np.zeros((2, signals), dtype=bool)
        self.edge = np.full((2, signals), -np.inf)
        self.hurdle = np.zeros((2, signals))


class Screen:
    """Trials on one study at the costs of its settings. Raises ConfigError for settings that a screen cannot play."""

    def __init__(self, study: Study) -> None:
        self.study = study
        refuse(study.settings)
        interval_s = funding_interval_s(study.funding)
        closed = closed_days(study.contracts)
        self.strips = [strip(study, found, legs_of(study, found.contract, interval_s), closed) for found in tracks(study)]
        self._signals: OrderedDict[ConvergenceParams, list[Signals]] = OrderedDict()
        self._worth: OrderedDict[ConvergenceParams, list[Worth]] = OrderedDict()

    def trial(self, settings: Settings) -> Outcome:
        """Return what a trial of these settings makes; they may differ from the study's in the strategy's parameters alone."""
        return self.outcome(self.follow(settings))

    def follow(self, settings: Settings) -> Followed:
        """Return every trade of a trial, in order of time."""
        refuse(settings)
        purse: Purse = {venue: dict(cash) for venue, cash in settings.cash.items()}
        found, before = Followed(), None
        known = zip(self.strips, self.signals(settings.strategy), self.worth(settings.strategy), strict=True)
        for number, (one, signals, worth) in enumerate(known, start=1):
            p = settings.strategy
            wanted = candidates(p, signals)
            if wanted.any():
                p = self._tuned(p, one)
                wanted = worthwhile(one, p, signals, wanted, worth)
            if wanted.any():
                walk = Walk(one, settings, p, signals.rows, purse, before, number, found)
                walk.run(np.flatnonzero(wanted).tolist())
                purse, before = walk.left(), walk.ob
        found.end_usd = self._in_usd(purse, -1)
        found.start_usd = self._in_usd({venue: dict(cash) for venue, cash in settings.cash.items()}, 0)
        return found

    def outcome(self, found: Followed) -> Outcome:
        """Return a trial as a sweep keeps it. pnl_usd: with what the stablecoin did to the money that lay in it."""
        over = self.strips[-1].track.gone_ns
        deals = [Deal(t.decided_ns, over if t.exited_ns is None else t.exited_ns, t.pnl_usd, t.result_bp) for t in found.trades]
        made = math.fsum(d.usd for d in deals)
        return Outcome(
            deals=deals, open_at_end=sum(t.exited_ns is None for t in found.trades), pnl_usd=found.end_usd - found.start_usd,
            fees_usd=found.fees_usd, funding_usd=found.funding_usd, max_drawdown_usd=drawdown([0.0, *found.curve, made]),
            refusals=dict(sorted(found.refusals.items())), signals_over_hurdle=found.over_hurdle, violations=0, journal_sha256=None,
        )  # fmt: skip

    def signals(self, p: ConvergenceParams) -> list[Signals]:
        """Return the signals of every contract under the parameters that change them."""
        key = ConvergenceParams(**{name: getattr(p, name) for name in SIGNAL_FIELDS})
        return _kept(self._signals, key, lambda: [signals_of(one, self._tuned(key, one)) for one in self.strips])

    def worth(self, p: ConvergenceParams) -> list[Worth]:
        """Return what is known of every contract's openings under the parameters that change what they are worth."""
        key = msgspec.structs.replace(p, **JUDGING)
        return _kept(self._worth, key, lambda: [Worth(len(one.starts)) for one in self.strips])

    def _tuned(self, p: ConvergenceParams, one: Strip) -> ConvergenceParams:
        return tuned(p, one.track, one.legs.lead, self.study.settings.costs, self.study.known.perp.bar_ns * 1e-9)

    def _in_usd(self, purse: Purse, at: int) -> float:
        """Return the purse in USD at the stablecoin of the first or last signal."""
        stable = self.strips[at].track.samples[at].stable
        return sum(float(amount) * (1.0 if currency == "USD" else stable) for cash in purse.values() for currency, amount in cash.items())


def _kept(store: OrderedDict[ConvergenceParams, T], key: ConvergenceParams, make: Callable[[], T]) -> T:
    """Return what is stored under a key, made when it is not, and forget what was not asked for longest."""
    if key not in store:
        store[key] = make()
        if len(store) > KEPT:
            store.popitem(last=False)
    store.move_to_end(key)
    return store[key]


def refuse(settings: Settings) -> None:
    """Raise ConfigError for settings under which the screen would not be the backtest it stands for."""
    if settings.strategy.passive:
        raise ConfigError("strategy.passive: a screen has no resting orders; use --engine full")
    if settings.catalogue.named(settings.market.hedge).inverse:
        raise ConfigError(f"market.hedge {settings.market.hedge}: an inverse hedge is not screened; use --engine full")
    if settings.limits.hedge_age_s_max * 1e9 >= MINUTE_NS or settings.limits.lead_age_s_max * 1e9 >= MINUTE_NS:
        raise ConfigError("limits.lead_age_s_max and hedge_age_s_max: a screen compares closes of one instant alone; use --engine full")


def strip(study: Study, found: Track, legs: Legs, closed: list[tuple[int, int]]) -> Strip:
    """Return one contract's market with an index of its signals."""
    settings = study.settings
    stable = settings.catalogue.named(legs.stable) if legs.stable is not None else None
    terms = {i.id: i for i in (legs.lead, legs.hedge, stable) if i is not None}
    source = TrackSessions(DeskSessions(terms), legs.lead.id, found, closed)
    events = list(market(found, legs, study.known, study.funding, settings.costs))
    stamps = [e.ts for e in events]
    starts = [bisect_left(stamps, s.signal_ns) for s in found.samples]
    rates: list[ev.FundingRate | None] = []
    latest, at = None, 0
    for start in starts:
        for e in events[at:start]:
            latest = e if type(e) is ev.FundingRate else latest
        rates.append(latest)
        at = start
    return Strip(
        track=found, legs=legs, terms=terms, sessions={i: Session(i, source) for i in terms}, source=source, events=events, starts=starts,
        rates=rates, arrival=Arrival(found, settings.costs.delay_bars), stable_of={} if legs.stable is None else {legs.hedge.settle: legs.stable},
    )  # fmt: skip


def signals_of(one: Strip, p: ConvergenceParams) -> Signals:
    """Run the strategy's own look over every signal of a contract, with thresholds that no z reaches."""
    blind = msgspec.structs.replace(p, z_watch=1e9, z_in=1e9, z_stop=2e9, edge_always=False, mode="reversion")
    rows = list(look_at(one, blind))
    return Signals(
        rows, np.array([0.0 if r is None else r.z for r in rows]), np.array([0.0 if r is None else r.differential for r in rows]),
        np.array([r is not None and r.warm for r in rows], dtype=bool),
    )  # fmt: skip


def candidates(p: ConvergenceParams, signals: Signals) -> Array:
    """Return at which signals the strategy could think of opening: in the carry mode at every one with a warm window."""
    if p.mode == "carry":
        return signals.warm
    z = signals.z if p.side == "long_cme" else -signals.z if p.side == "short_cme" else np.abs(signals.z)
    found: Array = signals.warm & (z >= p.z_in)
    return found


def worthwhile(one: Strip, p: ConvergenceParams, signals: Signals, wanted: Array, worth: Worth) -> Array:
    """Return at which of the candidates opening would be worth what is asked; `worth` keeps what had to be worked out.

    Where one look puts off the next (the carry mode with looks apart) none may be skipped.
    """
    if p.mode == "carry" and not p.edge_always:
        return wanted
    lean = signals.z if p.mode == "reversion" else signals.differential
    short = np.full(lean.shape, p.side == "short_cme") if p.side != "both" else lean < 0.0
    row, column = short.astype(int), np.arange(lean.size)
    missing = np.flatnonzero(wanted & ~worth.known[row, column]).tolist()
    if missing:
        looker = Looker(one)
        memory = fresh_memory(msgspec.structs.replace(p, **JUDGING), one.legs.lead.id, one.legs.hedge.id, one.track.expiry_ns)
        for at in missing:
            seen, side = signals.rows[at], int(row[at])
            assert seen is not None, "a warm window has a look"
            found = looker.worth(at, -1 if side else 1, memory, seen)
            worth.known[side, at] = True
            if found is not None:
                worth.edge[side, at], worth.hurdle[side, at] = found
    enough: Array = wanted & (worth.edge[row, column] >= np.maximum(p.edge_min_bp, worth.hurdle[row, column]))
    return enough
