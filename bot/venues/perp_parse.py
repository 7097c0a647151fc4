"""Messages of ccxt, turned into this project's events: copied at once, every number checked, nothing guessed.

ccxt hands out live dictionaries that change later, and fills what it does not understand with None: a function here either
returns a whole event or raises one of SHAPE_ERRORS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bot.market.book import sound
from bot.model import event as ev
from bot.model.errors import ConfigError
from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.instrument import Instrument, snap_price
from bot.model.order import Outcome, Side
from bot.venues.perp_quirks import Quirks, number

MS = 1_000_000
OURS = re.compile(r"[A-Z]\d{5,}[LHUF]\d{8,}", re.ASCII)
"""A client id that bot.model.ids.client_id minted; the account may hold orders of other programs and people."""

ENDED = {
    "closed": Outcome.FILLED, "canceled": Outcome.CANCELLED, "expired": Outcome.EXPIRED, "rejected": Outcome.REJECTED,
}  # fmt: skip
OPEN = frozenset({"open", "canceling"})


class Symbols:
    """Which market of the exchange each instrument is, and back."""

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], venue: VenueId) -> None:
        self.venue = venue
        self.instruments = {i: x for i, x in instruments.items() if x.venue == venue}
        self.symbol: dict[InstrumentId, str] = {}
        self.id_of: dict[str, InstrumentId] = {}
        self._names: dict[str, InstrumentId] = {}

    def resolve(self, markets: Mapping[str, Any]) -> list[str]:
        """Find every instrument among the exchange's markets; return what does not agree, empty when all is well."""
        odd = []
        for instrument in self.instruments.values():
            symbol = symbol_of(instrument)
            market = markets.get(symbol)
            if market is None:
                odd.append(f"{instrument.id}: the exchange lists no {symbol}")
                continue
            odd.extend(f"{instrument.id}: {why}" for why in disagreements(instrument, market))
            self.symbol[instrument.id] = symbol
            self.id_of[symbol] = instrument.id
            self._names[str(market["id"])] = instrument.id
        return odd

    def named(self, market_id: str) -> InstrumentId:
        """Return the instrument of an exchange's own market id, or that id itself for one we do not know."""
        return self._names.get(market_id, market_id)

    def of(self, symbol: str) -> Instrument:
        """Return the instrument of a symbol. LookupError for one we do not trade."""
        return self.instruments[self.id_of[symbol]]


def symbol_of(instrument: Instrument) -> str:
    """Return ccxt's name of a perpetual: BTC/USDT:USDT linear, BTC/USD:BTC inverse."""
    return f"{instrument.base}/{instrument.index_quote}:{instrument.settle}"


def disagreements(instrument: Instrument, market: Mapping[str, Any]) -> list[str]:
    """Return where our terms differ from the exchange's: a wrong unit or sign multiplies every position."""
    odd = []
    if not market.get("swap") or bool(market.get("inverse")) is not instrument.inverse:
        odd.append("not the same kind of contract")
    size = number(market.get("contractSize"))
    if size != instrument.unit:
        odd.append(f"a contract is {size} there and {instrument.unit} here")
    precision = market.get("precision") or {}
    for what, ours, theirs in (("tick", instrument.tick, precision.get("price")), ("lot", instrument.lot, precision.get("amount"))):
        step = number(theirs)
        if step <= 0 or ours % step:
            odd.append(f"{what} is {step} there and {ours} here")
    if market.get("active") is False:
        odd.append("not trading")
    return odd


def our_id(*candidates: Any) -> ClientId:
    """Return the first of some client ids if it is one of ours, else ""."""
    for candidate in candidates:
        if candidate:
            return str(candidate) if OURS.fullmatch(str(candidate)) else ""
    return ""


def forced(client_id: str, info: Mapping[str, Any]) -> str:
    """Return "liquidation" or "adl" for what the exchange did itself, else "".

    Binance says it with the client id of its own order (adl_autoclose, autoclose-...), Bybit with the kind of execution.
    """
    text, kind = client_id.lower(), str(info.get("execType") or "").lower()
    if kind == "adltrade" or text.startswith("adl"):
        return "adl"
    return "liquidation" if kind == "busttrade" or text.startswith("autoclose") else ""


