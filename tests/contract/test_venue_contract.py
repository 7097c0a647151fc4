"""The contract of the Venue port: what any venue answers, whatever is behind it and however it is reached.

Every case is about events and the exchange's own statement. A venue may tell a thing more than once; it may not tell two things.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from venue_rig import START, Build, D, Rig, S, ends, fills, of

from bot.model import event as ev
from bot.model.command import Cancel, Submit
from bot.model.order import Outcome, Side, TimeInForce
from bot.model.ports import SimulatedVenue
from bot.sim.faults import Fault, FaultKind

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY
BID, ASK = 70_000.0, 70_005.0


@pytest.fixture
def rig(build: Build, market: str) -> Rig:
    """Return a venue with a book of 70,000 / 70,005 and 50 contracts a side."""
    made = build(market)
    made.quote(BID, ASK)
    return made


def fee(rig: Rig, qty: str, price: str, maker: bool = False) -> Decimal:
    """Return what an execution costs by the schedule."""
    fees = rig.main.fees
    rate = fees.maker_rate if maker else fees.taker_rate
    return D(qty) * (fees.per_contract + D(price) * rate)


def never_was(events: list[ev.Event]) -> bool:
    """Return whether events prove that an order never was: refused by the venue or the adapter, or stopped before it left."""
    told = [e for e in events if not isinstance(e, ev.Alert)]
    return bool(told) and all(
        isinstance(e, ev.SendBlocked) or (isinstance(e, ev.OrderEnded) and e.outcome in (Outcome.REJECTED, Outcome.DENIED) and not e.cum_qty) for e in told
    )


def test_a_venue_says_that_it_is_up(rig: Rig) -> None:
    """It reports VenueStatus when started; a simulated one is one by its protocol."""
    assert of(ev.VenueStatus, rig.said)[-1].up
    assert rig.venue.venue == rig.name
    assert isinstance(rig.venue, SimulatedVenue) or not rig.in_process


def test_a_marketable_ioc_is_accepted_filled_and_ended(rig: Rig) -> None:
    """A buyer through the touch gets the touch, pays the taker fee, and the end carries the cumulative quantity."""
    answers = rig.order(BUY, "2", "70010")
    assert {e.client_id for e in of(ev.OrderAccepted, answers)} == {"T00001L00000001"} and of(ev.OrderAccepted, answers)[0].venue_order_id
    assert [(f.client_id, f.side, f.qty, f.price, f.maker) for f in fills(answers)] == [("T00001L00000001", BUY, D(2), D(70_005), False)]
    assert [(f.fee, f.fee_currency) for f in fills(answers)] == [(fee(rig, "2", "70005"), rig.main.settle)]
    assert ends(answers) == {(Outcome.FILLED, D(2))}
    assert rig.held() == D(2)


def test_an_ioc_that_does_not_reach_the_touch_ends_cancelled(rig: Rig) -> None:
    """No price is invented: the order ends with nothing filled."""
    answers = rig.order(BUY, "2", "70000")
    assert ends(answers) == {(Outcome.CANCELLED, D(0))} and not fills(answers)
    assert rig.held() == 0


def test_displayed_size_can_be_had_once(rig: Rig) -> None:
    """An IOC takes what is displayed and the rest is cancelled; nothing is left for the next until a new quote."""
    first = rig.order(SELL, "80", "69990")
    assert [f.qty for f in fills(first)] == [D(50)]
    assert ends(first) == {(Outcome.CANCELLED, D(50))}
    assert not fills(rig.order(SELL, "1", "69990"))
    rig.quote(BID, ASK, 3.0)
    assert [f.qty for f in fills(rig.order(SELL, "5", "69990"))] == [D(3)]


def test_a_day_order_rests_and_fills_as_maker_at_its_limit(rig: Rig) -> None:
    """It waits without an end, then fills by displayed size at its own price for the maker fee, in parts if need be."""
    cid = rig.rest(BUY, "5", "69990")
    assert [(w.client_id, w.filled) for w in rig.snapshot().working] == [(cid, D(0))]
    mark = len(rig.said)
    rig.quote(69_980.0, 69_990.0, 2.0)
    rig.settle()
    rig.quote(69_975.0, 69_980.0, 9.0)
    rig.settle()
    done = fills(rig.said[mark:])
    assert [(f.qty, f.price, f.client_id) for f in done] == [(D(2), D(69_990), cid), (D(3), D(69_990), cid)]
    assert [f.fee for f in done] == [fee(rig, "2", "69990", maker=True), fee(rig, "3", "69990", maker=True)]
    assert all(f.maker for f in done)
    assert ends(rig.said[mark:]) == {(Outcome.FILLED, D(5))}
    assert rig.snapshot().working == ()


def test_a_day_order_that_arrives_marketable_takes_and_rests(rig: Rig) -> None:
    """What it can have at once it takes as a taker; the rest waits at its limit."""
    rig.quote(BID, ASK, 2.0)
    answers = rig.order(BUY, "3", "70005", tif=DAY)
    assert [f.qty for f in fills(answers)] == [D(2)]
    assert not of(ev.OrderEnded, answers)
    assert rig.snapshot().working[0].filled == D(2)


def test_a_cancelled_order_ends_once_and_no_longer_fills(rig: Rig) -> None:
    """The cancel is answered by an end with what was filled so far."""
    ended = rig.cancel(rig.rest(BUY, "5", "69990"))
    assert ends(ended) == {(Outcome.CANCELLED, D(0))}
    rig.quote(69_000.0, 69_005.0)
    rig.settle()
    assert rig.held() == 0


def test_a_cancel_that_loses_the_race_says_filled(build: Build, market: str) -> None:
    """A fill that beats the cancel is reported as a fill and the end says so: nothing is called cancelled."""
    rig = build(market, faults=(Fault(at_ns=0, venue=market, kind=FaultKind.CANCEL_RACE),))
    rig.quote(BID, ASK)
    answers = rig.cancel(rig.rest(BUY, "5", "69990"))
    assert [f.qty for f in fills(answers)] == [D(5)]
    assert ends(answers) == {(Outcome.FILLED, D(5))}
    assert rig.held() == D(5)


def test_cancelling_what_has_ended_or_never_was(rig: Rig) -> None:
    """What is known of the order is still the truth about it: its end, or that it is not known."""
    cid = rig.order(BUY, "1", "70010")[0].client_id  # type: ignore[union-attr]
    rig.cancel(cid)
    assert ends(rig.said) == {(Outcome.FILLED, D(1))}
    assert {type(e) for e in rig.cancel("T9")} == {ev.OrderNotFound}


@pytest.mark.parametrize(("qty", "limit", "instrument", "reason"), [
    ("1", "70000", "NOPE", "unknown instrument"),
    ("1.0005", "70000", "", "quantity"),
    ("0", "70000", "", "quantity"),
    ("-1", "70000", "", "quantity"),
    ("NaN", "70000", "", "quantity"),
    ("1", "70000.03", "", "price"),
    ("1", "0", "", "price"),
    ("1", "Infinity", "", "price"),
    ("600", "70000", "", "margin"),
])  # fmt: skip
def test_an_order_that_cannot_be_is_refused_with_proof(rig: Rig, qty: str, limit: str, instrument: str, reason: str) -> None:
    """It never was, and why is told; a query does not find it alive. An adapter may refuse it before it leaves, in words of its own."""
    answers = rig.order(BUY, qty, limit, instrument=instrument)
    assert never_was(answers), answers
    refusal: Any = answers[0]
    assert refusal.reason and (reason in refusal.reason or not rig.in_process)
    found = rig.query(refusal.client_id)
    assert all(isinstance(e, ev.OrderNotFound) for e in found) or never_was(found)
    assert rig.held() == 0


def test_a_second_order_with_a_client_id_changes_nothing(rig: Rig) -> None:
    """Sent twice, executed once; the answer is the state of the first, never a refusal that would bury it."""
    spec = rig.spec(BUY, "5", "69990", tif=DAY)
    rig.send(Submit(spec))
    again = rig.send(Submit(spec))
    assert of(ev.OrderAccepted, again) and not of(ev.OrderEnded, again) and not of(ev.SendBlocked, again)
    rig.quote(69_980.0, 69_985.0)
    rig.settle()
    assert rig.held() == D(5)
    assert ends(rig.send(Submit(spec))) == {(Outcome.FILLED, D(5))}
    assert rig.held() == D(5)


def test_a_query_tells_the_whole_story_of_an_order(rig: Rig) -> None:
    """By its answer the fills have been told, each under one id, and the end with their sum."""
    first = rig.order(SELL, "80", "69990")
    again = rig.query(first[0].client_id)  # type: ignore[union-attr]
    assert ends(again) == {(Outcome.CANCELLED, D(50))}
    assert [f.qty for f in fills(rig.said)] == [D(50)]


def test_a_query_of_a_working_order_finds_it(rig: Rig) -> None:
    """It is accepted, under the venue's own id, and nothing has ended."""
    cid = rig.rest(BUY, "5", "69990")
    known = of(ev.OrderAccepted, rig.said)[-1].venue_order_id
    again = rig.query(cid)
    assert {type(e) for e in again} == {ev.OrderAccepted}
    assert {e.venue_order_id for e in of(ev.OrderAccepted, again)} == {known}


