"""Conduct: the desk must be reconciled, armed and earning what it expects before it opens anything."""

from __future__ import annotations

from math import isfinite

from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Refusal, Rule


def state(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse while killed, halted, not reconciled or with this pair frozen."""
    desk = x.desk
    if desk.halted:
        return Refusal(Rule.KILL_LEVEL, 1.0, 0.0)
    if not desk.ready:
        return Refusal(Rule.NOT_READY, 0.0, 1.0)
    return Refusal(Rule.PAIR_FROZEN, 1.0, 0.0) if desk.pair_frozen else None


def losses(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse new risk on a day that has used up its loss limit or its drawdown, and while the NAV of now or then is unknown.

    The same limits stop a trade that is on (risk.stops): one opened past them would be closed at once.
    """
    desk = x.desk
    for known in (desk.nav_usd, desk.day_start_usd, desk.peak_usd):
        if not isfinite(known) or known <= 0.0:
            return Refusal(Rule.NAV_UNKNOWN, known, 0.0)
    for rule, lost, allowed in (
        (Rule.DAILY_LOSS, desk.day_start_usd - desk.nav_usd, limits.daily_loss_share * desk.day_start_usd),
        (Rule.DRAWDOWN, desk.peak_usd - desk.nav_usd, limits.drawdown_share * desk.peak_usd),
    ):
        if lost >= allowed:
            return Refusal(rule, lost, allowed)
    return None


def edge_decay(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse while the last pairs realised less than they expected by more than the brake allows."""
    if x.desk.edge_pairs >= limits.edge_decay_pairs and not x.desk.edge_shortfall_bp <= limits.edge_decay_bp:
        return Refusal(Rule.EDGE_DECAY, x.desk.edge_shortfall_bp, limits.edge_decay_bp)
    return None


def edge(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when the touch no longer pays what the intent needs (bp of index, in the direction of the trade)."""
    floor = x.intent.min_premium_bp
    if floor is None:
        return None
    if x.direction > 0:
        premium = x.hedge.bid * x.stable.usd - x.lead.ask
    else:
        premium = x.lead.bid - x.hedge.ask * x.stable.usd
    executable = premium / x.index_usd * 1e4
    return None if executable >= floor else Refusal(Rule.EDGE_GONE, executable, floor)
