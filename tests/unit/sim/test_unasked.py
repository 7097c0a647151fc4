"""What a venue does unasked: halts and its breaker, price limits, margin hikes, the ADL queue, busts, manual trades, overfills."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from exchange_rig import CASH, DEPTH, drained, exchange, quote, spec
from venue_rig import INVERSE, PERP, START, D, Hours, S, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.account import held_maintenance
from bot.sim.exchange import ADL, BUST, LIQUIDATION, MANUAL, Exchange, Rules
from bot.sim.orders import BEYOND, HALTED, Halted, RatesSet
from bot.venues.simlog import VenueLog

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY
ID = PERP.id


def quoted(rules: Rules | None = None, cash: str = "400000", hours: Hours | None = None) -> Exchange:
    """Return an exchange with a quote of 70,000.0 / 70,000.1."""
    x = exchange({"USDT": D(cash), "BTC": D(10)}, rules, hours)
    x.quote(quote(70_000.0, 70_000.1))
    return x


def held(x: Exchange) -> Decimal:
    """Return the position in the linear perpetual."""
    return x.listings[ID].position.qty


# Halts.


def test_a_halt_refuses_orders_takes_cancels_and_matches_nothing() -> None:
    """Orders that rest go on resting; a market that crosses them meanwhile fills nothing; new ones are told why."""
    x = quoted()
    x.submit(spec(1, BUY, "1", "69000.0", DAY), START)
    x.submit(spec(2, BUY, "1", "69500.0", DAY), START)
    x.halt(ID, START + S, START + 61 * S)
    drained(x)
    assert x.submit(spec(3, BUY, "1", "70010.0"), START + 2 * S) == HALTED == x.orders["T3"].reason
    assert x.orders["T3"].outcome is Outcome.REJECTED
    x.quote(quote(68_000.0, 68_000.1, START + 3 * S))
    assert not x.fill_resting("T1", START + 3 * S) and not x.trade_manually(ID, BUY, D(1), START + 3 * S)
    x.cancel("T2", START + 4 * S)
    assert [type(e) for e in drained(x)] == [ev.OrderEnded, ev.OrderEnded]
    assert x.orders["T2"].outcome is Outcome.CANCELLED and held(x) == 0


def test_a_halt_ends_by_itself_and_the_standing_quote_matches() -> None:
    """`next_ns` says when; at that instant what the market has crossed fills."""
    x = quoted()
    x.submit(spec(1, BUY, "1", "69000.0", DAY), START)
    x.halt(ID, START + S, START + 61 * S)
    x.quote(quote(68_000.0, 68_000.1, START + 3 * S))
    drained(x)
    assert x.next_ns == START + 61 * S
    x.advance(START + 61 * S - 1)
    assert drained(x) == []
    x.advance(START + 61 * S)
    assert [(f.client_id, f.ts) for f in of(ev.OrderFilled, drained(x))] == [("T1", START + 61 * S)]
    assert x.submit(spec(2, BUY, "1", "68010.0"), START + 62 * S) == ""


def test_a_longer_halt_is_not_shortened() -> None:
    """The second of two overlapping halts ends nothing early; one that is over before it begins is none."""
    x = quoted()
    x.halt(ID, START, START + 100 * S)
    x.halt(ID, START + S, START + 50 * S)
    x.advance(START + 99 * S)
    assert x.submit(spec(1, BUY, "1", "70010.0"), START + 99 * S) == HALTED
    x.halt(ID, START + 200 * S, START + 150 * S)
    assert x.submit(spec(2, BUY, "1", "70010.0"), START + 200 * S) == ""


def test_the_other_instrument_trades_on() -> None:
    """A halt is of one instrument."""
    x = quoted()
    x.quote(quote(70_000.0, 70_000.1, START, 5_000.0, INVERSE.id))
    x.halt(ID, START, START + 100 * S)
    assert x.submit(spec(1, BUY, "10", "70010.0", instrument=INVERSE.id), START + S) == ""


def test_no_flow_passes_a_queue_in_a_halt() -> None:
    """An order that was next is still next, and not filled with what would have traded meanwhile."""
    x = quoted(Rules(depth=DEPTH))
    x.quote(quote(70_000.0, 70_000.5, START, 10.0))
    x.submit(spec(1, BUY, "5", "70000.2", DAY), START)
    x.halt(ID, START, START + 100 * S)
    drained(x)
    x.quote(quote(70_000.0, 70_000.5, START + 50 * S, 10.0))
    x.advance(START + 100 * S)
    assert drained(x) == []
    x.quote(quote(70_000.0, 70_000.5, START + 102 * S, 10.0))
    assert [f.qty for f in of(ev.OrderFilled, drained(x))] == [D(2)]


def test_a_session_that_ends_in_a_halt_expires_what_rests_and_a_halt_alone_does_not() -> None:
    """DAY orders live through a halt, not through a session's end."""
    hours = Hours()
    hours.closed = [(START + 50 * S, START + 80 * S)]
    x = quoted(hours=hours)
    x.submit(spec(1, BUY, "1", "69000.0", DAY), START)
    x.halt(ID, START + S, START + 60 * S)
    x.advance(START + 49 * S)
    assert x.orders["T1"].outcome is None
    x.advance(START + 90 * S)
    assert x.orders["T1"].outcome is Outcome.EXPIRED


