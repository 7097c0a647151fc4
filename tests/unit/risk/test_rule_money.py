"""Counterparty caps, funding budget, hedge terms and unhedged budget: what an opening would lead to, both directions."""

from __future__ import annotations

from decimal import Decimal
from math import nan
from typing import Any

import pytest
from opening import INVERSE, LIMITS, NOW, PERP, USD_PERP, S, changed, exposure, intent, inverse, leg, opening

from risk import counterparty, funding, gate, hedge
from risk.verdict import Approved, Refusal, Rule

HOUR = 3_600 * S


@pytest.mark.parametrize("direction", [1, -1])
def test_venue_cap_at_the_boundary(direction: int) -> None:
    """Equity plus the profit of a 10 % move on the position after the opening, as a share of NAV."""
    gain = 2.0 * 7_000.0
    assert counterparty.venue_caps(opening(direction, lead_silo__equity=700_000.0 - gain - 0.01), LIMITS) is None
    refusal = counterparty.venue_caps(opening(direction, lead_silo__equity=700_000.0 - gain + 1.0), LIMITS)
    assert refusal == Refusal(Rule.VENUE_CAP, pytest.approx(0.700001), 0.70)
    perp = 2.0 * (70_000.0 + direction * 420.0) * 0.1
    assert counterparty.venue_caps(opening(direction, hedge_silo__equity=500_000.0 - perp - 0.01), LIMITS) is None
    refusal = counterparty.venue_caps(opening(direction, hedge_silo__equity=500_000.0 - perp + 1.0), LIMITS)
    assert refusal == Refusal(Rule.VENUE_CAP, pytest.approx(0.500001), 0.50)


def test_venue_cap_judges_the_opening_not_the_present() -> None:
    """The same silo takes a small opening and refuses one whose profit it could not be trusted with."""
    near = {"hedge_silo__equity": 470_000.0}
    assert counterparty.venue_caps(opening(lots=20, **near), LIMITS) is None
    assert counterparty.venue_caps(opening(lots=50, **near), LIMITS) is not None


def test_venue_cap_values_coins_at_their_price() -> None:
    """A coin-margined silo holds its coins' worth of NAV."""
    assert counterparty.venue_caps(inverse(hedge_silo__equity=6.9), LIMITS) is None
    refusal = counterparty.venue_caps(inverse(hedge_silo__equity=7.1), LIMITS)
    assert refusal is not None and refusal.observed == pytest.approx(0.497 + 0.014084, rel=1e-4)


@pytest.mark.parametrize("nav", [0.0, nan, -1.0])
def test_no_cap_is_met_without_a_nav(nav: float) -> None:
    """A share of an unknown or empty NAV is refused before anything is divided by it."""
    refusal = gate.review(opening(desk__nav_usd=nav), LIMITS)
    assert isinstance(refusal, Refusal) and refusal.rule is Rule.NAV_UNKNOWN


@pytest.mark.parametrize("direction", [1, -1])
def test_stable_cap_at_the_boundary(direction: int) -> None:
    """Exposure now plus the notional the opening adds, at the stablecoin's price, over NAV."""
    added = 2.0 * (69_999.5 + direction * 420.0)
    assert counterparty.stable_cap(opening(direction, desk__stable_exposure_usd=800_000.0 - added - 0.01), LIMITS) is None
    refusal = counterparty.stable_cap(opening(direction, desk__stable_exposure_usd=800_000.0 - added + 1.0), LIMITS)
    assert refusal == Refusal(Rule.STABLE_CAP, pytest.approx(0.800001), 0.80)


def test_stable_cap_counts_the_hedge_still_to_come() -> None:
    """Lead lots that are filled but not hedged yet will be notional in the stablecoin all the same."""
    legging = opening(lots=30, held_lots=20, lead__pair_qty=20.0, lead__net_qty=20.0, lead__worst_qty=20.0, desk__stable_exposure_usd=600_000.0)
    assert counterparty.stable_cap(legging, LIMITS) is not None


