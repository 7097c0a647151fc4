"""Margin per silo: every shock is adverse to what is held, on either side, for linear, dollar and inverse hedges."""

from __future__ import annotations

from math import nan
from typing import Any

import msgspec
import pytest
from opening import LIMITS, PERP, USD_PERP, changed, exposure, inverse, leg, opening

from risk import margin
from risk.request import Opening
from risk.verdict import Refusal, Rule


def need_of(x: Opening, silo: str) -> float:
    """Return what the gate says a silo needs, by starving it."""
    refusal = margin.stress(changed(x, **{f"{silo}__equity": 0.0}), LIMITS)
    assert refusal is not None and refusal.rule is Rule.MARGIN_STRESS
    return refusal.observed


def boundary(x: Opening, silo: str) -> None:
    """Equity at the need passes, a cent less is refused with need and equity."""
    need = need_of(x, silo)
    assert margin.stress(changed(x, **{f"{silo}__equity": need}), LIMITS) is None
    refusal = margin.stress(changed(x, **{f"{silo}__equity": need - 0.01}), LIMITS)
    assert refusal == Refusal(Rule.MARGIN_STRESS, pytest.approx(need), pytest.approx(need - 0.01))


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("silo", ["lead_silo", "hedge_silo"])
def test_stress_boundary(direction: int, silo: str) -> None:
    """Each silo is judged alone, whichever way the pair is opened."""
    boundary(opening(direction), silo)


def test_a_short_lead_fears_a_rise_and_a_long_lead_a_fall() -> None:
    """A price far from the mark in the feared direction costs: the mirrored silo loses size x (shock + widening)."""
    move = margin.widening_usd(60.0, 70_000.0, LIMITS)
    assert move == pytest.approx(840.0)
    # Long: perp 70,420 x 0.75, lead below it by the premium of 420 and the move.
    shocked = 70_420.0 * 0.75 - 420.0 - move
    long = 2.0 * (70_000.0 - shocked) + 2.0 * shocked * (0.30 * 1.25 + 0.05)
    assert need_of(opening(1), "lead_silo") == pytest.approx(long)
    # Short: perp 69,580 x 1.25, lead above it by 420 and the move.
    shocked = 69_580.0 * 1.25 + 420.0 + move
    short = 2.0 * (shocked - 70_000.0) + 2.0 * shocked * (0.30 * 1.25 + 0.05)
    assert need_of(opening(-1), "lead_silo") == pytest.approx(short)


def test_a_short_perp_fears_a_weak_stablecoin_and_a_long_one_does_not() -> None:
    """The stablecoin's fall raises the quote: it is in the short's need and never lowers the long's."""
    move = 840.0
    usd = 0.95
    shocked = 70_000.0 / usd * 1.25 + (420.0 + move) / usd
    size = 2.0
    short = size * (shocked - 70_420.0) + size * shocked * (0.006 + 0.05) + size * shocked * 0.005 - 50.0
    assert need_of(opening(1), "hedge_silo") == pytest.approx(short)
    shocked = 70_000.0 * 0.75 - (420.0 + move)
    long = size * (69_580.0 - shocked) + size * shocked * (0.006 + 0.05) + size * shocked * 0.005 - 50.0
    assert need_of(opening(-1), "hedge_silo") == pytest.approx(long)


def test_dollar_hedge_has_no_stablecoin_shock() -> None:
    """A hedge that settles in dollars needs what the same one needs without the peg's fall."""
    x = opening(hedge=leg(USD_PERP, 70_420.0, 0.5, 20.0))
    shocked = 70_000.0 * 1.25 + 420.0 + 840.0
    assert need_of(x, "hedge_silo") == pytest.approx(2.0 * (shocked - 70_420.0) + 2.0 * shocked * 0.061 - 50.0)


