"""Hedge: how much delta may stay open for how long, and that the legs' terms make a hedge at all."""

from __future__ import annotations

from risk.limits import Limits
from risk.request import Exposure, Opening
from risk.verdict import Refusal, Rule


def terms(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse unless both legs are on one coin, the ratio is a share, and the hedge's lot is within the delta tolerance."""
    residual = float(x.hedge.terms.lot * x.hedge.terms.unit) / (x.hedge.bid if x.hedge.terms.inverse else 1.0)
    ratio = float(x.intent.hedge_ratio)
    if not 0.0 <= ratio <= 1.0:
        return Refusal(Rule.HEDGE_TERMS, ratio, 1.0)
    if x.lead.terms.base != x.hedge.terms.base or residual > limits.unhedged_coins_max:
        return Refusal(Rule.HEDGE_TERMS, residual, limits.unhedged_coins_max)
    return None


def net_delta(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when the pair's fills are not hedged within tolerance, or the hedge ratio would leave more than that open.

    The desk's delta budget is zero, so a declared delta is one too many; a hedge of the wrong sign shows here as well.
    """
    ratio = float(x.intent.hedge_ratio)
    declared = x.lots * float(x.lead.terms.unit) * (1.0 - ratio)
    for coins in (abs(x.hedge.pair_coins + x.lead.pair_coins * ratio), declared):
        if not coins <= limits.unhedged_coins_max:
            return Refusal(Rule.NET_DELTA, coins, limits.unhedged_coins_max)
    return None


def breach(x: Exposure, limits: Limits) -> Refusal | None:
    """Return a breach when delta beyond tolerance has lasted too long or cost too many dollar-seconds (I9)."""
    return over_budget(x.unhedged_coins, x.unhedged_since_ns, x.unhedged_usd_s, x.now, limits)


def over_budget(coins: float, since_ns: int, usd_s: float, now: int, limits: Limits) -> Refusal | None:
    """Return the breach of a delta of signed `coins` that is open since `since_ns` (0 = not open); needs no price."""
    if abs(coins) <= limits.unhedged_coins_max:
        return None
    lasted = (now - since_ns) * 1e-9 if since_ns else 0.0
    if lasted > limits.unhedged_s_max:
        return Refusal(Rule.UNHEDGED_TIME, lasted, limits.unhedged_s_max)
    if usd_s > limits.unhedged_usd_s_max:
        return Refusal(Rule.UNHEDGED_USD_S, usd_s, limits.unhedged_usd_s_max)
    return None