def test_a_liquidation_waits_for_the_end_of_a_halt() -> None:
    """Margin is below maintenance and nobody trades: at the reopening it is sold."""
    x = quoted(cash="60000")
    x.submit(spec(1, SELL, "8", "70000.0"), START)
    x.halt(ID, START, START + 60 * S)
    drained(x)
    x.quote(quote(78_000.0, 78_000.1, START + S))
    assert drained(x) == [] and held(x) == -8
    x.advance(START + 60 * S)
    assert {f.reason for f in of(ev.OrderFilled, drained(x))} == {LIQUIDATION} and held(x) > -8


# The breaker.


def test_the_breaker_halts_by_itself_beyond_its_share_of_the_window() -> None:
    """Ten per cent above the lowest of the hour: two minutes; at ten per cent itself nothing."""
    x = quoted(Rules(breaker_share=0.10))
    assert not x.quote(quote(74_000.0, 74_000.1, START + 600 * S))
    assert not x.quote(quote(77_000.0, 77_000.1, START + 1_200 * S))
    assert x.quote(quote(77_000.1, 77_000.2, START + 1_201 * S))  # the lowest mid was 70,000.05
    assert x.submit(spec(1, BUY, "1", "77010.0"), START + 1_300 * S) == HALTED
    assert x.next_ns == START + 1_321 * S
    assert x.submit(spec(2, BUY, "1", "77010.0"), START + 1_321 * S) == ""
    drained(x)
    assert not x.quote(quote(77_500.0, 77_500.1, START + 1_322 * S))  # the window begins anew


def test_a_fall_trips_it_as_well() -> None:
    """From the highest of the window down."""
    x = quoted(Rules(breaker_share=0.10))
    assert not x.quote(quote(63_100.0, 63_100.1, START + 100 * S))
    assert x.quote(quote(62_999.0, 62_999.1, START + 101 * S))


def test_a_slow_move_does_not_trip_it() -> None:
    """The window forgets: the same move over more than an hour is no reason."""
    x = quoted(Rules(breaker_share=0.10))
    for k in range(1, 20):
        assert not x.quote(quote(70_000.0 + 700 * k, 70_000.1 + 700 * k, START + k * 600 * S)), k


def test_a_quote_that_is_no_price_does_not_trip_it() -> None:
    """Crossed, one-sided and absurd quotes say nothing."""
    x = quoted(Rules(breaker_share=0.10))
    for n, (bid, ask) in enumerate(((float("nan"), float("nan")), (90_000.0, 50_000.0), (0.0, 0.0), (-1.0, 1.0), (80_000.0, float("inf")))):
        assert not x.quote(quote(bid, ask, START + (n + 1) * S)), (bid, ask)
    assert x.submit(spec(1, BUY, "1", "70010.0"), START + 10 * S) == ""


# Price limits.


@pytest.mark.parametrize(("side", "limit", "ok"), [
    (BUY, "73500.0", True), (BUY, "73500.1", False), (SELL, "66500.0", True), (SELL, "66499.9", False), (BUY, "60000.0", True), (SELL, "80000.0", True),
])  # fmt: skip
def test_an_order_beyond_the_price_limit_is_refused(side: Side, limit: str, ok: bool) -> None:
    """Five per cent of the mark, on the side where it could hurt."""
    x = quoted(Rules(limit_share=0.05))
    x.mark(ev.MarkPrice(START, ID, 70_000.0, 70_000.0))
    why = x.submit(spec(1, side, "0.1", limit), START)
    assert (why == "") is ok and (ok or BEYOND in why)


