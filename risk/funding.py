"""Funding cost: a rate cap for openings and a budget per pair; one negative stamp alone ends nothing."""

from __future__ import annotations

from risk.limits import Limits
from risk.request import Exposure, Opening
from risk.verdict import Refusal, Rule


def rate(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when the estimate makes the position pay more than the cap per hour, or is unknown or stale."""
    age = (x.desk.now - x.hedge.funding_ts) * 1e-9
    if x.hedge.funding_ts == 0 or x.hedge.funding_interval_s <= 0 or age > limits.funding_age_s_max:
        return Refusal(Rule.FUNDING_UNKNOWN, age, limits.funding_age_s_max)
    paid = -x.direction * x.hedge.funding_rate * 3600.0 / x.hedge.funding_interval_s
    if paid > limits.funding_rate_hour_max:
        return Refusal(Rule.FUNDING_RATE, paid, limits.funding_rate_hour_max)
    return None


def budget(x: Exposure, limits: Limits) -> Refusal | None:
    """Return a breach when funding paid and accrued exceeds the share of the trade's edge that may be spent on it."""
    coins = abs(x.hedge.pair_qty) * float(x.hedge.terms.unit)
    edge_usd = max(0.0, x.intent.edge_bp) * 1e-4 * x.index_usd * coins
    allowed = max(limits.funding_budget_floor_usd, limits.funding_budget_share * edge_usd)
    spent = x.funding_spent_usd + x.funding_accrued_usd
    return Refusal(Rule.FUNDING_BUDGET, spent, allowed) if spent > allowed else None
