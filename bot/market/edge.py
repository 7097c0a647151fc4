"""Expected profit of a convergence trade over its horizon, in USD per coin and bp of index (worked case G2).

edge = executable premium - expected exit premium + expected funding - fees - financing - stablecoin haircut, with
expected exit premium = fair premium then + expected excess at z_out + exit half-spreads. For the mirrored direction
(short CME / long perp) premium, exit premium and funding change sign and the half-spreads still cost.
"""

from __future__ import annotations

import msgspec


class EdgeInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the edge depends on; USD per coin unless the name says otherwise.

    direction: +1 long CME / short perp. cme_price, perp_price_usd: executable averages at size. perp_fee_usd: both
    fills. margin shares: required capital of each silo over its notional. haircut: share of perp capital at risk.
    """

    direction: int
    index_usd: float
    cme_price: float
    perp_price_usd: float
    fair_premium_exit: float
    excess_exit: float
    exit_half_spreads: float
    expected_funding: float
    cme_fees: float
    perp_fees: float
    financing_rate: float
    horizon_days: float
    cme_margin_share: float
    perp_margin_share: float
    stable_haircut: float
    extra_slippage: float = 0.0


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The edge and its lines, USD per coin; edge_bp of index; capital: required in both silos per coin."""

    executable_premium: float
    expected_exit_premium: float
    expected_funding: float
    fees: float
    financing: float
    haircut: float
    slippage: float
    edge_usd: float
    edge_bp: float
    capital: float


def expected_edge(x: EdgeInputs) -> Edge:
    """Return the expected edge of `x`."""
    premium = x.perp_price_usd - x.cme_price
    exit_premium = x.fair_premium_exit + x.excess_exit + x.direction * x.exit_half_spreads
    fees = x.cme_fees + x.perp_fees
    capital = x.cme_margin_share * x.cme_price + x.perp_margin_share * x.perp_price_usd
    financing = x.financing_rate * x.horizon_days / 365.0 * capital
    haircut = x.stable_haircut * (1.0 + x.perp_margin_share) * x.perp_price_usd
    gain = x.direction * (premium - exit_premium + x.expected_funding)
    edge = gain - fees - financing - haircut - x.extra_slippage
    return Edge(
        executable_premium=premium,
        expected_exit_premium=exit_premium,
        expected_funding=x.direction * x.expected_funding,
        fees=fees,
        financing=financing,
        haircut=haircut,
        slippage=x.extra_slippage,
        edge_usd=edge,
        edge_bp=edge / x.index_usd * 1e4,
        capital=capital,
    )


def break_even_bp(
    price: float, cme_unit: float, cme_fee: float, cme_half_spread: float, perp_rate: float, perp_half_bp: float
) -> float:
    """Return the cost of a four-fill round trip in bp of price: fees and half-spreads of both legs, twice.

    cme_fee: USD per lot and side. cme_half_spread: USD. perp_rate: fraction per fill. perp_half_bp: bp.

    >>> round(break_even_bp(85_000, 0.1, 3.0, 2.5, 0.0005, 0.5), 1)
    18.6
    """
    cme = 2.0 * (cme_fee / cme_unit + cme_half_spread) / price * 1e4
    return cme + 2.0 * (perp_rate * 1e4 + perp_half_bp)