def test_a_query_of_an_unknown_id_says_so(rig: Rig) -> None:
    """OrderNotFound is an answer, not silence."""
    assert [type(e) for e in rig.query("T00009L00000009")] == [ev.OrderNotFound]


def test_a_snapshot_follows_the_bookings_it_contains(rig: Rig) -> None:
    """By the answer every fill has been told; it holds positions, working orders and cash after fees."""
    before = rig.snapshot().cash[rig.main.settle]
    rig.order(BUY, "2", "70010")
    cid = rig.rest(SELL, "1", "70500")
    snap = rig.snapshot()
    assert [f.qty for f in fills(rig.said[: rig.said.index(snap)])] == [D(2)]
    assert {i: q for i, q in snap.positions.items() if q} == {rig.main.id: D(2)}
    assert snap.cash[rig.main.settle] == before - fee(rig, "2", "70005")
    assert [w.client_id for w in snap.working] == [cid]


def test_a_failed_query_is_not_an_empty_answer(build: Build, market: str, road: str) -> None:
    """QueryFailed comes instead of a snapshot or an order state, and says nothing about either."""
    fault = Fault(at_ns=START + 5 * S, venue=market, kind=FaultKind.SNAPSHOT_FAIL, count=2)
    if (market, road) == ("cme", "wire"):  # the gateway answers from its own records: only without the broker it has none
        fault = Fault(at_ns=START + 5 * S, venue=market, kind=FaultKind.CONNECTIVITY, for_ns=4 * S)
    rig = build(market, faults=(fault,))
    rig.quote(BID, ASK)
    cid = rig.order(BUY, "2", "70010")[0].client_id  # type: ignore[union-attr]
    rig.now = START + 5 * S
    rig.settle()
    for asked in (cid, "T9"):
        answers = rig.query(asked)
        assert of(ev.QueryFailed, answers) and not of(ev.OrderNotFound, answers) and not of(ev.OrderEnded, answers)
    rig.to(10.0)
    assert rig.held() == D(2)


def test_time_of_an_answer_is_when_we_learn_it(rig: Rig) -> None:
    """No event carries a time before the question or after its delivery."""
    sent = rig.now
    answers = rig.order(BUY, "1", "70010")
    assert all(sent <= e.ts <= rig.now for e in answers)
    assert [e.ts for e in answers] == sorted(e.ts for e in answers)


def test_after_stop_nothing_is_said(rig: Rig) -> None:
    """A stopped venue is silent, whatever was on the wire."""
    rig.send(Submit(rig.spec(BUY, "1", "70010")), settle=False)
    rig.stop()
    mark = len(rig.said)
    rig.settle()
    rig.send(Cancel(rig.name, rig.main.id, "T1"))
    assert rig.said[mark:] == []
