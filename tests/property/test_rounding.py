"""Rounding: whole lots and ticks, never past the direction asked for, and the same when done twice."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model.instrument import Instrument, Kind, Rounding, coins, contracts_for, round_price, round_qty, snap_price, to_decimal, to_price

STEPS = st.sampled_from([Decimal(s) for s in ("0.001", "0.1", "0.5", "1", "5", "0.0001", "25", "0.003")])
SIZES = st.decimals(min_value=Decimal("-1e9"), max_value=Decimal("1e9"), allow_nan=False, allow_infinity=False, places=8)
PRICES = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("1e7"), places=6)


def terms(step: Decimal, unit: str = "0.1", inverse: bool = False) -> Instrument:
    """Return a contract whose lot and tick are `step`."""
    return Instrument(id="X", venue="v", kind=Kind.PERP, base="BTC", unit=Decimal(unit), tick=step, lot=step, index_quote="USD", settle="USD",
                      inverse=inverse)  # fmt: skip


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Return whether `value` is a whole number of steps, exactly."""
    return (Fraction(value) / Fraction(step)).denominator == 1


@given(SIZES, STEPS, st.sampled_from(list(Rounding)))
@settings(max_examples=500)
def test_quantities(qty: Decimal, lot: Decimal, way: Rounding) -> None:
    """Lot multiples, within one lot, sign kept, DOWN towards zero, UP away from it, idempotent and odd in its argument."""
    x = terms(lot)
    got = round_qty(x, qty, way)
    assert is_multiple(got, lot) and abs(got - qty) < lot
    assert got == 0 or (got > 0) is (qty > 0)
    if way is Rounding.DOWN:
        assert abs(got) <= abs(qty)
    elif way is Rounding.UP:
        assert abs(got) >= abs(qty)
    else:
        assert abs(got - qty) * 2 <= lot
    assert round_qty(x, got, way) == got and round_qty(x, -qty, way) == -got


@given(PRICES, STEPS, st.sampled_from(list(Rounding)))
@settings(max_examples=500)
def test_prices(price: Decimal, tick: Decimal, way: Rounding) -> None:
    """Tick multiples, within one tick, DOWN never above and UP never below, idempotent."""
    x = terms(tick)
    got = round_price(x, price, way)
    assert is_multiple(got, tick) and abs(got - price) < tick
    assert way is not Rounding.DOWN or got <= price
    assert way is not Rounding.UP or got >= price
    assert way is not Rounding.NEAREST or abs(got - price) * 2 <= tick
    assert round_price(x, got, way) == got


@given(st.decimals(min_value=-1_000, max_value=1_000, places=4), PRICES, st.booleans(), st.sampled_from(list(Rounding)))
@settings(max_examples=300)
def test_contracts_are_worth_the_coins_asked_for(coin_qty: Decimal, price: Decimal, inverse: bool, way: Rounding) -> None:
    """Contracts for coins, turned back into coins, differ by less than one lot, towards the direction asked for."""
    x = terms(Decimal(1), unit="100" if inverse else "0.1", inverse=inverse)
    got = contracts_for(x, coin_qty, price, way)
    one = abs(coins(x, Decimal(1), price))
    back = coins(x, got, price)
    slack = Decimal("1e-18") * (1 + abs(coin_qty))
    assert abs(back - coin_qty) <= one + slack
    if way is Rounding.DOWN:
        assert abs(back) <= abs(coin_qty) + slack
    if way is Rounding.UP:
        assert abs(back) >= abs(coin_qty) - slack
    assert got == 0 or (got > 0) is (coin_qty > 0)


@given(st.floats(min_value=0.01, max_value=1e7), STEPS)
@settings(max_examples=300)
def test_a_crossing_price_never_gets_better_by_rounding(value: float, tick: Decimal) -> None:
    """A float price becomes a tick in the direction asked for, never past it."""
    x = terms(tick)
    assert to_price(x, value, Rounding.DOWN) <= Decimal(repr(value)) <= to_price(x, value, Rounding.UP)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_to_decimal_is_exact_to_the_shortest_text(value: float) -> None:
    """The door from observations to obligations keeps the float: reading the decimal back gives it."""
    assert float(to_decimal(value)) == value


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_door_for_what_is_not_a_number(bad: float) -> None:
    """NaN and infinities raise before they become an obligation."""
    with pytest.raises(ValueError, match="finite"):
        to_decimal(bad)


@given(st.integers(1, 10**6), STEPS, st.floats(-0.009, 0.009))
def test_reported_prices_snap_to_their_tick(ticks: int, tick: Decimal, off: float) -> None:
    """A price within 1 % of a tick of the grid is that tick."""
    exact = tick * ticks
    assert snap_price(terms(tick), float(exact) + off * float(tick) * 0.5) == exact


@given(st.integers(1, 10**4), st.floats(0.05, 0.95))
def test_off_grid_prices_are_refused(ticks: int, off: float) -> None:
    """A price between ticks means wrong terms and raises, naming the instrument."""
    with pytest.raises(ValueError, match="X: price"):
        snap_price(terms(Decimal(5)), (ticks + off) * 5.0)
