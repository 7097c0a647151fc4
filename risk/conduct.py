"""Conduct: the desk must be reconciled, armed and earning what it expects before it opens anything."""

from __future__ import annotations

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
    """Refuse new risk on a day that has used up its loss limit."""
    lost = x.desk.day_start_usd - x.desk.nav_usd
    allowed = limits.daily_loss_share * x.desk.day_start_usd
    return Refusal(Rule.DAILY_LOSS, lost, allowed) if x.desk.day_start_usd > 0.0 and lost >= allowed else None


def edge_decay(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse while the last pairs realised less than they expected by more than the brake allows."""
    if x.desk.edge_pairs >= limits.edge_decay_pairs and x.desk.edge_shortfall_bp > limits.edge_decay_bp:
        return Refusal(Rule.EDGE_DECAY, x.desk.edge_shortfall_bp, limits.edge_decay_bp)
    return None
