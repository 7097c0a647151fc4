"""Market health: every unknown, stale or unfit observation blocks an opening, on either leg and in either direction."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import msgspec
import pytest
from opening import LIMITS, NOW, USD_PERP, S, leg, opening

from risk import gate, health
from risk.verdict import Approved, Refusal, Rule

LATE = int(45.001 * S)

TABLE: list[tuple[str, Rule, dict[str, Any], dict[str, Any]]] = [
    ("lead venue down", Rule.VENUE_DOWN, {}, {"lead__venue_up": False}),
    ("hedge venue down", Rule.VENUE_DOWN, {}, {"hedge__venue_up": False}),
    ("lead shut", Rule.SESSION_CLOSED, {}, {"lead__session_open": False}),
    ("hedge shut", Rule.SESSION_CLOSED, {}, {"hedge__session_open": False}),
    ("lead closing", Rule.SESSION_CLOSING, {"lead__closes_ns": NOW + 600 * S}, {"lead__closes_ns": NOW + 600 * S - 1}),
    ("no quote ever", Rule.QUOTE_MISSING, {}, {"lead__ts": 0}),
    ("no bid", Rule.QUOTE_MISSING, {}, {"hedge__bid": 0.0}),
    ("negative ask", Rule.QUOTE_MISSING, {}, {"lead__ask": -1.0}),
    ("NaN bid", Rule.QUOTE_MISSING, {}, {"hedge__bid": nan}),
    ("infinite ask", Rule.QUOTE_MISSING, {}, {"lead__ask": inf}),
    ("no size bid", Rule.QUOTE_MISSING, {}, {"lead__bids": ((69_997.5, 0.0),)}),
    ("NaN size asked", Rule.QUOTE_MISSING, {}, {"hedge__asks": ((70_420.5, nan),)}),
    ("locked", Rule.QUOTE_CROSSED, {"lead__bid": 70_002.4}, {"lead__bid": 70_002.5}),
    ("crossed", Rule.QUOTE_CROSSED, {}, {"hedge__bid": 70_430.0}),
    ("lead old", Rule.QUOTE_AGE, {"lead__venue_ts": NOW - 45 * S, "hedge__venue_ts": NOW - S}, {"lead__venue_ts": NOW - LATE}),
    ("hedge old", Rule.QUOTE_AGE, {"hedge__venue_ts": NOW - 45 * S, "lead__venue_ts": NOW - S}, {"hedge__venue_ts": NOW - LATE}),
    ("hedge from the future", Rule.QUOTE_AGE, {}, {"hedge__venue_ts": NOW + LATE}),
    ("never stamped", Rule.QUOTE_AGE, {}, {"lead__venue_ts": 0}),
    ("stable never seen", Rule.STABLE_UNKNOWN, {}, {"stable__usd": 0.0}),
    ("stable NaN", Rule.STABLE_UNKNOWN, {}, {"stable__usd": nan}),
    ("stable old", Rule.STABLE_UNKNOWN, {"stable__ts": NOW - 600 * S}, {"stable__ts": NOW - 601 * S}),
    ("depeg down", Rule.DEPEG, {"stable__usd": 0.981}, {"stable__usd": 0.9799}),
    ("depeg up", Rule.DEPEG, {"stable__usd": 1.019}, {"stable__usd": 1.0201}),
    ("mark never seen", Rule.MARK_UNKNOWN, {}, {"hedge__mark_ts": 0}),
    ("mark zero", Rule.MARK_UNKNOWN, {}, {"hedge__mark": 0.0}),
    ("mark NaN", Rule.MARK_UNKNOWN, {}, {"hedge__mark": nan}),
    ("mark old", Rule.MARK_UNKNOWN, {"hedge__mark_ts": NOW - 600 * S}, {"hedge__mark_ts": NOW - 601 * S}),
    ("index never seen", Rule.INDEX_UNKNOWN, {}, {"hedge__index": 0.0}),
    ("index NaN", Rule.INDEX_UNKNOWN, {}, {"index_usd": nan}),
    ("premium absurd", Rule.QUOTE_ABSURD, {}, {"hedge__bid": 77_100.0, "hedge__ask": 77_101.0}),
    ("funding never seen", Rule.FUNDING_UNKNOWN, {}, {"hedge__funding_ts": 0}),
    ("funding without interval", Rule.FUNDING_UNKNOWN, {}, {"hedge__funding_interval_s": 0}),
    ("funding NaN", Rule.FUNDING_UNKNOWN, {}, {"hedge__funding_rate": nan}),
    ("funding old", Rule.FUNDING_UNKNOWN, {"hedge__funding_ts": NOW - 3_600 * S}, {"hedge__funding_ts": NOW - 3_601 * S}),
]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(("name", "rule", "fits", "spoiled"), TABLE, ids=[row[0] for row in TABLE])
def test_unfit_markets_block_openings(name: str, rule: Rule, fits: dict[str, Any], spoiled: dict[str, Any], direction: int) -> None:
    """An opening at the last acceptable value passes the gate and one beyond it is refused by that rule."""
    assert isinstance(gate.review(opening(direction, **fits), LIMITS), Approved), name
    refusal = gate.review(opening(direction, **spoiled), LIMITS)
    assert isinstance(refusal, Refusal) and refusal.rule is rule, name


def test_observed_and_limit_are_in_the_limits_unit() -> None:
    """Ages come in seconds beside the leg's own limit."""
    refusal = health.quotes(opening(hedge__venue_ts=NOW - 50 * S), LIMITS)
    assert refusal == Refusal(Rule.QUOTE_AGE, pytest.approx(50.0), 45.0)
    refusal = health.tradable(opening(lead__closes_ns=NOW + 90 * S), LIMITS)
    assert refusal == Refusal(Rule.SESSION_CLOSING, pytest.approx(90.0), 600.0)


def test_skew_counts_either_leg_being_the_older() -> None:
    """Two books are compared only when the venues stamped them within skew_s_max of each other."""
    tight = msgspec.structs.replace(LIMITS, skew_s_max=5.0)
    for old in ("lead__venue_ts", "hedge__venue_ts"):
        assert health.quotes(opening(**{old: NOW - 5 * S}), tight) is None
        assert health.quotes(opening(**{old: NOW - 6 * S}), tight) == Refusal(Rule.QUOTE_SKEW, pytest.approx(6.0), 5.0)


def test_dollar_hedge_needs_no_stablecoin() -> None:
    """A hedge that settles in dollars is judged at exactly one dollar."""
    assert isinstance(gate.review(opening(hedge=leg(USD_PERP, 70_420.0, 0.5, 20.0)), LIMITS), Approved)
