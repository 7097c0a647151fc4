"""The contract of a venue of futures: dollars a lot, sessions that end, contracts that expire, a broker that liquidates."""

from __future__ import annotations

import pytest
from venue_rig import START, Build, D, Rig, S, ends, fills, of

from bot.model import event as ev
from bot.model.order import Outcome, Side

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def rig(build: Build) -> Rig:
    """Return a broker with a book of 70,500 / 70,505 and 100 lots a side."""
    made = build("cme")
    made.quote(70_500.0, 70_505.0, 100.0)
    return made


def test_futures_fees_are_dollars_per_lot(rig: Rig) -> None:
    """CME charges 3 USD a lot and side whatever the price."""
    (fill,) = fills(rig.order(BUY, "20", "70510"))
    assert (fill.price, fill.fee, fill.fee_currency) == (D(70_505), D(60), "USD")


def test_a_closed_session_rejects_and_expires(rig: Rig) -> None:
    """DAY orders end at the session's end, unfilled; a new order is rejected until the market reopens."""
    rig.hours.closed = [(START + 60 * S, START + 120 * S)]
    rig.quote(70_500.0, 70_505.0, 100.0)
    cid = rig.rest(BUY, "5", "70400")
    rig.to(61)
    expired = Outcome.EXPIRED if rig.in_process else Outcome.CANCELLED  # TWS has one word for both
    assert [(e.client_id, e.outcome, e.cum_qty) for e in of(ev.OrderEnded, rig.said)] == [(cid, expired, D(0))]
    answers = rig.order(BUY, "5", "70510")
    assert ends(answers) == {(Outcome.REJECTED, D(0))} and "session closed" in of(ev.OrderEnded, answers)[0].reason
    rig.to(121)
    rig.quote(70_500.0, 70_505.0, 100.0)
    assert fills(rig.order(BUY, "5", "70510"))


def test_an_expired_contract_is_refused(rig: Rig) -> None:
    """From its expiry on nothing trades in it; the broker no longer knows it."""
    rig.to(40 * 86_400)
    rig.quote(70_500.0, 70_505.0, 100.0)
    answers = rig.order(BUY, "1", "70510")
    assert ends(answers) == {(Outcome.REJECTED, D(0))} and not fills(answers)
    assert of(ev.OrderEnded, answers)[0].reason == "contract expired" or not rig.in_process


def test_a_broker_liquidates_a_future_by_maintenance(build: Build) -> None:
    """At the broker a long future is sold when equity falls below maintenance; resting orders go first."""
    rig = build("cme", cash={"USD": "60000"})
    rig.quote(70_000.0, 70_005.0, 100.0)
    rig.order(BUY, "20", "70005")
    resting = rig.rest(SELL, "5", "80000")
    rig.quote(55_000.0, 55_005.0, 100.0)
    rig.settle()
    held = rig.held()
    ended = [e for e in of(ev.OrderEnded, rig.said) if e.client_id == resting]
    assert [(e.outcome, "liquidation" in e.reason) for e in ended] == [(Outcome.CANCELLED, True)]
    forced = [f for f in fills(rig.said) if f.reason == "liquidation"]
    assert forced and all((f.client_id, f.side) == ("", SELL) for f in forced)
    assert 0 <= held == D(20) - sum((f.qty for f in forced), D(0)) < 20


def test_every_cent_of_the_statement_is_told_as_a_booking(rig: Rig) -> None:
    """Opening cash, realised profit and fees give the cash of the statement."""
    before = rig.snapshot().cash["USD"]
    rig.order(BUY, "20", "70510")
    rig.quote(70_600.0, 70_605.0, 100.0)
    rig.order(SELL, "20", "70590")
    done = fills(rig.said)
    realised = -sum((f.qty * rig.main.unit * f.price * f.side.sign for f in done), D(0))
    other = sum((b.amount for b in rig.booked(ev.CashBooked)), D(0))
    assert rig.snapshot().cash["USD"] - before == realised - sum((f.fee for f in done), D(0)) + other == D("70")
