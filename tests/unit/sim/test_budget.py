"""Message limits: what a venue counts, what it refuses, and how the desk learns of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
from venue_rig import MS, START, D, Rig, S, in_process, of

from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, QueryVenue, Submit
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.sim.budget import SNAPSHOT_REQUESTS, TOO_MANY, Budget, Gate
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.wire import Delays

BUY, DAY = Side.BUY, TimeInForce.DAY
K = FaultKind
BUILDS = {"instant": in_process(Delays()), "latency": in_process(Delays(request_ns=40 * MS, reply_ns=30 * MS, feed_ns=20 * MS, jitter=0.3))}
ORDER = Submit(OrderSpec(client_id="T1", pair="p", venue="perp", instrument="BTCUSDT", side=BUY, qty=D(1), limit=D(1), tif=DAY, purpose=Purpose.LEAD))
CANCEL, ASK, ASK_ALL = Cancel("perp", "BTCUSDT", "T1"), QueryOrder("perp", "BTCUSDT", "T1"), QueryVenue("perp")


def taken(gate: Gate, commands: list[tuple[float, Command]]) -> list[bool]:
    """Return what a gate says to commands at these seconds."""
    return [gate.takes(command, START + int(at * S)) for at, command in commands]


def test_a_broker_counts_every_message_of_a_second() -> None:
    """Orders, cancels and queries share one limit; a second later there is room again; what was refused did not count."""
    gate = Gate(Budget(messages_s=3), FaultPlan("perp"))
    assert taken(gate, [(0.0, ORDER), (0.1, CANCEL), (0.2, ASK_ALL), (0.3, ORDER), (0.9, CANCEL)]) == [True, True, True, False, False]
    assert taken(gate, [(1.0, ORDER), (1.05, ORDER), (1.1, ORDER)]) == [True, False, True]


def test_an_exchange_counts_orders_apart_from_requests() -> None:
    """Too many orders leave cancels and queries free, and the other way round; a question for everything weighs more."""
    gate = Gate(Budget(orders_10s=2, orders_60s=3, requests_60s=SNAPSHOT_REQUESTS + 1), FaultPlan("perp"))
    assert taken(gate, [(0, ORDER), (0, ORDER), (1, ORDER), (10, ORDER), (20, ORDER)]) == [True, True, False, True, False], "two in 10 s, three in 60"
    assert taken(gate, [(20, ASK_ALL), (20, CANCEL), (20, ASK), (60, ORDER)]) == [True, True, False, True]
    assert taken(gate, [(80, ASK_ALL)]) == [True]


def test_a_throttled_venue_takes_less_for_a_while() -> None:
    """One message in two seconds while it lasts, everything before and after; each refusal is a hit."""
    plan = FaultPlan("perp", [Fault(at_ns=START + 10 * S, venue="perp", kind=K.THROTTLED, for_ns=20 * S, args={"per_s": 0.5})])
    gate = Gate(Budget(), plan)
    assert all(taken(gate, [(9.0, ORDER)] * 5)) and plan.hits == {}
    assert taken(gate, [(10, ORDER), (11, CANCEL), (12, CANCEL), (13.9, ASK), (14, ASK)]) == [True, False, True, False, True]
    assert plan.hits == {K.THROTTLED: 2} and plan.rows_hit() == {"F20": 2}
    assert all(taken(gate, [(30, ORDER)] * 5))


@pytest.fixture(params=sorted(BUILDS))
def rig(request: pytest.FixtureRequest) -> Rig:
    """Return a perp rig that takes two orders in 10 s and one request a minute."""
    made = BUILDS[request.param](budget=Budget(orders_10s=2, requests_60s=1))
    made.quote(70_000.0, 70_000.1)
    made.settle()
    return made


def test_an_order_too_many_is_rejected_with_proof(rig: Rig) -> None:
    """It ends REJECTED, its id is spent, nothing was traded; later there is room for another."""
    for _ in range(2):
        assert of(ev.OrderFilled, rig.order(BUY, "1", "70010.0"))
    (ended,) = rig.order(BUY, "1", "70010.0")
    assert (ended.outcome, ended.reason, ended.cum_qty) == (Outcome.REJECTED, TOO_MANY, 0)  # type: ignore[union-attr]
    assert rig.venue.plan.hits == {K.THROTTLED: 1}  # type: ignore[attr-defined]
    rig.to(20)
    assert of(ev.OrderEnded, rig.query(ended.client_id))[0].outcome is Outcome.REJECTED  # type: ignore[union-attr]
    assert of(ev.OrderFilled, rig.order(BUY, "1", "70010.0"))


def test_a_refused_cancel_leaves_the_order_working(rig: Rig) -> None:
    """The answer is a failed query, which says nothing of the order; asked again when there is room, it is cancelled."""
    cid = rig.order(BUY, "1", "69000.0", tif=DAY)[0].client_id  # type: ignore[union-attr]
    rig.query(cid)
    assert [(type(e), e.reason) for e in rig.cancel(cid)] == [(ev.QueryFailed, TOO_MANY)]  # type: ignore[union-attr]
    assert [(type(e), e.reason) for e in rig.query(cid)] == [(ev.QueryFailed, TOO_MANY)]  # type: ignore[union-attr]
    rig.to(70)
    assert of(ev.OrderEnded, rig.cancel(cid))[0].outcome is Outcome.CANCELLED
