"""Stops: each trips at its limit and not before, and the spread stops follow the direction that is held."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from opening import LIMITS, MBT, NOW, S, exposure, intent, opening

from risk import stops
from risk.verdict import Refusal, Rule

EXPIRY = MBT.expiry_ns or 0


@pytest.mark.parametrize(
    ("rule", "holds", "trips", "observed", "limit"),
    [
        (Rule.MONEY_STOP, {"pnl_usd": -14_999.99}, {"pnl_usd": -15_000.0}, 15_000.0, 15_000.0),
        (Rule.TRAILING_STOP, {"best_pnl_usd": 9_000.0, "pnl_usd": -5_999.99}, {"best_pnl_usd": 9_000.0, "pnl_usd": -6_000.0}, 15_000.0, 15_000.0),
        (Rule.TIME_STOP, {"entered_ns": NOW - 432_000 * S + S}, {"entered_ns": NOW - 432_000 * S}, 432_000.0, 432_000.0),
        (Rule.DAILY_LOSS, {"desk__nav_usd": 980_000.01}, {"desk__nav_usd": 980_000.0}, 20_000.0, 20_000.0),
        (Rule.DRAWDOWN, {"desk__peak_usd": 1_052_631.0}, {"desk__peak_usd": 1_052_632.0}, 52_632.0, 52_631.6),
        (Rule.EXPIRY_STOP, {"now": EXPIRY - 86_400 * S - S}, {"now": EXPIRY - 86_400 * S, "entered_ns": 0}, 86_400.0, 86_400.0),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_slow_stops_trip_at_their_limit(
    rule: Rule, holds: dict[str, Any], trips: dict[str, Any], observed: float, limit: float, direction: int
) -> None:
    """One step inside the limit nothing trips; at it exactly that stop does, whichever way the pair is held."""
    if rule is Rule.EXPIRY_STOP:
        holds = {**holds, "entered_ns": 0}
    assert stops.slow_stops(exposure(direction, **holds), LIMITS) is None
    assert stops.slow_stops(exposure(direction, **trips), LIMITS) == Refusal(rule, pytest.approx(observed), pytest.approx(limit))


def test_a_perpetual_lead_has_no_expiry_stop() -> None:
    """Without an expiry no time to it is judged."""
    assert stops.slow_stops(exposure(expiry_ns=0), LIMITS) is None


def test_unknown_start_of_day_silences_only_what_counts_from_it() -> None:
    """Without a NAV of the day's start the daily loss says nothing; the money stop still ends the trade."""
    unknown = {"desk__day_start_usd": 0.0, "desk__nav_usd": 1.0, "desk__peak_usd": 0.0}
    assert stops.slow_stops(exposure(**unknown), LIMITS) is None
    tripped = stops.slow_stops(exposure(**unknown, pnl_usd=-20_000.0), LIMITS)
    assert tripped is not None and tripped.rule is Rule.MONEY_STOP


def test_unknown_nav_trips_nothing() -> None:
    """A NAV that is not known is not a loss."""
    assert stops.slow_stops(exposure(desk__nav_usd=nan), LIMITS) is None


@pytest.mark.parametrize("direction", [1, -1])
def test_spread_levels_mirror(direction: int) -> None:
    """Both directions get the same adverse distance: 100 bp of index, or what is left to four frozen sigmas."""
    wide = stops.trip_levels(direction, 70_000.0, intent(direction, sigma_bp=50.0, excess_bp=direction * 90.0), LIMITS)
    assert wide.first == (pytest.approx(700.0), Rule.SPREAD_STOP)
    near = stops.trip_levels(direction, 70_000.0, intent(direction, sigma_bp=20.0, excess_bp=direction * 60.0), LIMITS)
    assert near.first == (pytest.approx((4 * 20 - 60) * 7.0), Rule.SIGMA_STOP)


@pytest.mark.parametrize("direction", [1, -1])
def test_sigma_level_counts_from_the_frozen_mean(direction: int) -> None:
    """The room is measured from the mean frozen at entry, in the direction held, never from zero."""
    levels = stops.trip_levels(direction, 70_000.0, intent(direction, mean_bp=direction * 30.0, excess_bp=direction * 60.0), LIMITS)
    assert levels.sigma_usd == pytest.approx((80 - 30) * 7.0)


def test_entry_beyond_the_sigma_stop_keeps_half_a_sigma() -> None:
    """An entry next to the stop is not stopped by its own spread, and an unknown sigma leaves the spread stop alone."""
    levels = stops.trip_levels(1, 70_000.0, intent(excess_bp=79.0), LIMITS)
    assert levels.first == (pytest.approx(10.0 * 7.0), Rule.SIGMA_STOP)
    assert stops.trip_levels(1, 70_000.0, intent(sigma_bp=0.0), LIMITS).first == (pytest.approx(700.0), Rule.SPREAD_STOP)
    assert stops.trip_levels(1, 70_000.0, intent(sigma_bp=nan), LIMITS).first == (pytest.approx(700.0), Rule.SPREAD_STOP)


def test_no_opening_inside_the_expiry_stop() -> None:
    """What the expiry stop would close at once is not opened."""
    from_now = {"lead__terms": opening().lead.terms}
    assert stops.expiry(opening(**from_now, desk__now=EXPIRY - 86_401 * S), LIMITS) is None
    refusal = stops.expiry(opening(**from_now, desk__now=EXPIRY - 86_400 * S), LIMITS)
    assert refusal == Refusal(Rule.EXPIRY_STOP, pytest.approx(86_400.0), 86_400.0)
