"""EVACUATE: what the planner asks for at both venues, open or shut, reachable or not, and what it never asks for."""

from __future__ import annotations

from decimal import Decimal

import pytest
from table import INVERSE, MBT, PERP, STABLE, S, Table, X, signed

from bot.engine.evacuate import lost
from bot.engine.pair import unhedged_coins
from bot.model import event as ev
from bot.model.event import KillLevel
from bot.model.order import Order, OrderSpec, OrderStatus, Outcome, Purpose, Side, TimeInForce

D = Decimal
LOST_S = X.lost_ns // S


def leave(t: Table, *venues: str, level: KillLevel = KillLevel.EVACUATE) -> Table:
    """Let the operator evacuate `venues`."""
    t.tell(ev.KillSet(ts=t.ob.now, level=level, kill_id="k1", reason="test", evacuate=venues))
    return t


def down(t: Table, venue: str, seconds: int = 0) -> None:
    """Let a venue fall silent, `seconds` ago; the books are as young as before."""
    t.tell(ev.VenueStatus(ts=t.ob.now, venue=venue, up=False, reason="test"))
    t.ob.now += seconds * S
    t.window.now = t.ob.now


def held(lead: str, hedge: str, direction: int = 1, terms: object = PERP) -> Table:
    """Return a table with a trade on."""
    t = Table(terms)  # type: ignore[arg-type]
    t.hold(str(D(lead) * direction), str(D(hedge) * direction))
    t.want(int(lead) * direction)
    return t


def wanted(t: Table) -> tuple[Decimal, Decimal]:
    """Return the signed contracts asked for on lead and hedge."""
    return signed(t.ask("lead")), signed(t.ask("hedge"))


STATES = {
    "both trade": lambda t: None,
    "cme shut": lambda t: t.hours.shut.add(MBT.id),
    "cme one-sided": lambda t: t.show(MBT.id, 70_000.0, 70_005.0, 0.0),
    "cme silent": lambda t: down(t, "cme", LOST_S - 1),
    "cme lost": lambda t: down(t, "cme", LOST_S),
    "perp one-sided": lambda t: t.show(PERP.id, 70_060.0, 70_061.0, 0.0),
    "perp silent": lambda t: down(t, "perp", LOST_S - 1),
    "perp lost": lambda t: down(t, "perp", LOST_S),
    "cme shut, perp lost": lambda t: (t.hours.shut.add(MBT.id), down(t, "perp", LOST_S)),
}
MATCHED, NAKED, OVER = ("20", "-2"), ("20", "-1.4"), ("14", "-2")
ASKED: list[tuple[tuple[str, ...], str, tuple[str, str], tuple[str, str]]] = [
    # venues to leave, what is the matter, (lead, hedge) held, (lead, hedge) asked for
    (("perp",), "both trade", MATCHED, ("0", "1")),
    (("perp",), "both trade", NAKED, ("-6", "0")),
    (("perp",), "both trade", OVER, ("0", "1")),
    (("perp",), "cme shut", MATCHED, ("0", "1")),
    (("perp",), "cme shut", NAKED, ("0", "1")),
    (("perp",), "cme shut", ("20", "0"), ("0", "0")),
    (("perp",), "cme one-sided", MATCHED, ("0", "1")),
    (("perp",), "cme silent", MATCHED, ("0", "1")),
    (("perp",), "cme lost", NAKED, ("0", "1")),
    (("perp",), "perp one-sided", MATCHED, ("0", "0")),
    (("perp",), "perp one-sided", NAKED, ("-6", "0")),
    (("perp",), "perp silent", MATCHED, ("0", "0")),
    (("perp",), "perp silent", NAKED, ("-6", "0")),
    (("perp",), "perp lost", MATCHED, ("-10", "0")),
    (("perp",), "perp lost", ("0", "-2"), ("0", "0")),
    (("perp",), "cme shut, perp lost", MATCHED, ("0", "0")),
    (("cme",), "both trade", MATCHED, ("-10", "0")),
    (("cme",), "both trade", NAKED, ("-10", "0")),
    (("cme",), "both trade", OVER, ("0", "0.6")),
    (("cme",), "cme shut", MATCHED, ("0", "0")),
    (("cme",), "cme shut", NAKED, ("0", "-0.6")),  # G12: the one permitted increase, and not at the venue to leave
    (("cme",), "cme shut", OVER, ("0", "0.6")),
    (("cme",), "cme silent", MATCHED, ("0", "0")),
    (("cme",), "cme lost", MATCHED, ("0", "1")),
    (("cme",), "cme lost", NAKED, ("0", "1")),
    (("cme",), "perp one-sided", MATCHED, ("-10", "0")),
    (("cme",), "perp silent", MATCHED, ("-10", "0")),
    (("cme",), "perp lost", OVER, ("-10", "0")),
    (("cme", "perp"), "both trade", MATCHED, ("-10", "1")),
    (("cme", "perp"), "both trade", NAKED, ("-10", "0")),
    (("cme", "perp"), "cme shut", NAKED, ("0", "1")),
    (("cme", "perp"), "perp silent", MATCHED, ("-10", "0")),
    (("cme", "perp"), "cme lost", MATCHED, ("0", "1")),
]  # fmt: skip