def test_a_reduction_has_to_respect_the_limit_too() -> None:
    """The filter is about prices, not about risk; without a price yet there is no limit."""
    x = exchange(rules=Rules(limit_share=0.05))
    assert x.submit(spec(1, BUY, "1", "99000.0", DAY), START) == ""
    x = quoted(Rules(limit_share=0.05))
    x.submit(spec(1, SELL, "1", "69990.0"), START)
    assert BEYOND in x.submit(spec(2, BUY, "1", "80000.0", reduce_only=True), START)


# Margin hikes.


def test_a_hike_multiplies_both_rates_and_1_restores_them() -> None:
    """Initial margin refuses what it would have taken; maintenance is the multiple of what it was."""
    x = quoted(cash="10000")
    x.submit(spec(1, SELL, "4", "70000.0"), START)
    before = held_maintenance(x.listings[ID])
    x.hike(1.5, START + S)
    assert held_maintenance(x.listings[ID]) == pytest.approx(1.5 * before)
    assert x.submit(spec(2, SELL, "5", "70000.0"), START + S) == "insufficient margin"  # 630,000 at 1.34 %, times 1.5
    x.hike(1.0, START + 2 * S)
    assert held_maintenance(x.listings[ID]) == before
    assert x.submit(spec(3, SELL, "5", "70000.0"), START + 2 * S) == ""


def test_a_hike_liquidates_at_once_where_it_must() -> None:
    """No price moved and the account is below maintenance: it is sold down until it is covered at the new rates."""
    x = quoted(cash="6000")
    x.submit(spec(1, SELL, "5", "70000.0"), START)
    drained(x)
    x.hike(4.0, START + S)
    assert {f.reason for f in of(ev.OrderFilled, drained(x))} == {LIQUIDATION}
    assert -5 < held(x) < 0 and x.account.equity("USDT") >= x.account.maintenance("USDT")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_trip_after_a_hike_is_not_late(restarted: bool) -> None:
    """The price before which nothing is computed moves with the rates: a creeping market is sold on time, not later.

    A venue that restarts after the hike knows it as well.
    """
    x = quoted(cash="30000")
    x.submit(spec(1, SELL, "8", "70000.0"), START)
    x.hike(3.0, START + S)
    if restarted:
        records, x = x.records, quoted(cash="30000")
        x.restore(records, START + S)
    for k in range(1, 300):
        price = 70_000.0 + 10 * k
        x.quote(quote(price, price + 0.1, START + (k + 1) * S))
        assert x.account.equity("USDT") >= x.account.maintenance("USDT"), price
    assert held(x) > -8


@pytest.mark.parametrize("multiple", [0.0, -1.0, float("nan"), float("inf")])
def test_a_hike_that_is_no_multiple_is_an_error(multiple: float) -> None:
    """A margin of nothing or of infinity is a mistake of the caller."""
    with pytest.raises(ValueError, match="multiple"):
        quoted().hike(multiple, START)


# The ADL queue.


def test_the_place_in_the_adl_queue_rises_with_profit_and_with_leverage() -> None:
    """Flat and losing 0; the more profit the further in front; the same profit on less money further still."""
    x = quoted()
    assert x.adl_rank(ID) == 0
    x.submit(spec(1, SELL, "5", "70000.0"), START)
    ranks = []
    for n, price in enumerate((71_000.0, 69_900.0, 68_000.0, 60_000.0, 40_000.0)):
        x.mark(ev.MarkPrice(START + n * S, ID, price, price))
        ranks.append(x.adl_rank(ID))
    assert ranks[0] == 0 and ranks == sorted(ranks) and ranks[3] >= 2
    y = quoted(cash="40000")
    y.submit(spec(1, SELL, "5", "70000.0"), START)
    y.mark(ev.MarkPrice(START + S, ID, 65_000.0, 65_000.0))
    x.mark(ev.MarkPrice(START + 9 * S, ID, 65_000.0, 65_000.0))
    assert y.adl_rank(ID) > x.adl_rank(ID)


