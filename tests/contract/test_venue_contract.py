"""The contract of the Venue port: what any venue answers, whatever is behind it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from venue_rig import BUILDS, INVERSE, MBT, START, Build, D, Rig, S, of

from bot.model import event as ev
from bot.model.command import Cancel, Submit
from bot.model.order import Outcome, Side, TimeInForce
from bot.model.ports import SimulatedVenue
from bot.sim.exchange import Rules
from bot.sim.faults import Fault, FaultKind

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY


@pytest.fixture(params=sorted(BUILDS))
def build(request: pytest.FixtureRequest) -> Build:
    """Return a builder of one implementation."""
    return BUILDS[request.param]


@pytest.fixture
def rig(build: Build) -> Rig:
    """Return a perp venue with a book of 70,000.0 / 70,000.1 and 50 coins a side."""
    made = build()
    made.quote(70_000.0, 70_000.1)
    return made


def held(rig: Rig, instrument: str = "BTCUSDT") -> Decimal:
    """Return the position the venue reports."""
    return rig.snapshot().positions.get(instrument, D(0))


def test_a_venue_is_the_port_and_says_it_is_up(rig: Rig) -> None:
    """It satisfies the protocol and reports VenueStatus when started."""
    assert isinstance(rig.venue, SimulatedVenue)
    assert of(ev.VenueStatus, rig.said)[0].up


def test_a_marketable_ioc_is_accepted_filled_and_ended(rig: Rig) -> None:
    """A buyer through the touch gets the touch, pays the taker fee, and the end carries the cumulative quantity."""
    accepted, fill, ended = rig.order(BUY, "2", "70010.0")
    assert isinstance(accepted, ev.OrderAccepted) and accepted.venue_order_id
    assert isinstance(fill, ev.OrderFilled) and (fill.qty, fill.price, fill.maker) == (D(2), D("70000.1"), False)
    assert (fill.fee, fill.fee_currency) == (D("70.00010"), "USDT")
    assert isinstance(ended, ev.OrderEnded) and (ended.outcome, ended.cum_qty) == (Outcome.FILLED, D(2))
    assert held(rig) == D(2)


def test_an_ioc_that_does_not_reach_the_touch_ends_cancelled(rig: Rig) -> None:
    """No price is invented: the order ends with nothing filled."""
    accepted, ended = rig.order(BUY, "2", "69999.9")
    assert (ended.outcome, ended.cum_qty) == (Outcome.CANCELLED, D(0))  # type: ignore[union-attr]
    assert held(rig) == 0


def test_displayed_size_can_be_had_once(rig: Rig) -> None:
    """An IOC takes what is displayed and the rest is cancelled; nothing is left for the next until a new quote."""
    first = rig.order(SELL, "80", "69990.0")
    assert of(ev.OrderFilled, first)[0].qty == D(50)
    assert (first[-1].outcome, first[-1].cum_qty) == (Outcome.CANCELLED, D(50))  # type: ignore[union-attr]
    assert not of(ev.OrderFilled, rig.order(SELL, "1", "69990.0"))
    rig.quote(70_000.0, 70_000.1, 3.0)
    assert of(ev.OrderFilled, rig.order(SELL, "5", "69990.0"))[0].qty == D(3)


def test_a_day_order_rests_and_fills_as_maker_at_its_limit(rig: Rig) -> None:
    """It waits without an end, then fills by displayed size at its own price for the maker fee, in parts if need be."""
    answers = rig.order(BUY, "5", "69990.0", tif=DAY)
    assert len(answers) == 1 and isinstance(answers[0], ev.OrderAccepted)
    cid = answers[0].client_id
    assert [w.client_id for w in rig.snapshot().working] == [cid]
    mark = len(rig.said)
    rig.quote(69_980.0, 69_990.0, 2.0)
    rig.settle()
    rig.quote(69_979.9, 69_980.0, 9.0)
    rig.settle()
    fills = of(ev.OrderFilled, rig.said[mark:])
    assert [(f.qty, f.price, f.maker, f.client_id) for f in fills] == [(D(2), D("69990.0"), True, cid), (D(3), D("69990.0"), True, cid)]
    assert fills[0].fee == D("27.9960")
    assert of(ev.OrderEnded, rig.said[mark:])[0].outcome is Outcome.FILLED
    assert rig.snapshot().working == ()


def test_a_day_order_that_arrives_marketable_takes_and_rests(rig: Rig) -> None:
    """What it can have at once it takes as a taker; the rest waits at its limit."""
    rig.quote(70_000.0, 70_000.1, 2.0)
    answers = rig.order(BUY, "3", "70000.1", tif=DAY)
    assert [f.qty for f in of(ev.OrderFilled, answers)] == [D(2)]
    assert not of(ev.OrderEnded, answers)
    assert rig.snapshot().working[0].filled == D(2)


def test_a_cancelled_order_ends_once_and_no_longer_fills(rig: Rig) -> None:
    """The cancel is answered by an end with what was filled so far."""
    cid = rig.order(BUY, "5", "69990.0", tif=DAY)[0].client_id  # type: ignore[union-attr]
    ended = rig.cancel(cid)
    assert [(e.outcome, e.cum_qty) for e in of(ev.OrderEnded, ended)] == [(Outcome.CANCELLED, D(0))]
    rig.quote(69_000.0, 69_000.1)
    rig.settle()
    assert held(rig) == 0


def test_a_cancel_that_loses_the_race_says_filled(build: Build) -> None:
    """A fill that beats the cancel is reported as a fill and the end says so: nothing is called cancelled."""
    rig = build(faults=(Fault(at_ns=0, venue="perp", kind=FaultKind.CANCEL_RACE),))
    rig.quote(70_000.0, 70_000.1)
    cid = rig.order(BUY, "5", "69990.0", tif=DAY)[0].client_id  # type: ignore[union-attr]
    answers = rig.cancel(cid)
    assert of(ev.OrderFilled, answers)[0].qty == D(5)
    assert {e.outcome for e in of(ev.OrderEnded, answers)} == {Outcome.FILLED}
    assert held(rig) == D(5)


def test_cancelling_what_has_ended_or_never_was(rig: Rig) -> None:
    """The answer is the truth about the order: its end, or that it is not known."""
    cid = rig.order(BUY, "1", "70010.0")[0].client_id  # type: ignore[union-attr]
    assert of(ev.OrderEnded, rig.cancel(cid))[0].outcome is Outcome.FILLED
    assert [type(e) for e in rig.cancel("T9")] == [ev.OrderNotFound]


@pytest.mark.parametrize(("qty", "limit", "instrument", "reason"), [
    ("1", "70000.0", "NOPE", "unknown instrument"),
    ("1.0005", "70000.0", "BTCUSDT", "quantity"),
    ("0", "70000.0", "BTCUSDT", "quantity"),
    ("-1", "70000.0", "BTCUSDT", "quantity"),
    ("NaN", "70000.0", "BTCUSDT", "quantity"),
    ("1", "70000.05", "BTCUSDT", "price"),
    ("1", "0", "BTCUSDT", "price"),
    ("1", "Infinity", "BTCUSDT", "price"),
    ("0.001", "70000.0", "BTCUSDT", "notional"),
    ("600", "70000.0", "BTCUSDT", "margin"),
])  # fmt: skip
def test_an_order_that_cannot_be_is_rejected_with_proof(rig: Rig, qty: str, limit: str, instrument: str, reason: str) -> None:
    """The end says REJECTED, nothing filled, and why; nothing was accepted and a query confirms it."""
    answers = rig.order(BUY, qty, limit, instrument=instrument)
    assert [(type(e), e.outcome, e.cum_qty) for e in answers] == [(ev.OrderEnded, Outcome.REJECTED, D(0))]  # type: ignore[union-attr]
    assert reason in answers[0].reason  # type: ignore[union-attr]
    assert of(ev.OrderEnded, rig.query(answers[0].client_id))[0].outcome is Outcome.REJECTED  # type: ignore[union-attr]
    assert held(rig) == 0


def test_a_second_order_with_a_client_id_changes_nothing(rig: Rig) -> None:
    """Sent twice, executed once; the answer is the state of the first, never a rejection that would bury it."""
    spec = rig.spec(BUY, "5", "69990.0", tif=DAY)
    rig.send(Submit(spec))
    again = rig.send(Submit(spec))
    assert not of(ev.OrderEnded, again)
    rig.quote(69_980.0, 69_980.1)
    rig.settle()
    assert held(rig) == D(5)
    last = rig.send(Submit(spec))
    assert of(ev.OrderEnded, last)[0].outcome is Outcome.FILLED
    assert held(rig) == D(5)


def test_a_query_tells_the_whole_story_of_an_order(rig: Rig) -> None:
    """Acknowledgement, every fill with its own id, and the end; the same ids as the first time."""
    first = rig.order(SELL, "80", "69990.0")
    again = rig.query(first[0].client_id)  # type: ignore[union-attr]
    assert [type(e) for e in again] == [ev.OrderAccepted, ev.OrderFilled, ev.OrderEnded]
    assert again[1].exec_id == first[1].exec_id  # type: ignore[union-attr]
    assert again[2].cum_qty == D(50)  # type: ignore[union-attr]


def test_a_query_of_an_unknown_id_says_so(rig: Rig) -> None:
    """OrderNotFound is an answer, not silence."""
    assert [type(e) for e in rig.query("T00009L00000009")] == [ev.OrderNotFound]


def test_a_snapshot_follows_the_bookings_it_contains(rig: Rig) -> None:
    """Recent fills come first, then positions, working orders and cash after fees."""
    rig.order(BUY, "2", "70010.0")
    rig.order(SELL, "1", "70500.0", tif=DAY)
    mark = len(rig.said)
    snap = rig.snapshot()
    assert len(of(ev.OrderFilled, rig.said[mark:])) == 1
    assert snap.positions == {"BTCUSDT": D(2)}
    assert snap.cash["USDT"] == D(400_000) - D("70.00010")
    assert len(snap.working) == 1


def test_a_failed_query_is_not_an_empty_answer(build: Build) -> None:
    """QueryFailed comes instead of a snapshot or an order state, and says nothing about either."""
    rig = build(faults=(Fault(at_ns=0, venue="perp", kind=FaultKind.SNAPSHOT_FAIL, count=2),))
    rig.quote(70_000.0, 70_000.1)
    cid = rig.order(BUY, "2", "70010.0")[0].client_id  # type: ignore[union-attr]
    assert [type(e) for e in rig.query(cid)] == [ev.QueryFailed]
    assert [type(e) for e in rig.query("T9")] == [ev.QueryFailed]
    assert held(rig) == D(2)


def test_funding_is_paid_to_the_position_before_the_quotes_of_its_instant(rig: Rig) -> None:
    """G3: a short of 2 receives 71.000 at +0.05 % and mark 71,000; what trades at that very instant comes too late."""
    rig.order(SELL, "2", "69990.0")
    resting = rig.order(BUY, "2", "69900.0", tif=DAY)[0].client_id  # type: ignore[union-attr]
    rig.mark(71_000.0)
    rig.rate(0.0005, 3_600)
    mark = len(rig.said)
    rig.now = START + 3_600 * S
    rig.quote(69_800.0, 69_800.1)
    rig.settle()
    paid = of(ev.FundingPaid, rig.said[mark:])
    assert [(p.amount, p.currency, p.qty) for p in paid] == [(D("71.0000"), "USDT", D(-2))]
    assert of(ev.OrderFilled, rig.said[mark:])[0].client_id == resting
    assert held(rig) == 0


@pytest.mark.parametrize(("qty", "mark", "rate", "amount"), [
    ("2.0", 71_000.0, 0.0005, "71"), ("2.0", 70_200.0, -0.00012, "-16.848"), ("1.4", 69_800.0, 0.0001, "9.772"),
])  # fmt: skip
def test_funding_amounts_of_a_short(rig: Rig, qty: str, mark: float, rate: float, amount: str) -> None:
    """G3 to the digit: a positive rate pays the short, a negative one costs it, by the position held at the stamp."""
    rig.order(SELL, qty, "69990.0")
    rig.mark(mark)
    rig.rate(rate, 3_600)
    rig.to(3_601)
    paid = of(ev.FundingPaid, rig.said)[0]
    assert paid.amount == D(amount)
    assert paid.stamp_ns == START + 3_600 * S


def test_a_stamp_pays_the_last_rate_announced_for_it_and_only_once(rig: Rig) -> None:
    """The estimate moves until the stamp; without a new announcement nothing is paid at the next."""
    rig.order(SELL, "1", "69990.0")
    rig.mark(70_000.0)
    rig.rate(0.0005, 3_600)
    rig.rate(0.0001, 3_600)
    rig.to(3_600 + 2 * 28_800)
    assert [p.amount for p in of(ev.FundingPaid, rig.said)] == [D(7)]


def test_flat_is_not_paid(rig: Rig) -> None:
    """No position, no funding event."""
    rig.rate(0.0005, 3_600)
    rig.to(4_000)
    assert not of(ev.FundingPaid, rig.said)


def test_inverse_funding_is_paid_in_coin(rig: Rig) -> None:
    """A short of 7,000 USD at mark 70,000 receives 0.1 coin x rate."""
    rig.quote(70_000.0, 70_000.1, 5_000.0, instrument="BTCUSD")
    rig.order(SELL, "70", "69990.0", instrument="BTCUSD")
    rig.mark(70_000.0, "BTCUSD")
    rig.rate(0.0005, 3_600, "BTCUSD")
    rig.to(3_601)
    paid = of(ev.FundingPaid, rig.said)[0]
    assert (paid.amount, paid.currency) == (D("0.00005"), "BTC")


def test_futures_fees_are_dollars_per_lot(build: Build) -> None:
    """CME charges 3 USD a lot and side whatever the price."""
    rig = build("cme")
    rig.quote(70_500.0, 70_505.0, 100.0, instrument=MBT.id)
    fill = of(ev.OrderFilled, rig.order(BUY, "20", "70510", instrument=MBT.id))[0]
    assert (fill.price, fill.fee, fill.fee_currency) == (D(70_505), D(60), "USD")


def test_fees_can_be_rounded_by_the_venue(build: Build) -> None:
    """An account rounding of a cent is applied to each fee, half up."""
    rig = build(rules=Rules(fee_rounding=D("0.01")))
    rig.quote(70_000.0, 70_000.1)
    assert of(ev.OrderFilled, rig.order(BUY, "0.003", "70010.0"))[0].fee == D("0.11")


def test_a_closed_session_rejects_and_expires(build: Build) -> None:
    """DAY orders end at the session's end with EXPIRED; a new order is rejected until the market reopens."""
    rig = build("cme")
    rig.hours.closed = [(rig.now + 60 * S, rig.now + 120 * S)]
    rig.quote(70_500.0, 70_505.0, 100.0, instrument=MBT.id)
    cid = rig.order(BUY, "5", "70400", instrument=MBT.id, tif=DAY)[0].client_id  # type: ignore[union-attr]
    rig.to(61)
    ended = of(ev.OrderEnded, rig.said)
    assert [(e.client_id, e.outcome, e.cum_qty) for e in ended] == [(cid, Outcome.EXPIRED, D(0))]
    answers = rig.order(BUY, "5", "70510", instrument=MBT.id)
    assert (answers[0].outcome, answers[0].reason) == (Outcome.REJECTED, "session closed")  # type: ignore[union-attr]
    rig.to(121)
    rig.quote(70_500.0, 70_505.0, 100.0, instrument=MBT.id)
    assert of(ev.OrderFilled, rig.order(BUY, "5", "70510", instrument=MBT.id))


