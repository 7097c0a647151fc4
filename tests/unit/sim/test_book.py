"""The book behind the touch: walked fills, what we took and how it comes back, what everybody is shown."""

from __future__ import annotations

import math

import msgspec
import pytest
from exchange_rig import DEPTH, deep, drained, exchange, quote, spec
from venue_rig import MBT, START, D, Hours, S, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.book import FUTURE_DEPTH, PERP_DEPTH, Depth
from bot.sim.exchange import Exchange, Rules

BUY, SELL = Side.BUY, Side.SELL


def fills(x: Exchange) -> list[tuple[str, str]]:
    """Return (quantity, price) of the fills reported since the last look."""
    return [(f"{f.qty.normalize():f}", str(f.price)) for f in of(ev.OrderFilled, drained(x))]


def test_a_taker_walks_the_levels_up_to_his_limit() -> None:
    """One fill a level, each at its own price on the grid, the worst last, each with its own execution id."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "25", "70000.5"), START)
    got = of(ev.OrderFilled, drained(x))
    assert [(f.qty, f.price) for f in got] == [(D(10), D("70000.1")), (D(5), D("70000.3")), (D("7.5"), D("70000.5"))]
    assert len({f.exec_id for f in got}) == 3 and not any(f.maker for f in got)
    assert (x.orders["T1"].outcome, x.orders["T1"].filled) == (Outcome.CANCELLED, D("22.5"))


def test_a_seller_walks_down() -> None:
    """The other side is the mirror image."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, SELL, "12", "69990.0"), START)
    assert fills(x) == [("10", "70000.0"), ("2", "69999.8")]


def test_the_book_ends_with_its_last_level() -> None:
    """Nobody is behind it: an order for more than all of it fills in part."""
    x = deep(cash="40000000")
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "60", "71000.0"), START)
    assert sum(D(q) for q, _ in fills(x)) == D("10") + D("5") + D("7.5") + D("11.25") + D("16.875")


def test_without_depth_nothing_is_behind_the_touch() -> None:
    """The touch alone, in one fill, and the next quote brings all of it again."""
    x = exchange({"USDT": D(4_000_000)})
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "25", "70010.0"), START)
    assert fills(x) == [("10", "70000.1")]
    q = quote(70_000.0, 70_000.1, START + 1, size=10.0)
    x.quote(q)
    assert x.shown(q) is q
    x.submit(spec(2, BUY, "25", "70010.0"), START + 1)
    assert fills(x) == [("10", "70000.1")]


