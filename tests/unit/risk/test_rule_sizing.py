"""Sizing: whole lots by risk, cap, volatility and what can be got out in time; at least one lot of depth to begin."""

from __future__ import annotations

import msgspec
import pytest
from opening import LIMITS, intent, inverse, opening

from risk import gate, sizing
from risk.verdict import Approved, Refusal, Rule


@pytest.mark.parametrize("direction", [1, -1])
def test_risk_per_trade(direction: int) -> None:
    """1 % of a million over 101.4 bp of 70,000 is 140 lots; a NAV of 100,000 shrinks twenty lots to fourteen."""
    assert sizing.by_risk(opening(direction), LIMITS) == 140
    small = opening(direction, desk__nav_usd=100_000.0)
    assert sizing.by_risk(small, LIMITS) == 14
    assert sizing.by_risk(opening(direction, desk__nav_usd=-5.0), LIMITS) == 0


def test_pair_cap_is_the_cap() -> None:
    """The cap itself is approved whole and one lot more is shrunk to it."""
    loose = msgspec.structs.replace(LIMITS, stable_cap_share=1.0, default_loss_share=1.0)
    assert gate.review(opening(lots=50), loose) == Approved(50)
    assert gate.review(opening(lots=51), loose) == Approved(50, Rule.PAIR_CAP)


@pytest.mark.parametrize(("sigma", "lots"), [(0.0, 50), (25.0, 50), (26.0, 48), (50.0, 25), (2_000.0, 0)])
def test_volatility_scales_the_cap(sigma: float, lots: int) -> None:
    """Up to the reference sigma the cap stands; beyond it it falls in proportion, to nothing at the end."""
    assert sizing.by_volatility(opening(intent=intent(sigma_bp=sigma)), LIMITS) == lots


def test_too_volatile_for_one_lot_is_a_refusal() -> None:
    """A cap scaled below one lot refuses under its own name with what was allowed and what was asked."""
    assert gate.review(opening(intent=intent(sigma_bp=2_000.0)), LIMITS) == Refusal(Rule.VOLATILITY, 0.0, 20.0)


@pytest.mark.parametrize(("direction", "side"), [(1, "bids"), (-1, "asks")])
def test_exitable_reads_the_side_an_exit_hits(direction: int, side: str) -> None:
    """A long lead leaves through the bids, a short one through the asks: a quarter of the touch every 10 s for 10 min."""
    price = 69_997.5 if side == "bids" else 70_002.5
    other = "asks" if side == "bids" else "bids"
    assert sizing.by_exit(opening(direction, **{f"lead__{side}": ((price, 1.0),)}), LIMITS) == 15
    assert sizing.by_exit(opening(direction, **{f"lead__{other}": ((140_000.0 - price, 1.0),)}), LIMITS) > 15


@pytest.mark.parametrize(("direction", "side"), [(1, "asks"), (-1, "bids")])
def test_exitable_reads_the_other_side_of_the_hedge(direction: int, side: str) -> None:
    """A short perp is bought back from its asks, a long one sold to its bids."""
    assert sizing.by_exit(opening(direction, **{f"hedge__{side}": ((70_000.0, 0.1),)}), LIMITS) == 15


def test_exitable_in_an_inverse_contract_is_in_coins() -> None:
    """Sizes in dollars are turned into coins at their price before they are compared with lots."""
    thin = inverse(hedge__asks=((70_000.0, 70.0),))  # 70 x 100 USD = 0.1 coin = 1 lot
    assert sizing.by_exit(thin, LIMITS) == 15


@pytest.mark.parametrize("direction", [1, -1])
def test_depth_of_one_lot_on_the_side_taken(direction: int) -> None:
    """The side that would be taken must show one lead lot on both books; observed and limit are coins."""
    lead, hedge = ("asks", "bids") if direction > 0 else ("bids", "asks")
    assert sizing.depth(opening(direction, **{f"lead__{lead}": ((70_000.0, 1.0),), f"hedge__{hedge}": ((70_000.0, 0.1),)}), LIMITS) is None
    refusal = sizing.depth(opening(direction, **{f"hedge__{hedge}": ((70_000.0, 0.099),)}), LIMITS)
    assert refusal == Refusal(Rule.DEPTH, 0.099, 0.1)
    assert sizing.depth(opening(direction, **{f"lead__{lead}": ((70_000.0, 0.0),)}), LIMITS) == Refusal(Rule.DEPTH, 0.0, 0.1)


@pytest.mark.parametrize("direction", [1, -1])
def test_the_stablecoin_cap_shrinks_before_it_refuses(direction: int) -> None:
    """Room for 1.05 coins of hedge is room for ten lots, more than are asked leave the size alone, and none is a refusal."""
    bid = 69_999.5 + direction * 420.0
    tight = {"desk__stable_exposure_usd": 800_000.0 - 1.05 * bid}
    assert gate.review(opening(direction, **tight), LIMITS) == Approved(10, Rule.STABLE_CAP)
    assert gate.review(opening(direction, lots=10, **tight), LIMITS) == Approved(10)
    assert gate.review(opening(direction, desk__stable_exposure_usd=800_000.0), LIMITS) == Refusal(Rule.STABLE_CAP, 0.0, 20.0)
    assert sizing.by_stable(inverse(direction, desk__stable_exposure_usd=9e9), LIMITS) == LIMITS.pair_lots_max