def test_an_expired_contract_rejects(build: Build) -> None:
    """From its expiry on nothing trades in it."""
    rig = build("cme")
    rig.to(40 * 86_400)
    rig.quote(70_500.0, 70_505.0, 100.0, instrument=MBT.id)
    assert rig.order(BUY, "1", "70510", instrument=MBT.id)[0].reason == "contract expired"  # type: ignore[union-attr]


def test_reduce_only_never_grows_or_flips(rig: Rig) -> None:
    """It is rejected when flat, on the same side and beyond what is held; within it fills."""
    assert "reduce-only" in rig.order(BUY, "1", "70010.0", reduce_only=True)[0].reason  # type: ignore[union-attr]
    rig.order(SELL, "2", "69990.0")
    assert "reduce-only" in rig.order(SELL, "1", "69990.0", reduce_only=True)[0].reason  # type: ignore[union-attr]
    assert "reduce-only" in rig.order(BUY, "3", "70010.0", reduce_only=True)[0].reason  # type: ignore[union-attr]
    assert of(ev.OrderFilled, rig.order(BUY, "2", "70010.0", reduce_only=True))
    assert held(rig) == 0


def test_a_resting_reduce_only_order_stops_at_flat(rig: Rig) -> None:
    """When another order has closed the position meanwhile, the resting one is cancelled instead of opening."""
    rig.order(SELL, "2", "69990.0")
    cid = rig.order(BUY, "2", "69900.0", tif=DAY, reduce_only=True)[0].client_id  # type: ignore[union-attr]
    rig.order(BUY, "2", "70010.0")
    rig.quote(69_800.0, 69_800.1)
    rig.settle()
    ended = [e for e in of(ev.OrderEnded, rig.said) if e.client_id == cid]
    assert [(e.outcome, e.cum_qty) for e in ended] == [(Outcome.CANCELLED, D(0))]
    assert held(rig) == 0


