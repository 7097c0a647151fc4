"""Counterparty: caps per venue and stablecoin as shares of NAV, and what losing a whole venue would leave.

All judge what the opening would lead to: the venue net with every live order filled. Positions do not move money
between venues, prices do: what one leg wins is owed to us by its venue, and the other leg has paid for it.
"""

from __future__ import annotations

from bot.model.instrument import maintenance_margin
from risk.limits import Limits
from risk.request import Opening, equity_in_quote, net_after, value_of
from risk.verdict import Refusal, Rule


def venue_caps(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when a venue would hold more than its share of NAV after prices moved by default_move_share in its favour.

    Unrealised profit counts (I14): equity is at mark, and the profit of that move on the position after the opening
    is added, since it would be owed by this venue while the loss is paid at the other.
    """
    for silo, leg, cap in (
        (x.lead_silo, x.lead, limits.broker_cap_share),
        (x.hedge_silo, x.hedge, limits.perp_cap_share),
    ):
        in_usd = 1.0 if leg.terms.inverse else silo.usd
        gain = abs(value_of(leg, net_after(x, leg))) * limits.default_move_share
        share = (equity_in_quote(silo, leg) + gain) * in_usd / x.desk.nav_usd
        if not share <= cap:
            return Refusal(Rule.VENUE_CAP, share, cap)
    return None


def stable_cap(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when notional plus equity in the stablecoin would pass its share of NAV."""
    if x.hedge.terms.settle == "USD" or x.hedge.terms.inverse:
        return None
    added = max(0.0, abs(net_after(x, x.hedge)) - abs(x.hedge.net_qty)) * float(x.hedge.terms.unit) * x.hedge.bid
    share = (x.desk.stable_exposure_usd + added * x.stable.usd) / x.desk.nav_usd
    return None if share <= limits.stable_cap_share else Refusal(Rule.STABLE_CAP, share, limits.stable_cap_share)


def jump_to_default(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when losing all at one venue and closing the other leg after an adverse move breaks the survivor or NAV.

    Observed: what the survivor would lack, in its quote currency, or the loss as a share of NAV.
    """
    for lost, survivor, lost_leg, leg in (
        (x.hedge_silo, x.lead_silo, x.hedge, x.lead),
        (x.lead_silo, x.hedge_silo, x.lead, x.hedge),
    ):
        held = value_of(leg, net_after(x, leg))
        factor = 1.0 - limits.default_move_share if held > 0.0 else 1.0 + limits.default_move_share
        loss = abs(held) * limits.default_move_share
        equity, shocked = equity_in_quote(survivor, leg), abs(held) * factor
        if leg.terms.inverse:  # contracts keep their value in USD, the coins that back them do not
            equity, shocked = equity * factor, abs(held)
        left = equity - loss - survivor.other_maintenance - (maintenance_margin(leg.terms, shocked) if shocked else 0.0)
        if not left >= 0.0:
            return Refusal(Rule.JUMP_TO_DEFAULT, -left, 0.0)
        gone = max(0.0, equity_in_quote(lost, lost_leg)) * (1.0 if lost_leg.terms.inverse else lost.usd)
        share = (gone + loss * (1.0 if leg.terms.inverse else survivor.usd)) / x.desk.nav_usd
        if not share <= limits.default_loss_share:
            return Refusal(Rule.JUMP_TO_DEFAULT, share, limits.default_loss_share)
    return None