@pytest.mark.parametrize("x", [opening(hedge=leg(USD_PERP, 70_420.0, 0.5, 20.0)), inverse()], ids=["dollar", "inverse"])
def test_stable_cap_is_about_stablecoins(x: Any) -> None:
    """Neither a dollar-settled nor a coin-settled hedge adds stablecoin."""
    assert counterparty.stable_cap(changed(x, desk__stable_exposure_usd=9e9), LIMITS) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_jump_to_default_survivor(direction: int) -> None:
    """After the other venue is lost and the leg closed 10 % worse, the survivor still meets maintenance on the way."""
    factor = 1.0 - direction * 0.1
    need = 14_000.0 + 2.0 * 70_000.0 * factor * 0.30
    assert counterparty.jump_to_default(opening(direction, lead_silo__equity=need + 0.01), LIMITS) is None
    assert counterparty.jump_to_default(opening(direction, lead_silo__equity=need - 1.0), LIMITS) == Refusal(
        Rule.JUMP_TO_DEFAULT, pytest.approx(1.0), 0.0
    )
    value = 2.0 * (70_000.0 + direction * 420.0)
    need = value * 0.1 + value * (1.0 + direction * 0.1) * 0.005 - 50.0
    assert counterparty.jump_to_default(opening(direction, hedge_silo__equity=need + 0.01), LIMITS) is None
    refusal = counterparty.jump_to_default(opening(direction, hedge_silo__equity=need - 1.0), LIMITS)
    assert refusal is not None and refusal.observed == pytest.approx(1.0)
    others = counterparty.jump_to_default(opening(direction, hedge_silo__equity=need + 0.01, hedge_silo__other_maintenance=1.0), LIMITS)
    assert others is not None


def test_jump_to_default_loss_of_nav() -> None:
    """All at the lost venue and the cost of closing, as a share of NAV, up to default_loss_share."""
    cost = 2.0 * 70_420.0 * 0.1
    assert counterparty.jump_to_default(opening(lead_silo__equity=750_000.0 - cost - 0.01), LIMITS) is None
    refusal = counterparty.jump_to_default(opening(lead_silo__equity=750_000.0 - cost + 1.0), LIMITS)
    assert refusal == Refusal(Rule.JUMP_TO_DEFAULT, pytest.approx(0.750001), 0.75)


def test_jump_to_default_of_a_long_inverse_loses_the_worth_of_its_coins() -> None:
    """A long inverse that must be closed 10 % lower is backed by coins that are worth 10 % less."""
    value = 2.0 * 69_580.0
    need = (value * 0.1 + value * 0.01) / 70_000.0
    assert counterparty.jump_to_default(inverse(-1, hedge_silo__equity=need / 0.9 + 1e-6), LIMITS) is None
    assert counterparty.jump_to_default(inverse(-1, hedge_silo__equity=need / 0.9 - 1e-6), LIMITS) is not None
    assert counterparty.jump_to_default(inverse(1, hedge_silo__equity=need), LIMITS) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_funding_rate_cap(direction: int) -> None:
    """What the position would pay an hour: a short perp pays negative rates, a long one positive."""
    at_cap = -direction * 0.0005 * 8
    assert funding.rate(opening(direction, hedge__funding_rate=at_cap), LIMITS) is None
    refusal = funding.rate(opening(direction, hedge__funding_rate=at_cap * 1.01), LIMITS)
    assert refusal == Refusal(Rule.FUNDING_RATE, pytest.approx(0.000505), 0.0005)
    assert funding.rate(opening(direction, hedge__funding_rate=-at_cap * 10), LIMITS) is None


def test_funding_rate_is_per_hour_whatever_the_interval() -> None:
    """The same rate per stamp is eight times as dear when stamps come hourly."""
    assert funding.rate(opening(hedge__funding_rate=-0.0006), LIMITS) is None
    assert funding.rate(opening(hedge__funding_rate=-0.0006, hedge__funding_interval_s=3_600), LIMITS) is not None