def test_the_adl_score_is_profit_share_times_leverage() -> None:
    """Worked by hand: profit 35,000 of 350,000 (10 %) at 315,000 / 435,000 of leverage: 0.0724, rank 2; an inverse one in coins."""
    x = quoted()
    x.account.cash["USDT"] = D(400_000)
    x.submit(spec(1, SELL, "5", "70000.0"), START)
    fee = 5 * 70_000.0 * 0.0005
    x.mark(ev.MarkPrice(START, ID, 63_000.0, 63_000.0))
    score = 0.10 * 315_000.0 / (435_000.0 - fee)
    assert x.adl_rank(ID) == int(5 * score / (score + 0.1)) == 2
    x.quote(quote(70_000.0, 70_000.1, START, 5_000.0, INVERSE.id))
    x.submit(spec(2, BUY, "5000", "70010.0", instrument=INVERSE.id), START)
    x.mark(ev.MarkPrice(START, INVERSE.id, 77_000.0, 77_000.0))
    profit = 500_000 * (1 / 70_000.1 - 1 / 77_000)
    score = profit / (500_000 / 70_000.1) * (500_000 / 77_000) / x.account.equity("BTC")
    assert x.adl_rank(INVERSE.id) == int(5 * score / (score + 0.1))


# Busts, manual trades, overfills.


@pytest.mark.parametrize("instrument", [PERP, INVERSE], ids=lambda i: i.id)
def test_a_bust_leaves_the_account_as_if_the_trade_had_not_been(instrument: object) -> None:
    """Position and cash are back to the cent, fee included; nobody's order explains it and the order keeps what it filled."""
    assert isinstance(instrument, type(PERP))
    x = quoted()
    x.quote(quote(70_000.0, 70_000.1, START, 5_000.0, instrument.id))
    x.submit(spec(1, SELL, "3", "69990.0", instrument=instrument.id), START)
    (fill,) = of(ev.OrderFilled, drained(x))
    assert x.bust(fill.exec_id, START + S)
    (back,) = of(ev.OrderFilled, drained(x))
    assert (back.client_id, back.side, back.qty, back.price, back.fee, back.reason) == ("", BUY, D(3), fill.price, -fill.fee, BUST)
    assert back.exec_id == fill.exec_id + "-bust"
    assert x.positions() == {} and x.account.cash == CASH
    assert x.orders["T1"].filled == 3


def test_only_an_execution_can_be_busted_and_only_once() -> None:
    """Unknown, busted before, or itself a reversal: refused."""
    x = quoted()
    x.submit(spec(1, SELL, "3", "69990.0"), START)
    (fill,) = of(ev.OrderFilled, drained(x))
    assert not x.bust("perp-99", START)
    assert x.bust(fill.exec_id, START) and not x.bust(fill.exec_id, START) and not x.bust(fill.exec_id + "-bust", START)
    assert held(x) == 0


def test_a_bust_can_cost_the_margin() -> None:
    """The leg that covered a position is gone: what is left is judged at once."""
    x = quoted(cash="3000")
    x.submit(spec(1, SELL, "4", "70000.0"), START)
    x.quote(quote(70_300.0, 70_300.1, START + S))
    x.submit(spec(2, BUY, "4", "70310.0"), START + S)
    second = of(ev.OrderFilled, drained(x))[-1]
    x.quote(quote(70_700.0, 70_700.1, START + 2 * S))
    assert x.bust(second.exec_id, START + 3 * S)
    assert LIQUIDATION in {f.reason for f in of(ev.OrderFilled, drained(x))}


def test_somebody_trades_by_hand() -> None:
    """At the market, as a taker, walking the book; no order of ours explains it."""
    x = quoted(Rules(depth=DEPTH), cash="9000000")
    assert x.trade_manually(ID, BUY, D(60), START)
    got = of(ev.OrderFilled, drained(x))
    assert [(f.client_id, f.reason, f.price, f.qty) for f in got] == [("", MANUAL, D("70000.1"), D(50)), ("", MANUAL, D("70000.3"), D(10))]
    assert all(f.fee > 0 for f in got) and held(x) == 60 and not x.orders


@pytest.mark.parametrize("qty", ["0", "-1", "0.0005"])
def test_a_manual_trade_of_no_lots_is_none(qty: str) -> None:
    """Nothing, a negative number, half a lot."""
    assert not quoted().trade_manually(ID, BUY, D(qty), START)


