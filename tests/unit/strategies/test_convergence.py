"""When the convergence strategy opens, waits and leaves."""

from __future__ import annotations

import math
import random
import sys
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_view import EXPIRY, NOW, PERP, PairView, S, future, history, stack

from bot.market.fair import DAY_NS, YEAR_NS
from bot.model.event import Quote
from bot.model.instrument import FeeSchedule
from bot.model.intent import EntryDeclined, PairIntent
from strategies.convergence import Convergence, ConvergenceParams, Memory
from strategies.excess import fresh

MINUTE = 60 * S
INDEX = 70_000.0
SIGMA = 20.0
STRATEGY = Convergence(future(), PERP, "USDT/USD")
BASE = ConvergenceParams(half_life_days=1.0)


def lead_at(t: int, carry: float = 0.06) -> float:
    """Return the fairly priced future at `t`."""
    return INDEX * math.exp(carry * (EXPIRY - t) / YEAR_NS)


@lru_cache
def calm_history(days: float = 3.2, carry: float = 0.06, swing: float = SIGMA) -> tuple[object, ...]:
    """Return minutes before NOW whose excess alternates between +-swing: mean 0, deviation `swing`."""
    n = int(days * 1_440)
    points = []
    for i in range(n):
        t = NOW - (n - i) * MINUTE
        points.append((t, lead_at(t, carry), INDEX * (1 + swing * (-1) ** i * 1e-4), INDEX))
    return tuple(history(points))


def warmed(p: ConvergenceParams = BASE, **kw: Any) -> Memory:
    """Return a memory with mean 0 and deviation 20 bp at a carry of 6 %."""
    return STRATEGY.start(p, calm_history(**kw))


def at_excess(memory: Memory, view: PairView, bp: float, now: int = NOW, carry: float = 0.06, size: float = 1_000.0) -> PairIntent | None:
    """Show a market whose excess over a carry of 6 % is `bp` and return what the strategy wants."""
    return target_of(memory, view, view.show(now, lead_at(now, carry), INDEX * (1 + bp * 1e-4), INDEX, size))


def target_of(memory: Memory, view: PairView, quote: Quote) -> PairIntent | None:
    """Return the new target, None without one (why a signal was not taken is looked at on its own)."""
    said = STRATEGY.on_event(memory, view, quote)
    return said if isinstance(said, PairIntent) else None


def params(**changes: Any) -> ConvergenceParams:
    """Return the tests' parameters with changes."""
    return msgspec.structs.replace(BASE, **changes)


def test_warm_up_gives_the_statistics_of_the_history() -> None:
    """Three days of minutes fill the window: mean 0, deviation as made, half-life as configured."""
    memory = warmed()
    assert memory.warm and memory.coverage == 1.0 and memory.half_life_days == 1.0
    assert memory.mean_bp == pytest.approx(0.0, abs=0.05) and memory.sigma_bp == pytest.approx(SIGMA, rel=1e-3)