def test_liquidation_is_by_mark_at_the_price_of_g6(build: Build) -> None:
    """G6: short 10 at 70,500 with 240,000 lives at a mark of 93,984 and is taken at 93,985, whatever the book says."""
    fee = D("352.5")  # 10 x 70,500 x 0.0005: opening cash so that 240,000 is left
    rig = build(cash={"USDT": str(D(240_000) + fee)})
    rig.quote(70_500.0, 70_500.1)
    rig.order(SELL, "10", "70500.0")
    rig.mark(70_500.0)
    rig.quote(99_000.0, 99_000.1)  # a wick of the book alone is no reason
    rig.mark(93_984.0)
    rig.settle()
    assert not [f for f in of(ev.OrderFilled, rig.said) if f.reason]
    rig.quote(93_985.0, 93_985.1)
    rig.mark(93_985.0)
    rig.settle()
    taken = [f for f in of(ev.OrderFilled, rig.said) if f.reason == "liquidation"]
    assert taken and all(f.client_id == "" and f.side is BUY for f in taken)
    assert taken[0].fee > taken[0].qty * taken[0].price * D("0.0005")
    snap = rig.snapshot()
    assert snap.positions.get("BTCUSDT", D(0)) == D(-10) + sum((f.qty for f in taken), D(0))


