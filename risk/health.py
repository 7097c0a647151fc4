"""Market health: both legs open, reachable, fresh, sane and not about to close; nothing unknown becomes zero."""

from __future__ import annotations

from math import inf

from risk.limits import Limits
from risk.request import LegState, Opening
from risk.verdict import Refusal, Rule


def tradable(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse unless both venues answer and both sessions are open and not in the run-up to a closure."""
    for leg in (x.lead, x.hedge):
        if not leg.venue_up:
            return Refusal(Rule.VENUE_DOWN, 0.0, 1.0)
        if not leg.session_open:
            return Refusal(Rule.SESSION_CLOSED, 0.0, 1.0)
        left = (leg.closes_ns - x.desk.now) * 1e-9
        if leg.closes_ns and left < limits.closing_s_min:
            return Refusal(Rule.SESSION_CLOSING, left, limits.closing_s_min)
    return None


def quotes(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse on missing, stale, skewed, crossed or one-sided books; age is by venue time."""
    for leg, limit in ((x.lead, limits.lead_age_s_max), (x.hedge, limits.hedge_age_s_max)):
        if leg.ts == 0 or not (0.0 < leg.bid < inf and 0.0 < leg.ask < inf) or not _sized(leg):
            return Refusal(Rule.QUOTE_MISSING, 0.0, 1.0)
        if leg.bid >= leg.ask:
            return Refusal(Rule.QUOTE_CROSSED, leg.bid - leg.ask, 0.0)
        age = abs(x.desk.now - leg.venue_ts) * 1e-9  # a stamp from the future is a clock that cannot tell the age
        if age > limit:
            return Refusal(Rule.QUOTE_AGE, age, limit)
    skew = abs(x.lead.venue_ts - x.hedge.venue_ts) * 1e-9
    if skew > limits.skew_s_max:
        return Refusal(Rule.QUOTE_SKEW, skew, limits.skew_s_max)
    return None


def _sized(leg: LegState) -> bool:
    return leg.bids[0][1] > 0.0 and leg.asks[0][1] > 0.0


def assumptions(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when stablecoin, mark or index is unknown or stale, the stablecoin is off its peg, or the premium is absurd."""
    now = x.desk.now
    stable_age = (now - x.stable.ts) * 1e-9
    if not 0.0 < x.stable.usd < inf or stable_age > limits.stable_age_s_max:
        return Refusal(Rule.STABLE_UNKNOWN, stable_age, limits.stable_age_s_max)
    if abs(x.stable.usd - 1.0) > limits.depeg_share_max:
        return Refusal(Rule.DEPEG, abs(x.stable.usd - 1.0), limits.depeg_share_max)
    mark_age = (now - x.hedge.mark_ts) * 1e-9
    if x.hedge.mark_ts == 0 or not 0.0 < x.hedge.mark < inf or mark_age > limits.mark_age_s_max:
        return Refusal(Rule.MARK_UNKNOWN, mark_age, limits.mark_age_s_max)
    if not (0.0 < x.hedge.index < inf and 0.0 < x.index_usd < inf):  # it comes with the mark and is as old
        return Refusal(Rule.INDEX_UNKNOWN, x.hedge.index, 0.0)
    premium = abs(x.hedge.bid * x.stable.usd - x.lead.ask) / x.lead.ask * 1e4
    if not premium <= limits.premium_absurd_bp:
        return Refusal(Rule.QUOTE_ABSURD, premium, limits.premium_absurd_bp)
    return None
