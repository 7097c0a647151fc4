"""Every limit of the desk, its unit in its name. There is no value that means off.

Defaults are those of the paper desk (configuration prints each with its source).
"""

from __future__ import annotations

import math

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits in bp, USD, seconds and shares of NAV as their names say; all finite and > 0."""

    # stops
    spread_stop_bp: float = 100.0
    sigma_stop: float = 4.0
    stop_samples: int = 3
    money_stop_usd: float = 15_000.0
    trailing_stop_usd: float = 15_000.0
    time_stop_s: float = 5 * 86_400.0
    daily_loss_share: float = 0.02
    drawdown_share: float = 0.05
    expiry_stop_s: float = 86_400.0
    # sizing
    risk_share: float = 0.01
    risk_share_ceiling: float = 0.02
    stop_slippage_bp: float = 1.4
    volatility_reference_bp: float = 25.0
    pair_lots_max: int = 50
    clip_lots_max: int = 10
    clip_depth_share: float = 0.25
    exit_depth_share: float = 0.25
    exit_refresh_s: float = 10.0
    exit_s: float = 600.0
    # margin buffers
    price_shock_share: float = 0.25
    widening_floor_bp: float = 50.0
    widening_excess_multiple: float = 2.0
    widening_historical_bp: float = 100.0
    funding_shock_rate: float = 0.003
    funding_shock_stamps: int = 2
    margin_buffer_share: float = 0.05
    margin_hike_multiple: float = 1.25
    margin_warn_share: float = 0.5
    stable_shock_share: float = 0.05
    # funding cost
    funding_rate_hour_max: float = 0.0005
    funding_budget_share: float = 0.5
    funding_budget_floor_usd: float = 250.0
    # counterparty
    broker_cap_share: float = 0.70
    perp_cap_share: float = 0.50
    stable_cap_share: float = 0.80
    default_loss_share: float = 0.75
    default_move_share: float = 0.10
    # hedge
    unhedged_coins_max: float = 0.05
    unhedged_s_max: float = 5.0
    unhedged_usd_s_max: float = 500_000.0
    # market health
    lead_age_s_max: float = 45.0
    hedge_age_s_max: float = 45.0
    stable_age_s_max: float = 600.0
    mark_age_s_max: float = 600.0
    funding_age_s_max: float = 3_600.0
    skew_s_max: float = 45.0
    premium_absurd_bp: float = 1_000.0
    closing_s_min: float = 600.0
    depeg_share_max: float = 0.02
    # flow
    orders_minute_max: int = 120
    openings_minute_max: int = 30
    collar_bp: float = 20.0
    order_notional_usd_max: float = 500_000.0
    position_coins_max: float = 1_000.0
    # conduct
    edge_decay_bp: float = 5.0
    edge_decay_pairs: int = 20


def check(limits: Limits) -> None:
    """Raise ValueError naming the first limit that is NaN, infinite, zero or negative, or a share above 1."""
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"limits.{name}: {value} must be finite and > 0 (no value switches a limit off)")
        if name.endswith("_share") and value > 1:
            raise ValueError(f"limits.{name}: {value} is a share and must be <= 1")
    if limits.risk_share > limits.risk_share_ceiling:
        raise ValueError("limits.risk_share: above limits.risk_share_ceiling")
