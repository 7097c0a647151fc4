"""Funding cost: a rate cap for openings and a budget per pair; one negative stamp alone ends nothing.

The budget counts what was paid, what has accrued towards the next stamp and what the rest of the planned holding is
expected to cost, against the edge the trade was opened for. The forecast decays towards the venue's baseline, so a
single bad estimate weighs one stamp and a lasting one weighs the whole horizon.
"""

from __future__ import annotations

from math import isfinite

from bot.market.funding import BASELINE_8H, expected_rates, stamps_inside
from bot.model.intent import PairIntent
from risk.limits import Limits
from risk.request import Exposure, LegState, Opening, target_contracts, value_of
from risk.verdict import Refusal, Rule

HALF_LIFE_S = 86_400.0
"""Time in which an estimate is expected to come half way back to the baseline: three 8-hour stamps, as in worked case G2."""
DAY_NS = 86_400_000_000_000


def rate(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when the estimate makes the position pay more than the cap per hour, or is unknown or stale."""
    age = (x.desk.now - x.hedge.funding_ts) * 1e-9
    unknown = x.hedge.funding_ts == 0 or x.hedge.funding_interval_s <= 0 or not isfinite(x.hedge.funding_rate)
    if unknown or age > limits.funding_age_s_max:
        return Refusal(Rule.FUNDING_UNKNOWN, age, limits.funding_age_s_max)
    paid = -x.direction * x.hedge.funding_rate * 3600.0 / x.hedge.funding_interval_s
    if paid > limits.funding_rate_hour_max:
        return Refusal(Rule.FUNDING_RATE, paid, limits.funding_rate_hour_max)
    return None


def expected_cost(leg: LegState, value: float, now: int, until_ns: int) -> tuple[float, float]:
    """Return (accrued, forecast) of a position worth signed `value` (long > 0): > 0 is paid, in the currency of `value`.

    accrued: the share of the coming stamp that has elapsed. forecast: the rest of the stamps in (now, until_ns].
    An unknown estimate forecasts nothing: openings are refused for it (`rate`), a trade that is on goes by what it paid.
    """
    interval = leg.funding_interval_s
    if leg.funding_ts == 0 or interval <= 0 or not isfinite(leg.funding_rate):
        return 0.0, 0.0
    stamps = stamps_inside(now, max(until_ns - now, 0), interval, leg.funding_stamp_ns)
    baseline = BASELINE_8H * interval / 28_800.0
    rates = expected_rates(max(len(stamps), 1), leg.funding_rate, baseline, HALF_LIFE_S / interval, leg.funding_cap)
    step = interval * 1_000_000_000
    coming = leg.funding_stamp_ns if leg.funding_stamp_ns > now else (now // step + 1) * step
    accrued = value * rates[0] * min(max(1.0 - (coming - now) / step, 0.0), 1.0)
    return accrued, value * sum(rates) - accrued if stamps else 0.0


def allowed_usd(intent: PairIntent, coins: float, index_usd: float, limits: Limits) -> float:
    """Return what may be spent on the funding of `coins` (>= 0): a share of the edge before funding, at least the floor."""
    before_funding = max(0.0, intent.edge_bp) + max(0.0, -intent.expected_funding_bp)
    edge_usd = before_funding * 1e-4 * index_usd * coins
    return max(limits.funding_budget_floor_usd, limits.funding_budget_share * edge_usd)


def ahead(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse an opening whose funding over its horizon would exceed the budget that `budget` ends trades by."""
    value = -x.direction * value_of(x.hedge, target_contracts(x, x.hedge))
    now = x.desk.now
    accrued, forecast = expected_cost(x.hedge, value, now, now + int(x.intent.horizon_days * DAY_NS))
    spent = x.funding_spent_usd + (accrued + forecast) * x.stable.usd
    allowed = allowed_usd(x.intent, x.lots * float(x.lead.terms.unit), x.index_usd, limits)
    return None if spent <= allowed else Refusal(Rule.FUNDING_BUDGET, spent, allowed)


def budget(x: Exposure, limits: Limits) -> Refusal | None:
    """Return a breach when funding paid, accrued and forecast exceeds the share of the edge that may be spent on it."""
    until = x.entered_ns + int(x.intent.horizon_days * DAY_NS) if x.entered_ns else x.now
    accrued, forecast = expected_cost(x.hedge, value_of(x.hedge, x.hedge.pair_qty), x.now, until)
    spent = x.funding_spent_usd + (accrued + forecast) * x.stable.usd
    allowed = allowed_usd(x.intent, abs(x.lead.pair_qty) * float(x.lead.terms.unit), x.index_usd, limits)
    return Refusal(Rule.FUNDING_BUDGET, spent, allowed) if spent > allowed else None