def test_a_manual_trade_needs_a_market_a_session_and_margin() -> None:
    """Where an order of ours would be refused a person is too; a reduction needs no margin."""
    hours = Hours()
    assert not exchange().trade_manually(ID, BUY, D(1), START)
    hours.closed = [(START, START + 9 * S)]
    assert not quoted(hours=hours).trade_manually(ID, BUY, D(1), START + S)
    x = quoted(cash="2000")
    assert not x.trade_manually(ID, BUY, D(5), START) and held(x) == 0
    assert x.trade_manually(ID, BUY, D(2), START)
    x.quote(quote(69_800.0, 69_800.1, START + S))
    assert not x.trade_manually(ID, BUY, D(1), START + S) and x.trade_manually(ID, SELL, D(1), START + S)


def test_an_order_that_rests_is_filled_beyond_what_it_asked() -> None:
    """One execution of the whole and one lot more; the terminal report counts it; the same answer to every question after."""
    x = quoted()
    x.submit(spec(1, BUY, "2", "69000.0", DAY), START)
    drained(x)
    assert x.overfill("T1", D("0.001"), START + S)
    fill, ended = drained(x)
    assert isinstance(fill, ev.OrderFilled) and isinstance(ended, ev.OrderEnded)
    assert (fill.client_id, fill.qty, fill.price, ended.outcome, ended.cum_qty) == ("T1", D("2.001"), D(69_000), Outcome.FILLED, D("2.001"))
    x.query("T1", START + 2 * S)
    assert drained(x)[-1] == msgspec.structs.replace(ended, ts=START + 2 * S)
    assert held(x) == D("2.001") and x.listings[ID].resting == {}


def test_a_filled_order_is_filled_again() -> None:
    """After its end, at its last price, without a second end."""
    x = quoted()
    x.submit(spec(1, BUY, "2", "70010.0"), START)
    drained(x)
    assert x.overfill("T1", D(1), START + S)
    (fill,) = drained(x)
    assert isinstance(fill, ev.OrderFilled) and (fill.client_id, fill.qty, fill.price) == ("T1", D(1), D("70000.1"))
    assert x.orders["T1"].filled == 3


def test_nothing_to_overfill() -> None:
    """Unknown, rejected and cancelled orders, and quantities that are no lots."""
    x = quoted()
    x.submit(spec(1, BUY, "2", "60000.0"), START)
    x.submit(spec(2, BUY, "0.0001", "70010.0"), START)
    x.submit(spec(3, BUY, "2", "70010.0"), START)
    drained(x)
    for cid, qty in (("T9", "1"), ("T1", "1"), ("T2", "1"), ("T3", "0"), ("T3", "0.0001")):
        assert not x.overfill(cid, D(qty), START), cid
    assert drained(x) == []


# A restart.


def test_the_log_keeps_halts_rates_and_what_was_taken(tmp_path: Path) -> None:
    """Killed and started again: still halted until the same instant, the same margin, the same book, the same account."""
    rules = Rules(depth=DEPTH)
    x = quoted(rules)
    x.submit(spec(1, SELL, "4", "69000.0"), START)
    x.trade_manually(ID, SELL, D(30), START)
    x.submit(spec(2, BUY, "1", "69000.0", DAY), START)
    x.overfill("T1", D(1), START)
    x.bust("perp-1", START)
    x.hike(2.0, START + S)
    x.halt(ID, START + S, START + 100 * S)
    log = VenueLog(tmp_path / "perp.jsonl")
    log.append(x.records)
    log.close()
    y = exchange({"USDT": D(400_000), "BTC": D(10)}, rules)
    y.restore(VenueLog(tmp_path / "perp.jsonl").restored, START + 5 * S)
    q = quote(70_000.0, 70_000.1, START + 5 * S)
    x.quote(q)
    y.quote(q)
    assert y.shown(q) == x.shown(q) != q
    assert (y.account.cash, y.positions(), y.next_ns) == (x.account.cash, x.positions(), START + 100 * S)
    assert y.account.maintenance("USDT") == x.account.maintenance("USDT") > 0
    assert y.submit(spec(9, BUY, "1", "70010.0"), START + 6 * S) == HALTED
    assert [type(r) for r in x.records].count(Halted) == 1 and RatesSet in {type(r) for r in x.records}
    assert y.submit(spec(10, BUY, "1", "70010.0"), START + 100 * S) == ""


def test_deleveraging_is_still_free_and_at_the_mark_in_a_halt() -> None:
    """The venue's own act needs no market."""
    x = quoted()
    x.submit(spec(1, SELL, "2", "70000.0"), START)
    x.halt(ID, START, START + 60 * S)
    drained(x)
    assert x.seize(ID, D("0.5"), ADL, START + S) and held(x) == -1
