"""The orders of a Binance USD-M account as its clients know them, and how what the venue says of them is passed on.

A client's id names one order among the open ones, as at the real exchange; the exchange core lets an id name one order for
ever. An id that can name an order there and does not yet, does; any other order gets a name of its own. What is pushed follows
the venue's reports, which may be lost, late or doubled; what is asked for is the exchange's truth. A rejected order leaves no
record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import CLIENT_ID_MAX, ClientId
from bot.model.order import OrderSpec, Outcome, Purpose, TimeInForce
from bot.sim.exchange import ADL, BUST, LIQUIDATION, Exchange
from bot.sim.listing import Ticket
from bot.wire.binance_errors import Refused, refusal
from bot.wire.binance_ledger import MS, Ledger, Trade
from bot.wire.binance_terms import Symbols, money_text, price_text, qty_text

ZERO = Decimal(0)
FIRST_ORDER = 4_000_000_000
FIRST_FORCED = 8_000_000_000
"""Order ids: numbers of the exchange's own orders, and of those behind executions nobody asked for, count from these."""
FORCED_IDS = {LIQUIDATION: "autoclose-{}", ADL: "adl_autoclose", BUST: "bust_{}"}
"""Client ids of what an exchange trades unasked; any other reason is a trade by hand, from its web page. Busts have no sign of
their own at Binance: an assumption."""
ENDED = {Outcome.FILLED: "FILLED", Outcome.CANCELLED: "CANCELED", Outcome.EXPIRED: "EXPIRED", Outcome.REJECTED: "REJECTED"}
Push = Callable[[dict[str, Any]], None]


class Held(msgspec.Struct, kw_only=True, eq=False):
    """One order. client_id: what the client calls it. placed, cancelled: who waits for an answer."""

    client_id: str
    spec: OrderSpec
    type: str
    tif: str
    placed_ms: int
    updated_ms: int
    acked: bool = False
    told: set[str] = msgspec.field(default_factory=set)
    placed: asyncio.Future[None] | None = None
    cancelled: asyncio.Future[None] | None = None


