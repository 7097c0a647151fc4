"""What the rules judge: one opening, with the legs, silos and desk it would meet, as plain values.

The engine builds these at the gate and for the monitors, never on a quote.
"""

from __future__ import annotations

import msgspec

from bot.model.instrument import Instrument
from bot.model.intent import PairIntent


class LegState(msgspec.Struct, frozen=True, kw_only=True):
    """One leg at the decision. Quantities are signed contracts; ages follow from the stamps (UTC ns, 0 = never).

    pair_qty: held by this pair, pair_coins: its delta in coins (an inverse contract's at its entry: mark moves it by
    as much as the coins that back it, worked case G5). net_qty: held at the venue. worst_qty: venue net if every live or UNKNOWN order in
    the direction of the opening fills; own_pending (>= 0) is this pair's part of those. mark: what positions are marked
    at, the venue's mark or else the mid; mark_ts: 0 when the venue never gave one. index: quote currency, 0 = never.
    closes_ns: end of the current session, 0 if it does not end.
    """

    terms: Instrument
    bid: float
    ask: float
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    ts: int
    venue_ts: int
    mark: float
    mark_ts: int
    pair_qty: float
    pair_coins: float
    net_qty: float
    worst_qty: float
    venue_up: bool
    session_open: bool
    closes_ns: int
    own_pending: float = 0.0
    index: float = 0.0
    funding_rate: float = 0.0
    funding_interval_s: int = 0
    funding_stamp_ns: int = 0
    funding_cap: float = 0.0
    funding_ts: int = 0


class SiloState(msgspec.Struct, frozen=True, kw_only=True):
    """Money at one venue alone. equity: currency units incl. unrealised at mark. usd: USD per unit of currency.

    margin_multiple: what the venue asks for over the listed rates (>= 1).
    other_*: of positions there that are not on the opening's instrument, in the quote currency of the leg, at that multiple.
    """

    venue: str
    currency: str
    equity: float
    usd: float
    margin_multiple: float = 1.0
    other_notional: float = 0.0
    other_initial: float = 0.0
    other_maintenance: float = 0.0


class StableState(msgspec.Struct, frozen=True, kw_only=True):
    """The stablecoin of the hedge leg in USD; (1.0, ts = now) when the hedge settles in USD."""

    usd: float
    ts: int


class DeskState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole desk at the decision. nav_usd: NaN while something held has no price. day_start_usd: NAV at the start of the
    trade date, 0 = unknown; peak_usd: highest NAV.

    stable_exposure_usd: notional plus equity in the hedge's stablecoin, gross: a long's is overstated, never understated.
    aggregate_coins: signed coins of the lead's base in all futures at its venue, others' live orders at their worst.
    """

    now: int
    nav_usd: float
    day_start_usd: float
    peak_usd: float
    ready: bool
    halted: bool
    pair_frozen: bool
    orders_last_minute: int
    openings_last_minute: int
    edge_shortfall_bp: float
    edge_pairs: int
    stable_exposure_usd: float
    aggregate_coins: float


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to move a pair's lead to `lots` (absolute, more than held) in `direction` (+1 long lead, -1 short).

    entry_*: of the trade that is already open, equal to the present ones when none is.
    """

    pair: str
    direction: int
    lots: int
    held_lots: int
    intent: PairIntent
    lead: LegState
    hedge: LegState
    stable: StableState
    index_usd: float
    lead_silo: SiloState
    hedge_silo: SiloState
    desk: DeskState
    funding_spent_usd: float = 0.0


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """An open pair as the slow monitors see it (after each non-quote event and on the timer)."""

    pair: str
    now: int
    direction: int
    entered_ns: int
    expiry_ns: int
    lead: LegState
    hedge: LegState
    stable: StableState
    index_usd: float
    lead_silo: SiloState
    hedge_silo: SiloState
    desk: DeskState
    pnl_usd: float
    best_pnl_usd: float
    entry_premium_usd: float
    entry_excess_bp: float
    intent: PairIntent
    funding_spent_usd: float
    unhedged_coins: float
    unhedged_since_ns: int
    unhedged_usd_s: float


def value_of(leg: LegState, contracts: float) -> float:
    """Return the value of `contracts` at the mark in quote currency, with their sign."""
    unit = float(leg.terms.unit)
    return contracts * unit if leg.terms.inverse else contracts * unit * leg.mark


def coins_of(leg: LegState, contracts: float) -> float:
    """Return `contracts` as coins at the mark, with their sign."""
    unit = float(leg.terms.unit)
    return contracts * unit / leg.mark if leg.terms.inverse else contracts * unit


def target_contracts(x: Opening, leg: LegState) -> float:
    """Return the contracts (>= 0) this pair would hold on `leg` once the opening is filled and hedged."""
    if leg is x.lead:
        return float(x.lots)
    coins = x.lots * float(x.lead.terms.unit) * float(x.intent.hedge_ratio)
    unit = float(leg.terms.unit)
    return coins * leg.mark / unit if leg.terms.inverse else coins / unit


def net_after(x: Opening, leg: LegState) -> float:
    """Return the signed venue net on `leg` after the opening, with every live or UNKNOWN order filled at its worst.

    This pair's own orders are part of its target, unless they would overshoot it.
    """
    direction = x.direction if leg is x.lead else -x.direction
    own = max(target_contracts(x, leg), abs(leg.pair_qty) + leg.own_pending)
    return leg.worst_qty - leg.pair_qty - direction * leg.own_pending + direction * own


def equity_in_quote(silo: SiloState, leg: LegState) -> float:
    """Return a silo's equity in the quote currency of `leg`: a coin-margined silo is valued at its price."""
    return silo.equity * silo.usd if leg.terms.inverse else silo.equity