class OrderState(msgspec.Struct, frozen=True):
    """One order as the exchange tells it, copied. status: ccxt's word, "" when it was not told. ioc: it never rests."""

    client_id: str
    venue_order_id: str
    status: str
    filled: Decimal
    symbol: str
    ts_ms: int
    ioc: bool = False


def order_state(order: Mapping[str, Any]) -> OrderState:
    """Return a copy of an order of ccxt.

    Raises SHAPE_ERRORS when it has no id, then it is not an order at all, or when it has ended and does not say with how much.
    """
    if not order.get("id"):
        raise ValueError("an order without an id")
    status, filled = str(order.get("status") or ""), number(order.get("filled"))
    if filled < 0 or (status in ENDED and status != "rejected" and order.get("filled") is None):
        raise ValueError(f"an order that is {status} with {order.get('filled')!r} filled")
    if status == "closed" and filled < number(order.get("amount")):
        raise ValueError(f"an order that is filled with {filled} of {order['amount']}")
    return OrderState(
        client_id=str(order.get("clientOrderId") or ""), venue_order_id=str(order["id"]), status=status, filled=filled,
        symbol=str(order.get("symbol") or ""), ts_ms=int(order.get("timestamp") or 0),
        ioc=order.get("timeInForce") == "IOC",
    )  # fmt: skip


def order_events(state: OrderState, client_id: ClientId, now: int, reason: str = "") -> list[ev.Event]:
    """Return what an order's state says: that it was taken, and its end when it has one."""
    outcome = ENDED.get(state.status)
    if outcome is Outcome.EXPIRED and state.ioc:  # Binance's word for what an immediate order did not get
        outcome, reason = Outcome.CANCELLED, reason or "ioc remainder"
    out: list[ev.Event] = []
    if outcome is not Outcome.REJECTED:
        out.append(ev.OrderAccepted(ts=now, client_id=client_id, venue_order_id=state.venue_order_id))
    if outcome is not None:
        out.append(ev.OrderEnded(ts=now, client_id=client_id, outcome=outcome, cum_qty=state.filled, reason=reason))
    return out


def fill(trade: Mapping[str, Any], client_id: ClientId, symbols: Symbols, now: int, reason: str = "") -> ev.OrderFilled:
    """Return an execution. Raises SHAPE_ERRORS when something of it is missing: a fill with a guessed part is a wrong position.

    Exchanges count trades per market, so the id carries the instrument.
    """
    instrument = symbols.of(str(trade["symbol"]))
    qty = number(trade["amount"])
    if qty <= 0 or not trade.get("id"):
        raise ValueError(f"a trade without quantity or id: {trade.get('id')!r}")
    cost, currency = fee_of(trade, instrument)
    return ev.OrderFilled(
        ts=now, venue=symbols.venue, client_id=client_id, instrument=instrument.id, exec_id=f"{instrument.id}:{trade['id']}",
        side=Side(str(trade["side"])), qty=qty, price=snap_price(instrument, float(trade["price"])), fee=cost, fee_currency=currency,
        maker=trade.get("takerOrMaker") == "maker", reason=reason,
    )  # fmt: skip


def fee_of(trade: Mapping[str, Any], instrument: Instrument) -> tuple[Decimal, str]:
    """Return (fee, currency), > 0 a cost. No fee told is none charged; one without a currency is an error."""
    fee = trade.get("fee") or {}
    cost = fee.get("cost")
    if cost is None:
        return Decimal(0), instrument.settle
    if not fee.get("currency"):
        raise ValueError("a fee without a currency")
    return number(cost), str(fee["currency"])


def trade_client_id(trade: Mapping[str, Any], quirks: Quirks) -> str | None:
    """Return the client id in a trade's own message, "" for an order that has none, None when the message does not say."""
    info = trade.get("info") or {}
    return next((str(info[key] or "") for key in quirks.trade_ids if key in info), None)


def quote(ticker: Mapping[str, Any], instrument: InstrumentId, now: int) -> ev.Quote:
    """Return the top of a book from a ticker of best prices. A side that is empty is 0."""
    return _quote(instrument, now, ticker.get("timestamp"), *((ticker.get(k)) for k in ("bid", "ask", "bidVolume", "askVolume")))


