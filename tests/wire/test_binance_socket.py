"""The Binance USD-M server below any client library: parameters in query and body, its limits, and what it makes of nonsense."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from aiohttp.http_exceptions import HttpProcessingError
from binance_rig import BTC, KEY, SECRET, D, Desk, fault, running, until
from yarl import URL

from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.sim.exchange import ADL, LIQUIDATION
from bot.sim.faults import FaultKind
from bot.sim.floor import OFFSHORE_RULES
from bot.wire.binance_request import sign

LIMIT_S = 10.0
SEEDS = range(20)


class Raw:
    """Bare HTTP and WebSockets to a server."""

    def __init__(self, desk: Desk, session: ClientSession) -> None:
        self.desk = desk
        self.session = session
        self.base = f"127.0.0.1:{desk.server.port}"

    async def ask(self, method: str, path: str, query: str = "", body: str = "", key: str = KEY) -> tuple[int, Any]:
        """Send a request and return status and answer."""
        headers = {"X-MBX-APIKEY": key, "Content-Type": "application/x-www-form-urlencoded"} if key else {}
        async with self.session.request(method, URL(f"http://{self.base}{path}?{query}", encoded=True), data=body or None, headers=headers) as response:
            return response.status, await response.json()

    async def signed(self, method: str, path: str, query: str = "", body: str = "", at: str = "query") -> tuple[int, Any]:
        """Send a signed request; at: where stamp and signature stand."""
        stamp = f"timestamp={self.desk.world.clock() // 1_000_000}"
        if at == "query":
            query = "&".join(filter(None, (query, stamp)))
            query += f"&signature={sign(SECRET, query + body)}"
        else:
            body = "&".join(filter(None, (body, stamp)))
            body += f"&signature={sign(SECRET, query + body)}"
        return await self.ask(method, path, query, body)

    async def user(self) -> ClientWebSocketResponse:
        """Return a user stream that is open."""
        _, answer = await self.ask("POST", "/fapi/v1/listenKey")
        socket = await self.session.ws_connect(f"ws://{self.base}/private/ws?listenKey={answer['listenKey']}")
        await until(lambda: self.desk.server.hub.listened)
        return socket


def run(body: Callable[[Desk, Raw], Awaitable[None]], **more: Any) -> None:
    """Let a body have a server and bare connections to it."""

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as desk, ClientSession() as session:
            await body(desk, Raw(desk, session))

    asyncio.run(whole())


ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.1&price=69000"


HALVES = ORDER[:23], ORDER[24:]


@pytest.mark.parametrize(("query", "body", "at"), [(ORDER, "", "query"), ("", ORDER, "body"), (*HALVES, "body"), (*HALVES, "query")])
def test_parameters_may_stand_in_query_and_body(query: str, body: str, at: str) -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        status, answer = await raw.signed("POST", "/fapi/v1/order", query, body, at)
        assert (status, answer["status"], answer["price"], answer["origQty"]) == (200, "NEW", "69000.0", "0.100")
        assert len(desk.exchange.listings[BTC.id].resting) == 1

    run(check)


def test_a_signature_covers_every_parameter() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        stamp = f"timestamp={desk.world.clock() // 1_000_000}"
        good = f"{ORDER}&{stamp}&signature={sign(SECRET, f'{ORDER}&{stamp}')}"
        for bad in (good.replace("0.1", "9.9"), good + "&reduceOnly=true", good[:-1] + "x", f"{ORDER}&{stamp}"):
            status, answer = await raw.ask("POST", "/fapi/v1/order", bad)
            assert status == 400 and answer["code"] in (-1022, -1102), bad
        assert not desk.exchange.orders
        assert (await raw.ask("POST", "/fapi/v1/order", good, key=""))[1]["code"] == -2014
        assert (await raw.ask("POST", "/fapi/v1/order", good, key="other"))[1]["code"] == -2015
        assert (await raw.ask("POST", "/fapi/v1/order", good))[0] == 200

    run(check)


def test_too_much_weight_is_refused_with_a_time_to_wait() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        for n in range(80):
            status, answer = await raw.signed("GET", "/fapi/v1/income")
            assert status == 200, n
        status, answer = await raw.signed("GET", "/fapi/v1/income")
        assert (status, answer["code"]) == (429, -1003)
        desk.to(61.0)
        assert (await raw.signed("GET", "/fapi/v1/income"))[0] == 200

    run(check)


def test_an_order_without_a_type_of_answer_is_acknowledged_only() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        _, answer = await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.1")
        assert (answer["status"], answer["executedQty"]) == ("NEW", "0.000")
        _, answer = await raw.signed("GET", "/fapi/v1/order", f"symbol=BTCUSDT&orderId={answer['orderId']}")
        assert (answer["status"], answer["executedQty"], answer["avgPrice"]) == ("FILLED", "0.100", "70000.10000")

    run(check)


def test_a_batch_answers_each_order_for_itself() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        good = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "69000"}
        batch = json.dumps([good, good | {"price": "69000.05"}]).replace(" ", "").replace('"', "%22")
        status, answer = await raw.signed("POST", "/fapi/v1/batchOrders", f"batchOrders={batch}")
        assert (status, answer[0]["status"], answer[1]["code"]) == (200, "NEW", -4014)

    run(check)


def test_the_user_stream_tells_balance_then_order() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        socket = await raw.user()
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.5&newClientOrderId=A1")
        new, account, trade = [await socket.receive_json() for _ in range(3)]
        assert (new["e"], new["o"]["x"], new["o"]["X"], new["o"]["c"]) == ("ORDER_TRADE_UPDATE", "NEW", "NEW", "A1")
        assert (account["e"], account["a"]["m"]) == ("ACCOUNT_UPDATE", "ORDER")
        assert account["a"]["B"] == [{"a": "USDT", "wb": "399982.49997500", "cw": "399982.49997500", "bc": "0.00000000"}]
        assert (account["a"]["P"][0]["s"], account["a"]["P"][0]["pa"], account["a"]["P"][0]["ep"]) == ("BTCUSDT", "0.500", "70000.1")
        o = trade["o"]
        assert (o["x"], o["X"], o["l"], o["z"], o["L"]) == ("TRADE", "FILLED", "0.500", "0.500", "70000.1")
        assert (o["n"], o["N"], o["m"]) == ("17.50002500", "USDT", False)
        _, trades = await raw.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT")
        assert (trades[0]["id"], trades[0]["orderId"]) == (o["t"], o["i"])

    run(check)


def test_realised_profit_and_fees_add_up_to_the_wallet() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.5")
        desk.to(1.0)
        desk.quote(70_100.0, 70_100.1)
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=0.3")
        _, incomes = await raw.signed("GET", "/fapi/v1/income")
        _, (asset,) = await raw.signed("GET", "/fapi/v2/balance")
        assert [row["incomeType"] for row in incomes] == ["COMMISSION", "REALIZED_PNL", "COMMISSION"]
        assert sum(D(row["income"]) for row in incomes) == D(asset["balance"]) - 400_000
        _, trades = await raw.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT")
        assert [t["realizedPnl"] for t in trades] == ["0.00000000", "29.97000000"]
        assert [t["id"] for t in (await raw.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT&fromId=2"))[1]] == [2]

    run(check)


def test_margin_runs_short_and_a_liquidation_is_told() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        socket = await raw.user()
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=5")
        _, (row,) = await raw.signed("GET", "/fapi/v3/positionRisk")
        liquidation = float(row["liquidationPrice"])
        assert 68_000 < liquidation < 70_000
        desk.to(1.0)
        desk.mark(liquidation + 50.0)
        desk.to(2.0)
        desk.quote(liquidation - 5.0, liquidation - 4.9)
        desk.mark(liquidation - 5.0)
        kinds = []
        while not kinds or kinds[-1] != "CALCULATED":
            message = await socket.receive_json()
            kinds.append(message["e"] if message["e"] != "ORDER_TRADE_UPDATE" else message["o"]["x"])
        assert kinds == ["NEW", "ACCOUNT_UPDATE", "TRADE", "MARGIN_CALL", "ACCOUNT_UPDATE", "CALCULATED"]
        o = message["o"]
        assert o["c"].startswith("autoclose-") and o["S"] == "SELL" and D(o["n"]) > 0
        assert {t.reason for t in desk.exchange.account.history[1:]} == {LIQUIDATION}

    run(check, cash="8000")


def test_a_liquidation_price_is_where_the_exchange_liquidates() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=3")
        _, (row,) = await raw.signed("GET", "/fapi/v3/positionRisk")
        price = float(row["liquidationPrice"])
        desk.to(1.0)
        desk.mark(price - 1.0)
        assert desk.exchange.positions() == {BTC.id: D(-3)}
        desk.mark(price + 1.0)
        assert desk.exchange.positions() != {BTC.id: D(-3)}

    run(check, cash="5000")


def test_what_a_person_trades_by_hand_is_told_as_an_order_of_the_web_page() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        socket = await raw.user()
        desk.to(11.0)
        seen = [await socket.receive_json() for _ in range(2)]
        assert (seen[1]["o"]["c"][:4], seen[1]["o"]["x"], seen[1]["o"]["l"]) == ("web_", "TRADE", "0.300")

    run(check, faults=[fault(FaultKind.MANUAL_TRADE, 10.0)])


def test_deleveraging_is_free_and_named() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        await raw.signed("POST", "/fapi/v1/order", "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2")
        desk.exchange.seize(BTC.id, D("0.5"), ADL, desk.world.clock())
        _, rows = await raw.signed("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT")
        assert [(t["qty"], t["commission"] == "0.00000000") for t in rows] == [("2.000", False), ("1.000", True)]
        _, forced = await raw.signed("GET", "/fapi/v1/forceOrders", "autoCloseType=ADL")
        assert [f["clientOrderId"] for f in forced] == ["adl_autoclose"]

    run(check)


def test_levels_behind_the_touch_are_the_exchanges() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        _, book = await raw.ask("GET", "/fapi/v1/depth", "symbol=BTCUSDT&limit=20", key="")
        x = desk.exchange.listings[BTC.id]
        for rows, side in ((book["asks"], Side.BUY), (book["bids"], Side.SELL)):
            assert [(D(p), D(q)) for p, q in rows] == x.levels(side, desk.world.clock())
        assert len(book["asks"]) == 11

    run(check, rules=OFFSHORE_RULES)


def test_a_fill_that_beat_its_cancel_is_told_once() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        socket = await raw.user()
        await raw.signed("POST", "/fapi/v1/order", ORDER + "&newClientOrderId=A1")
        status, answer = await raw.signed("DELETE", "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=A1")
        assert (status, answer["code"]) == (400, -2011)
        await raw.signed("POST", "/fapi/v1/order", ORDER + "&newClientOrderId=A2")
        told = []
        while not told or told[-1] != ("A2", "NEW"):
            message = await socket.receive_json()
            if message["e"] == "ORDER_TRADE_UPDATE":
                told.append((message["o"]["c"], message["o"]["x"]))
        assert told == [("A1", "NEW"), ("A1", "TRADE"), ("A2", "NEW")]

    run(check, faults=[fault(FaultKind.CANCEL_RACE)])


def test_an_expired_listen_key_says_so_and_nothing_after() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        socket = await raw.user()
        desk.to(3_601.0)
        assert (await socket.receive_json())["e"] == "listenKeyExpired"
        fresh = await raw.user()
        await raw.signed("POST", "/fapi/v1/order", ORDER)
        assert (await fresh.receive_json())["o"]["x"] == "NEW"
        await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":7}')
        assert (await socket.receive_json())["id"] == 7

    run(check)


def test_a_connection_lives_a_day() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        async with raw.session.ws_connect(f"ws://{raw.base}/ws/btcusdt@bookTicker") as socket:
            await until(lambda: desk.server.hub.streams)
            desk.to(86_399.0)
            assert len(desk.server.hub.streams) == 1
            desk.to(86_400.0)
            assert (await socket.receive()).data is None or socket.closed
            await until(lambda: not desk.server.hub.streams)

    run(check)


def test_a_body_may_come_in_pieces() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        body = f"{ORDER}&timestamp={desk.world.clock() // 1_000_000}"
        body += f"&signature={sign(SECRET, body)}"
        reader, writer = await asyncio.open_connection(*raw.base.split(":"))
        head = f"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\nX-MBX-APIKEY: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        for piece in (head, body[:40], body[40:]):
            writer.write(piece.encode())
            await writer.drain()
            await raw.ask("GET", "/fapi/v1/ping")  # the server has read the piece by the time it answers this
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()

    run(check)


def test_subscriptions_come_and_go_by_message() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        async with raw.session.ws_connect(f"ws://{raw.base}/ws/btcusdt@markPrice@1s") as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1})
            assert await socket.receive_json() == {"result": None, "id": 1}
            desk.mark(70_050.0)
            desk.quote(70_049.0, 70_051.0)
            mark, touch = await socket.receive_json(), await socket.receive_json()
            assert (mark["e"], mark["p"], mark["r"]) == ("markPriceUpdate", "70050.00000000", "0.00010000")
            assert (touch["e"], touch["b"]) == ("bookTicker", "70049.0")
            await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 2})
            await socket.receive_json()
            desk.quote(70_051.0, 70_052.0)
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
            assert await socket.receive_json() == {"result": ["btcusdt@markPrice@1s"], "id": 3}

    run(check)


def test_orders_from_before_the_server_are_found() -> None:
    async def check(desk: Desk, raw: Raw) -> None:
        spec = OrderSpec(client_id="OLD1", pair="x", venue="perp", instrument=BTC.id, side=Side.SELL, qty=D("0.2"), limit=D(71_000), tif=TimeInForce.DAY,
                         purpose=Purpose.LEAD)  # fmt: skip
        desk.exchange.submit(spec, desk.world.clock())
        _, (found,) = await raw.signed("GET", "/fapi/v1/openOrders")
        assert (found["clientOrderId"], found["origQty"], found["side"], found["timeInForce"]) == ("OLD1", "0.200", "SELL", "GTC")
        status, answer = await raw.signed("DELETE", "/fapi/v1/order", f"symbol=BTCUSDT&orderId={found['orderId']}")
        assert (status, answer["status"]) == (200, "CANCELED")
        _, again = await raw.signed("POST", "/fapi/v1/order", ORDER + "&newClientOrderId=OLD1")
        assert again["orderId"] > found["orderId"]

    run(check)


PATHS = ["/", "/sapi/v1/none", *(f"/fapi/v1/{name}" for name in ("order", "depth", "klines", "userTrades", "leverage", "countdownCancelAll", "batchOrders",
                                                                 "income", "ticker/24hr", "listenKey", "allOrders", "fundingRate"))]  # fmt: skip
NAMES = ["symbol", "side", "type", "timeInForce", "quantity", "price", "newClientOrderId", "orderId", "origClientOrderId", "limit", "startTime", "interval",
         "leverage", "countdownTime", "batchOrders", "reduceOnly", "recvWindow", "positionSide"]  # fmt: skip
VALUES = ["BTCUSDT", "BUY", "LIMIT", "GTC", "1", "0", "-1", "1e400", "NaN", "Infinity", "0.1", "69000", "1m", "true", "[]", "[{}]", "[[", "\ud83d", "\x00", "%",
          "9" * 40, "é", "null", "1e-30", "''", "1.5"]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_nonsense_is_answered_and_breaks_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)

    async def check(desk: Desk, raw: Raw) -> None:
        for _ in range(25):
            pairs = [f"{rng.choice(NAMES)}={_quoted(rng.choice(VALUES))}" for _ in range(rng.randrange(7))]
            method, path = rng.choice(["GET", "POST", "PUT", "DELETE", "PATCH"]), rng.choice(PATHS)
            status, answer = await raw.signed(method, path, "&".join(pairs))
            assert status < 500 and isinstance(answer, dict | list), (seed, method, path, pairs, status, answer)
        assert (await raw.ask("GET", "/fapi/v1/ping"))[0] == 200

    run(check)
    assert broken(caplog) == [], seed


def broken(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return what went wrong inside the server; bytes that are no HTTP are the client's fault."""
    return [r.exc_info for r in caplog.records if r.exc_info and not isinstance(r.exc_info[1], HttpProcessingError)]


