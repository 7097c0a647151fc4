"""What the rules judge: one opening, with the legs, silos and desk it would meet, as plain values.

The engine builds these at the gate and for the monitors, never on a quote.
"""

from __future__ import annotations

import msgspec

from bot.model.instrument import Instrument
from bot.model.intent import PairIntent


class LegState(msgspec.Struct, frozen=True, kw_only=True):
    """One leg at the decision. Quantities are signed contracts; ages follow from the stamps (UTC ns, 0 = never).

    pair_qty: held by this pair. net_qty: held at the venue. worst_qty: venue net if every live or UNKNOWN order in
    the direction of the opening fills. closes_ns: end of the current session, 0 if it does not end.
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
    net_qty: float
    worst_qty: float
    venue_up: bool
    session_open: bool
    closes_ns: int
    funding_rate: float = 0.0
    funding_interval_s: int = 0
    funding_stamp_ns: int = 0
    funding_cap: float = 0.0
    funding_ts: int = 0


class SiloState(msgspec.Struct, frozen=True, kw_only=True):
    """Money at one venue alone. equity: currency units incl. unrealised at mark. usd: USD per unit of currency.

    other_notional, other_maintenance: of positions there that are not on the opening's instrument.
    """

    venue: str
    currency: str
    equity: float
    usd: float
    other_notional: float = 0.0
    other_maintenance: float = 0.0


class StableState(msgspec.Struct, frozen=True, kw_only=True):
    """The stablecoin of the hedge leg in USD; (1.0, ts = now) when the hedge settles in USD."""

    usd: float
    ts: int


class DeskState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole desk at the decision. day_start_usd: NAV at the start of the trade date; peak_usd: highest NAV."""

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
    funding_accrued_usd: float = 0.0


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
    funding_accrued_usd: float
    unhedged_coins: float
    unhedged_since_ns: int
    unhedged_usd_s: float