def test_expected_cost_counts_stamps_inside_and_accrues_before_them() -> None:
    """Half way to a stamp half of it has accrued; the forecast takes the rest and later stamps, decaying to the baseline."""
    x = opening(hedge__funding_rate=-0.0005)
    value = -140_000.0
    accrued, forecast = funding.expected_cost(x.hedge, value, NOW, NOW + 13 * HOUR)
    second = 0.0001 + (-0.0005 - 0.0001) * 0.5 ** (1 / 3)
    assert accrued == pytest.approx(value * -0.0005 * 0.5)
    assert accrued + forecast == pytest.approx(value * (-0.0005 + second))
    assert funding.expected_cost(x.hedge, value, NOW, NOW + 3 * HOUR) == (pytest.approx(35.0), 0.0)
    assert funding.expected_cost(x.hedge, value, NOW, NOW - HOUR) == (pytest.approx(35.0), 0.0)


@pytest.mark.parametrize("spoil", [{"funding_ts": 0}, {"funding_interval_s": 0}, {"funding_rate": nan}])
def test_unknown_funding_forecasts_nothing(spoil: dict[str, Any]) -> None:
    """Without an estimate the monitor goes by what was paid; openings are refused elsewhere."""
    assert funding.expected_cost(changed(opening().hedge, **spoil), 1e6, NOW, NOW + 48 * HOUR) == (0.0, 0.0)


@pytest.mark.parametrize("direction", [1, -1])
def test_budget_boundary_on_what_was_paid(direction: int) -> None:
    """With no stamp left the budget is half of 30 bp on 140,000 USD: 210, so the floor of 250 stands."""
    flat = {"hedge__funding_rate": 0.0, "intent__horizon_days": 0.0}
    assert funding.budget(exposure(direction, **flat, funding_spent_usd=250.0), LIMITS) is None
    assert funding.budget(exposure(direction, **flat, funding_spent_usd=250.01), LIMITS) == Refusal(Rule.FUNDING_BUDGET, 250.01, 250.0)
    rich = {**flat, "intent__edge_bp": 100.0}
    assert funding.budget(exposure(direction, **rich, funding_spent_usd=700.0), LIMITS) is None
    refusal = funding.budget(exposure(direction, **rich, funding_spent_usd=700.01), LIMITS)
    assert refusal == Refusal(Rule.FUNDING_BUDGET, pytest.approx(700.01), pytest.approx(700.0))


@pytest.mark.parametrize("direction", [1, -1])
def test_one_bad_stamp_ends_nothing_and_a_lasting_one_does(direction: int) -> None:
    """A rate against us for one stamp stays inside the budget; one that eats the edge over the horizon does not."""
    against = -direction
    assert funding.budget(exposure(direction, hedge__funding_rate=against * 0.001, intent__horizon_days=0.25), LIMITS) is None
    refusal = funding.budget(exposure(direction, hedge__funding_rate=against * 0.001, intent__horizon_days=4.0), LIMITS)
    assert refusal is not None and refusal.rule is Rule.FUNDING_BUDGET
    assert funding.budget(exposure(direction, hedge__funding_rate=-against * 0.001, intent__horizon_days=4.0), LIMITS) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_what_the_monitor_would_end_is_not_opened(direction: int) -> None:
    """The gate forecasts the same budget, so an opening it passes is not ended by the first look."""
    for rate in (-0.002, -0.0008, 0.0, 0.0008, 0.002):
        for days in (0.1, 1.0, 5.0):
            spoil = {"hedge__funding_rate": rate, "intent__horizon_days": days}
            at_gate = funding.ahead(opening(direction, **spoil), LIMITS)
            after = funding.budget(exposure(direction, entered_ns=NOW, **spoil), LIMITS)
            assert at_gate == after, (rate, days)


def test_budget_is_a_share_of_the_edge_before_funding() -> None:
    """Funding the trade planned to pay is added back before the share is taken."""
    assert funding.allowed_usd(intent(edge_bp=20.0, expected_funding_bp=-15.0), 10.0, 70_000.0, LIMITS) == pytest.approx(0.5 * 35 * 70.0)
    assert funding.allowed_usd(intent(edge_bp=20.0, expected_funding_bp=15.0), 10.0, 70_000.0, LIMITS) == pytest.approx(0.5 * 20 * 70.0)


