"""What stands behind the touch: how far it counts, for how long, and what a decision keeps of it."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest
from table import MBT, NOW, PERP, S, Table, X

from bot.engine.observations import read, restore
from bot.engine.pair import clip_lots
from bot.engine.step import Engine
from bot.market.book import inside
from bot.model import event as ev
from bot.model.market import DEPTH_NS, Book
from risk.limits import Limits

BIDS = ((70_000.0, 2.0), (69_995.0, 6.0), (69_990.0, 8.0))
ASKS = ((70_005.0, 2.0), (70_010.0, 6.0), (70_015.0, 8.0))


def shown(bid: float = 70_000.0, ask: float = 70_005.0) -> Book:
    """Return a book with three rows on each side, whose touch has moved since."""
    book = Book(MBT.id)
    book.bid, book.ask, book.bid_size, book.ask_size, book.mid, book.ts = bid, ask, 3.0, 3.0, 0.5 * (bid + ask), NOW
    book.bids, book.asks, book.depth_ts = BIDS, ASKS, NOW
    return book


def test_the_touch_comes_from_the_quote_and_the_rest_from_the_depth() -> None:
    assert shown().levels(True) == ((70_005.0, 3.0), *ASKS[1:])
    assert shown().levels(False) == ((70_000.0, 3.0), *BIDS[1:])


@pytest.mark.parametrize(("bid", "ask", "left"), [(70_000.0, 70_010.0, 1), (70_000.0, 70_020.0, 0), (69_980.0, 69_985.0, 3)])
def test_rows_that_the_touch_has_passed_are_gone(bid: float, ask: float, left: int) -> None:
    levels = shown(bid, ask).levels(True)
    assert levels[0] == (ask, 3.0) and len(levels) == 1 + left
    assert [p for p, _ in levels] == sorted({p for p, _ in levels})


def test_old_depth_is_no_depth() -> None:
    book = shown()
    book.ts = NOW + DEPTH_NS
    assert len(book.levels(True)) == 3
    book.ts += 1
    assert book.levels(True) == ((70_005.0, 3.0),) and book.levels(False) == ((70_000.0, 3.0),)


def test_a_decision_keeps_the_depth_it_read() -> None:
    book, again = shown(), Book(MBT.id)
    restore(again, read(book))
    assert (again.levels(True), again.levels(False)) == (book.levels(True), book.levels(False))
    assert again.depth_ts == book.depth_ts


def test_nothing_beyond_the_collar_counts() -> None:
    """18 bp of 70,000 are 126: no order may go there, so nothing there can be had."""
    assert inside([(70_126.0, 5.0), (70_126.1, 50.0), (math.nan, 9.0)], 70_000.0, 18.0) == ((70_126.0, 5.0),)
    assert inside(BIDS, 0.0, 18.0) == ()


def test_the_engine_notes_depth_and_decides_nothing_on_it() -> None:
    t = Table()
    engine = Engine(t.ob, t.terms, t.hours, {"x": (Still(), Still())}, Limits(), X, {"USDT": "USDT/USD"})
    engine.step(ev.Quote(NOW, MBT.id, 70_000.0, 70_005.0, 3.0, 3.0, NOW))
    far = (*ASKS, (70_400.0, 900.0))
    assert engine.step(ev.BookDepth(NOW + S, MBT.id, BIDS, far)).events == ()
    engine.step(ev.Quote(NOW + S, MBT.id, 70_000.0, 70_005.0, 4.0, 4.0, NOW + S))
    assert engine.books[MBT.id].levels(True) == ((70_005.0, 4.0), *ASKS[1:])


class Still:
    """A strategy that wants nothing."""

    def on_event(self, memory: object, view: object, event: object) -> None:
        """Want nothing."""

    def rearms(self, memory: object, view: object) -> bool:
        """Stay as it is."""
        return False


def test_a_clip_is_a_share_of_all_that_is_shown_on_both_books() -> None:
    """A quarter of 16 lots behind a touch of 4, where the touch alone would allow one."""
    t = Table()
    t.show(MBT.id, 70_000.0, 70_005.0, 4.0)
    assert clip_lots(t.window, X, True) == 1
    lead = t.books[MBT.id]
    lead.asks, lead.depth_ts = ((70_005.0, 4.0), (70_010.0, 16.0)), NOW
    assert clip_lots(t.window, X, True) == 5
    hedge = t.books[PERP.id]
    t.show(PERP.id, 70_060.0, 70_061.0, 0.4)
    assert clip_lots(t.window, X, True) == 1  # the hedge shows four lots' worth
    hedge.bids, hedge.depth_ts = ((70_060.0, 0.4), (70_059.0, 0.4)), NOW
    assert clip_lots(t.window, X, True) == 2


@pytest.mark.parametrize("seed", range(20))
def test_levels_always_lead_away_from_the_touch(seed: int) -> None:
    """Whatever depth is remembered and wherever the touch has gone."""
    rng = random.Random(seed)
    book = shown(*sorted((rng.uniform(69_900, 70_100), rng.uniform(69_900, 70_100))))
    book.asks = tuple((70_000.0 + 5 * n, rng.uniform(0.1, 9.0)) for n in range(1, rng.randrange(2, 20)))
    for buy, sign in ((True, 1), (False, -1)):
        prices = [Decimal(p) * sign for p, _ in book.levels(buy)]
        assert prices == sorted(set(prices)), f"seed {seed}"