def test_a_broker_liquidates_a_future_by_maintenance(build: Build) -> None:
    """At the broker a long future is sold when equity falls below maintenance; resting orders go first."""
    rig = build("cme", cash={"USD": "60000"})
    rig.quote(70_000.0, 70_005.0, 100.0, instrument=MBT.id)
    rig.order(BUY, "20", "70005", instrument=MBT.id)
    resting = rig.order(SELL, "5", "80000", instrument=MBT.id, tif=DAY)[0].client_id  # type: ignore[union-attr]
    rig.quote(55_000.0, 55_005.0, 100.0, instrument=MBT.id)
    rig.settle()
    ended = [e for e in of(ev.OrderEnded, rig.said) if e.client_id == resting]
    assert [(e.outcome, e.reason) for e in ended] == [(Outcome.CANCELLED, "liquidation")]
    assert [f for f in of(ev.OrderFilled, rig.said) if f.reason == "liquidation"]
    assert 0 <= held(rig, MBT.id) < 20


def test_an_insured_account_owes_nothing_after_liquidation(build: Build) -> None:
    """A loss beyond the money is booked back as insurance, once and visibly."""
    rig = build(cash={"USDT": "60000"}, rules=Rules(insured=True))
    rig.quote(70_000.0, 70_000.1)
    rig.order(SELL, "10", "70000.0")
    rig.quote(90_000.0, 90_000.1)
    rig.settle()
    booked = of(ev.CashBooked, rig.said)
    assert [b.kind for b in booked] == ["insurance"] and booked[0].amount > 0
    assert rig.snapshot().cash["USDT"] == 0