def test_what_was_taken_is_missing_from_the_next_quote_too() -> None:
    """A second taker starts where the first stopped, whatever the new quote says; half of it is back after a half-life."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "12", "70010.0"), START)
    drained(x)
    x.quote(quote(70_100.0, 70_100.1, START, size=10.0))
    x.submit(spec(2, BUY, "4", "70110.0"), START)
    assert fills(x) == [("3", "70100.3"), ("1", "70100.5")]
    x.quote(quote(70_100.0, 70_100.1, START + 10 * S, size=10.0))
    x.submit(spec(3, BUY, "4", "70110.0"), START + 10 * S)  # 16 are missing, then 8
    assert fills(x) == [("2", "70100.1"), ("2", "70100.3")]
    book = x.listings["BTCUSDT"].book
    assert (book.missing(BUY, START + 10 * S), book.missing(BUY, START + 20 * S)) == (12_000, 6_000)


def test_everybody_is_shown_the_book_that_is_left() -> None:
    """The touch moves behind what we took and comes back; with nothing missing the quote is the same object."""
    x = deep()
    q = quote(70_000.0, 70_000.1, size=10.0)
    x.quote(q)
    assert x.shown(q) is q
    x.submit(spec(1, BUY, "12", "70010.0"), START)
    left = x.shown(q)
    assert (left.bid, left.bid_size, left.ask, left.ask_size) == (70_000.0, 10.0, 70_000.3, 3.0)
    assert (left.ts, left.venue_ts) == (q.ts, q.venue_ts)
    later = msgspec.structs.replace(q, ts=START + 10 * S)
    assert (x.shown(later).ask, x.shown(later).ask_size) == (70_000.1, 4.0)
    whole = msgspec.structs.replace(q, ts=START + 200 * S)
    assert x.shown(whole) is whole


def test_a_side_that_is_used_up_shows_no_size() -> None:
    """The price stays and nothing can be had: a one-sided book, as the desk knows it."""
    x = deep(cash="40000000")
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "60", "71000.0"), START)
    thin = quote(70_000.0, 70_000.1, START, size=1.0)
    x.quote(thin)
    assert (x.shown(thin).ask, x.shown(thin).ask_size) == (70_000.1, 0.0)
    drained(x)
    x.submit(spec(2, BUY, "1", "71000.0"), START)
    assert fills(x) == [] and x.orders["T2"].outcome is Outcome.CANCELLED


def test_quotes_are_looked_at_while_something_is_missing_and_no_longer() -> None:
    """A front that takes the short road for quotes between bid_low and ask_high misses nothing, and gets the road back."""
    x = deep()
    listing = x.listings["BTCUSDT"]
    assert (listing.bid_low, listing.ask_high) == (0.0, math.inf)
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "2", "70010.0"), START)
    assert (listing.bid_low, listing.ask_high) == (math.inf, 0.0)
    x.quote(quote(70_000.0, 70_000.1, START + S, size=10.0))
    assert listing.bid_low == math.inf
    x.quote(quote(70_000.0, 70_000.1, START + 300 * S, size=10.0))
    assert listing.bid_low < 70_000.0 and listing.ask_high == math.inf


def test_a_liquidation_walks_the_book_as_anybody_does() -> None:
    """Slices start where the last one stopped, at prices that get worse."""
    x = deep(cash="60000")
    x.quote(quote(70_000.0, 70_000.1))
    x.submit(spec(1, SELL, "8", "70000.0"), START)
    x.mark(ev.MarkPrice(START + S, "BTCUSDT", 70_000.0, 70_000.0))
    x.quote(quote(77_300.0, 77_300.1, START + 200 * S, size=0.5))
    drained(x)
    x.mark(ev.MarkPrice(START + 200 * S, "BTCUSDT", 77_300.0, 77_300.0))
    got = fills(x)
    assert got[:3] == [("0.5", "77300.1"), ("0.25", "77300.3"), ("0.375", "77300.5")]


def test_a_remainder_that_rests_meets_what_refills_and_no_more() -> None:
    """A DAY order took all up to its limit: new sellers below the limit come as the book refills, not as a market that moved."""
    x = deep(cash="40000000", depth=msgspec.structs.replace(DEPTH, turnover=0.0))
    q = quote(70_000.0, 70_000.1, size=10.0)
    x.quote(q)
    x.submit(spec(1, BUY, "30", "70000.3", TimeInForce.DAY), START)
    assert fills(x) == [("10", "70000.1"), ("5", "70000.3")]
    x.quote(quote(70_000.0, 70_000.1, START, size=10.0))
    assert fills(x) == []
    x.quote(quote(70_000.0, 70_000.1, START + 10 * S, size=10.0))  # 7.5 of 15 are back
    assert fills(x) == [("7.5", "70000.3")]


def test_a_front_may_hand_out_only_part_of_the_book() -> None:
    """`shown` of submit bounds the sum over levels."""
    x = deep()
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    x.submit(spec(1, BUY, "20", "70010.0"), START, shown=D(11))
    assert fills(x) == [("10", "70000.1"), ("1", "70000.3")]


def test_futures_walk_whole_lots_on_their_own_grid() -> None:
    """The same book with CME's terms: five dollars a level, whole lots."""
    x = Exchange("cme", (MBT,), {"USD": D(6_000_000)}, Hours(), Rules(depth=FUTURE_DEPTH), START)
    x.quote(ev.Quote(START, MBT.id, 70_500.0, 70_505.0, 20.0, 20.0, START))
    x.submit(spec(1, BUY, "50", "70600", instrument=MBT.id), START)
    assert fills(x) == [("20", "70505"), ("20", "70510"), ("10", "70515")]


def test_an_endless_touch_is_endless() -> None:
    """A made-up quote of infinite size fills everything at its price and lacks nothing after."""
    x = deep(cash="40000000")
    q = quote(70_000.0, 70_000.1, size=math.inf)
    x.quote(q)
    x.submit(spec(1, BUY, "60", "70010.0"), START)
    assert fills(x) == [("60", "70000.1")] and x.shown(q) is q
    x.submit(spec(2, BUY, "1", "69000.0", TimeInForce.DAY), START)
    x.quote(quote(69_000.0, 69_000.1, START + S, size=math.inf))
    x.quote(quote(69_000.0, 69_000.1, START + 2 * S, size=5.0))
    assert x.orders["T2"].place is not None and x.orders["T2"].place.ahead <= 5.0


@pytest.mark.parametrize("change", [
    {"levels": 0}, {"spacing_ticks": 0}, {"behind": 0.0}, {"growth": math.inf}, {"refill_half_life_s": 0.0}, {"turnover": -0.1},
    {"turnover": math.nan},
])  # fmt: skip
def test_a_depth_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    """Impossible numbers are named when they are given, not when an order meets them."""
    with pytest.raises(ValueError, match="depth"):
        Depth(**{**msgspec.structs.asdict(DEPTH), **change})


@pytest.mark.parametrize("depth", [PERP_DEPTH, FUTURE_DEPTH])
def test_the_shipped_depths_get_deeper_away_from_the_touch(depth: Depth) -> None:
    """All levels have something for a touch of ten lots and more, and the price of size rises."""
    x = deep(depth=depth)
    x.quote(quote(70_000.0, 70_000.1, size=10.0))
    levels = x.listings["BTCUSDT"].levels(BUY, START)
    assert len(levels) == depth.levels and all(q > 0 for _, q in levels) and levels == sorted(levels)