def _quoted(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_bytes_and_messages_leave_the_server_standing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)
    words = ["SUBSCRIBE", "order.place", "order.status", None, 1, [], {}, ["btcusdt@depth"], ["@@"], "x" * 3_000, True, 1e300]
    words += [{"symbol": "BTCUSDT", "apiKey": KEY}]
    heads = [b"", b"GET / HTTP/1.1\r\n", b"POST /fapi/v1/order HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"]

    async def check(desk: Desk, raw: Raw) -> None:
        host, port = raw.base.split(":")
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(rng.choice(heads) + rng.randbytes(rng.randrange(200)))
            writer.close()
        for path in ("/ws", "/stream?streams=btcusdt@depth", "/ws-fapi/v1", "/ws/no@such/thing"):
            async with raw.session.ws_connect(f"ws://{raw.base}{path}") as socket:
                for _ in range(10):
                    made = {rng.choice(["method", "params", "id"]): rng.choice(words) for _ in range(rng.randrange(4))}
                    text = rng.choice([json.dumps(made), json.dumps(rng.choice(words)), "[" * rng.randrange(5_000), rng.randbytes(9).hex()])
                    await socket.send_str(text)
                    await socket.send_bytes(rng.randbytes(5))
        desk.quote(70_001.0, 70_002.0)
        assert (await raw.ask("GET", "/fapi/v1/ping"))[0] == 200, seed
        assert not desk.exchange.orders, seed

    run(check)
    assert broken(caplog) == [], seed
