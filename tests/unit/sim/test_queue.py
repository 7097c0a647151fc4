"""Queue position: behind what is displayed, forward with trades and cancels, filled when it is our turn."""

from __future__ import annotations

import pytest
from exchange_rig import DEPTH, deep, drained, exchange, quote, spec
from venue_rig import START, D, S, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.exchange import Exchange, Rules

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY
T = DEPTH.turnover


def resting(limit: str, qty: str = "5", size: float = 10.0, side: Side = BUY) -> Exchange:
    """Return an exchange with one order resting at `limit` under a quote of 70,000.0 / 70,000.5."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.5, size=size))
    x.submit(spec(1, side, qty, limit, DAY), START)
    drained(x)
    return x


def still(x: Exchange, seconds: float, size: float = 10.0, bid: float = 70_000.0, ask: float = 70_000.5) -> list[tuple[str, str]]:
    """Show a quote `seconds` after START and return (client id, quantity) of the fills."""
    x.quote(quote(bid, ask, START + int(seconds * S), size))
    return [(f.client_id, f"{f.qty.normalize():f}") for f in of(ev.OrderFilled, drained(x))]


def ahead(x: Exchange, cid: str = "T1") -> float:
    """Return the contracts in front of an order."""
    place = x.orders[cid].place
    assert place is not None
    return place.ahead


def test_an_order_joins_behind_what_is_displayed_and_fills_piecewise_in_its_turn() -> None:
    """Ten in front, one a second trades: nothing for ten seconds, then a lot at a time; at its limit, as a maker."""
    x = resting("70000.0", "3")
    assert ahead(x) == 10.0
    assert still(x, 4.0) == [] and ahead(x) == pytest.approx(6.0)
    assert still(x, 10.0) == []
    assert still(x, 11.0) == [("T1", "1")]
    x.quote(quote(70_000.0, 70_000.5, START + 20 * S, 10.0))
    fill, ended = drained(x)
    assert isinstance(fill, ev.OrderFilled) and (fill.qty, fill.price, fill.maker) == (D(2), D("70000.0"), True)
    assert isinstance(ended, ev.OrderEnded) and ended.outcome is Outcome.FILLED


def test_an_order_that_improves_the_touch_is_first() -> None:
    """Nobody is in front: it fills with the flow at once."""
    x = resting("70000.2", "3")
    assert ahead(x) == 0.0
    assert still(x, 2.0) == [("T1", "2")]


def test_sellers_queue_the_same_way() -> None:
    """Mirror image."""
    x = resting("70000.5", "3", side=SELL)
    assert ahead(x) == 10.0 and still(x, 9.9) == [] and still(x, 12.0) == [("T1", "2")]


def test_behind_the_touch_the_size_of_that_level_is_in_front() -> None:
    """On a level its size, between two the next one's, beyond the last the last one's."""
    for limit, expected in (("69999.8", 5.0), ("69999.7", 7.5), ("69999.6", 7.5), ("60000.0", 16.875)):
        assert ahead(resting(limit)) == expected, limit


def test_nothing_is_lost_when_the_touch_moves_away() -> None:
    """Others are better for a while: no trades at our price, no place lost; back at the touch it goes on."""
    x = resting("70000.0")
    still(x, 4.0)
    assert still(x, 5.0, bid=70_000.3, ask=70_000.8) == []
    assert still(x, 500.0, bid=70_000.3, ask=70_000.8) == [] and ahead(x) == pytest.approx(5.0)
    assert still(x, 501.0) == [] and ahead(x) == pytest.approx(5.0)
    assert still(x, 507.0) == [("T1", "1")]


def test_cancels_shorten_the_queue_in_front_and_behind_alike() -> None:
    """Half of what was displayed is gone and trades explain none of it: half of what was in front is gone too."""
    x = resting("70000.0", size=40.0)
    still(x, 0.0, size=40.0)
    still(x, 0.0, size=20.0)
    assert ahead(x) == pytest.approx(20.0)
    still(x, 0.0, size=80.0)
    assert ahead(x) == pytest.approx(20.0)  # newcomers stand behind us
    still(x, 0.0, size=40.0)
    assert ahead(x) == pytest.approx(10.0)


def test_trades_are_not_counted_as_cancels_too() -> None:
    """A display that shrank by exactly what traded moves us by that and no more."""
    x = resting("70000.0", size=10.0)
    still(x, 2.0, size=8.0)
    assert ahead(x) == pytest.approx(8.0)
    still(x, 2.0, size=30.0)
    still(x, 3.0, size=27.0)
    assert ahead(x) == pytest.approx(5.0)


def test_a_market_that_trades_through_fills_the_whole_order() -> None:
    """Whatever is displayed beyond: everything at our price has traded."""
    x = resting("70000.0", "5")
    assert still(x, 1.0, size=0.5, bid=69_999.0, ask=69_999.5) == [("T1", "5")]


def test_a_touch_at_our_price_fills_what_it_displays() -> None:
    """Sellers at our limit, two of them: two, and they are gone for the next taker."""
    x = resting("70000.0", "5")
    assert still(x, 1.0, size=2.0, bid=69_999.5, ask=70_000.0) == [("T1", "2")]
    assert still(x, 1.0, size=2.0, bid=69_999.5, ask=70_000.0) == []


def test_once_alone_at_the_best_price_it_is_first() -> None:
    """Everybody else at its price has gone and the market has not come to it."""
    x = resting("70000.0")
    still(x, 1.0, bid=69_999.0)
    assert ahead(x) == 0.0 and still(x, 2.0, bid=69_999.0) == [("T1", "1")]


def test_better_first_then_older() -> None:
    """Three orders of ours: the better price has all of the flow first, then the older of two equal ones."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.5, size=4.0))
    for n, limit in ((1, "70000.0"), (2, "70000.0"), (3, "70000.2")):
        x.submit(spec(n, BUY, "1", limit, DAY), START)
    drained(x)
    order = [cid for second in range(1, 200) for cid, _ in still(x, second / 2, size=4.0)]
    assert list(dict.fromkeys(order)) == ["T3", "T1", "T2"]
    assert [i for i, cid in enumerate(order) if cid == "T2"][0] > [i for i, cid in enumerate(order) if cid == "T1"][-1]