@pytest.mark.parametrize("direction", [1, -1])
def test_inverse_hedge_is_judged_in_coins(direction: int) -> None:
    """An inverse silo needs coins: the dollars of its contracts at the shocked price, loss and reserves alike."""
    x = inverse(direction)
    mark = 70_000.0 + direction * 420.0
    value = 2.0 * mark
    shocked = 70_000.0 * (1 + direction * 0.25) + direction * (420.0 + 840.0)
    loss = direction * value * (1 / mark - 1 / shocked)
    need = loss + value / shocked * (0.006 + 0.01 + 0.05)
    assert need_of(x, "hedge_silo") == pytest.approx(need)
    refusal = margin.stress(changed(x, hedge_silo__equity=need - 1e-6), LIMITS)
    assert refusal is not None and refusal.limit == pytest.approx(need - 1e-6)
    assert margin.stress(changed(x, hedge_silo__equity=need + 1e-6), LIMITS) is None


def test_venue_funding_cap_counts_where_it_is_worse() -> None:
    """The configured funding shock is a floor: a venue that may charge more is taken at its word."""
    base = need_of(opening(), "hedge_silo")
    assert need_of(opening(hedge__funding_cap=0.0), "hedge_silo") == pytest.approx(base)
    assert need_of(opening(hedge__funding_cap=0.01), "hedge_silo") > base + 1_900.0


def test_widening_takes_the_largest_of_its_three() -> None:
    """Twice the entry excess (either sign), the historical move, or the floor."""
    for excess in (80.0, -80.0):
        assert margin.widening_usd(excess, 70_000.0, LIMITS) == pytest.approx(160.0 * 7.0)
    assert margin.widening_usd(0.0, 70_000.0, LIMITS) == pytest.approx(100.0 * 7.0)
    calm = msgspec.structs.replace(LIMITS, widening_historical_bp=10.0)
    assert margin.widening_usd(1.0, 70_000.0, calm) == pytest.approx(50.0 * 7.0)


def test_widening_is_a_move_from_where_the_premium_stands() -> None:
    """A premium that is wide already is stressed from there, never back towards a smaller one."""
    assert need_of(opening(hedge=leg(PERP, 71_400.0, 0.5, 20.0)), "lead_silo") > need_of(opening(), "lead_silo")


def test_stress_judges_the_venue_net() -> None:
    """What another pair holds there, and its live orders at their worst, are in the need; an offset lowers it."""
    alone = need_of(opening(), "lead_silo")
    assert need_of(opening(lead__net_qty=10.0, lead__worst_qty=10.0), "lead_silo") == pytest.approx(alone * 1.5)
    assert need_of(opening(lead__net_qty=0.0, lead__worst_qty=10.0), "lead_silo") == pytest.approx(alone * 1.5)
    assert need_of(opening(lead__net_qty=-10.0, lead__worst_qty=-10.0), "lead_silo") == pytest.approx(alone * 0.5)


def test_own_orders_in_flight_are_part_of_the_target() -> None:
    """A clip of this pair that is on its way is not counted twice, and one that overshoots the target is counted whole."""
    alone = need_of(opening(), "lead_silo")
    under_way = {"lead__net_qty": 5.0, "lead__pair_qty": 5.0, "held_lots": 5}
    assert need_of(opening(**under_way, lead__worst_qty=15.0, lead__own_pending=10.0), "lead_silo") == pytest.approx(alone)
    assert need_of(opening(**under_way, lead__worst_qty=45.0, lead__own_pending=40.0), "lead_silo") == pytest.approx(alone * 45 / 20)


