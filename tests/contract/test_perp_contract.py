"""The contract of a venue of perpetuals: funding, reduce-only, margin, and contracts settled in coin."""

from __future__ import annotations

from decimal import Decimal

import pytest
from venue_rig import INVERSE, START, Build, D, Rig, S, ends, fills, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.exchange import Rules

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY


@pytest.fixture
def rig(build: Build) -> Rig:
    """Return a perp venue with a book of 70,000.0 / 70,000.1 and 50 coins a side."""
    made = build()
    made.quote(70_000.0, 70_000.1)
    return made


@pytest.fixture
def coins(rig: Rig) -> Rig:
    """Return a venue that lists a contract settled in coin, with a book of its own."""
    if INVERSE.id not in rig.terms:
        pytest.skip("the wire server is one of Binance USD-M, which lists no contracts settled in coin")
    rig.quote(70_000.0, 70_000.1, 5_000.0, instrument=INVERSE.id)
    return rig


def refused(rig: Rig, side: Side, qty: str, limit: str, reason: str) -> None:
    """Send a reduce-only order that cannot be."""
    answers = rig.order(side, qty, limit, reduce_only=True)
    assert ends(answers) == {(Outcome.REJECTED, D(0))}, answers
    assert reason in of(ev.OrderEnded, answers)[0].reason.lower().replace("reduceonly", "reduce-only")


def test_an_order_too_small_is_refused(rig: Rig) -> None:
    """Below the exchange's least notional there is no order."""
    answers = rig.order(BUY, "0.001", "70000.0")
    assert ends(answers) == {(Outcome.REJECTED, D(0))}
    assert "notional" in of(ev.OrderEnded, answers)[0].reason


def test_funding_is_paid_to_the_position_before_the_quotes_of_its_instant(rig: Rig) -> None:
    """G3: a short of 2 receives 71.000 at +0.05 % and mark 71,000; what trades at that very instant comes too late."""
    rig.order(SELL, "2", "69990.0")
    resting = rig.rest(BUY, "2", "69900.0")
    rig.mark(71_000.0)
    rig.rate(0.0005, 3_600)
    mark = len(rig.said)
    rig.now = START + 3_600 * S
    rig.quote(69_800.0, 69_800.1)
    rig.to(3_602)
    paid = rig.booked(ev.FundingPaid)
    assert [(p.amount, p.currency, p.qty, p.stamp_ns) for p in paid] == [(D(71), "USDT", D(-2), START + 3_600 * S)]
    assert {f.client_id for f in fills(rig.said[mark:]) if f.side is BUY} == {resting}
    assert rig.held() == 0


@pytest.mark.parametrize(("qty", "mark", "rate", "amount"), [
    ("2.0", 71_000.0, 0.0005, "71"), ("2.0", 70_200.0, -0.00012, "-16.848"), ("1.4", 69_800.0, 0.0001, "9.772"),
])  # fmt: skip
def test_funding_amounts_of_a_short(rig: Rig, qty: str, mark: float, rate: float, amount: str) -> None:
    """G3 to the digit: a positive rate pays the short, a negative one costs it, by the position held at the stamp."""
    rig.order(SELL, qty, "69990.0")
    rig.mark(mark)
    rig.rate(rate, 3_600)
    rig.to(3_601)
    (paid,) = rig.booked(ev.FundingPaid)
    assert (paid.amount, paid.stamp_ns) == (D(amount), START + 3_600 * S)


def test_a_stamp_pays_the_last_rate_announced_for_it_and_only_once(rig: Rig) -> None:
    """The estimate moves until the stamp; without a new announcement nothing is paid at the next."""
    rig.order(SELL, "1", "69990.0")
    rig.mark(70_000.0)
    rig.rate(0.0005, 3_600)
    rig.rate(0.0001, 3_600)
    rig.to(3_601)
    assert [p.amount for p in rig.booked(ev.FundingPaid)] == [D(7)]
    rig.to(3_600 + 2 * 28_800)
    assert [p.amount for p in rig.booked(ev.FundingPaid)] == [D(7)]


def test_flat_is_not_paid(rig: Rig) -> None:
    """No position, no funding event."""
    rig.mark(70_000.0)
    rig.rate(0.0005, 3_600)
    rig.to(4_000)
    assert not rig.booked(ev.FundingPaid)