@pytest.mark.parametrize("level", [KillLevel.EVACUATE, KillLevel.FLATTEN, KillLevel.SEVER])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(("venues", "matter", "has", "asks"), ASKED)
def test_decisions(venues: tuple[str, ...], matter: str, has: tuple[str, str], asks: tuple[str, str], direction: int, level: KillLevel) -> None:
    """Both venues, both directions; a level above changes nothing for a pair that is evacuated."""
    t = leave(held(*has, direction), *venues, level=level)
    STATES[matter](t)
    assert wanted(t) == (D(asks[0]) * direction, D(asks[1]) * direction)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(("venues", "legs"), [(("perp",), ["hedge", "lead"]), (("cme",), ["lead", "hedge"])])
def test_both_close_in_matched_clips_while_both_can(venues: tuple[str, ...], legs: list[str], direction: int) -> None:
    """The evacuated leg goes first, the other one follows its fills before the next clip; none crosses zero (I20)."""
    t = leave(held("23", "-2.3", direction), *venues)
    seen = []
    while t.plan() and len(seen) < 20:
        (ask,) = t.plan()
        seen.append(ask.leg)  # type: ignore[union-attr]
        assert ask.tif is TimeInForce.IOC and not ask.opening and ask.reduce_only is (ask.leg == "hedge")  # type: ignore[union-attr]
        qty = str(signed(ask))  # type: ignore[arg-type]
        t.hold(*((qty, "0") if ask.leg == "lead" else ("0", qty)))  # type: ignore[union-attr]
        assert abs(unhedged_coins(t.pair, t.window)) <= 1
        assert t.pair.lead.qty * direction >= 0 >= t.pair.hedge.qty * direction
    assert t.pair.flat and seen == legs * 3


def test_the_hedge_is_never_opened_again_where_it_was_closed() -> None:
    """Closed at a venue to leave, with the other leg naked and its market shut: nothing is sent there, however often it is looked at."""
    t = leave(held("20", "-2"), "perp")
    t.hours.shut.add(MBT.id)
    for _ in range(5):
        ask = t.ask("hedge")
        if ask is not None:
            t.hold("0", str(signed(ask)))
    assert t.pair.hedge.qty == 0 and t.pair.lead.qty == 20 and t.plan() == []
    t.ob.now += 3_600 * S
    assert t.plan() == []
    t.hours.shut.clear()
    assert wanted(t) == (-10, 0)


def test_a_leg_is_not_waited_for_once_it_shows_that_it_cannot_follow() -> None:
    """Attempts without a fill, or an order that is overdue: the evacuated leg goes on alone."""
    t = leave(held("20", "-1"), "perp")
    assert wanted(t) == (-10, 0)
    t.pair.lead_attempts = X.hedge_attempts
    assert wanted(t) == (-10, 1)
    t = leave(held("20", "-1"), "perp")
    sent = t.send(MBT, Side.SELL, "10", "69990")
    assert t.plan() == []
    t.tell(ev.NoAnswer(ts=t.ob.now, client_id=sent, reason="test"))
    t.ob.now += X.ack_timeout_ns + 1
    assert wanted(t) == (0, 1)