def test_time_of_an_answer_is_when_we_learn_it(build: Build) -> None:
    """No event carries a time before the question or after its delivery."""
    rig = build()
    rig.quote(70_000.0, 70_000.1)
    sent = rig.now
    answers = rig.order(BUY, "1", "70010.0")
    assert all(sent <= e.ts <= rig.now for e in answers)
    assert [e.ts for e in answers] == sorted(e.ts for e in answers)


def test_inverse_fees_are_charged_in_coin(rig: Rig) -> None:
    """700 USD of an inverse perp at 70,000 cost 0.01 coin x the taker rate."""
    rig.quote(70_000.0, 70_000.0, 500.0, instrument=INVERSE.id)
    fill = of(ev.OrderFilled, rig.order(BUY, "7", "70000.0", instrument=INVERSE.id))[0]
    assert (fill.fee, fill.fee_currency) == (D("0.000005"), "BTC")


def test_after_stop_nothing_is_said(rig: Rig) -> None:
    """A stopped venue is silent, whatever was on the wire."""
    rig.venue.send(Submit(rig.spec(BUY, "1", "70010.0")), rig.now)
    rig.venue.stop()
    mark = len(rig.said)
    rig.settle()
    rig.venue.send(Cancel("perp", "BTCUSDT", "T1"), rig.now)
    rig.settle()
    assert rig.said[mark:] == []
