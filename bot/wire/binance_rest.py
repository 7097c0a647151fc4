"""The REST side of a Binance USD-M server: routes, keys, signatures, request weights, and the faults of HTTP."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from bot.sim.budget import Window
from bot.wire.binance_account import AccountDesk
from bot.wire.binance_errors import Refused
from bot.wire.binance_faults import Faults, Lost, Spoilt
from bot.wire.binance_market import MarketDesk
from bot.wire.binance_orders import OrderDesk
from bot.wire.binance_request import Params, check_key, check_rest, parsed
from bot.wire.binance_streams import Hub
from bot.wire.binance_terms import ORDERS_1M, ORDERS_10S, WEIGHT_1M, Symbols
from bot.wire.binance_tickers import TickerDesk

_S = 1_000_000_000
Ask = Callable[[Params], Any]
PUBLIC, KEY, SIGNED = "public", "key", "signed"


class Rest:
    """Answers HTTP requests. keys: secret by API key."""

    def __init__(
        self, symbols: Symbols, market: MarketDesk, tickers: TickerDesk, orders: OrderDesk, account: AccountDesk, hub: Hub, faults: Faults,
        keys: Mapping[str, str], clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self.symbols = symbols
        self.market = market
        self.tickers = tickers
        self.orders = orders
        self.account = account
        self.hub = hub
        self.faults = faults
        self.keys = keys
        self.clock = clock
        self._weight = Window(WEIGHT_1M, 60 * _S)
        self._counts = {"10S": Window(ORDERS_10S, 10 * _S), "1M": Window(ORDERS_1M, 60 * _S)}
        self._routes = self._table()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing a client sends raises out of here."""
        try:
            body = (await request.read()).decode("utf-8", "replace")
            status, answer, retry_s = await self._answer(request, body)
        except Spoilt as spoilt:
            return web.Response(status=spoilt.status, text=spoilt.text, content_type=spoilt.content_type)
        except Lost as lost:
            await self.faults.swallow(request.transport, lost)
            return web.Response(status=504)
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._used(self._weight))} | {f"X-MBX-ORDER-COUNT-{n}": str(self._used(w)) for n, w in self._counts.items()}
        if retry_s:
            headers["Retry-After"] = str(retry_s)
        return web.json_response(answer, status=status, headers=headers)

    async def _answer(self, request: web.BaseRequest, body: str) -> tuple[int, Any, int]:
        try:
            path, query = request.path.rstrip("/"), request.raw_path.partition("?")[2]
            self.faults.ban()
            found = self._routes.get((request.method, path))
            if found is None:
                raise Refused(-5000, path[:80], request.method)
            guard, weight, ask = found
            self._count(path, request.method, weight)
            p = parsed(query, body)
            key = request.headers.get("X-MBX-APIKEY", "")
            if guard != PUBLIC:
                self.faults.revoked()
                check_key(key, self.keys)
            if guard == SIGNED:
                check_rest(p, query, body, key, self.keys, self.faults.now_ms())
            p["apiKey"] = key
            act = call(ask, p)
            return 200, await self.faults.spoil(request.method, path, guard == SIGNED, act), 0
        except Refused as refused:
            return refused.status, refused.body(), refused.retry_s

    def _count(self, path: str, method: str, weight: int) -> None:
        """Count the weight of a request. Raises Refused when it is one too many."""
        now = self.clock()
        if self._weight.full(now, weight):
            raise Refused(-1003, WEIGHT_1M, retry_s=60)
        self._weight.take(now, weight)
        if method == "POST" and path.endswith("/order"):
            for name, window in self._counts.items():
                if window.full(now):
                    raise Refused(-1015, window.limit, name, retry_s=1)
            for window in self._counts.values():
                window.take(now)

    def _used(self, window: Window) -> int:
        return window.used(self.clock())

    # Routes.

    def _table(self) -> dict[tuple[str, str], tuple[str, int, Ask]]:
        m, t, o, a = self.market, self.tickers, self.orders, self.account
        f1, f2, f3 = "/fapi/v1/", "/fapi/v2/", "/fapi/v3/"
        return {
            ("GET", f1 + "ping"): (PUBLIC, 1, lambda p: {}),
            ("GET", f1 + "time"): (PUBLIC, 1, lambda p: {"serverTime": self.faults.now_ms()}),
            ("GET", f1 + "exchangeInfo"): (PUBLIC, 1, lambda p: self.symbols.exchange_info(self.faults.now_ms())),
            ("GET", f1 + "depth"): (PUBLIC, 10, m.depth),
            ("GET", f1 + "ticker/24hr"): (PUBLIC, 1, t.day),
            ("GET", f1 + "ticker/price"): (PUBLIC, 1, t.prices), ("GET", f2 + "ticker/price"): (PUBLIC, 1, t.prices),
            ("GET", f1 + "ticker/bookTicker"): (PUBLIC, 2, m.book_tickers),
            ("GET", f1 + "premiumIndex"): (PUBLIC, 1, t.premium),
            ("GET", f1 + "fundingRate"): (PUBLIC, 1, t.funding_rates), ("GET", f1 + "fundingInfo"): (PUBLIC, 1, t.funding_info),
            ("GET", f1 + "klines"): (PUBLIC, 5, t.klines),
            ("GET", f1 + "leverageBracket"): (SIGNED, 1, a.brackets),
            ("GET", f1 + "positionRisk"): (SIGNED, 5, a.risk_all), ("GET", f2 + "positionRisk"): (SIGNED, 5, a.risk_all),
            ("GET", f3 + "positionRisk"): (SIGNED, 5, a.risk),
            ("GET", f2 + "account"): (SIGNED, 5, a.account), ("GET", f3 + "account"): (SIGNED, 5, a.account), ("GET", f1 + "account"): (SIGNED, 5, a.account),
            ("GET", f1 + "balance"): (SIGNED, 5, a.balance), ("GET", f2 + "balance"): (SIGNED, 5, a.balance), ("GET", f3 + "balance"): (SIGNED, 5, a.balance),
            ("GET", f1 + "positionSide/dual"): (SIGNED, 30, a.dual), ("POST", f1 + "positionSide/dual"): (SIGNED, 1, a.set_dual),
            ("GET", f1 + "multiAssetsMargin"): (SIGNED, 30, a.multi), ("POST", f1 + "multiAssetsMargin"): (SIGNED, 1, a.set_multi),
            ("POST", f1 + "leverage"): (SIGNED, 1, a.set_leverage), ("POST", f1 + "marginType"): (SIGNED, 1, a.set_margin_type),
            ("GET", f1 + "accountConfig"): (SIGNED, 5, a.config), ("GET", f1 + "symbolConfig"): (SIGNED, 5, a.symbol_config),
            ("GET", f1 + "income"): (SIGNED, 30, a.incomes), ("GET", f1 + "commissionRate"): (SIGNED, 20, a.commission),
            ("GET", f1 + "adlQuantile"): (SIGNED, 5, a.adl), ("GET", "/sapi/v1/account/apiRestrictions"): (SIGNED, 1, a.permissions),
            ("POST", f1 + "order"): (SIGNED, 1, o.place), ("GET", f1 + "order"): (SIGNED, 1, o.ask), ("DELETE", f1 + "order"): (SIGNED, 1, o.cancel),
            ("GET", f1 + "openOrder"): (SIGNED, 1, o.ask_open), ("GET", f1 + "openOrders"): (SIGNED, 1, o.open_rows),
            ("GET", f1 + "allOrders"): (SIGNED, 5, o.all_rows), ("DELETE", f1 + "allOpenOrders"): (SIGNED, 1, o.cancel_all),
            ("POST", f1 + "batchOrders"): (SIGNED, 5, self._batch), ("POST", f1 + "countdownCancelAll"): (SIGNED, 10, o.countdown),
            ("GET", f1 + "userTrades"): (SIGNED, 5, o.trades), ("GET", f1 + "forceOrders"): (SIGNED, 20, o.forced),
            ("POST", f1 + "listenKey"): (KEY, 1, lambda p: {"listenKey": self.hub.key_for(p["apiKey"])}),
            ("PUT", f1 + "listenKey"): (KEY, 1, lambda p: {"listenKey": self.hub.keep(p["apiKey"])}),
            ("DELETE", f1 + "listenKey"): (KEY, 1, self._drop_key),
        }  # fmt: skip

    def _drop_key(self, p: Params) -> dict[str, Any]:
        self.hub.drop(p["apiKey"])
        return {}

    async def _batch(self, p: Params) -> list[Any]:
        """Place up to five orders; each is answered for itself."""
        try:
            rows = json.loads(p.need("batchOrders"))
        except (ValueError, RecursionError):
            raise Refused(-1130, "batchOrders") from None
        if not isinstance(rows, list) or not 0 < len(rows) <= 5 or not all(isinstance(row, dict) for row in rows):
            raise Refused(-1130, "batchOrders")
        asked = [Params({str(k): str(v) for k, v in row.items()}) for row in rows]
        done = await asyncio.gather(*(self.orders.place(one) for one in asked), return_exceptions=True)
        return [_row(one) for one in done]


def _row(found: Any) -> Any:
    """Return one answer of a batch. Raises what is not a refusal."""
    if isinstance(found, Refused):
        return found.body()
    if isinstance(found, BaseException):
        raise found
    return found


async def call(ask: Ask, p: Params) -> Any:
    """Return what a desk answers, at once or later."""
    found = ask(p)
    return await found if inspect.isawaitable(found) else found


