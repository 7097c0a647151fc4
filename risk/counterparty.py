"""Counterparty: caps per venue and stablecoin as shares of NAV, and what losing a whole venue would leave."""

from __future__ import annotations

from bot.model.instrument import maintenance_margin
from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Refusal, Rule


def venue_caps(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when either venue holds more than its share of NAV."""
    nav = x.desk.nav_usd
    for silo, cap in ((x.lead_silo, limits.broker_cap_share), (x.hedge_silo, limits.perp_cap_share)):
        share = silo.equity * silo.usd / nav if nav > 0.0 else 1e9
        if share > cap:
            return Refusal(Rule.VENUE_CAP, share, cap)
    return None


def stable_cap(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when notional plus equity in the stablecoin would pass its share of NAV."""
    if x.hedge.terms.settle == "USD":
        return None
    added = max(0, x.lots - x.held_lots) * float(x.lead.terms.unit) * x.hedge.bid * x.stable.usd
    share = (x.desk.stable_exposure_usd + added) / x.desk.nav_usd if x.desk.nav_usd > 0.0 else 1e9
    return Refusal(Rule.STABLE_CAP, share, limits.stable_cap_share) if share > limits.stable_cap_share else None


def jump_to_default(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when losing all at one venue and closing the other leg after an adverse move breaks the survivor or NAV."""
    coins = x.lots * float(x.lead.terms.unit)
    for lost, survivor, leg in (
        (x.hedge_silo, x.lead_silo, x.lead),
        (x.lead_silo, x.hedge_silo, x.hedge),
    ):
        move = coins * leg.ask * limits.default_move_share
        left = survivor.equity - move - maintenance_margin(leg.terms, coins * leg.ask)
        if left < 0.0:
            return Refusal(Rule.JUMP_TO_DEFAULT, -left, 0.0)
        loss = (lost.equity * lost.usd + move * survivor.usd) / x.desk.nav_usd
        if loss > limits.default_loss_share:
            return Refusal(Rule.JUMP_TO_DEFAULT, loss, limits.default_loss_share)
    return None
