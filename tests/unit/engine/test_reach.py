"""How far back a venue is asked for its bookings, and that nothing it may repeat has been forgotten by then."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from table import MBT, NOW, S, Table

from bot.engine import supervise
from bot.engine.pair import Execution
from bot.engine.retold import DONE_ORDERS_KEPT, REACH_NS, forget_oldest, reach_ns, repeats
from bot.model import event as ev
from bot.model.command import Command, QueryVenue
from bot.model.order import Order, OrderSpec, OrderStatus, Purpose, Side, TimeInForce

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import World

HOUR = 3_600 * S
D = Decimal


def asked_since(t: Table, contact: supervise.Contact) -> int:
    """Return from when on the perp's venue is asked now."""
    t.ob.silos["perp"].up = True
    commands: list[Command] = []
    supervise.venues(t.ob, {"perp": contact}, Execution(), commands)
    (ask,) = commands
    assert isinstance(ask, QueryVenue)
    return ask.since_ns


@pytest.mark.parametrize(
    ("started_h", "moved_h", "since_h"),
    [(0, 0, 0), (-5, -3, -5), (-5, None, -5), (-80, -3, -26), (-80, -50, -50), (-80, None, -80)],
    ids=["new", "a run of today", "never filled today", "dead for an hour or for a day", "dead for days", "never filled"],
)
def test_a_new_process_reaches_back(started_h: int, moved_h: int | None, since_h: int) -> None:
    """F59, F98: whatever was booked while the desk was dead or its journal deaf is told again, and nothing from before the run."""
    t = Table()
    t.ob.started_ns = NOW + started_h * HOUR
    t.ob.silos["perp"].moved_ns = 0 if moved_h is None else NOW + moved_h * HOUR
    assert asked_since(t, supervise.Contact("perp")) == NOW + since_h * HOUR


def test_later_questions_begin_at_the_last_full_answer() -> None:
    """A question that was not answered covers nothing, however long the venue was gone."""
    world = World()
    world.run(5)
    contact = world.engine.contacts["perp"]
    heard = contact.heard_ns
    assert 0 < heard <= world.now
    contact.reset()
    world.engine.ob.now = world.now + 9 * HOUR
    commands: list[Command] = []
    supervise.venues(world.engine.ob, {"perp": contact}, Execution(), commands)
    assert [c.since_ns for c in commands if isinstance(c, QueryVenue)] == [heard - supervise.OVERLAP_NS]


class Counted(dict[str, Order]):
    """Orders that count how many of them are looked at."""

    looked = 0

    def items(self) -> Any:
        """Yield and count."""
        for item in super().items():
            self.looked += 1
            yield item


def test_a_long_day_costs_the_end_of_an_order_no_more_than_a_short_one() -> None:
    """With thousands of executed orders that must be kept, each further one looks at the first of them and no more: a hedge waits for it."""
    t = Table()
    spec = OrderSpec(client_id="x", pair="p", venue="cme", instrument=MBT.id, side=Side.BUY, qty=D(1), limit=D(1), tif=TimeInForce.IOC, purpose=Purpose.LEAD)
    orders = Counted({f"e{n}": Order(spec=spec, sent_ns=NOW, status=OrderStatus.DONE, execs=(f"x{n}",), ended_ns=NOW) for n in range(3 * DONE_ORDERS_KEPT)})
    t.ob.orders = orders
    t.ob.silos["cme"].moved_ns = NOW
    forget_oldest(t.ob)
    assert len(orders) == 3 * DONE_ORDERS_KEPT and orders.looked == 1


@pytest.mark.parametrize(("age_h", "kept"), [(1, True), (25, True), (27, False)])
def test_what_a_venue_may_repeat_is_not_forgotten(age_h: int, kept: bool) -> None:
    """An execution told again after its order was dropped would be booked twice."""
    t = Table()
    spec = OrderSpec(client_id="old", pair="p", venue="cme", instrument=MBT.id, side=Side.BUY, qty=D(1), limit=D(1), tif=TimeInForce.IOC, purpose=Purpose.LEAD)
    t.ob.orders["old"] = Order(spec=spec, sent_ns=NOW, status=OrderStatus.DONE, execs=("x1",), ended_ns=NOW - age_h * HOUR)
    for n in range(2 * DONE_ORDERS_KEPT):
        t.ob.orders[f"r{n}"] = Order(spec=spec, sent_ns=NOW, status=OrderStatus.DONE, ended_ns=NOW)
    t.ob.silos["cme"].moved_ns = NOW
    forget_oldest(t.ob)
    assert ("old" in t.ob.orders) is kept and len(t.ob.orders) == (2 * DONE_ORDERS_KEPT + 1 if kept else DONE_ORDERS_KEPT)
    fill = ev.OrderFilled(ts=NOW, venue="cme", client_id="old", instrument=MBT.id, exec_id="x1", side=Side.BUY, qty=D(1), price=D(1), fee=D(0),
                          fee_currency="USD")  # fmt: skip
    assert repeats(t.ob, fill) is kept and (age_h * HOUR < NOW - reach_ns(t.ob, "cme")) is kept
    assert reach_ns(t.ob, "cme") == NOW - REACH_NS
