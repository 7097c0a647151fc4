"""Position algebra: whatever the fills, realised plus unrealised is what the fills earned, linear and inverse."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model.instrument import Instrument, Kind
from bot.model.position import BOOKED, Position, apply_fill, delta_coins, pnl, pnl_est

LINEAR = Instrument(id="L", venue="v", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD", settle="USD")
INVERSE = Instrument(id="I", venue="v", kind=Kind.PERP, base="BTC", unit=Decimal(100), tick=Decimal("0.1"), lot=Decimal(1), index_quote="USD",
                     settle="BTC", inverse=True)  # fmt: skip
FILLS = st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(200_000, 2_400_000)), min_size=1, max_size=25)
"""(signed contracts, price in tenths of a dollar)"""
EXACT = Decimal("1e-18")
BOOKINGS = BOOKED * 25
"""Each realised amount is rounded once."""


def booked(terms: Instrument, fills: list[tuple[int, int]]) -> tuple[Position, Decimal]:
    """Return position and realised profit after `fills`."""
    position, realised = Position(), Decimal(0)
    for qty, price in fills:
        realised += apply_fill(terms, position, Decimal(qty), Decimal(price) / 10)
        assert position.qty_f == float(position.qty) and position.avg_f == float(position.avg)
        assert (position.qty == 0) is (position.avg == 0)
    return position, realised


@given(FILLS, st.integers(200_000, 2_400_000))
@settings(max_examples=400)
def test_linear_identity(fills: list[tuple[int, int]], tenths: int) -> None:
    """Realised + unrealised at any price = sum of signed quantity x unit x (price - fill), whatever is crossed on the way."""
    price = Decimal(tenths) / 10
    position, realised = booked(LINEAR, fills)
    total = realised + (pnl(LINEAR, position.qty, position.avg, price) if position.qty else 0)
    direct = sum(Decimal(q) * LINEAR.unit * (price - Decimal(p) / 10) for q, p in fills)
    assert position.qty == sum(q for q, _ in fills)
    assert abs(total - direct) <= BOOKINGS


@given(FILLS, st.integers(200_000, 2_400_000))
@settings(max_examples=400)
def test_inverse_identity(fills: list[tuple[int, int]], tenths: int) -> None:
    """The same in coins: sum of signed quantity x unit x (1/fill - 1/price)."""
    price = Decimal(tenths) / 10
    position, realised = booked(INVERSE, fills)
    total = realised + (pnl(INVERSE, position.qty, position.avg, price) if position.qty else 0)
    direct = sum(Decimal(q) * INVERSE.unit * (10 / Decimal(p) - 1 / price) for q, p in fills)
    assert abs(total - direct) <= BOOKINGS


@given(FILLS)
@settings(max_examples=300)
def test_bookings_add_up_in_any_order(fills: list[tuple[int, int]]) -> None:
    """What fills realise can be summed from either end to the same digit, on top of a large balance."""
    for terms in (LINEAR, INVERSE):
        position = Position()
        amounts = [apply_fill(terms, position, Decimal(q), Decimal(p) / 10) for q, p in fills]
        assert sum(amounts, Decimal(10**9)) == sum(reversed(amounts), Decimal(10**9))


@given(FILLS)
@settings(max_examples=300)
def test_average_lies_between_the_fills_that_opened_it(fills: list[tuple[int, int]]) -> None:
    """Average cost is within the prices paid, for either kind."""
    for terms in (LINEAR, INVERSE):
        position, _ = booked(terms, fills)
        prices = [Decimal(p) / 10 for _, p in fills]
        if position.qty:
            assert min(prices) - EXACT <= position.avg <= max(prices) + EXACT


@pytest.mark.parametrize(("terms", "expected"), [(LINEAR, "40"), (INVERSE, None)])
def test_crossing_zero_closes_the_old_side_and_opens_the_rest(terms: Instrument, expected: str | None) -> None:
    """Long 4 at 100 and short 10 at 200: four are realised, six are short at 200, none at an average of both."""
    position = Position()
    apply_fill(terms, position, Decimal(4), Decimal(100))
    realised = apply_fill(terms, position, Decimal(-10), Decimal(200))
    assert position.qty == -6 and position.avg == 200
    assert realised == (Decimal(expected) if expected else Decimal(4) * 100 * (1 / Decimal(100) - 1 / Decimal(200)))


def test_reducing_leaves_the_average_alone() -> None:
    """A partial close realises against the average and does not move it."""
    position = Position()
    apply_fill(LINEAR, position, Decimal(10), Decimal(100))
    apply_fill(LINEAR, position, Decimal(10), Decimal(110))
    assert apply_fill(LINEAR, position, Decimal(-5), Decimal(125)) == Decimal("10") and position.avg == 105 and position.qty == 15


def test_inverse_average_is_harmonic() -> None:
    """Equal contracts at 100 and 300 are worth coins as at 150, not 200."""
    position = Position()
    apply_fill(INVERSE, position, Decimal(1), Decimal(100))
    apply_fill(INVERSE, position, Decimal(1), Decimal(300))
    assert abs(position.avg - 150) < EXACT


@given(FILLS, st.floats(20_000.0, 240_000.0))
@settings(max_examples=200)
def test_estimate_follows_the_booked_algebra(fills: list[tuple[int, int]], price: float) -> None:
    """The float mark of a position is its exact profit at that price to rounding, and nothing for a flat one."""
    for terms in (LINEAR, INVERSE):
        position, _ = booked(terms, fills)
        exact = pnl(terms, position.qty, position.avg, Decimal(repr(price))) if position.qty else Decimal(0)
        scale = abs(position.qty_f) * (240_000.0 * 0.1 if terms is LINEAR else 100.0 / 20_000.0)
        assert pnl_est(terms, position, price, float(terms.unit)) == pytest.approx(float(exact), abs=1e-9 * scale + 1e-12)


@given(st.integers(-5_000, 5_000).filter(bool), st.integers(200_000, 2_400_000), st.integers(200_000, 2_400_000))
def test_inverse_delta_counts_the_equity_behind_it(contracts: int, entry: int, mark: int) -> None:
    """G5: marked coin profit less contracts at mark is the delta at entry, at every price."""
    e, m = Decimal(entry) / 10, Decimal(mark) / 10
    position = Position()
    apply_fill(INVERSE, position, Decimal(contracts), e)
    at_mark = Decimal(contracts) * 100 / m + pnl(INVERSE, Decimal(contracts), e, m)
    assert abs(delta_coins(INVERSE, position) - at_mark) < EXACT
    assert delta_coins(INVERSE, Position()) == 0
