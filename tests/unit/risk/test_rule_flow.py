"""Flow and conduct: how fast, at what price and in what state of the desk orders may leave."""

from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from typing import Any

import msgspec
import pytest
from opening import INVERSE, LIMITS, MBT, intent, opening

from bot.model.instrument import Instrument
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from risk import conduct, flow, gate
from risk.verdict import Refusal, Rule


def order(side: Side = Side.BUY, limit: str = "70000", qty: str = "10", terms: Instrument = MBT) -> OrderSpec:
    """Return one order as the planner would send it."""
    return OrderSpec(client_id="P00001L00000001", pair="conv", venue=terms.venue, instrument=terms.id, side=side, qty=Decimal(qty),
                     limit=Decimal(limit), tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip


def judged(spec: OrderSpec, *, opposite: tuple[OrderSpec, ...] = (), is_opening: bool = True, recent: int = 0, bid: float = 69_995.0,
           ask: float = 70_005.0, terms: Instrument = MBT) -> Refusal | None:  # fmt: skip
    """Return the collar's answer around a mid of 70,000."""
    return flow.collar(spec, terms, bid, ask, opposite, is_opening, recent, LIMITS)


@pytest.mark.parametrize("is_opening", [True, False])
@pytest.mark.parametrize(("side", "inside", "beyond"), [(Side.BUY, "70140", "70141"), (Side.SELL, "69860", "69859")])
def test_collar_counts_what_is_worse_than_mid(side: Side, inside: str, beyond: str, is_opening: bool) -> None:
    """20 bp from the mid pass and more is refused, for openings and reductions alike; better than mid always passes."""
    assert judged(order(side, inside), is_opening=is_opening) is None
    refusal = judged(order(side, beyond), is_opening=is_opening)
    assert refusal == Refusal(Rule.COLLAR, pytest.approx(20.142857, rel=1e-5), 20.0)
    assert judged(order(side, "60000" if side is Side.BUY else "80000"), is_opening=is_opening) is None


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("bid", "ask"), [(0.0, 0.0), (nan, 70_005.0), (inf, inf)])
def test_without_a_mid_there_is_no_price(side: Side, bid: float, ask: float) -> None:
    """An order in a market nobody has seen is refused on both sides."""
    assert judged(order(side), bid=bid, ask=ask) == Refusal(Rule.COLLAR, inf, 20.0)


@pytest.mark.parametrize("is_opening", [True, False])
def test_self_match(is_opening: bool) -> None:
    """A buy at or above our own live sell is refused, a tick below passes; mirrored for a sell."""
    resting = order(Side.SELL, "70050")
    assert judged(order(Side.BUY, "70045"), opposite=(resting,), is_opening=is_opening) is None
    assert judged(order(Side.BUY, "70050"), opposite=(resting,), is_opening=is_opening) == Refusal(Rule.SELF_MATCH, 70_050.0, 70_050.0)
    bid = order(Side.BUY, "69950")
    assert judged(order(Side.SELL, "69955"), opposite=(bid,), is_opening=is_opening) is None
    refusal = judged(order(Side.SELL, "69950"), opposite=(bid,), is_opening=is_opening)
    assert refusal is not None and refusal.rule is Rule.SELF_MATCH


def test_max_order_binds_openings_alone() -> None:
    """500,000 USD of notional at the limit; an inverse order counts its dollars; a reduction of any size passes."""
    assert judged(order(qty="71")) is None
    assert judged(order(qty="72")) == Refusal(Rule.MAX_ORDER, pytest.approx(504_000.0), 500_000.0)
    assert judged(order(qty="72"), is_opening=False) is None
    assert judged(order(qty="5000", terms=INVERSE), terms=INVERSE) is None
    assert judged(order(qty="5001", terms=INVERSE), terms=INVERSE) is not None


def test_order_rate_keeps_a_reserve_for_getting_flatter() -> None:
    """At the budget openings stop, at the gate and at the wire, and reductions go on."""
    assert judged(order(), recent=119) is None
    assert judged(order(), recent=120) == Refusal(Rule.ORDER_RATE, 120, 120)
    assert judged(order(), recent=10_000, is_opening=False) is None
    assert flow.rates(opening(desk__orders_last_minute=119), LIMITS) is None
    assert flow.rates(opening(desk__orders_last_minute=120), LIMITS) == Refusal(Rule.ORDER_RATE, 120, 120)


def test_repeat_throttle() -> None:
    """Thirty openings a minute are the most."""
    assert flow.rates(opening(desk__openings_last_minute=29), LIMITS) is None
    assert flow.rates(opening(desk__openings_last_minute=30), LIMITS) == Refusal(Rule.REPEAT, 30, 30)


