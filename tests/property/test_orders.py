"""Reports of an order in any order and any number of copies leave one record."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairTerms, fresh
from bot.model import event as ev
from bot.model.instrument import Instrument, Kind
from bot.model.order import OrderSpec, OrderStatus, Outcome, Purpose, Side, TimeInForce

S = 1_000_000_000
T0 = 1_790_000_000 * S
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD", settle="USD")
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"),
                  index_quote="USDT", settle="USDT")  # fmt: skip
TERMS = {MBT.id: MBT, PERP.id: PERP}
ID = "S00001L00000001"


def desk() -> Obligations:
    """Return a record with one order of 10 lots in flight."""
    ob = fresh(1, "S", (PairTerms(id="conv", strategy="x", lead=MBT.id, hedge=PERP.id, stable="USDT/USD"),), ("cme", "perp"))
    spec = OrderSpec(client_id=ID, pair="conv", venue="cme", instrument=MBT.id, side=Side.BUY, qty=Decimal(10), limit=Decimal(70_000),
                     tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip
    for e in (
        ev.RunStarted(ts=T0, run=1, mode="S", cash={"cme": {"USD": Decimal(600_000)}, "perp": {"USDT": Decimal(400_000)}}),
        ev.OrderIntended(ts=T0, order=spec, lead_mid=70_000.0, hedge_mid=70_060.0, stable=1.0, index_usd=70_000.0),
    ):
        apply(ob, TERMS, e)
    return ob


def fill(k: int, qty: int, price: int) -> ev.OrderFilled:
    """Return the k-th execution."""
    return ev.OrderFilled(ts=T0 + S, venue="cme", client_id=ID, instrument=MBT.id, exec_id=f"x{k}", side=Side.BUY, qty=Decimal(qty), price=Decimal(price),
                          fee=3 * Decimal(qty), fee_currency="USD")  # fmt: skip


def record(ob: Obligations) -> dict[str, Any]:
    """Return what must not depend on the order of reports; averages to 18 digits, since sums of quotients round by their order."""
    order, pair, silo = ob.orders[ID], ob.pairs["conv"], ob.silos["cme"]
    position = silo.positions.get(MBT.id)
    return {
        "status": order.status, "filled": order.filled, "outcome": order.outcome, "execs": sorted(order.execs), "leaves": order.leaves,
        "live": list(ob.live), "fills": ob.fills, "cash": dict(silo.cash), "net": position.qty if position else 0,
        "avg": round(pair.lead.avg, 18), "leg": pair.lead.qty, "busy": pair.lead_order, "attempts": pair.lead_attempts,
        "result": pair.result_usd, "opened": pair.opened, "unallocated": silo.unallocated,
    }  # fmt: skip


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[ev.Event], list[ev.Event]]:
    """Draw what a venue says about one order: in its own order, and shuffled with copies and silences in between."""
    sizes = draw(st.lists(st.integers(1, 4), max_size=4).filter(lambda q: sum(q) <= 10))
    fills = [fill(k, q, draw(st.sampled_from([69_990, 70_000, 70_005]))) for k, q in enumerate(sizes)]
    done = sum(sizes)
    outcome = Outcome.FILLED if done == 10 else draw(st.sampled_from([Outcome.CANCELLED, Outcome.EXPIRED]))
    plain: list[ev.Event] = [
        ev.OrderAccepted(ts=T0 + S, client_id=ID, venue_order_id="v1"), *fills,
        ev.OrderEnded(ts=T0 + S, client_id=ID, outcome=outcome, cum_qty=Decimal(done)),
    ]  # fmt: skip
    noise = draw(st.lists(st.sampled_from(plain), max_size=8))
    silence: list[ev.Event] = [ev.NoAnswer(ts=T0 + S, client_id=ID, reason="test")] * draw(st.integers(0, 2))
    return plain, draw(st.permutations(plain + noise + silence))


@given(stories())
@settings(max_examples=600, deadline=None)
def test_any_order_and_any_copies_converge(story: tuple[list[ev.Event], list[ev.Event]]) -> None:
    """Acknowledgement, fills, end, copies and silences in any order fold to the record of the plain story."""
    plain, told = story
    straight, shuffled = desk(), desk()
    for e in plain:
        apply(straight, TERMS, e)
    for e in told:
        apply(shuffled, TERMS, e)
    assert record(shuffled) == record(straight)
    assert shuffled.orders[ID].status is OrderStatus.DONE and not shuffled.live


@given(stories(), st.data())
@settings(max_examples=400, deadline=None)
def test_exposure_is_never_understated_on_the_way(story: tuple[list[ev.Event], list[ev.Event]], data: st.DataObject) -> None:
    """After any prefix what is booked plus what may still fill covers everything the venue will have filled (I6)."""
    plain, told = story
    final = sum((e.qty for e in plain if isinstance(e, ev.OrderFilled)), Decimal(0))
    ob = desk()
    for e in told[: data.draw(st.integers(0, len(told)))]:
        apply(ob, TERMS, e)
        order = ob.orders[ID]
        assert order.filled + order.leaves >= final
        assert order.live or order.filled == final
        assert order.live is (ID in ob.live) is (ob.pairs["conv"].lead_order == ID)


@given(stories(), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_late_and_over_fills_are_booked_after_the_end(story: tuple[list[ev.Event], list[ev.Event]], extra: int) -> None:
    """A fill nobody announced, after the end, moves position and cash and leaves the order done (F-41, F-46)."""
    ob = desk()
    for e in story[1]:
        apply(ob, TERMS, e)
    before = record(ob)
    for _ in range(2):
        apply(ob, TERMS, fill(99, extra, 70_000))
    after = record(ob)
    assert after["status"] is OrderStatus.DONE and after["outcome"] == before["outcome"]
    assert after["leg"] == before["leg"] + extra == after["net"] and after["cash"]["USD"] == before["cash"]["USD"] - 3 * extra


def test_silence_alone_keeps_the_order_alive() -> None:
    """Any number of timeouts proves nothing: the whole order may still fill."""
    ob = desk()
    for _ in range(50):
        apply(ob, TERMS, ev.NoAnswer(ts=T0 + S, client_id=ID, reason="test"))
    order = ob.orders[ID]
    assert order.status is OrderStatus.UNKNOWN and order.leaves == 10 and ID in ob.live and ob.pairs["conv"].lead_order == ID


def test_a_cancel_that_was_lost_can_be_asked_again() -> None:
    """An order found working after silence has no cancel under way any more (F-42)."""
    ob = desk()
    for e in (
        ev.OrderAccepted(ts=T0, client_id=ID, venue_order_id="v1"), ev.CancelIntended(ts=T0, client_id=ID, reason="test"),
        ev.NoAnswer(ts=T0 + 2 * S, client_id=ID, reason="test"), ev.OrderAccepted(ts=T0 + 3 * S, client_id=ID, venue_order_id="v1"),
    ):  # fmt: skip
        apply(ob, TERMS, e)
    assert ob.orders[ID].status is OrderStatus.WORKING and ob.orders[ID].cancel_ns == 0
    apply(ob, TERMS, ev.CancelIntended(ts=T0 + 4 * S, client_id=ID, reason="test"))
    apply(ob, TERMS, ev.OrderAccepted(ts=T0 + 4 * S, client_id=ID, venue_order_id="v1"))
    assert ob.orders[ID].cancel_ns == T0 + 4 * S
