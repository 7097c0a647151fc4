"""Sizing: integer lots by risk, depth, what can be exited in time, and the pair's cap (worked case G7)."""

from __future__ import annotations

from risk.limits import Limits
from risk.request import LegState, Opening
from risk.verdict import Refusal, Rule


def lots_for_risk(
    equity_usd: float, risk_share: float, stop_usd: float, slippage_usd: float, unit: float
) -> int:
    """Return the whole lots whose loss at the stop, slippage included, is at most `risk_share` of equity.

    stop_usd and slippage_usd: per coin. unit: coins per lot.

    >>> lots_for_risk(500_000, 0.01, 700, 10, 0.1)
    70
    """
    return max(0, int(equity_usd * risk_share / (stop_usd + slippage_usd) / unit))


def by_risk(x: Opening, limits: Limits) -> int:
    """Return the lots that 1 % of NAV allows at the spread stop."""
    stop = limits.spread_stop_bp * 1e-4 * x.index_usd
    slip = limits.stop_slippage_bp * 1e-4 * x.index_usd
    return lots_for_risk(x.desk.nav_usd, limits.risk_share, stop, slip, float(x.lead.terms.unit))


def by_cap(x: Opening, limits: Limits) -> int:
    """Return the pair's cap in lead lots."""
    return limits.pair_lots_max


def by_volatility(x: Opening, limits: Limits) -> int:
    """Return the pair's cap scaled down by how far the excess's frozen sigma is above volatility_reference_bp.

    The reference is the sigma at which spread_stop_bp and sigma_stop sigmas are the same distance: beyond it the spread
    stop lies inside ordinary noise and would be paid more often, so less is put at risk each time.
    """
    sigma = x.intent.sigma_bp
    if not sigma > limits.volatility_reference_bp:
        return limits.pair_lots_max
    return int(limits.pair_lots_max * limits.volatility_reference_bp / sigma)


def by_stable(x: Opening, limits: Limits) -> int:
    """Return the lots whose hedge, with the equity there, stays within the stablecoin's share of NAV.

    What other pairs hold or have sent is judged afterwards by counterparty.stable_cap, at the size this leaves.
    """
    terms, ratio = x.hedge.terms, float(x.intent.hedge_ratio)
    if terms.settle == "USD" or terms.inverse or ratio == 0.0:
        return limits.pair_lots_max
    room_usd = limits.stable_cap_share * x.desk.nav_usd - x.desk.stable_exposure_usd
    coins = abs(x.hedge.pair_qty) * float(terms.unit) + room_usd / (x.hedge.bid * x.stable.usd)
    return max(0, int(coins / ratio / float(x.lead.terms.unit)))


def depth(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse unless both books show at least one lead lot on the side the opening takes (observed, limit: coins)."""
    one = float(x.lead.terms.unit)
    shown = min(_depth_coins(x.lead, x.direction > 0), _depth_coins(x.hedge, x.direction < 0))
    return None if shown >= one else Refusal(Rule.DEPTH, shown, one)


def by_exit(x: Opening, limits: Limits) -> int:
    """Return the lots that a share of the touch, refreshed every exit_refresh_s, lets out within exit_s."""
    refreshes = limits.exit_s / limits.exit_refresh_s
    lead = _depth_coins(x.lead, x.direction < 0)
    hedge = _depth_coins(x.hedge, x.direction > 0)
    coins = min(lead, hedge) * limits.exit_depth_share * refreshes
    return int(min(coins / float(x.lead.terms.unit), 1e9))


def _depth_coins(leg: LegState, asks: bool) -> float:
    """Return the coins shown on one side of a leg."""
    levels = leg.asks if asks else leg.bids
    unit = float(leg.terms.unit)
    if leg.terms.inverse:
        return sum(size * unit / price for price, size in levels if price > 0.0)
    return sum(size for _, size in levels) * unit


CAPS = (
    (Rule.RISK_PER_TRADE, by_risk),
    (Rule.PAIR_CAP, by_cap),
    (Rule.VOLATILITY, by_volatility),
    (Rule.EXITABLE, by_exit),
    (Rule.STABLE_CAP, by_stable),
)
"""Rules that shrink instead of refusing."""