def test_history_and_quotes_warm_alike() -> None:
    """Feeding the history through on_event ends in the same window as warming from it."""
    events = calm_history(days=0.5)
    view, memory = PairView(), STRATEGY.start(BASE, ())
    seen = STRATEGY.start(BASE, events)
    for i in range(len(events) // 5):
        lead, perp = events[5 * i + 3], events[5 * i + 4]
        mark = events[5 * i + 1]
        view.show(perp.ts, 0.5 * (lead.bid + lead.ask), 0.5 * (perp.bid + perp.ask), mark.index)  # type: ignore[attr-defined]
        STRATEGY.on_event(memory, view, perp)  # type: ignore[arg-type]
    assert msgspec.json.encode(memory.window) == msgspec.json.encode(seen.window)


def test_entry_freezes_what_its_exit_is_judged_by() -> None:
    """At z 2.5 with a positive edge: long CME, whole size, statistics and carry frozen, floor below the present premium."""
    memory, view = warmed(), PairView()
    intent = at_excess(memory, view, 50.0)
    assert intent is not None and intent.target_lead == 50
    assert intent.z == pytest.approx(2.5, abs=0.01) and intent.excess_bp == pytest.approx(50.0, abs=1e-6)
    assert (intent.mean_bp, intent.sigma_bp, intent.carry) == (memory.mean_bp, memory.sigma_bp, 0.06)
    assert intent.edge_bp == memory.edge_bp > 3.0 and memory.blocked == ""
    assert intent.horizon_days == pytest.approx(math.log2(memory.z / 0.5))
    touch = (view.hedge.bid - view.lead.ask) / INDEX * 1e4
    assert intent.min_premium_bp == pytest.approx(touch - (intent.edge_bp - memory.required_bp))


def test_floor_premium_is_where_the_edge_ends() -> None:
    """With the mids unmoved, executable premium just above the intent's floor pays and just below it does not."""
    first = at_excess(warmed(), PairView(), 50.0)
    assert first is not None and first.min_premium_bp is not None
    for shift_bp, pays in ((0.05, True), (-0.05, False)):
        memory, view = warmed(), PairView()
        quote = view.show(NOW, lead_at(NOW), INDEX * 1.005, INDEX)
        floor = view.lead.ask + (first.min_premium_bp + shift_bp) * 1e-4 * INDEX
        stack(view.hedge, bids=((view.hedge.bid, 1e-6), (floor, 1_000.0)))
        assert (target_of(memory, view, quote) is not None) is pays, memory.edge_bp


@pytest.mark.parametrize(("bp", "why"), [(10.0, "z 0.5 < 2"), (38.0, "z 1.9 < 2"), (84.0, "z 4.2 >= 4"), (-50.0, "z -2.5 < 2")])
def test_outside_the_band_nothing_opens(bp: float, why: str) -> None:
    """Below z_in, at or above z_stop, and on the wrong side nothing is opened, and the reason is a few words."""
    memory = warmed()
    assert at_excess(memory, PairView(), bp) is None and memory.blocked == why


def test_contango_is_not_a_signal() -> None:
    """A fairly priced future 35 bp over the perp is no opportunity for either side, though the raw difference shouts (G1)."""
    memory, view = warmed(params(side="both", z_in=1.5)), PairView()
    assert at_excess(memory, view, 0.0) is None
    assert memory.premium_bp < -30.0 and abs(memory.z) < 0.1


def test_g1_picks_the_right_side() -> None:
    """With G1's prices the excess is +182 bp: long CME / short perp, whatever carry the raw premium hides."""
    memory, view = STRATEGY.start(params(side="both", z_stop=20.0), calm_history()), PairView()
    view.stable.mid = 0.999  # type: ignore[union-attr]
    intent = target_of(memory, view, view.show(NOW, 70_500.0, 71_500.0, 70_000.0 / 0.999))
    assert memory.excess_bp == pytest.approx(182.0797, abs=1e-4) and memory.premium_bp == pytest.approx(132.643, abs=1e-3)
    assert memory.implied == pytest.approx(0.0865959, abs=1e-7)
    assert intent is not None and intent.target_lead > 0


def test_dear_future_alone_is_the_short_side() -> None:
    """A future that stands 50 bp over its fair value is sold, never bought, and only where short_cme is allowed."""
    carry = 0.06 + 50e-4 / (30 / 365)
    long_only, both = warmed(), warmed(params(side="both"))
    assert at_excess(long_only, PairView(), 0.0, carry=carry) is None
    intent = at_excess(both, PairView(), 0.0, carry=carry)
    assert intent is not None and intent.target_lead < 0 and both.direction == -1


@pytest.mark.parametrize(("days", "why"), [(0.0, "warming 0 %"), (2.0, "warming 67 %")])
def test_thin_history_blocks(days: float, why: str) -> None:
    """Under 80 % of the window nothing is opened, however high z."""
    memory = warmed(days=days)
    assert at_excess(memory, PairView(), 50.0) is None and memory.blocked == why


def test_quiet_market_blocks() -> None:
    """A deviation below its floor makes no z worth trading: z uses the floor, and no entry."""
    memory = warmed(swing=1.0)
    assert at_excess(memory, PairView(), 7.0) is None
    assert memory.blocked == "sigma 1.0 < 2 bp" and memory.z == pytest.approx(3.5, abs=0.01)


def test_edge_floor_blocks() -> None:
    """A high z whose edge does not pay the costs is not opened and says so."""
    memory = warmed(swing=5.0)
    assert at_excess(memory, PairView(), 15.0) is None
    assert memory.blocked.startswith("edge -") and memory.blocked.endswith(" < 3 bp") and memory.edge_ns == NOW


def test_capital_hurdle_blocks() -> None:
    """An edge over the floor that earns less than the hurdle on both silos' capital is not opened."""
    memory = warmed(params(risk_free=2.0))
    assert at_excess(memory, PairView(), 50.0) is None and "capital hurdle" in memory.blocked


def test_size_is_what_both_books_show() -> None:
    """Seven lots shown are seven lots wanted; less than one lot is none."""
    view = PairView()
    quote = view.show(NOW, lead_at(NOW), INDEX * 1.005, INDEX)
    stack(view.hedge, bids=((view.hedge.bid, 0.7),))
    intent = target_of(warmed(), view, quote)
    assert intent is not None and intent.target_lead == 7
    stack(view.hedge, bids=((view.hedge.bid, 0.05),))
    memory = warmed()
    assert target_of(memory, view, quote) is None and memory.blocked == "no depth for one lot"


@pytest.mark.parametrize(
    ("lack", "why"),
    [("index", "index unknown"), ("stable", "stablecoin unknown"), ("funding", "funding unknown"), ("stale index", "index stale"),
     ("fresh", "not fresh"), ("session", "session closed"), ("armed", "disarmed after a stop"), ("closing", "still closing")],
)  # fmt: skip
def test_what_is_unknown_or_unfit_blocks(lack: str, why: str) -> None:
    """Every missing fact keeps the pair flat and is named."""
    memory, view = warmed(), PairView()
    quote = view.show(NOW, lead_at(NOW), INDEX * 1.005, INDEX)
    if lack == "index":
        view.hedge.index = 0.0
    elif lack == "stable":
        view.stable.mid = 0.0  # type: ignore[union-attr]
    elif lack == "funding":
        view.hedge.funding_ts = 0
    elif lack == "stale index":
        view.hedge.mark_ts = NOW - 3_600 * S
    elif lack == "closing":
        view.lead_qty = Decimal(3)
    else:
        setattr(view, {"fresh": "fresh", "session": "session_open", "armed": "armed"}[lack], False)
    assert target_of(memory, view, quote) is None and memory.blocked == why


@pytest.mark.parametrize("shut", ["fresh", "session_open"])
def test_unfit_quotes_are_no_samples(shut: str) -> None:
    """A stale book or a closed session adds nothing to the window."""
    memory, view = warmed(), PairView()
    before = msgspec.json.encode(memory.window)
    setattr(view, shut, False)
    at_excess(memory, view, 500.0)
    assert msgspec.json.encode(memory.window) == before


def opened(p: ConvergenceParams = BASE, bp: float = 50.0) -> tuple[Memory, PairView, PairIntent]:
    """Return a trade that was opened at `bp` and filled at once."""
    memory, view = warmed(p), PairView()
    intent = at_excess(memory, view, bp)
    assert intent is not None, memory.blocked
    view.accept(intent)
    return memory, view, intent


def test_exit_at_z_out() -> None:
    """The trade is left when z by the frozen statistics reaches z_out, not before, and is asked for once."""
    memory, view, _ = opened()
    assert at_excess(memory, view, 11.0, NOW + MINUTE) is None and memory.blocked == "in a trade"
    intent = at_excess(memory, view, 9.9, NOW + 2 * MINUTE)
    assert intent is not None and intent.target_lead == 0 and intent.min_premium_bp is None and intent.sigma_bp == pytest.approx(SIGMA, rel=1e-3)
    view.target = Decimal(0)
    assert at_excess(memory, view, 9.9, NOW + 3 * MINUTE) is None and memory.block == "z"


def test_drifting_mean_does_not_fake_convergence() -> None:
    """An excess that stays where it was entered never exits, even when the window's own mean has come up to it."""
    memory, view, entry = opened(params(window_s=3_600.0, bucket_s=60.0))
    for i in range(1, 180):
        view.funding(0.0001)
        assert at_excess(memory, view, 50.0, NOW + i * MINUTE) is None
    assert abs(memory.z) < 0.1 and memory.mean_bp == pytest.approx(50.0, abs=0.1)
    assert memory.trade_z == pytest.approx((50.0 - entry.mean_bp) / entry.sigma_bp)


def test_drifting_carry_does_not_fake_convergence() -> None:
    """With a trailing carry that falls during the trade, excess is still measured with the carry of the entry."""
    p = params(carry_source="trailing_median", carry_samples=20, carry_sample_s=60.0)
    memory, view, entry = opened(p)
    for i in range(1, 60):
        # both legs keep their distance from the index: only the carry implied from them has moved
        assert at_excess(memory, view, 50.0 - 40.0, NOW + i * MINUTE, carry=0.06 - 40e-4 / (30 / 365)) is None, i
    assert memory.carry is not None and memory.carry < entry.carry - 0.04
    assert memory.trade_z == pytest.approx(2.5, abs=0.05) and memory.excess_bp < 15.0


def test_exit_window() -> None:
    """Two days before the fixing the trade is left even without a fresh quote, and none is opened."""
    memory, view, _ = opened()
    view.fresh = False
    intent = at_excess(memory, view, 50.0, EXPIRY - 2 * DAY_NS)
    assert intent is not None and intent.target_lead == 0 and "exit window" in intent.reason
    memory, view = warmed(), PairView()
    view.funding(0.0001)
    assert at_excess(memory, view, 50.0, EXPIRY - 2 * DAY_NS) is None and memory.blocked == "exit window"


def test_short_horizon_expects_less_convergence() -> None:
    """When the exit window cuts the horizon, only the convergence that fits is expected: the edge falls with the time left."""
    edges = []
    for days_left in (10.0, 0.5, 0.1):
        memory, view = warmed(params(exit_window_days=30.0 - days_left, edge_min_bp=-100.0)), PairView()
        at_excess(memory, view, 50.0)
        edges.append(memory.edge_bp)
    assert edges[0] > edges[1] > edges[2]


def test_costly_funding_ends_a_trade() -> None:
    """One negative stamp is endured; when holding is expected to cost more than leaving, the trade is left."""
    memory, view, _ = opened()
    view.funding(-0.0003)
    assert at_excess(memory, view, 50.0, NOW + 2 * MINUTE) is None
    view.funding(-0.01, cap=0.02)
    intent = at_excess(memory, view, 50.0, NOW + 4 * MINUTE)
    assert intent is not None and intent.target_lead == 0 and intent.reason.startswith("holding -")


def test_a_small_loss_of_holding_is_endured() -> None:
    """Near the exit a stamp that costs more than is left to earn, but less than leaving, ends nothing; a dearer one does."""
    memory, view, _ = opened()
    view.funding(-0.001)
    assert at_excess(memory, view, 12.0, NOW + 240 * MINUTE) is None and -10.0 < memory.hold_bp < -5.0
    view.funding(-0.002)
    left = at_excess(memory, view, 12.0, NOW + 242 * MINUTE)
    assert left is not None and left.target_lead == 0


def test_positive_funding_raises_the_edge_of_the_short_perp() -> None:
    """The same excess with better funding has more edge for long CME / short perp, and expected funding is what the short gets."""
    low, high = [at_excess(warmed(), _with_funding(rate), 50.0) for rate in (0.00005, 0.0005)]
    assert low is not None and high is not None
    assert high.edge_bp > low.edge_bp and high.expected_funding_bp > low.expected_funding_bp > 0.0


def _with_funding(rate: float) -> PairView:
    view = PairView()
    view.funding(rate)
    return view


def test_unfilled_rest_is_withdrawn() -> None:
    """What is unfilled after five minutes is given up: the target becomes what is held."""
    memory, view, _ = opened()
    view.lead_qty = Decimal(20)
    assert at_excess(memory, view, 50.0, NOW + 4 * MINUTE) is None
    intent = at_excess(memory, view, 50.0, NOW + 6 * MINUTE)
    assert intent is not None and intent.target_lead == 20
    view.target = Decimal(20)
    assert at_excess(memory, view, 50.0, NOW + 7 * MINUTE) is None


def test_another_contract_is_another_history() -> None:
    """At a roll the memory starts afresh and waits for coverage again."""
    memory, view = warmed(), PairView(future("MBTZ26", EXPIRY + 28 * DAY_NS))
    assert at_excess(memory, view, 50.0) is None
    assert memory.blocked == "warming 0 %" and memory.contract == "MBTZ26" and memory.exit_ns == EXPIRY + 26 * DAY_NS
    assert memory.window.last_x == memory.window.origin


def test_rearming_needs_z_home_and_a_cool_down() -> None:
    """After a stop the pair re-arms only when z in the trade's direction is under z_out and an hour has passed."""
    memory, view, _ = opened()
    view.target = view.lead_qty = Decimal(0)
    view.armed, view.disarmed_ns = False, NOW
    hour = NOW + 3_600 * S
    for now, bp, expected in ((NOW + MINUTE, 0.0, False), (hour, 50.0, False), (hour + S, 0.0, True), (hour + 2 * S, -50.0, True)):
        at_excess(memory, view, bp, now)
        assert STRATEGY.rearms(memory, view) is expected, (now, bp)
    view.now += S
    assert not STRATEGY.rearms(memory, view), "z of another instant proves nothing"
    cold = fresh(BASE, "MBTX26", "BTCUSDT", EXPIRY)
    at_excess(cold, view, 0.0, hour + 4 * S)
    assert not STRATEGY.rearms(cold, view), "an empty window has no z"


def test_carry_mode_needs_funding_over_implied_carry() -> None:
    """Mode carry holds to the exit window for funding - implied carry: dear funding opens, baseline funding does not, the sign picks the side."""
    p = params(mode="carry", side="both")
    for rate, sign in ((0.001, 1), (0.0001, 0), (-0.001, -1)):
        memory, view = warmed(params(mode="carry", side="both", funding_half_life_h=240.0)), _with_funding(rate)
        intent = at_excess(memory, view, 0.0)
        assert (0 if intent is None else int(intent.target_lead.compare(0))) == sign, (rate, memory.blocked, memory.edge_bp)
        assert memory.differential * sign >= 0.0
        if intent is not None:
            assert intent.horizon_days == pytest.approx(28.0)
    assert p.z_stop == 4.0


def test_carry_mode_expects_an_adverse_mean_and_no_favourable_one() -> None:
    """A perp under its mean is expected to come back against the trade; one over its mean is expected to stay."""
    edges = []
    for bp in (-40.0, 0.0, 40.0):
        memory, view = warmed(params(mode="carry", funding_half_life_h=240.0)), _with_funding(0.001)
        at_excess(memory, view, bp)
        edges.append(memory.edge_bp)
    assert edges[1] - edges[0] == pytest.approx(40.0, abs=3.0) and edges[2] == pytest.approx(edges[1], abs=3.0)


def test_carry_mode_ignores_z_out_and_leaves_when_funding_turns() -> None:
    """A carry trade is not left because z is home, but because holding no longer pays."""
    p = params(mode="carry", funding_half_life_h=240.0)
    memory, view = warmed(p), _with_funding(0.001)
    intent = at_excess(memory, view, 0.0)
    assert intent is not None
    view.accept(intent)
    assert at_excess(memory, view, -5.0, NOW + MINUTE) is None
    view.funding(-0.001)
    left = at_excess(memory, view, 0.0, NOW + 3 * MINUTE)
    assert left is not None and left.target_lead == 0


@pytest.mark.parametrize("always", [False, True])
def test_calm_samples_weigh_nothing_unless_asked(always: bool) -> None:
    """Below z_watch the edge is not worked out, except where every sample's edge is wanted."""
    memory = warmed(params(edge_always=always))
    assert at_excess(memory, PairView(), 5.0) is None
    assert (memory.edge_ns == NOW) is always and memory.blocked == "z 0.2 < 2"


def test_carry_median_has_an_age_and_wants_a_young_index() -> None:
    """The trailing carry keeps its age; an old index gives no sample and an unseen one no carry."""
    p = params(carry_source="trailing_median")
    memory, view = STRATEGY.start(p, ()), PairView()
    quote = view.show(NOW, lead_at(NOW, 0.09), INDEX, INDEX)
    view.hedge.mark_ts = NOW - 3_600 * S
    STRATEGY.on_event(memory, view, quote)
    assert memory.carry is None and memory.blocked == "carry unknown"
    STRATEGY.on_event(memory, view, view.show(NOW + S, lead_at(NOW + S, 0.09), INDEX, INDEX))
    assert memory.carry == pytest.approx(0.09) and memory.carry_age_ns == 0
    STRATEGY.on_event(memory, view, view.show(NOW + 61 * S, lead_at(NOW + 61 * S, 0.05), INDEX, INDEX))
    assert memory.carry == pytest.approx(0.09) and memory.carry_age_ns == 60 * S


def test_no_expiry_no_excess() -> None:
    """A future without a fixing, or past it, cannot be compared with anything."""
    view = PairView(future("MBTX27", None))
    memory = STRATEGY.start(BASE, ())
    assert at_excess(memory, view, 50.0) is None and memory.blocked == "no time to the fixing"


def path(seed: int, n: int = 600) -> list[tuple[int, float, float]]:
    """Return (time, excess in bp, funding rate) with excursions through the whole band."""
    rng = random.Random(seed)
    out, x, rate, t = [], 0.0, 0.0, NOW
    for _ in range(n):
        t += 1 + int(rng.random() * 120) * S
        x = 0.97 * x + (rng.random() - 0.5) * 40.0
        rate = 0.95 * rate + (rng.random() - 0.5) * 1e-4
        out.append((t, x, rate))
    return out


MIRROR = ConvergenceParams(side="both", half_life_days=1.0, carry_fixed=0.0, funding_baseline_8h=0.0, financing_rate=0.0, stable_haircut=0.0,
                           risk_free=0.0, hurdle_margin=0.0, edge_min_bp=1.0)  # fmt: skip


def walk_path(seed: int, sign: int, cut: int | None = None, p: ConvergenceParams = MIRROR) -> tuple[list[tuple[int, PairIntent]], Memory]:
    """Follow a path with the lead on one side of the perp (sign -1: mirrored about it) and the desk obeying at once."""
    view = PairView(msgspec.structs.replace(future(), expiry_ns=EXPIRY))
    view.hedge_terms = msgspec.structs.replace(PERP, fees=FeeSchedule())
    start = [(NOW - (4_600 - i) * MINUTE, INDEX * (1 + sign * SIGMA * (-1) ** i * 1e-4), INDEX, INDEX) for i in range(4_600)]
    memory = STRATEGY.start(p, history(start))
    wanted = []
    for i, (t, x, rate) in enumerate(path(seed)):
        if i == cut:
            memory = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)
        quote = view.show(t, INDEX * (1 - sign * x * 1e-4), INDEX, INDEX)
        view.funding(sign * rate)
        intent = target_of(memory, view, quote)
        if intent is not None:
            wanted.append((t, intent))
            view.accept(intent)
    return wanted, memory


