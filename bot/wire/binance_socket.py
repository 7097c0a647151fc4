"""The order socket of a Binance USD-M server (/ws-fapi/v1): signed requests over one WebSocket, answered by their ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from bot.wire.binance_account import AccountDesk
from bot.wire.binance_errors import Refused
from bot.wire.binance_faults import Faults, Lost, Spoilt
from bot.wire.binance_market import MarketDesk
from bot.wire.binance_orders import OrderDesk
from bot.wire.binance_request import Params, check_key, check_socket
from bot.wire.binance_rest import call
from bot.wire.binance_streams import Hub
from bot.wire.binance_tickers import TickerDesk

ORDERS = ("order.place", "order.cancel")


class OrderSocket:
    """Answers requests of the order socket. keys: secret by API key."""

    def __init__(
        self, orders: OrderDesk, market: MarketDesk, tickers: TickerDesk, account: AccountDesk, hub: Hub, faults: Faults, keys: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.faults = faults
        self.keys = keys
        self._signed: dict[str, Callable[[Params], Any]] = {
            "order.place": orders.place, "order.cancel": orders.cancel, "order.status": orders.ask,
            "account.status": account.account, "v2/account.status": account.account, "account.balance": account.balance,
            "v2/account.balance": account.balance, "account.position": account.risk_all, "v2/account.position": account.risk,
        }  # fmt: skip
        self._keyed: dict[str, Callable[[Params], Any]] = {
            "userDataStream.start": lambda p: {"listenKey": hub.key_for(p["apiKey"])},
            "userDataStream.ping": lambda p: {"listenKey": hub.keep(p["apiKey"])},
            "userDataStream.stop": lambda p: hub.drop(p["apiKey"]) or {},  # type: ignore[func-returns-value]
        }
        self._public: dict[str, Callable[[Params], Any]] = {
            "ping": lambda p: {}, "time": lambda p: {"serverTime": faults.now_ms()}, "depth": market.depth, "ticker.price": tickers.prices,
            "ticker.book": market.book_tickers,
        }  # fmt: skip

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """Serve one connection; requests are carried out side by side."""
        socket = web.WebSocketResponse(heartbeat=180.0)
        await socket.prepare(request)
        under_way: set[asyncio.Task[None]] = set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                task = asyncio.ensure_future(self._serve(socket, request, message.data))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        return socket

    async def _serve(self, socket: web.WebSocketResponse, request: web.BaseRequest, text: str) -> None:
        """Answer one request, or lose the answer."""
        number: Any = None
        try:
            asked = json.loads(text, parse_float=str, parse_int=_Number)
            number = asked.get("id")
            params = asked.get("params") or {}
            if not isinstance(asked.get("method"), str) or not isinstance(params, dict):
                raise ValueError("method")
            p = Params({str(k): _text(v) for k, v in params.items()})
            answer = {"id": _plain(number), "status": 200, "result": await self._answer(asked["method"], p)}
        except Refused as refused:
            answer = {"id": _plain(number), "status": refused.status, "error": refused.body()}
        except Spoilt as spoilt:  # a gateway that fails has a status here, and no page; a senseless answer is an empty one
            failed = {"status": spoilt.status, "error": Refused(-1001).body()}
            answer = {"id": _plain(number), **({"status": 200, "result": {}} if spoilt.status == 200 else failed)}
        except Lost as lost:
            if lost.reset:
                self.faults.reset(request.transport)
            return
        except (ValueError, AttributeError, RecursionError):
            answer = {"id": _plain(number), "status": 400, "error": {"code": -1100, "msg": "Illegal characters found in a parameter."}}
        try:
            await socket.send_str(json.dumps(answer | {"rateLimits": []}, separators=(",", ":")))
        except (ConnectionError, RuntimeError):
            return

    async def _answer(self, method: str, p: Params) -> Any:
        self.faults.ban()
        if method in self._public:
            return await call(self._public[method], p)
        if method not in self._signed and method not in self._keyed:
            raise Refused(-5000, method[:40], "WS")
        self.faults.revoked()
        if method in self._keyed:
            check_key(p.get("apiKey", ""), self.keys)
            return await call(self._keyed[method], p)
        check_socket(p, self.keys, self.faults.now_ms())
        verb, path = ("POST", "/order") if method in ORDERS else ("GET", f"/{method}")
        return await self.faults.spoil(verb, path, True, call(self._signed[method], p))


class _Number(str):
    """A whole number as it was written."""


def _text(value: Any) -> str:
    """Return a parameter as its signature has it."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _plain(number: Any) -> Any:
    """Return a request's id as it came."""
    return int(number) if isinstance(number, _Number) and len(number) < 20 else number
