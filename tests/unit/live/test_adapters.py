"""What adapters give together: one history in order of time, an index where none is told, sizes where bars have no volume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from live_rig import S

from bot import config
from bot.adapters import PRICE_HISTORY_NS, Adapters
from bot.composition import Desk, desk
from bot.model import event as ev
from bot.model.errors import VenueError

START = 1_793_721_600 * S


class Past:
    """An adapter that only remembers. asked: (instrument, from, to)."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[str, int, int]] = []

    async def history(self, instrument: str, from_ns: int, to_ns: int) -> Sequence[Any]:
        """Return what it remembers."""
        self.asked.append((instrument, from_ns, to_ns))
        return self.rows


def built(**strategy: Any) -> Desk:
    """Return a desk."""
    settings = config.load("live", environ={}).settings
    return desk(msgspec.structs.replace(settings, strategy=msgspec.structs.replace(settings.strategy, **strategy)))


def quote(minute: int, instrument: str, bid: float, size: float = 3.0) -> ev.Quote:
    """One close."""
    ts = START + minute * 60 * S
    return ev.Quote(ts, instrument, bid, bid + 1.0, size, size, ts)


def told(of: Desk, lead: Sequence[Any], hedge: Sequence[Any], price: Sequence[Any] = ()) -> tuple[list[Any], Past]:
    """Return the history of a desk on adapters that remember these rows, and the price's adapter."""
    ref = Past(price)
    adapters = Adapters(venues={"cme": Past(lead), "perp": Past(hedge)}, prices={"ref": ref})  # type: ignore[arg-type,dict-item]
    return asyncio.run(adapters.history(of, START, START + 600 * S)), ref


def test_it_is_in_order_of_time_and_the_price_reaches_further_back() -> None:
    """The strategy takes what it is given as the order of things."""
    rows, ref = told(built(), [quote(n, "MBTX26", 1e5) for n in (1, 2, 3)], [quote(n, "BTCUSDT", 1e5) for n in (1, 2)], [quote(2, "USDT/USD", 1.0)])
    assert [r.ts for r in rows] == sorted(r.ts for r in rows) and len(rows) == 3 + 2 * 2 + 1
    assert ref.asked == [("USDT/USD", START - PRICE_HISTORY_NS, START + 600 * S)]


def test_an_index_that_is_not_told_is_the_perps_own_middle_before_its_quote() -> None:
    """It scales a premium and nothing else, so a carry that is implied from an index refuses it."""
    lead, hedge = [quote(1, "MBTX26", 1e5)], [quote(1, "BTCUSDT", 1e5)]
    rows, _ = told(built(), lead, hedge)
    mark = next(n for n, e in enumerate(rows) if type(e) is ev.MarkPrice)
    assert rows[mark].index == 100_000.5 and rows[mark + 1] == hedge[0]
    with pytest.raises(VenueError, match="no history of the index"):
        told(built(carry_source="trailing_median"), lead, hedge)
    marked = [ev.MarkPrice(START + 30 * S, "BTCUSDT", 1.0, 2.0), *hedge]
    assert [e.index for e in told(built(carry_source="trailing_median"), lead, marked)[0] if type(e) is ev.MarkPrice] == [2.0]


def test_a_bar_without_volume_still_tells_a_price() -> None:
    """A book of no size is no book to the strategy."""
    rows, _ = told(built(), [quote(1, "MBTX26", 1e5, 0.0)], [quote(1, "BTCUSDT", 1e5, 0.0)])
    assert [(e.bid_size, e.ask_size) for e in rows if type(e) is ev.Quote] == [(1.0, 1.0), (0.001, 0.001)]


@pytest.mark.parametrize("silent", ["cme", "perp"])
def test_a_leg_without_history_starts_nothing(silent: str) -> None:
    """A cold strategy would wait three days without a word."""
    lead, hedge = [quote(1, "MBTX26", 1e5)], [quote(1, "BTCUSDT", 1e5)]
    with pytest.raises(VenueError, match=f"{silent}: no history"):
        told(built(), [] if silent == "cme" else lead, [] if silent == "perp" else hedge)