def test_an_order_joins_behind_our_own_older_one() -> None:
    """We sold into the bid ourselves: what is displayed is short, and the younger order still does not overtake the older."""
    x = resting("70000.0")
    x.submit(spec(2, SELL, "8", "70000.0"), START)
    x.submit(spec(3, BUY, "5", "70000.0", DAY), START)
    assert ahead(x, "T3") >= ahead(x, "T1")
    drained(x)
    assert still(x, 0.0) == [] and ahead(x) == pytest.approx(2.0) == ahead(x, "T3")


def test_a_reduce_only_order_ends_when_nothing_is_left_to_reduce() -> None:
    """Its turn comes and the position is gone: cancelled, as when the market crosses it."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.5, size=10.0))
    x.submit(spec(1, SELL, "2", "70000.0"), START)
    x.submit(spec(2, BUY, "2", "70000.2", DAY, reduce_only=True), START)
    x.submit(spec(3, BUY, "2", "70010.0"), START)
    drained(x)
    assert still(x, 20.0) == []
    assert (x.orders["T2"].outcome, x.orders["T2"].reason) == (Outcome.CANCELLED, "nothing left to reduce")


def test_without_a_flow_only_the_market_fills() -> None:
    """Turnover 0: the queue never moves by itself."""
    x = exchange(rules=Rules(depth=type(DEPTH)(levels=3, spacing_ticks=1, behind=1.0, growth=1.0, refill_half_life_s=1.0, turnover=0.0)))
    x.quote(quote(70_000.0, 70_000.5, size=10.0))
    x.submit(spec(1, BUY, "1", "70000.2", DAY), START)
    drained(x)
    assert still(x, 86_400.0) == [] and still(x, 86_401.0, bid=69_000.0, ask=69_000.5) == [("T1", "1")]


def test_an_order_older_than_any_quote_joins_with_the_first() -> None:
    """There was no book to stand in: it goes behind what the first quote displays, and is not filled by it."""
    x = deep()
    x.submit(spec(1, BUY, "1", "70000.0", DAY), START)
    assert x.orders["T1"].place is None
    assert still(x, 50.0) == [] and ahead(x) == 10.0


def test_a_restart_puts_an_order_at_the_back() -> None:
    """What was in front is not known any more: all that is displayed is; the flow of the old process is not its own."""
    x = resting("70000.0")
    still(x, 9.0)
    assert ahead(x) == pytest.approx(1.0)
    y = deep()
    y.restore(x.records, START + 9 * S)
    assert still(y, 15.0) == [] and ahead(y) == 10.0
    assert still(y, 24.0) == [] and still(y, 27.0) == [("T1", "2")]
