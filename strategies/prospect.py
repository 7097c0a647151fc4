"""What a convergence trade is expected to earn from here: the edge of opening it and the value of holding it.

Everything is read from the pair's window and returned as USD per coin and bp of index. An unknown stablecoin,
index, funding estimate or depth gives None: unknown is not zero.
"""

from __future__ import annotations

import msgspec

from bot.market.book import walk
from bot.market.edge import Edge, EdgeInputs, expected_edge
from bot.market.fair import DAY_NS, fair_premium, years
from bot.model.instrument import Instrument
from bot.model.view import View
from strategies.convergence_params import ConvergenceParams
from strategies.funding import forecast


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a trade is held for. direction: +1 long CME / short perp, -1 the mirror.

    excess_exit_usd: expected excess at the exit, USD per coin. half_spreads_usd: of both legs at the exit.
    """

    direction: int
    carry: float
    horizon_days: float
    excess_exit_usd: float
    half_spreads_usd: float


class Holding(msgspec.Struct, frozen=True):
    """Value of holding on against leaving now at mid, and what leaving costs; USD per coin."""

    value_usd: float
    exit_cost_usd: float


def stable_usd(view: View) -> float:
    """Return USD per unit of the hedge's quote currency; 0.0 when it was never seen."""
    return 1.0 if view.stable is None else view.stable.mid


def index_usd(view: View) -> float:
    """Return the venue's index in USD; 0.0 when index or stablecoin was never seen."""
    return view.hedge.index * stable_usd(view)


def half_spreads_usd(view: View) -> float:
    """Return half the spread of both legs together, USD per coin."""
    lead, hedge = view.lead, view.hedge
    return 0.5 * (lead.ask - lead.bid + (hedge.ask - hedge.bid) * stable_usd(view))


def fee_per_coin(terms: Instrument, price_usd: float) -> float:
    """Return the taker fee of one fill in USD per coin, at the instrument's own schedule."""
    per_contract = float(terms.fees.per_contract)
    if per_contract:
        per_contract /= float(terms.unit) / price_usd if terms.inverse else float(terms.unit)
    return per_contract + float(terms.fees.taker_rate) * price_usd


def lots_shown(view: View, direction: int) -> int:
    """Return the whole lead lots that both books show for an opening in `direction`."""
    lead = sum(size for _, size in view.lead.levels(direction > 0))
    hedge = sum(size for _, size in view.hedge.levels(direction < 0))
    return int(min(lead, hedge / _hedge_per_lot(view)) + 1e-9)


def _hedge_per_lot(view: View) -> float:
    """Return the hedge contracts that one lead lot needs."""
    per_lot = float(view.lead_terms.unit) / float(view.hedge_terms.unit)
    return per_lot * view.hedge.mid if view.hedge_terms.inverse else per_lot


def funding_usd(p: ConvergenceParams, view: View, horizon_days: float) -> float | None:
    """Return what a short of one coin is expected to receive at the stamps inside the horizon, USD."""
    hedge = view.hedge
    rates = forecast(hedge, view.now, int(horizon_days * DAY_NS), p.funding_baseline_8h, p.funding_half_life_h)
    return None if rates is None else sum(rates) * (hedge.mark or hedge.mid) * stable_usd(view)


def fair_exit_usd(view: View, carry: float, horizon_days: float) -> float:
    """Return the premium in USD that two fairly priced legs show when the horizon ends."""
    then = view.now + int(horizon_days * DAY_NS)
    return fair_premium(index_usd(view), carry, years(then, view.lead_terms.expiry_ns or then))


def edge_at(p: ConvergenceParams, view: View, lots: int, x: Outlook) -> Edge | None:
    """Return the edge of opening `lots` (> 0) at what the books show now (worked case G2)."""
    stable, index = stable_usd(view), index_usd(view)
    funding = funding_usd(p, view, x.horizon_days)
    if index <= 0.0 or funding is None:
        return None
    buying = x.direction > 0
    cme = walk(view.lead.levels(buying), lots)
    perp = walk(view.hedge.levels(not buying), lots * _hedge_per_lot(view) * (1.0 - 1e-9))  # 7 x 0.1 > 0.7 in floats
    if cme is None or perp is None:
        return None
    perp_usd = perp * stable
    return expected_edge(
        EdgeInputs(
            direction=x.direction, index_usd=index, cme_price=cme, perp_price_usd=perp_usd,
            fair_premium_exit=fair_exit_usd(view, x.carry, x.horizon_days), excess_exit=x.excess_exit_usd,
            exit_half_spreads=x.half_spreads_usd, expected_funding=funding,
            cme_fees=2.0 * fee_per_coin(view.lead_terms, cme), perp_fees=2.0 * fee_per_coin(view.hedge_terms, perp_usd),
            financing_rate=p.financing_rate, horizon_days=x.horizon_days, cme_margin_share=p.cme_margin_share,
            perp_margin_share=p.perp_margin_share, stable_haircut=0.0 if view.stable is None else p.stable_haircut,
            extra_slippage=p.slippage_bp * 1e-4 * index,
        )
    )  # fmt: skip


def holding_at(p: ConvergenceParams, view: View, x: Outlook) -> Holding | None:
    """Return what holding an open trade to the end of the horizon is worth against leaving now.

    The exit is paid either way, so it is no part of the value; it is the patience a negative value is given.
    """
    stable, index = stable_usd(view), index_usd(view)
    funding = funding_usd(p, view, x.horizon_days)
    if index <= 0.0 or funding is None:
        return None
    cme, perp = view.lead.mid, view.hedge.mid * stable
    exit_premium = fair_exit_usd(view, x.carry, x.horizon_days) + x.excess_exit_usd
    capital = p.cme_margin_share * cme + p.perp_margin_share * perp
    value = x.direction * (perp - cme - exit_premium + funding) - p.financing_rate * x.horizon_days / 365.0 * capital
    cost = x.half_spreads_usd + fee_per_coin(view.lead_terms, cme) + fee_per_coin(view.hedge_terms, perp)
    return Holding(value, cost)