@pytest.mark.parametrize("seed", range(6))
def test_directions_mirror_exactly(seed: int) -> None:
    """The mirrored market is traded by the mirrored targets at the same instants for the same edge."""
    ours, theirs = walk_path(seed, 1)[0], walk_path(seed, -1)[0]
    assert len(ours) == len(theirs) >= 2, f"seed {seed}"
    assert {i.target_lead > 0 for _, i in ours if i.target_lead} or seed
    for (t, a), (u, b) in zip(ours, theirs, strict=True):
        assert t == u and a.target_lead == -b.target_lead, f"seed {seed}"
        assert a.z == pytest.approx(-b.z, abs=1e-9) and a.edge_bp == pytest.approx(b.edge_bp, abs=1e-7), f"seed {seed}"
        assert a.expected_funding_bp == pytest.approx(b.expected_funding_bp, abs=1e-9), f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
def test_encode_decode_continue_is_the_same(seed: int) -> None:
    """A memory that was written down and read back in the middle wants the same and ends in the same bytes."""
    p = msgspec.structs.replace(MIRROR, carry_source="trailing_median", half_life_days=None)
    cut = random.Random(seed).randrange(600)
    a, memory = walk_path(seed, 1, None, p)
    b, resumed = walk_path(seed, 1, cut, p)
    assert a == b, f"seed {seed}"
    assert msgspec.json.encode(memory) == msgspec.json.encode(resumed), f"seed {seed} cut {cut}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("z_in", 5.0), ("z_out", 2.0), ("lots", 0), ("window_s", float("nan")), ("hold_s", 0.0), ("coverage_min", 1.5), ("z_watch", 3.0),
     ("half_life_days", 0.0), ("risk_free", -0.1), ("side", "long"), ("colour", 1)],
)  # fmt: skip
def test_bad_parameters_are_named(key: str, value: object) -> None:
    """An unknown key, a wrong sign, a NaN or a broken order is refused where it is read, naming the key."""
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, ConvergenceParams)


