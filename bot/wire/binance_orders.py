"""Orders of a Binance USD-M account: placing, cancelling and asking, over REST and the order socket alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bot.model.command import Cancel, Command, Submit
from bot.model.event import NEVER
from bot.model.instrument import Rounding, round_price, to_decimal
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.sim.listing import Listing
from bot.wire.binance_blotter import Blotter, Held
from bot.wire.binance_errors import Refused
from bot.wire.binance_ledger import MS, ZERO, sliced, user_trade
from bot.wire.binance_request import Params
from bot.wire.binance_terms import MAX_MARKET_QTY, MAX_QTY, ORDER_TYPES, TIMES, price_text

ANSWER_S = 10.0
"""How long the front waits for the exchange behind it before it says that it does not know (-1007)."""
CLIENT_ID_LONGEST = 36
MARKET_SHARE = Decimal("0.9")
"""Part of the price band that a market order uses, so that a mark that moves while it is under way does not refuse it."""
ROWS, MOST_ROWS = 500, 1_000
LATER_MS = NEVER // MS


class OrderDesk:
    """Takes orders. send: puts a command to the venue. answer_s: longest wait for the exchange, wall time."""

    def __init__(self, blotter: Blotter, send: Callable[[Command], None], clock: Callable[[], int], answer_s: float = ANSWER_S) -> None:
        self.blotter = blotter
        self.symbols = blotter.symbols
        self.exchange = blotter.exchange
        self._send = send
        self._clock = clock
        self._answer_s = answer_s
        self._countdowns: dict[str, int] = {}

    async def place(self, p: Params) -> dict[str, Any]:
        """Place an order and answer with it once the exchange has. Raises Refused."""
        x, kind, tif = self.symbols.get(p.need("symbol")), p.need("type"), p.get("timeInForce", "")
        side, qty, price = _side(p), p.number("quantity"), p.number("price")
        if kind not in ORDER_TYPES:
            raise Refused(-1116)
        if kind == "LIMIT" and (not tif or price is None):
            raise Refused(-1102, "timeInForce" if not tif else "price")
        if tif and tif not in TIMES:
            raise Refused(-1115)
        if p.get("positionSide", "BOTH") != "BOTH":
            raise Refused(-4061)
        qty = _quantity(x, qty, kind)
        limit = self._market_limit(x, side) if kind == "MARKET" or price is None else _limit(x, price)
        client_id = self._client_id(p.get("newClientOrderId", ""))
        self._fits(x, side, qty, limit, tif)
        name = self.blotter.name(client_id)
        rests = kind == "LIMIT" and tif in ("GTC", "GTX")
        spec = OrderSpec(client_id=name, pair="wire", venue=self.exchange.venue, instrument=x.instrument.id, side=side, qty=qty, limit=limit,
                         tif=TimeInForce.DAY if rests else TimeInForce.IOC, purpose=Purpose.LEAD, reduce_only=p.truth("reduceOnly"))  # fmt: skip
        now = self.blotter.now_ms()
        held = Held(client_id=client_id, spec=spec, type=kind, tif=tif or "GTC", placed_ms=now, updated_ms=now)
        await self._submit(held)
        shown = self.blotter.view(held)
        if p.get("newOrderRespType", "ACK") != "RESULT":
            none = "0." + "0" * max(1, len(shown["executedQty"].partition(".")[2]))
            shown |= {"status": "NEW", "executedQty": none, "cumQty": none, "cumQuote": "0.00000000", "avgPrice": "0.00"}
        return shown

    async def cancel(self, p: Params) -> dict[str, Any]:
        """Cancel an order and answer with it once it has ended. Raises Refused (-2011) for one that does not work."""
        symbol = self.symbols.get(p.need("symbol")).instrument.id
        order_id, client_id = p.whole("orderId", 0), p.get("origClientOrderId", "")
        if not order_id and not client_id:
            raise Refused(-1102, "origclientorderid")
        held = self.blotter.held.get(self.blotter.by_client.get(client_id, client_id)) if client_id and not order_id else None
        if held is None or held.spec.instrument != symbol:
            try:
                held = self.blotter.find(symbol, order_id, client_id)
            except Refused:
                raise Refused(-2011) from None
        await self._cancel(held)
        return self.blotter.view(held)

    async def cancel_all(self, p: Params) -> dict[str, Any]:
        """Cancel everything that works in a symbol."""
        x = self.symbols.get(p.need("symbol"))
        await asyncio.gather(*(self._cancel(held) for held in self.open(x.instrument.id)), return_exceptions=True)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def ask(self, p: Params) -> dict[str, Any]:
        """Return one order."""
        return self.blotter.view(self._found(p))

    def ask_open(self, p: Params) -> dict[str, Any]:
        """Return one order that works."""
        held = self._found(p)
        if not self.blotter.works(held):
            raise Refused(-2013)
        return self.blotter.view(held)

    def open(self, symbol: str) -> list[Held]:
        """Return what works in a symbol, "" for all."""
        return [held for held in self.blotter.all(symbol) if self.blotter.works(held)]

    def open_rows(self, p: Params) -> list[dict[str, Any]]:
        """Return open orders."""
        symbol = p.get("symbol", "")
        if symbol:
            self.symbols.get(symbol)
        return [self.blotter.view(held) for held in self.open(symbol)]

    def all_rows(self, p: Params) -> list[dict[str, Any]]:
        """Return all orders of a symbol."""
        symbol = self.symbols.get(p.need("symbol")).instrument.id
        rows = [self.blotter.view(held) for held in self.blotter.all(symbol)]
        first = p.whole("orderId", 0)
        return sliced((row for row in rows if row["orderId"] >= first), *window(p), lambda row: row["time"])

    def trades(self, p: Params) -> list[dict[str, Any]]:
        """Return executions of a symbol."""
        x = self.symbols.get(p.need("symbol"))
        self.blotter.ledger.fold()
        rows = [user_trade(t, self.blotter.trade_order_id(t), x) for t in self.blotter.ledger.trades if t.fill.instrument == x.instrument.id]
        first, order_id = p.whole("fromId", 0), p.whole("orderId", 0)
        wanted = [row for row in rows if row["id"] >= first and order_id in (0, row["orderId"])]
        if first:
            return wanted[: p.whole("limit", ROWS)]
        return sliced(wanted, *window(p), lambda row: row["time"])

    def forced(self, p: Params) -> list[dict[str, Any]]:
        """Return liquidations and auto-deleveragings as orders."""
        self.blotter.ledger.fold()
        out = []
        for t in self.blotter.ledger.trades:
            kind = {"adl": "ADL", "liquidation": "LIQUIDATION"}.get(t.fill.reason, "")
            if not kind or p.get("symbol", t.fill.instrument) != t.fill.instrument or p.get("autoCloseType", kind) != kind:
                continue
            x = self.exchange.listings[t.fill.instrument]
            row = user_trade(t, self.blotter.trade_order_id(t), x)
            out.append({
                "orderId": row["orderId"], "symbol": row["symbol"], "status": "FILLED", "price": row["price"], "avgPrice": row["price"],
                "clientOrderId": "adl_autoclose" if kind == "ADL" else f"autoclose-{row['time']}", "origQty": row["qty"], "executedQty": row["qty"],
                "cumQuote": row["quoteQty"], "timeInForce": "IOC", "type": "LIMIT", "reduceOnly": False, "closePosition": False, "side": row["side"],
                "positionSide": "BOTH", "stopPrice": "0", "workingType": "CONTRACT_PRICE", "origType": "LIMIT", "time": row["time"], "updateTime": row["time"],
            })  # fmt: skip
        return sliced(out, *window(p), lambda row: row["time"])

    # The dead man's switch.

    def countdown(self, p: Params) -> dict[str, Any]:
        """Start, restart or (0) stop the countdown after which everything in a symbol is cancelled."""
        symbol, ms = self.symbols.get(p.need("symbol")).instrument.id, p.whole("countdownTime", -1)
        if ms < 0:
            raise Refused(-1102, "countdownTime")
        if ms:
            self._countdowns[symbol] = self._clock() + ms * MS
        else:
            self._countdowns.pop(symbol, None)
        return {"symbol": symbol, "countdownTime": str(ms)}

    def tick(self, now_ns: int) -> None:
        """Cancel what countdowns that have run out are about."""
        for symbol, at in list(self._countdowns.items()):
            if at <= now_ns:
                del self._countdowns[symbol]
                for held in self.open(symbol):
                    self._send(Cancel(self.exchange.venue, symbol, held.spec.client_id))

    # Inside.

    def _found(self, p: Params) -> Held:
        symbol = self.symbols.get(p.need("symbol")).instrument.id
        order_id, client_id = p.whole("orderId", 0), p.get("origClientOrderId", "")
        if not order_id and not client_id:
            raise Refused(-1102, "origclientorderid")
        return self.blotter.find(symbol, order_id, client_id)

    async def _submit(self, held: Held) -> None:
        held.placed = asyncio.get_running_loop().create_future()
        self.blotter.add(held)
        try:
            await self._answered(held.placed, Submit(held.spec))
        finally:
            held.placed = None

    async def _cancel(self, held: Held) -> None:
        """Ask for a cancel; what has ended meanwhile was not cancelled."""
        if not self.blotter.works(held):
            raise Refused(-2011)
        if held.cancelled is None or held.cancelled.done():
            held.cancelled = asyncio.get_running_loop().create_future()
        try:
            await self._answered(held.cancelled, Cancel(self.exchange.venue, held.spec.instrument, held.spec.client_id))
        finally:
            held.cancelled = None
        ticket = self.blotter.ticket(held)
        if ticket is None or ticket.outcome is not Outcome.CANCELLED:
            raise Refused(-2011)

    async def _answered(self, waiter: asyncio.Future[None], command: Command) -> None:
        """Put a command to the venue and wait for what it says. Raises Refused: the refusal, or that nothing was said."""
        self._send(command)
        try:
            await asyncio.wait_for(asyncio.shield(waiter), self._answer_s)
        except TimeoutError:
            raise Refused(-1007) from None

    def _client_id(self, given: str) -> str:
        """Return the client's id of a new order, or one of ours. Raises Refused for one that is in use."""
        if len(given) > CLIENT_ID_LONGEST:
            raise Refused(-4015)
        if not all(c.isascii() and (c.isalnum() or c in ".:/_-") for c in given):
            raise Refused(-1100)
        name = self.blotter.by_client.get(given, given)
        held = self.blotter.of(name) if given else None
        if held is not None and self.blotter.works(held):
            raise Refused(-4116)
        return given or self.blotter.mint()

    def _fits(self, x: Listing, side: Side, qty: Decimal, limit: Decimal, tif: str) -> None:
        """Raise Refused for an order that must fill whole and cannot, or must not fill at once and would, by the book as it is."""
        if tif not in ("FOK", "GTX"):
            return
        offered = sum((q for price, q in x.levels(side, self._clock()) if (price - limit) * side.sign <= 0), ZERO)
        if tif == "FOK" and offered < qty:
            raise Refused(-5021)
        if tif == "GTX" and offered > 0:
            raise Refused(-5022)

    def _market_limit(self, x: Listing, side: Side) -> Decimal:
        """Return the worst price of a market order."""
        if x.price() <= 0.0:
            raise Refused(-4131)
        bound = to_decimal(x.price()) * (1 + MARKET_SHARE * self.symbols.band(x) * side.sign)
        return round_price(x.instrument, bound, Rounding.DOWN if side is Side.BUY else Rounding.UP)