def test_inverse_funding_is_paid_in_coin(coins: Rig) -> None:
    """A short of 7,000 USD at mark 70,000 receives 0.1 coin x rate."""
    coins.order(SELL, "70", "69990.0", instrument=INVERSE.id)
    coins.mark(70_000.0, INVERSE.id)
    coins.rate(0.0005, 3_600, INVERSE.id)
    coins.to(3_601)
    paid = of(ev.FundingPaid, coins.said)[0]
    assert (paid.amount, paid.currency) == (D("0.00005"), "BTC")


def test_inverse_fees_are_charged_in_coin(coins: Rig) -> None:
    """700 USD of an inverse perp at 70,000 cost 0.01 coin x the taker rate."""
    coins.quote(70_000.0, 70_000.0, 500.0, instrument=INVERSE.id)
    (fill,) = fills(coins.order(BUY, "7", "70000.0", instrument=INVERSE.id))
    assert (fill.fee, fill.fee_currency) == (D("0.000005"), "BTC")


def test_fees_can_be_rounded_by_the_venue(build: Build) -> None:
    """An account rounding of a cent is applied to each fee, half up."""
    rig = build(rules=Rules(fee_rounding=D("0.01")))
    rig.quote(70_000.0, 70_000.1)
    assert [f.fee for f in fills(rig.order(BUY, "0.003", "70010.0"))] == [D("0.11")]


def test_reduce_only_never_grows_or_flips(rig: Rig) -> None:
    """It is rejected when flat, on the same side and beyond what is held; within it fills."""
    refused(rig, BUY, "1", "70010.0", "reduce-only")
    rig.order(SELL, "2", "69990.0")
    refused(rig, SELL, "1", "69990.0", "reduce-only")
    refused(rig, BUY, "3", "70010.0", "reduce-only")
    assert fills(rig.order(BUY, "2", "70010.0", reduce_only=True))
    assert rig.held() == 0


def test_a_resting_reduce_only_order_stops_at_flat(rig: Rig) -> None:
    """When another order has closed the position meanwhile, the resting one is cancelled instead of opening."""
    rig.order(SELL, "2", "69990.0")
    cid = rig.rest(BUY, "2", "69900.0", reduce_only=True)
    rig.order(BUY, "2", "70010.0")
    rig.quote(69_800.0, 69_800.1)
    rig.settle()
    assert ends([e for e in rig.said if getattr(e, "client_id", "") == cid]) == {(Outcome.CANCELLED, D(0))}
    assert rig.held() == 0


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
    assert not [f for f in fills(rig.said) if f.reason]
    rig.quote(93_985.0, 93_985.1)
    rig.mark(93_985.0)
    rig.settle()
    snap = rig.snapshot()
    taken = [f for f in fills(rig.said) if f.reason == "liquidation"]
    assert taken and all(f.client_id == "" and f.side is BUY for f in taken)
    assert taken[0].fee > taken[0].qty * taken[0].price * D("0.0005")
    assert snap.positions.get("BTCUSDT", D(0)) == D(-10) + sum((f.qty for f in taken), D(0))


def test_an_insured_account_owes_nothing_after_liquidation(build: Build) -> None:
    """A loss beyond the money is booked back as insurance, once and visibly."""
    rig = build(cash={"USDT": "60000"}, rules=Rules(insured=True))
    rig.quote(70_000.0, 70_000.1)
    rig.order(SELL, "10", "70000.0")
    rig.quote(90_000.0, 90_000.1)
    rig.settle()
    booked = rig.booked(ev.CashBooked)
    assert [b.kind.partition("_")[0] for b in booked] == ["insurance"] and booked[0].amount > 0
    assert rig.snapshot().cash["USDT"] == 0


def test_every_cent_of_the_statement_is_told_as_a_booking(rig: Rig) -> None:
    """Opening cash, realised profit, fees and funding give the cash of the statement."""
    before = rig.snapshot().cash["USDT"]
    rig.order(SELL, "2", "69990.0")
    rig.mark(71_000.0)
    rig.rate(0.0005, 3_600)
    rig.to(3_601)
    rig.quote(69_900.0, 69_900.1)
    rig.order(BUY, "2", "69910.0")
    after = rig.snapshot().cash["USDT"]
    done = fills(rig.said)
    realised: Decimal = -sum((f.qty * f.price * f.side.sign for f in done), D(0))
    fees = sum((f.fee for f in done), D(0))
    funding = sum((p.amount for p in rig.booked(ev.FundingPaid)), D(0))
    assert after - before == realised - fees + funding