@pytest.mark.parametrize("direction", [1, -1])
def test_position_limit_on_the_aggregate(direction: int) -> None:
    """What the account holds plus what this opening adds, either sign; an opposite position makes room."""
    assert flow.position_limit(opening(direction, desk__aggregate_coins=direction * 998.0), LIMITS) is None
    refusal = flow.position_limit(opening(direction, desk__aggregate_coins=direction * 998.5), LIMITS)
    assert refusal == Refusal(Rule.POSITION_LIMIT, pytest.approx(1_000.5), 1_000.0)
    assert flow.position_limit(opening(direction, desk__aggregate_coins=-direction * 1_001.0), LIMITS) is None
    assert flow.position_limit(opening(direction, desk__aggregate_coins=nan), LIMITS) is not None
    held = {"held_lots": 15, "desk__aggregate_coins": direction * 999.5}
    assert flow.position_limit(opening(direction, **held), LIMITS) is None


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        ({"desk__halted": True}, Refusal(Rule.KILL_LEVEL, 1.0, 0.0)),
        ({"desk__ready": False}, Refusal(Rule.NOT_READY, 0.0, 1.0)),
        ({"desk__pair_frozen": True}, Refusal(Rule.PAIR_FROZEN, 1.0, 0.0)),
    ],
)
def test_state_of_the_desk(spoil: dict[str, Any], refusal: Refusal) -> None:
    """Killed, not reconciled or frozen: nothing is opened, and nothing else is said first."""
    spoiled = {**spoil, "lead__venue_up": False, "hedge__mark": 0.0, "desk__nav_usd": nan}
    assert gate.review(opening(**spoiled), LIMITS) == refusal


def test_daily_loss_and_drawdown() -> None:
    """At 2 % of the day's start, or 5 % under the peak, nothing new is opened; a cent before it is."""
    assert conduct.losses(opening(desk__nav_usd=980_000.01), LIMITS) is None
    assert conduct.losses(opening(desk__nav_usd=980_000.0), LIMITS) == Refusal(Rule.DAILY_LOSS, 20_000.0, 20_000.0)
    fallen = {"desk__day_start_usd": 950_000.0}
    assert conduct.losses(opening(**fallen, desk__nav_usd=950_000.01), LIMITS) is None
    assert conduct.losses(opening(**fallen, desk__nav_usd=950_000.0), LIMITS) == Refusal(Rule.DRAWDOWN, 50_000.0, 50_000.0)


@pytest.mark.parametrize("field", ["nav_usd", "day_start_usd", "peak_usd"])
@pytest.mark.parametrize("unknown", [0.0, nan, -1.0, inf])
def test_unknown_nav_is_not_a_good_day(field: str, unknown: float) -> None:
    """Losses that cannot be counted are not zero losses."""
    refusal = conduct.losses(opening(**{f"desk__{field}": unknown}), LIMITS)
    assert refusal is not None and refusal.rule is Rule.NAV_UNKNOWN


def test_edge_decay_brake() -> None:
    """Twenty pairs that fell short by more than 5 bp on average stop the next; nineteen or exactly 5 bp do not."""
    assert conduct.edge_decay(opening(desk__edge_pairs=20, desk__edge_shortfall_bp=5.0), LIMITS) is None
    assert conduct.edge_decay(opening(desk__edge_pairs=19, desk__edge_shortfall_bp=50.0), LIMITS) is None
    refusal = conduct.edge_decay(opening(desk__edge_pairs=20, desk__edge_shortfall_bp=5.01), LIMITS)
    assert refusal == Refusal(Rule.EDGE_DECAY, 5.01, 5.0)
    assert conduct.edge_decay(opening(desk__edge_pairs=20, desk__edge_shortfall_bp=nan), LIMITS) is not None


@pytest.mark.parametrize("direction", [1, -1])
def test_edge_gone_at_the_touch(direction: int) -> None:
    """The executable premium, bid of what is sold less ask of what is bought, must reach the intent's floor."""
    executable = 417.0 / 7.0
    fits = intent(direction, min_premium_bp=executable - 1e-6)
    assert conduct.edge(opening(direction, intent=fits), LIMITS) is None
    gone = conduct.edge(opening(direction, intent=intent(direction, min_premium_bp=executable + 0.01)), LIMITS)
    assert gone == Refusal(Rule.EDGE_GONE, pytest.approx(executable), pytest.approx(executable + 0.01))
    assert conduct.edge(opening(direction), LIMITS) is None
    assert msgspec.structs.asdict(fits)["min_premium_bp"] is not None
