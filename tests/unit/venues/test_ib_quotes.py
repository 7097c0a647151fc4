"""Which notices of data farms stop prices, and what is asked for anew when they are back."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from bot.market.calendar import DeskSessions
from bot.market.expiry import expiry_ns
from bot.model import event as ev
from bot.model.instrument import Instrument, Kind
from bot.venues.ib_contracts import Found
from bot.venues.ib_quotes import Quotes

MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
                 settle="USD", product="MBT", expiry_ns=expiry_ns(2026, 11))  # fmt: skip


def quoting() -> tuple[Quotes, list[Any]]:
    """Return prices that are live, and what they emit."""
    heard: list[Any] = []
    quotes = Quotes(DeskSessions({MBT.id: MBT}), lambda: 1_000)
    quotes.emit = heard.append
    line = SimpleNamespace(next_number=lambda: 5, tell=lambda priority, act: None)
    quotes.subscribe(line, Found(MBT, 99, "99:x", None))  # type: ignore[arg-type]
    quotes.data_type(5, 1)
    book(quotes, 70_000.0)
    return quotes, heard


def book(quotes: Quotes, bid: float) -> None:
    """Show a book."""
    quotes.tick(5, 1, bid, 3.0)
    quotes.tick(5, 2, bid + 10.0, 4.0)
    quotes.ticked()


def test_the_farm_of_our_market_stops_prices_until_it_is_back() -> None:
    quotes, heard = quoting()
    assert quotes.farm("Market data farm connection is broken:usfuture", up=False) == []
    book(quotes, 70_050.0)
    assert quotes.live(MBT.id) and len([e for e in heard if isinstance(e, ev.Quote)]) == 1
    assert quotes.farm("Market data farm connection is OK:usfarm", up=True) == [] and quotes.live(MBT.id)
    assert quotes.farm("Market data farm connection is OK:usfuture", up=True) == [MBT.id]


def test_a_farm_of_other_markets_stops_nothing() -> None:
    quotes, heard = quoting()
    assert quotes.farm("Market data farm connection is broken:eufarm", up=False) == []
    book(quotes, 70_050.0)
    assert not quotes.live(MBT.id) and [e.bid for e in heard if isinstance(e, ev.Quote)] == [70_000.0, 70_050.0]
    assert quotes.farm("Market data farm connection is OK:usfuture", up=True) == []


def test_half_a_book_is_none_and_a_side_without_a_price_has_no_size() -> None:
    quotes, heard = quoting()
    quotes.denied(5, "why")
    quotes.data_type(5, 1)
    quotes.tick(5, 1, 70_100.0, 3.0)
    quotes.ticked()
    assert len([e for e in heard if isinstance(e, ev.Quote)]) == 1
    quotes.tick(5, 2, -1.0, 0.0)
    quotes.ticked()
    last = [e for e in heard if isinstance(e, ev.Quote)][-1]
    assert (last.bid, last.ask, last.bid_size, last.ask_size) == (70_100.0, 0.0, 3.0, 0.0)
