"""Hedge: how much delta may stay open for how long, and that the legs' terms make a hedge at all."""

from __future__ import annotations

from risk.limits import Limits
from risk.request import Exposure, Opening
from risk.verdict import Refusal, Rule


def terms(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse unless both legs are on one coin and one lead lot can be hedged within the delta tolerance."""
    residual = float(x.hedge.terms.lot * x.hedge.terms.unit) / (x.hedge.bid if x.hedge.terms.inverse else 1.0)
    if x.lead.terms.base != x.hedge.terms.base or residual > limits.unhedged_coins_max:
        return Refusal(Rule.HEDGE_TERMS, residual, limits.unhedged_coins_max)
    return None


def breach(x: Exposure, limits: Limits) -> Refusal | None:
    """Return a breach when delta beyond tolerance has lasted too long or cost too many dollar-seconds (I9)."""
    if abs(x.unhedged_coins) <= limits.unhedged_coins_max:
        return None
    lasted = (x.now - x.unhedged_since_ns) * 1e-9 if x.unhedged_since_ns else 0.0
    if lasted > limits.unhedged_s_max:
        return Refusal(Rule.UNHEDGED_TIME, lasted, limits.unhedged_s_max)
    if x.unhedged_usd_s > limits.unhedged_usd_s_max:
        return Refusal(Rule.UNHEDGED_USD_S, x.unhedged_usd_s, limits.unhedged_usd_s_max)
    return None