def window(p: Params) -> tuple[int, int, int]:
    """Return (start, end, limit) of a question about the past, ms; the limit is capped as at the exchange."""
    limit = p.whole("limit", ROWS)
    if limit <= 0:
        raise Refused(-1130, "limit")
    return p.whole("startTime", 0), p.whole("endTime", LATER_MS), min(limit, MOST_ROWS)


def _side(p: Params) -> Side:
    side = p.need("side")
    if side not in ("BUY", "SELL"):
        raise Refused(-1117)
    return Side.BUY if side == "BUY" else Side.SELL


def _quantity(x: Listing, qty: Decimal | None, kind: str) -> Decimal:
    """Return the quantity of an order. Raises Refused for one that the filters do not let through."""
    if qty is None:
        raise Refused(-1102, "quantity")
    if qty <= 0:
        raise Refused(-4003)
    if qty % x.instrument.lot:
        raise Refused(-1111)
    if qty > (MAX_MARKET_QTY if kind == "MARKET" else MAX_QTY):
        raise Refused(-4005)
    return qty


def _limit(x: Listing, price: Decimal) -> Decimal:
    """Return a limit. Raises Refused for one off the grid."""
    if price <= 0:
        raise Refused(-4024, price_text(x.instrument, x.instrument.tick))
    if price % x.instrument.tick:
        raise Refused(-4014)
    return price