def test_hedge_terms() -> None:
    """One coin, a lot within the delta tolerance and a ratio between none and all; an inverse lot counts at its price."""
    assert hedge.terms(opening(), LIMITS) is None and hedge.terms(inverse(), LIMITS) is None
    ether = changed(opening(), hedge__terms__base="ETH")
    refusal = hedge.terms(ether, LIMITS)
    assert refusal is not None and refusal.rule is Rule.HEDGE_TERMS
    assert hedge.terms(changed(opening(), hedge__terms__lot=Decimal("0.05")), LIMITS) is None
    refusal = hedge.terms(changed(opening(), hedge__terms__lot=Decimal("0.051")), LIMITS)
    assert refusal == Refusal(Rule.HEDGE_TERMS, 0.051, 0.05)
    assert hedge.terms(changed(inverse(), hedge__terms__unit=Decimal(4_000)), LIMITS) is not None  # 0.057 coins at 70,420
    for ratio in ("-0.1", "1.1", "NaN"):
        assert hedge.terms(opening(intent__hedge_ratio=Decimal(ratio)), LIMITS) is not None


@pytest.mark.parametrize("direction", [1, -1])
def test_net_delta(direction: int) -> None:
    """Fills that are not hedged, a hedge of the wrong sign, or a ratio that leaves delta open: refused beyond tolerance."""
    held = {"lead__pair_coins": direction * 1.0, "held_lots": 10}
    assert hedge.net_delta(opening(direction, **held, hedge__pair_coins=-direction * 0.951), LIMITS) is None
    refusal = hedge.net_delta(opening(direction, **held, hedge__pair_coins=-direction * 0.94), LIMITS)
    assert refusal == Refusal(Rule.NET_DELTA, pytest.approx(0.06), 0.05)
    refusal = hedge.net_delta(opening(direction, **held, hedge__pair_coins=direction * 1.0), LIMITS)
    assert refusal == Refusal(Rule.NET_DELTA, pytest.approx(2.0), 0.05)
    assert hedge.net_delta(opening(direction, intent__hedge_ratio=Decimal("0.976")), LIMITS) is None
    refusal = hedge.net_delta(opening(direction, intent__hedge_ratio=Decimal("0.97")), LIMITS)
    assert refusal == Refusal(Rule.NET_DELTA, pytest.approx(0.06), 0.05)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_unhedged_budget_boundaries(sign: float) -> None:
    """0.05 BTC may stand for ever; more may stand five seconds or 500,000 dollar-seconds, long or short."""
    assert hedge.over_budget(sign * 0.05, NOW - 3_600 * S, 1e9, NOW, LIMITS) is None
    assert hedge.over_budget(sign * 0.06, NOW - 5 * S, 500_000.0, NOW, LIMITS) is None
    assert hedge.over_budget(sign * 0.06, NOW - 5 * S - S // 2, 0.0, NOW, LIMITS) == Refusal(Rule.UNHEDGED_TIME, pytest.approx(5.5), 5.0)
    assert hedge.over_budget(sign * 9.0, NOW - S, 500_001.0, NOW, LIMITS) == Refusal(Rule.UNHEDGED_USD_S, 500_001.0, 500_000.0)
    x = exposure(unhedged_coins=sign * 0.06, unhedged_since_ns=NOW - 6 * S)
    assert hedge.breach(x, LIMITS) == Refusal(Rule.UNHEDGED_TIME, pytest.approx(6.0), 5.0)


@pytest.mark.parametrize("direction", [1, -1])
def test_good_openings_pass_whole(direction: int) -> None:
    """The fixture itself is approved with a linear, a dollar and an inverse hedge, or no refusal above means anything."""
    for x in (opening(direction), inverse(direction), opening(direction, hedge=leg(USD_PERP, 70_000.0 + direction * 420.0, 0.5, 20.0))):
        assert gate.review(x, LIMITS) == Approved(20)
    assert not PERP.inverse and INVERSE.inverse