def test_one_order_per_leg_and_none_against_an_unresolved_one() -> None:
    """An unresolved close blocks the next close; a hedge that may still open keeps the lead until it is resolved or its venue lost."""
    t = held("20", "-1")
    opening = t.send(PERP, Side.SELL, "1", "70040")
    leave(t, "perp")
    t.tell(ev.NoAnswer(ts=t.ob.now, client_id=opening, reason="test"))
    t.ob.now += 30 * S
    assert t.plan() == []
    down(t, "perp", LOST_S)
    assert wanted(t) == (-10, 0)
    t = leave(held("20", "-2"), "perp")
    closing = t.send(PERP, Side.BUY, "1", "70080")
    t.tell(ev.NoAnswer(ts=t.ob.now, client_id=closing, reason="test"))
    t.ob.now += 30 * S
    assert t.plan() == []


@pytest.mark.parametrize(("terms", "side", "taken_back"), [(PERP, Side.SELL, True), (PERP, Side.BUY, False), (MBT, Side.BUY, True), (MBT, Side.SELL, False)])
def test_working_orders_that_do_not_close_are_cancelled(terms: object, side: Side, taken_back: bool) -> None:
    """At both venues, once; what closes may work."""
    t = held("20", "-2")
    sent = t.send(terms, side, "1", "70000", TimeInForce.DAY)  # type: ignore[arg-type]
    t.acked(sent)
    leave(t, "perp")
    assert t.withdrawn() == ("evacuation" if taken_back else "")
    if taken_back:
        t.tell(ev.CancelIntended(ts=t.ob.now, client_id=sent, reason="evacuation"))
        assert t.withdrawn() == ""


@pytest.mark.parametrize(
    ("net", "flying", "asked"),
    [("-2", "0", "1"), ("-0.4", "0", "0.4"), ("0.5", "0", "0"), ("0", "0", "0"), ("-2", "1.7", "0.3"), ("-2", "2", "0")],
)
def test_the_venues_net_never_crosses_zero(net: str, flying: str, asked: str) -> None:
    """Another pair, a manual trade or an order in flight there: a close is no larger than what they leave of the venue's net."""
    t = held("20", "-2")
    t.ob.silos["perp"].positions[PERP.id].qty = D(net)
    if D(flying):
        spec = OrderSpec(client_id="other", pair="other", venue="perp", instrument=PERP.id, side=Side.BUY, qty=D(flying), limit=D(70_000),
                         tif=TimeInForce.IOC, purpose=Purpose.HEDGE)  # fmt: skip
        t.ob.orders["other"] = Order(spec=spec, sent_ns=t.ob.now, status=OrderStatus.WORKING)
        t.ob.live["other"] = None
    leave(t, "perp")
    assert signed(t.ask("hedge")) == D(asked)


def test_closes_are_collared_and_no_larger_than_the_book_bears() -> None:
    """A quarter of the depth shown on the leg that goes alone, a lot's worth at least; deeper with every fruitless attempt, inside the collar."""
    t = leave(held("20", "-2"), "perp")
    t.hours.shut.add(MBT.id)
    for size, asked in ((50.0, "1"), (1.6, "0.4"), (0.01, "0.1")):
        t.show(PERP.id, 70_060.0, 70_061.0, size)
        assert signed(t.ask("hedge")) == D(asked)
    limits = []
    for _ in range(8):
        ask = t.ask("hedge")
        assert ask is not None and (float(ask.limit) / t.books[PERP.id].mid - 1.0) * 1e4 <= X.collar_bp + 0.02
        limits.append(ask.limit)
        sent = t.send(PERP, Side.BUY, str(ask.qty), str(ask.limit))
        t.tell(ev.OrderEnded(ts=t.ob.now, client_id=sent, outcome=Outcome.EXPIRED, cum_qty=D(0)))
        assert t.ask("hedge") is None
        t.ob.now += 9 * S
    assert limits == sorted(limits) and limits[0] < limits[-1]