@pytest.mark.parametrize("direction", [1, -1])
def test_initial_margin_boundary(direction: int) -> None:
    """2 BTC at the ask: 40 % at the broker, the bracket's rate at the perp venue, and what others there need."""
    need = 2.0 * 70_002.5 * 0.40
    assert margin.initial(opening(direction, lead_silo__equity=need), LIMITS) is None
    assert margin.initial(opening(direction, lead_silo__equity=need - 1.0), LIMITS) == Refusal(
        Rule.MARGIN_INITIAL, pytest.approx(need), pytest.approx(need - 1.0)
    )
    others = margin.initial(opening(direction, lead_silo__equity=need, lead_silo__other_initial=1.0), LIMITS)
    assert others is not None and others.observed == pytest.approx(need + 1.0)
    perp = 2.0 * (70_000.5 + direction * 420.0) * 0.01
    assert margin.initial(opening(direction, hedge_silo__equity=perp), LIMITS) is None
    refusal = margin.initial(opening(direction, hedge_silo__equity=perp - 1.0), LIMITS)
    assert refusal is not None and refusal.observed == pytest.approx(perp)


def test_initial_margin_of_an_inverse_hedge_is_paid_in_coins() -> None:
    """Coins at their price meet dollars of contracts: 2 BTC of contracts at 2 % need 0.04 BTC."""
    assert margin.initial(inverse(hedge_silo__equity=0.0403), LIMITS) is None
    assert margin.initial(inverse(hedge_silo__equity=0.0402), LIMITS) is not None


@pytest.mark.parametrize("silo", ["lead_silo", "hedge_silo"])
@pytest.mark.parametrize("unknown", [0.0, nan])
def test_unknown_equity_is_refused(silo: str, unknown: float) -> None:
    """A silo with nothing or with an unknown equity posts no margin."""
    for rule in (margin.initial, margin.stress):
        assert rule(opening(**{f"{silo}__equity": unknown}), LIMITS) is not None


BREACHES: list[tuple[str, dict[str, Any], float]] = [
    ("lead_silo", {}, 2.0 * 70_000.0 * 0.35),
    ("hedge_silo", {}, 2.0 * 70_420.0 * 0.055 - 50.0),
    ("lead_silo", {"lead_silo__other_notional": 1_000.0, "lead_silo__other_maintenance": 100.0}, 2.0 * 70_000.0 * 0.35 + 150.0),
]


@pytest.mark.parametrize(("silo", "more", "floor"), BREACHES)
def test_breach_at_maintenance_plus_buffer(silo: str, more: dict[str, Any], floor: float) -> None:
    """The monitor trips below maintenance plus 5 % of all notional held there, not at it."""
    assert margin.breach(exposure(**more, **{f"{silo}__equity": floor + 1e-6}), LIMITS) is None
    refusal = margin.breach(exposure(**more, **{f"{silo}__equity": floor - 0.01}), LIMITS)
    assert refusal == Refusal(Rule.MARGIN_BUFFER, pytest.approx(floor - 0.01), pytest.approx(floor))


def test_nothing_held_cannot_breach() -> None:
    """An empty account has no floor and endless room."""
    flat = exposure(lead__net_qty=0.0, hedge__net_qty=0.0, lead_silo__equity=0.0, hedge_silo__equity=0.0)
    assert margin.breach(flat, LIMITS) is None and margin.room_usd(flat, LIMITS) == float("inf")


@pytest.mark.parametrize("direction", [1, -1])
def test_room_is_honest(direction: int) -> None:
    """A loss of the room, with the notional grown by as much, still does not trip the monitor."""
    x = exposure(direction, hedge_silo__equity=30_000.0, lead_silo__equity=60_000.0)
    room = margin.room_usd(x, LIMITS)
    assert room > 0.0
    for silo, side, coins in (("lead_silo", "lead", 20.0), ("hedge_silo", "hedge", 2.0)):
        per_contract = room / coins / (0.1 if side == "lead" else 1.0)
        hurt = changed(x, **{f"{silo}__equity": getattr(x, silo).equity - room, f"{side}__mark": getattr(x, side).mark + per_contract})
        assert margin.breach(hurt, LIMITS) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_inverse_breach_values_coins(direction: int) -> None:
    """Contracts of 141,000 USD need 6 % of it; the coins behind them are worth their price, whatever the sign held."""
    x = inverse(direction)
    held = changed(exposure(direction), hedge=msgspec.structs.replace(x.hedge, net_qty=-direction * 1_410.0), hedge_silo=x.hedge_silo)
    floor = 141_000.0 * 0.06 / 70_000.0
    assert margin.breach(changed(held, hedge_silo__equity=floor + 1e-6), LIMITS) is None
    refusal = margin.breach(changed(held, hedge_silo__equity=floor - 1e-4), LIMITS)
    assert refusal is not None and refusal.limit == pytest.approx(8_460.0)


