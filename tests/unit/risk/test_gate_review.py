"""The gate as a whole: the literal order, never more than asked, and no limit that loosens by being tightened."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import LIMITS, NOW, S, inverse, opening

import risk
from risk import conduct, counterparty, flow, funding, gate, health, hedge, limits, margin, sizing, stops
from risk.limits import Limits
from risk.request import Opening
from risk.verdict import Approved, Refusal, Rule

COUNTS = {"stop_samples", "funding_shock_stamps", "edge_decay_pairs"}
"""Whole numbers of samples, not sizes of anything."""

SHRINK_TIGHTENS = {
    "daily_loss_share", "drawdown_share", "risk_share", "pair_lots_max", "exit_depth_share", "exit_s", "volatility_reference_bp",
    "funding_rate_hour_max", "funding_budget_share", "funding_budget_floor_usd", "broker_cap_share", "perp_cap_share", "stable_cap_share",
    "default_loss_share", "unhedged_coins_max", "lead_age_s_max", "hedge_age_s_max", "stable_age_s_max", "mark_age_s_max", "funding_age_s_max",
    "skew_s_max", "premium_absurd_bp", "depeg_share_max", "orders_minute_max", "openings_minute_max", "position_coins_max", "edge_decay_bp",
}
"""Limits of which less allows less. A smaller shock, buffer or stop distance is the other way round, on purpose."""

WILD = st.fixed_dictionaries({
    "direction": st.sampled_from([1, -1]),
    "lots": st.integers(1, 60),
    "premium": st.floats(-900.0, 900.0),
    "lead_equity": st.floats(100_000.0, 720_000.0),
    "hedge_equity": st.floats(40_000.0, 500_000.0),
    "nav": st.floats(979_000.0, 1_000_000.0),
    "rate": st.floats(-0.001, 0.001),
    "age_s": st.floats(0.0, 47.0),
    "size": st.floats(0.1, 30.0),
    "sigma": st.floats(0.0, 120.0),
    "excess": st.floats(-200.0, 200.0),
    "stable": st.floats(0.9795, 1.0205),
    "net": st.floats(-50.0, 50.0),
    "recent": st.integers(0, 121),
    "inverse": st.booleans(),
})  # fmt: skip


def built(w: dict[str, Any]) -> Opening:
    """Return the drawn opening."""
    make = inverse if w["inverse"] else opening
    mid = 70_000.0 + w["premium"]
    size = w["size"] * (700.0 if w["inverse"] else 1.0)
    return make(
        w["direction"], w["lots"], lead__net_qty=w["net"], lead__worst_qty=w["net"],
        hedge__bid=mid - 0.5, hedge__ask=mid + 0.5, hedge__mark=mid, hedge__bids=((mid - 0.5, size),), hedge__asks=((mid + 0.5, size),),
        lead_silo__equity=w["lead_equity"], hedge_silo__equity=w["hedge_equity"] / (70_000.0 if w["inverse"] else 1.0), desk__nav_usd=w["nav"],
        hedge__funding_rate=w["rate"], hedge__venue_ts=NOW - int(w["age_s"] * S), intent__sigma_bp=w["sigma"], intent__excess_bp=w["excess"],
        stable__usd=w["stable"], desk__orders_last_minute=w["recent"],
    )  # fmt: skip


@given(WILD)
@settings(max_examples=400, deadline=None)
def test_never_more_than_asked(w: dict[str, Any]) -> None:
    """An approval is whole lots above what is held and at most what was asked; a refusal carries finite numbers or an infinity."""
    x = built(w)
    verdict = gate.review(x, LIMITS)
    if isinstance(verdict, Approved):
        assert x.held_lots < verdict.lots <= x.lots and isinstance(verdict.lots, int)
        assert (verdict.lots < x.lots) is (verdict.shrunk_by is not None)
    else:
        assert verdict.rule in Rule and verdict.observed == verdict.observed


@given(WILD)
@settings(max_examples=300, deadline=None)
def test_what_is_approved_passes_every_rule_at_that_size(w: dict[str, Any]) -> None:
    """No approval of ours breaches a limit (I8): every rule agrees with the lots that were let through."""
    x = built(w)
    verdict = gate.review(x, LIMITS)
    if isinstance(verdict, Approved):
        sized = msgspec.structs.replace(x, lots=verdict.lots)
        assert [rule for rule in gate.RULES if rule(sized, LIMITS) is not None] == []
        assert all(cap(sized, LIMITS) >= verdict.lots for _, cap in sizing.CAPS)


@given(WILD, st.sampled_from(sorted(SHRINK_TIGHTENS)), st.floats(0.05, 1.0))
@settings(max_examples=600, deadline=None)
def test_tightening_a_limit_never_opens_more(w: dict[str, Any], name: str, by: float) -> None:
    """Shrinking any one limit that bounds something turns no refusal of the rules into an approval and approves no larger size.

    Shrunk sizes are judged by the rules after sizing, so a smaller size may pass a cap that the larger one failed: that
    is sizing's purpose, and the only way a refusal may end.
    """
    x = built(w)
    value = getattr(LIMITS, name)
    tight = max(1, int(value * by)) if isinstance(value, int) else value * by
    before, after = gate.review(x, LIMITS), gate.review(x, msgspec.structs.replace(LIMITS, **{name: tight}))
    if isinstance(before, Refusal):
        sized_down = isinstance(after, Approved) and after.shrunk_by is not None and before.rule not in {r for r, _ in sizing.CAPS}
        assert isinstance(after, Refusal) or sized_down, (name, tight, before, after)
    elif isinstance(after, Approved):
        assert after.lots <= before.lots, (name, tight)


@given(WILD, st.sampled_from(sorted(SHRINK_TIGHTENS)), st.floats(0.05, 1.0))
@settings(max_examples=400, deadline=None)
def test_each_rule_is_monotone_alone(w: dict[str, Any], name: str, by: float) -> None:
    """At a given size a rule that refuses goes on refusing when any limit it may read is tightened."""
    x = built(w)
    value = getattr(LIMITS, name)
    tight = msgspec.structs.replace(LIMITS, **{name: max(1, int(value * by)) if isinstance(value, int) else value * by})
    for rule in gate.RULES:
        if rule(x, LIMITS) is not None:
            assert rule(x, tight) is not None, (rule.__module__, rule.__name__, name)


def test_refuses_first_by_the_literal_order() -> None:
    """With everything wrong, mending the first complaint brings up the next: whatever the size, then sizes, then at size."""
    everything = dict(
        desk__halted=True, lead__venue_up=False, lead__bid=0.0, stable__usd=0.0, intent__hedge_ratio=2, desk__nav_usd=0.0, desk__edge_pairs=20,
        desk__edge_shortfall_bp=9.0, intent__min_premium_bp=900.0, lead__terms__expiry_ns=NOW, desk__orders_last_minute=500, hedge__funding_ts=0,
        lead__asks=((70_002.5, 0.5),), lead__pair_coins=1.0, desk__aggregate_coins=9_999.0, funding_spent_usd=9e9, lead_silo__equity=800_000.0,
        desk__stable_exposure_usd=9e9,
    )  # fmt: skip
    mend: list[tuple[str, Any, Rule]] = [
        ("desk__halted", False, Rule.KILL_LEVEL), ("lead__venue_up", True, Rule.VENUE_DOWN), ("lead__bid", 69_997.5, Rule.QUOTE_MISSING),
        ("stable__usd", 1.0, Rule.STABLE_UNKNOWN), ("intent__hedge_ratio", 1, Rule.HEDGE_TERMS), ("desk__nav_usd", 1e6, Rule.NAV_UNKNOWN),
        ("desk__edge_pairs", 0, Rule.EDGE_DECAY), ("intent__min_premium_bp", None, Rule.EDGE_GONE),
        ("lead__terms__expiry_ns", None, Rule.EXPIRY_STOP), ("desk__orders_last_minute", 0, Rule.ORDER_RATE),
        ("hedge__funding_ts", NOW, Rule.FUNDING_UNKNOWN), ("lead__asks", ((70_002.5, 100.0),), Rule.DEPTH),
        ("desk__stable_exposure_usd", 0.0, Rule.STABLE_CAP), ("lead__pair_coins", 0.0, Rule.NET_DELTA), ("desk__aggregate_coins", 0.0, Rule.POSITION_LIMIT),
        ("funding_spent_usd", 0.0, Rule.FUNDING_BUDGET), ("lead_silo__equity", 600_000.0, Rule.VENUE_CAP),
    ]  # fmt: skip
    for field, good, rule in mend:
        verdict = gate.review(opening(**everything), LIMITS)
        assert isinstance(verdict, Refusal) and verdict.rule is rule
        everything[field] = good
    assert gate.review(opening(**everything), LIMITS) == Approved(20)


def test_every_refusing_function_is_in_the_gate() -> None:
    """A rule that takes an opening and may refuse it, and is not in the tuple, is a rule nobody asks."""
    written = {
        f for module in (conduct, counterparty, flow, funding, health, hedge, margin, sizing, stops)
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == module.__name__ and not name.startswith("_")
        and list(inspect.signature(f).parameters.values())[0].annotation == "Opening"
        and "Refusal" in str(inspect.signature(f).return_annotation)
    }  # fmt: skip
    assert written == set(gate.RULES)


def test_every_member_of_the_enum_is_enforced_somewhere() -> None:
    """Each Rule is returned by some rule of the package: the closed enum has no dead members."""
    source = "".join(inspect.getsource(m) for m in (conduct, counterparty, flow, funding, gate, health, hedge, margin, sizing, stops))
    assert [rule.name for rule in Rule if f"Rule.{rule.name}" not in source] == []
    assert risk.__doc__


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0])
def test_no_limit_has_an_off_value(name: str, bad: float) -> None:
    """NaN, infinity, zero and negatives are refused by the limit's name, every one of them."""
    with pytest.raises(ValueError, match=rf"limits\.{name}: "):
        limits.check(msgspec.structs.replace(LIMITS, **{name: bad}))


@pytest.mark.parametrize("name", [n for n in Limits.__struct_fields__ if n.endswith("_share")])
def test_shares_end_at_one(name: str) -> None:
    """A share of exactly one is a limit, above one a mistake named as such."""
    whole = {"risk_share_ceiling": 1.0, name: 1.0} if name == "risk_share" else {name: 1.0}
    limits.check(msgspec.structs.replace(LIMITS, **whole))
    with pytest.raises(ValueError, match=rf"limits\.{name}: 1\.01 is a share"):
        limits.check(msgspec.structs.replace(LIMITS, **{name: 1.01}))


def test_risk_share_stays_under_its_ceiling() -> None:
    """At the ceiling is allowed, above it is named."""
    limits.check(msgspec.structs.replace(LIMITS, risk_share=0.02))
    with pytest.raises(ValueError, match=r"limits\.risk_share: above limits\.risk_share_ceiling"):
        limits.check(msgspec.structs.replace(LIMITS, risk_share=0.0201))


def test_counts_are_named() -> None:
    """The limits that are numbers of samples exist."""
    assert set(Limits.__struct_fields__) >= COUNTS | SHRINK_TIGHTENS