class Blotter:
    """Every order by its name at the exchange. push: sends an event to the user's streams. now_ms: the server's clock."""

    def __init__(self, exchange: Exchange, symbols: Symbols, ledger: Ledger, push: Push, now_ms: Callable[[], int]) -> None:
        self.exchange = exchange
        self.symbols = symbols
        self.ledger = ledger
        self.push = push
        self.now_ms = now_ms
        self.held: dict[ClientId, Held] = {}
        self.by_client: dict[str, ClientId] = {}
        self._minted = len(exchange.orders)
        self._numbered: list[ClientId] = []

    # Orders by their names.

    def mint(self) -> str:
        """Return an id for an order whose client gave none."""
        while True:
            self._minted += 1
            name = f"B{self._minted:011d}"
            if name not in self.exchange.orders and name not in self.held:
                return name

    def name(self, client_id: str) -> ClientId:
        """Return what an order is called at the exchange: as its client calls it, when that can name an order and does not yet."""
        usable = client_id.isascii() and client_id.isalnum() and len(client_id) <= CLIENT_ID_MAX
        return client_id if usable and client_id not in self.exchange.orders and client_id not in self.held else self.mint()

    def add(self, held: Held) -> None:
        """Keep an order."""
        self.held[held.spec.client_id] = held
        self.by_client[held.client_id] = held.spec.client_id

    def of(self, name: ClientId) -> Held | None:
        """Return an order by its name at the exchange; one from before this server began is taken up."""
        held, ticket = self.held.get(name), self.exchange.orders.get(name)
        if held is None and ticket is not None:
            tif = "IOC" if ticket.spec.tif is TimeInForce.IOC else "GTC"
            held = Held(client_id=name, spec=ticket.spec, type="LIMIT", tif=tif, placed_ms=self.now_ms(), updated_ms=self.now_ms())
            self.add(held)
        return held

    def find(self, symbol: str, order_id: int, client_id: str) -> Held:
        """Return an order by its number or its client's id. Raises Refused when there is none."""
        name = ""
        if order_id:
            self._count()
            number = order_id - FIRST_ORDER
            name = self._numbered[number - 1] if 0 < number <= len(self._numbered) else ""
        elif client_id:
            name = self.by_client.get(client_id, client_id)
        ticket = self.exchange.orders.get(name)
        if ticket is None or ticket.outcome is Outcome.REJECTED or ticket.spec.instrument != symbol:
            raise Refused(-2013)
        held = self.of(name)
        assert held is not None
        return held

    def all(self, symbol: str) -> list[Held]:
        """Return the orders of a symbol ("" for every one) that the exchange has, oldest first; rejected ones are not among them."""
        found = []
        for name, ticket in list(self.exchange.orders.items()):
            if ticket.outcome is not Outcome.REJECTED and ticket.spec.instrument in self.symbols.by_name and symbol in ("", ticket.spec.instrument):
                held = self.of(name)
                assert held is not None
                found.append(held)
        return found

    def ticket(self, held: Held) -> Ticket | None:
        """Return the exchange's record of an order, None before it has arrived there."""
        return self.exchange.orders.get(held.spec.client_id)

    def works(self, held: Held) -> bool:
        """Return whether an order works, or is on its way to the exchange."""
        ticket = self.ticket(held)
        return held.placed is not None if ticket is None else ticket.outcome is None

    def order_id(self, name: ClientId) -> int:
        """Return the number of an order the exchange has."""
        ticket = self.exchange.orders[name]
        return FIRST_ORDER + int(ticket.venue_order_id.rsplit("-o", 1)[1])

    def trade_order_id(self, trade: Trade) -> int:
        """Return the number of the order behind an execution."""
        name = trade.fill.client_id
        return self.order_id(name) if name in self.exchange.orders else FIRST_FORCED + trade.number

    def _count(self) -> None:
        names = self.exchange.orders
        if len(self._numbered) < len(names):
            self._numbered = list(names)

    # How an order is shown.

    def view(self, held: Held) -> dict[str, Any]:
        """Return an order as REST and the order socket show it."""
        spec, ticket, i = held.spec, self.ticket(held), self.exchange.listings[held.spec.instrument].instrument
        fills = ticket.fills if ticket is not None else []
        filled = sum((f.qty for f in fills), ZERO)
        spent = sum((f.qty * f.price for f in fills), ZERO) * i.unit
        average = sum((f.qty * f.price for f in fills), ZERO) / filled if filled else ZERO
        return {
            "orderId": self.order_id(spec.client_id) if ticket is not None else 0, "symbol": i.id, "status": status(held, ticket),
            "clientOrderId": held.client_id, "price": price_text(i, ZERO if held.type == "MARKET" else spec.limit),
            "avgPrice": f"{average:.5f}", "origQty": qty_text(i, spec.qty), "executedQty": qty_text(i, filled), "cumQty": qty_text(i, filled),
            "cumQuote": money_text(spent), "timeInForce": held.tif, "type": held.type, "reduceOnly": spec.reduce_only, "closePosition": False,
            "side": spec.side.value.upper(), "positionSide": "BOTH", "stopPrice": "0.00", "workingType": "CONTRACT_PRICE", "priceProtect": False,
            "origType": held.type, "priceMatch": "NONE", "selfTradePreventionMode": "EXPIRE_MAKER", "goodTillDate": 0,
            "time": held.placed_ms, "updateTime": held.updated_ms,
        }  # fmt: skip

    def update(self, held: Held, execution: str, state: str, cum: Decimal, trade: Trade | None = None) -> dict[str, Any]:
        """Return the ORDER_TRADE_UPDATE of what happened to an order. cum: filled so far, as of this event."""
        spec, i = held.spec, self.exchange.listings[held.spec.instrument].instrument
        ticket, fill = self.ticket(held), trade.fill if trade is not None else None
        fills = ticket.fills if ticket is not None else [fill] if fill is not None else []
        quantity = sum((f.qty for f in fills), ZERO)
        average = sum((f.qty * f.price for f in fills), ZERO) / quantity if quantity else ZERO
        at = fill.ts // MS if fill is not None else held.updated_ms
        order: dict[str, Any] = {
            "s": i.id, "c": held.client_id, "S": spec.side.value.upper(), "o": held.type, "f": held.tif, "q": qty_text(i, spec.qty),
            "p": price_text(i, ZERO if held.type == "MARKET" else spec.limit), "ap": price_text(i, average) if cum else "0", "sp": "0",
            "x": execution, "X": state, "i": self.order_id(spec.client_id) if ticket is not None else FIRST_FORCED + (trade.number if trade else 0),
            "l": qty_text(i, fill.qty if fill is not None else ZERO), "z": qty_text(i, cum), "L": price_text(i, fill.price) if fill is not None else "0",
            "T": at, "t": trade.number if trade is not None else 0, "b": "0", "a": "0", "m": fill.maker if fill is not None else False,
            "R": spec.reduce_only, "wt": "CONTRACT_PRICE", "ot": held.type, "ps": "BOTH", "cp": False,
            "rp": money_text(trade.realised) if trade is not None else "0", "pP": False, "si": 0, "ss": 0, "V": "EXPIRE_MAKER", "pm": "NONE", "gtd": 0,
        }  # fmt: skip
        if fill is not None:
            order |= {"n": money_text(fill.fee), "N": fill.fee_currency}
        return {"e": "ORDER_TRADE_UPDATE", "T": at, "E": self.now_ms(), "o": order}

    # What the venue says.

    def hear(self, event: ev.Event) -> None:
        """Pass on a report of the venue, and wake who waits for it."""
        if isinstance(event, ev.OrderFilled):
            self._filled(event)
        elif isinstance(event, ev.OrderAccepted):
            self._accepted(event)
        elif isinstance(event, ev.OrderEnded):
            self._ended(event)
        elif isinstance(event, ev.OrderNotFound):
            held = self.held.get(event.client_id)
            if held is not None:
                answer(held.cancelled, Refused(-2011))
        elif isinstance(event, ev.QueryFailed):  # a cancel that was one too many; which one is not said
            for held in self.held.values():
                answer(held.cancelled, refusal(event.reason, market=False, buys=False))

    def _accepted(self, event: ev.OrderAccepted) -> None:
        held = self.of(event.client_id)
        if held is None:
            return
        answer(held.placed)
        if not held.acked:
            held.acked = True
            self.push(self.update(held, "NEW", "NEW", ZERO))

    def _filled(self, fill: ev.OrderFilled) -> None:
        """Tell of an execution: first what it did to the account, then to its order. A cancel's answer repeats none that was told."""
        trade = self.ledger.trade(fill.exec_id)
        if trade is None or fill.instrument not in self.symbols.by_name:
            return
        held = self.of(fill.client_id)
        if held is None:
            self._forced(trade)
            return
        held.updated_ms = fill.ts // MS
        answer(held.placed)
        if held.cancelled is not None and fill.exec_id in held.told:
            return
        held.told.add(fill.exec_id)
        cum = ZERO
        for done in self.exchange.orders[fill.client_id].fills:
            cum += done.qty
            if done.exec_id == fill.exec_id:
                break
        self.push(self.ledger.booked(fill, "ORDER", self.now_ms()))
        self.push(self.update(held, "TRADE", "FILLED" if cum >= held.spec.qty else "PARTIALLY_FILLED", cum, trade))

    def _forced(self, trade: Trade) -> None:
        """Tell of an execution nobody asked for: liquidations and ADL are CALCULATED, what a person did is a trade like any other."""
        fill = trade.fill
        client_id = FORCED_IDS.get(fill.reason, "web_{}").format(fill.ts // MS)
        unasked = fill.reason in (ADL, LIQUIDATION)
        spec = OrderSpec(client_id="", pair="wire", venue=self.exchange.venue, instrument=fill.instrument, side=fill.side, qty=fill.qty, limit=fill.price,
                         tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip
        held = Held(client_id=client_id, spec=spec, type="LIMIT" if unasked else "MARKET", tif="IOC", placed_ms=fill.ts // MS, updated_ms=fill.ts // MS)
        self.push(self.ledger.booked(fill, "ADJUSTMENT" if fill.reason == BUST else "ORDER", self.now_ms()))
        self.push(self.update(held, "CALCULATED" if unasked else "TRADE", "FILLED", fill.qty, trade))

    def _ended(self, event: ev.OrderEnded) -> None:
        held = self.of(event.client_id)
        if held is None:
            return
        held.updated_ms = self.now_ms()
        if event.outcome is Outcome.REJECTED:
            answer(held.placed, refusal(event.reason, held.type == "MARKET", held.spec.side.sign > 0))
            return
        answer(held.placed)
        answer(held.cancelled)
        if event.outcome is not Outcome.FILLED:  # a whole fill was told by its last execution
            state = status(held, self.ticket(held))
            self.push(self.update(held, state, state, event.cum_qty))


def status(held: Held, ticket: Ticket | None) -> str:
    """Return the state of an order as the exchange has it; what an order left over that may not rest has expired."""
    if ticket is None or ticket.outcome is None:
        return "PARTIALLY_FILLED" if ticket is not None and ticket.filled else "NEW"
    if ticket.outcome is Outcome.CANCELLED and ticket.spec.tif is TimeInForce.IOC:
        return "EXPIRED"
    return ENDED[ticket.outcome]


def answer(waiter: asyncio.Future[None] | None, error: Refused | None = None) -> None:
    """Wake who waits, once."""
    if waiter is not None and not waiter.done():
        waiter.set_exception(error) if error is not None else waiter.set_result(None)