def test_liquidation_price_mirrors() -> None:
    """At the returned mark equity equals maintenance, for a short above the entry and a long below it."""
    for coins in (-10.0, 10.0):
        price = margin.liquidation_price(PERP, coins, 70_000.0, 240_000.0)
        left = 240_000.0 + coins * (price - 70_000.0)
        assert left == pytest.approx(margin.maintenance_margin(PERP, 10.0 * price), abs=1e-3)
        assert (price > 70_000.0) is (coins < 0)


@pytest.mark.parametrize("silo", ["lead_silo", "hedge_silo"])
def test_rates_that_the_venue_has_raised_count_in_every_rule(silo: str) -> None:
    """Twice the margin asked for: twice the maintenance in the need, in the floor and in the initial margin."""
    plain, hiked = opening(), opening(**{f"{silo}__margin_multiple": 2.0})
    leg_of = "lead" if silo == "lead_silo" else "hedge"
    assert need_of(hiked, silo) > need_of(plain, silo) * 1.005
    held = exposure(**{f"{silo}__equity": 1_000.0})
    floors = [margin.breach(changed(held, **{f"{silo}__margin_multiple": m}), LIMITS) for m in (1.0, 2.0)]
    assert all(f is not None and f.rule is Rule.MARGIN_BUFFER for f in floors)
    assert floors[1].limit > floors[0].limit  # type: ignore[union-attr]
    asked = [margin.initial(changed(plain, **{f"{silo}__equity": 1.0, f"{silo}__margin_multiple": m}), LIMITS) for m in (1.0, 2.0)]
    assert asked[1].observed == pytest.approx(2.0 * asked[0].observed), leg_of  # type: ignore[union-attr]


def test_the_strain_of_what_is_held_is_the_gates_need() -> None:
    """A warning and a refusal speak of one number: what is held now, judged as the gate judged it."""
    held = exposure()
    shares = {s.venue: s for s in margin.strains(held, LIMITS)}
    assert len(shares) == 2 and all(0.0 < s.need < s.free for s in shares.values())
    for s in shares.values():
        assert s.share == pytest.approx(s.need / s.free)
        assert margin.low(s, False, msgspec.structs.replace(LIMITS, margin_warn_share=s.share * 0.99))
        assert not margin.low(s, False, msgspec.structs.replace(LIMITS, margin_warn_share=s.share * 1.01))
        assert margin.low(s, True, msgspec.structs.replace(LIMITS, margin_warn_share=s.share * 1.01))
        assert not margin.low(s, True, msgspec.structs.replace(LIMITS, margin_warn_share=s.share * 1.12))
    broke = margin.Strain("cme", "USD", 1.0, 0.0, 1.0)
    assert margin.low(broke, False, LIMITS) and margin.warn_room_usd(broke, LIMITS) == 0.0


@pytest.mark.parametrize("direction", [1, -1])
def test_an_absurd_price_of_the_lead_is_a_strain_and_no_error(direction: int) -> None:
    """A book at a billionth of the perp's price gives a finite need."""
    coins = 5.0 * direction
    need = margin.lead_need(opening(1).lead.terms, coins, 1.5e-9, 80_000.0, direction * 80_000.0 + 800.0, LIMITS)
    assert 0.0 <= need.maintenance < float("inf") and need.total < float("inf")
    assert all(abs(strain.need) < float("inf") for strain in margin.strains(exposure(direction, lead__bid=1e-9, lead__ask=2e-9), LIMITS))
