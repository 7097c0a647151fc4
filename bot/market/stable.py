"""Stablecoin risk of a linear perpetual: a short carries entry notional PLUS equity (worked case G4)."""

from __future__ import annotations


def pair_pnl_usd(
    coins: float, premium0: float, premium1: float, perp0: float, stable0: float, stable1: float
) -> float:
    """Return N[(premium0 - premium1) - P0 (s0 - s1)]: profit of long CME / short perp, premiums in USD."""
    return coins * ((premium0 - premium1) - perp0 * (stable0 - stable1))


def exposure_usd(entry_notional: float, equity: float, stable_usd: float) -> float:
    """Return the USD at stake in the stablecoin: entry notional and equity, both in stablecoin."""
    return (entry_notional + equity) * stable_usd