def test_an_inverse_hedge_is_closed_by_what_it_is_worth_at_entry() -> None:
    """Ten lots are one coin, at an entry of 70,000 that is 700 contracts, wherever the price is now."""
    t = leave(held("20", "-1400", terms=INVERSE), "perp")
    t.show(INVERSE.id, 99_999.5, 100_000.5, 1e5)
    assert wanted(t) == (0, 700)
    t.hold("0", "700", "100000")
    assert wanted(t) == (-10, 0)


def test_a_lead_that_was_never_to_be_hedged_is_not_another_leg() -> None:
    """A directional pair holds nothing at the perpetual's venue, so leaving that venue does not touch it."""
    t = held("20", "0")
    t.want(20, ratio="0")
    leave(t, "perp")
    assert t.plan() == [] and unhedged_coins(t.pair, t.window) == 0


def test_lost_is_only_an_evacuated_venue_and_only_while_it_is_silent() -> None:
    """Silence counts from its beginning, whoever repeats it, and ends with an answer."""
    t = held("20", "-2")
    down(t, "perp", LOST_S)
    assert not lost(t.ob, "perp", X)
    t.tell(ev.VenueStatus(ts=t.ob.now, venue="perp", up=False, reason="again"))
    leave(t, "perp")
    assert lost(t.ob, "perp", X) and not lost(t.ob, "cme", X)
    t.tell(ev.VenueStatus(ts=t.ob.now, venue="perp", up=True, reason="back"))
    assert not lost(t.ob, "perp", X)
    down(t, "perp")
    assert not lost(t.ob, "perp", X)


def test_a_start_gives_every_venue_its_time_to_answer() -> None:
    """A venue that was down when the process died is not lost the moment the next one begins."""
    t = held("20", "-2")
    down(t, "perp", 3_600)
    t.tell(ev.RunStarted(ts=t.ob.now, run=2, mode="S", cash={}, kill_level=KillLevel.EVACUATE, evacuate=("perp",)))
    t.tell(ev.VenueStatus(ts=t.ob.now, venue="cme", up=True, reason="test"))
    assert not lost(t.ob, "perp", X) and t.plan() == []
    t.ob.now += X.lost_ns
    assert lost(t.ob, "perp", X) and wanted(t) == (-10, 0)


def test_level_and_venues_only_rise_until_a_resume() -> None:
    """Whatever is set later; the trade is over, so a resume winds up what is left of it and opens nothing."""
    t = leave(held("20", "-2"), "perp")
    assert t.pair.out == ("hedge",) and t.pair.target == 0 and not t.pair.armed and t.pair.unwind
    for level, venues in ((KillLevel.PAUSE, ()), (KillLevel.EVACUATE, ()), (KillLevel.CANCEL, ())):
        leave(t, *venues, level=level)
        assert (t.ob.kill_level, t.ob.evacuate) == (KillLevel.EVACUATE, ("perp",))
    leave(t, level=KillLevel.FLATTEN)
    assert (t.ob.kill_level, t.ob.evacuate, t.pair.out) == (KillLevel.FLATTEN, ("perp",), ("hedge",))
    leave(t, "cme")
    assert (t.ob.kill_level, t.ob.evacuate, t.pair.out) == (KillLevel.FLATTEN, ("cme", "perp"), ("lead", "hedge"))
    leave(t, level=KillLevel.NONE)
    assert (t.ob.kill_level, t.ob.evacuate, t.pair.out) == (KillLevel.NONE, (), ())
    assert t.pair.target == 0 and not t.pair.armed and t.plan() == []


def test_a_pair_elsewhere_stays_as_it_is() -> None:
    """A venue that no leg of the pair is at: its hedge is kept, as at CANCEL, and nothing is opened."""
    t = leave(held("10", "-1"), STABLE.venue)
    t.want(20)
    assert t.pair.out == () and t.plan() == []
    t.hold("1", "0")
    assert wanted(t) == (0, D("-0.1"))