def book_quote(book: Mapping[str, Any], instrument: InstrumentId, now: int) -> ev.Quote:
    """Return the top of an order book."""
    bid, bid_size = (book["bids"][0][0], book["bids"][0][1]) if book["bids"] else (0, 0)
    ask, ask_size = (book["asks"][0][0], book["asks"][0][1]) if book["asks"] else (0, 0)
    return _quote(instrument, now, book.get("timestamp"), bid, ask, bid_size, ask_size)


def book_depth(book: Mapping[str, Any], instrument: InstrumentId, rows: int, now: int) -> ev.BookDepth:
    """Return the first rows of an order book. Raises SHAPE_ERRORS for one whose prices or sizes cannot be."""
    bids, asks = (tuple((float(price), float(size)) for price, size, *_ in book[side][:rows]) for side in ("bids", "asks"))
    if not sound(bids, asks):
        raise ValueError("an order book out of order")
    return ev.BookDepth(now, instrument, bids, asks)


def _quote(instrument: InstrumentId, now: int, stamp: Any, bid: Any, ask: Any, bid_size: Any, ask_size: Any) -> ev.Quote:
    venue_ts = int(stamp) * MS if stamp else now
    return ev.Quote(now, instrument, float(bid or 0), float(ask or 0), float(bid_size or 0), float(ask_size or 0), venue_ts)


def mark(told: Mapping[str, Any], instrument: InstrumentId, now: int) -> ev.MarkPrice:
    """Return mark and index. Raises SHAPE_ERRORS when the mark is missing; a missing index is the mark."""
    price = float(told["markPrice"])
    if price <= 0:
        raise ValueError(f"mark price {price}")
    index = told.get("indexPrice")
    return ev.MarkPrice(now, instrument, price, float(index) if index else price)


def funding(told: Mapping[str, Any], instrument: Instrument, quirks: Quirks, interval_s: int, cap: float, now: int) -> ev.FundingRate:
    """Return the rate of the stamp to come from ccxt's funding structure. Raises SHAPE_ERRORS when rate or stamp is missing."""
    rate = told.get(quirks.funding_field)
    if rate is None:
        raise ValueError("no funding rate told")
    stamp = told.get("fundingTimestamp") or told.get("nextFundingTimestamp")
    stamp_ns = int(stamp) * MS if stamp else (now // (interval_s * 10**9) + 1) * interval_s * 10**9
    return ev.FundingRate(now, instrument.id, float(rate), interval_s, stamp_ns, cap)


def interval_seconds(text: Any, default: int) -> int:
    """Return the seconds of ccxt's interval text ("8h", "60m"), or the default for none.

    >>> interval_seconds("4h", 28800), interval_seconds(None, 28800)
    (14400, 28800)
    """
    if not text:
        return default
    match = re.fullmatch(r"(\d+)([hms])", str(text))
    if match is None:
        raise ValueError(f"funding interval {text!r}")
    return int(match[1]) * {"h": 3600, "m": 60, "s": 1}[match[2]]


def net_positions(positions: Iterable[Mapping[str, Any]], symbols: Symbols) -> dict[InstrumentId, Decimal]:
    """Return signed contracts by instrument, an unknown market under the exchange's own name. Raises SHAPE_ERRORS."""
    net: dict[InstrumentId, Decimal] = {}
    for p in positions:
        qty = abs(number(p["contracts"]))
        if not qty:
            continue
        if p["side"] not in ("long", "short"):
            raise ValueError(f"a position with side {p['side']!r}")
        name = symbols.id_of.get(str(p["symbol"]), str(p["symbol"]))
        net[name] = net.get(name, Decimal(0)) + (qty if p["side"] == "long" else -qty)
    return {i: q for i, q in net.items() if q}


def terms_of(instruments: Mapping[InstrumentId, Instrument], venue: VenueId) -> None:
    """Raise ConfigError when a venue has nothing to trade."""
    if not any(x.venue == venue for x in instruments.values()):
        raise ConfigError(f"venue {venue}: no instrument of it is configured")