# Why a signal was not taken.


def test_a_signal_that_is_not_taken_says_why_once() -> None:
    """The reason with its numbers, not again while it stays, again after the signal was gone; nothing without a signal."""
    memory, view = warmed(params(edge_min_bp=500.0)), PairView()

    def said(bp: float, at: int) -> Any:
        return STRATEGY.on_event(memory, view, view.show(at, lead_at(at, 0.06), INDEX * (1 + bp * 1e-4), INDEX))

    first = said(60.0, NOW)
    assert isinstance(first, EntryDeclined) and (first.ts, first.pair, first.why, first.limit) == (NOW, view.pair, "edge", 500.0)
    assert first.observed == memory.edge_bp
    assert said(60.0, NOW + S) is None and said(61.0, NOW + 100 * S) is None
    assert said(10.0, NOW + 101 * S) is None and memory.declined == ""
    again = said(60.0, NOW + 102 * S)
    assert isinstance(again, EntryDeclined) and again.ts == NOW + 102 * S


def test_reasons_that_take_turns_are_told_a_minute_apart() -> None:
    """A z that hovers about z_stop does not fill the record."""
    memory, view = warmed(params(edge_min_bp=500.0)), PairView()
    told = []
    for n in range(120):
        at = NOW + n * S
        told.append(STRATEGY.on_event(memory, view, view.show(at, lead_at(at, 0.06), INDEX * (1 + (60.0 if n % 2 else 120.0) * 1e-4), INDEX)))
    assert [(x.why, (x.ts - NOW) // S) for x in told if isinstance(x, EntryDeclined)] == [("z_stop", 0), ("edge", 61)]


def test_the_memory_of_a_declined_signal_goes_on_after_a_restart() -> None:
    """Encoded and decoded it is the same memory: a reason once told is not told again."""
    memory, view = warmed(params(edge_min_bp=500.0)), PairView()
    quote = view.show(NOW, lead_at(NOW, 0.06), INDEX * 1.006, INDEX)
    assert isinstance(STRATEGY.on_event(memory, view, quote), EntryDeclined)
    again = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)
    later = view.show(NOW + S, lead_at(NOW + S, 0.06), INDEX * 1.006, INDEX)
    assert STRATEGY.on_event(again, view, later) is None
