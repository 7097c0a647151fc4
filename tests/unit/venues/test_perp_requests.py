"""What is really sent to each exchange where orders may go: our client id where it belongs, and every URL a known one."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

from exchanges import CLIENT_ID, LIVE, Caught, instrument, on  # noqa: E402

from bot.model.errors import ConfigError  # noqa: E402
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce  # noqa: E402
from bot.venues.budget import Priority  # noqa: E402
from bot.venues.egress import EgressRefused, hosts_in  # noqa: E402
from bot.venues.perp_account import Fills  # noqa: E402
from bot.venues.perp_client import build, sandboxed  # noqa: E402
from bot.venues.perp_endpoint import PerpEndpoint  # noqa: E402
from bot.venues.perp_line import Line, silent  # noqa: E402
from bot.venues.perp_orders import Orders  # noqa: E402
from bot.venues.perp_parse import Symbols  # noqa: E402
from bot.venues.perp_quirks import QUIRKS, RECV_WINDOW_MS  # noqa: E402

OWN_ID = {"binanceusdm": "newClientOrderId", "binancecoinm": "newClientOrderId", "bybit": "orderLinkId", "okx": "clOrdId"}
ASKED_ID = {**OWN_ID, "binanceusdm": "origClientOrderId", "binancecoinm": "origClientOrderId"}


def fields(request: tuple[str, str, str, dict[str, str]]) -> dict[str, Any]:
    """Parameters of a caught request, from URL and body."""
    _, url, body, _ = request
    out: dict[str, Any] = dict(parse_qsl(urlsplit(url).query))
    if body.startswith(("{", "[")):
        told = json.loads(body)
        return out | (told[0] if isinstance(told, list) else told)
    return out | dict(parse_qsl(body))


def line_of(client: Any) -> Line:
    """A line on a client whose requests are caught."""
    x = instrument(client.id)
    symbols = Symbols({x.id: x}, "perp")
    assert symbols.resolve(client.markets) == []
    line = Line("perp", client, QUIRKS[client.id], symbols, lambda: 1_793_716_200 * 10**9, silent)
    line.blocked = ""
    return line


def spec(client: Any, tif: TimeInForce = TimeInForce.IOC, reduce_only: bool = False) -> OrderSpec:
    """A sell order on the grid."""
    x = instrument(client.id)
    return OrderSpec(client_id=CLIENT_ID, pair="p", venue="perp", instrument=x.id, side=Side.SELL, qty=3 * x.lot, limit=700_001 * x.tick, tif=tif,
                     purpose=Purpose.HEDGE, reduce_only=reduce_only)  # fmt: skip


async def caught(client: Any, call: Any) -> dict[str, Any]:
    """The parameters of the one request that a call makes."""
    client.caught.clear()
    with pytest.raises(Caught):
        await call
    return fields(client.caught[-1])


@pytest.mark.parametrize("exchange", LIVE)
def test_an_order_carries_our_id_and_nothing_is_rounded(exchange: str) -> None:
    async def body(client: Any) -> None:
        orders = Orders(line_of(client), Fills(line_of(client)), socket=False)
        sent = await caught(client, orders._place(spec(client, reduce_only=True)))
        assert sent[OWN_ID[exchange]] == CLIENT_ID
        text = json.dumps(sent).lower()
        assert "70000.1" in text and "ioc" in text and str(sent.get("reduceOnly")).lower() == "true"
        assert float(sent.get("quantity") or sent.get("qty") or sent["sz"]) == float(3 * instrument(exchange).lot)
        if QUIRKS[exchange].recv_window:
            told = sent.get("recvWindow") or client.caught[-1][3].get("X-BAPI-RECV-WINDOW")
            assert int(told) == RECV_WINDOW_MS
        resting = await caught(client, orders._place(spec(client, TimeInForce.DAY)))
        assert "ioc" not in json.dumps(resting).lower()

    on(exchange, body)


@pytest.mark.parametrize("exchange", LIVE)
def test_orders_are_cancelled_and_asked_for_by_our_id(exchange: str) -> None:
    async def body(client: Any) -> None:
        line = line_of(client)
        symbol = next(iter(line.symbols.id_of))
        sent = await caught(client, client.cancel_order(None, symbol, {QUIRKS[exchange].cancel_by: CLIENT_ID}))
        assert sent[ASKED_ID[exchange]] == CLIENT_ID and not {"orderId", "ordId"} & set(sent)
        asked = await caught(client, Orders(line, Fills(line), socket=False)._find(symbol, CLIENT_ID))
        assert asked[ASKED_ID[exchange]] == CLIENT_ID and not {"orderId", "ordId"} & set(asked)

    on(exchange, body)


@pytest.mark.parametrize("exchange", LIVE)
def test_an_order_off_the_grid_is_denied_and_not_rounded(exchange: str) -> None:
    async def body(client: Any) -> None:
        line = line_of(client)
        good = spec(client)
        orders = Orders(line, Fills(line), socket=False)
        assert orders._unsendable(good, 0.0) == ""
        import msgspec

        off = msgspec.structs.replace(good, qty=good.qty + instrument(exchange).lot / 10)
        assert "would be sent as" in orders._unsendable(off, 0.0)
        assert "message limit" in orders._unsendable(good, 5.0)
        assert "list of instruments" in orders._unsendable(msgspec.structs.replace(good, instrument="DOGEUSDT"), 0.0)

    on(exchange, body)


@pytest.mark.parametrize("exchange", sorted(QUIRKS))
def test_a_sandbox_is_somewhere_else_or_marked(exchange: str) -> None:
    quirks = QUIRKS[exchange]
    if not quirks.sandbox:
        with pytest.raises(ConfigError):
            asyncio.run(_built(exchange, sandbox=True))
        return
    paper, real = asyncio.run(_built(exchange, sandbox=True)), asyncio.run(_built(exchange, sandbox=False))
    if quirks.same_host:
        assert sandboxed(paper) and not sandboxed(real)
    else:
        trading = [v for k, v in paper.urls["api"].items() if k != "ws"]
        assert not hosts_in(trading) & hosts_in([v for k, v in real.urls["api"].items() if k != "ws"])


@pytest.mark.parametrize("exchange", sorted(QUIRKS))
def test_a_loopback_server_replaces_every_url(exchange: str) -> None:
    client = asyncio.run(_built(exchange, base_url="http://127.0.0.1:9"))
    assert hosts_in(client.urls["api"]) == {"127.0.0.1"}
    assert client.has["fetchCurrencies"] is False
    assert client.enableRateLimit is False and client.options["maxRetriesOnFailure"] == 0


def test_a_base_url_is_loopback_or_refused() -> None:
    with pytest.raises(ConfigError, match="loopback"):
        asyncio.run(_built("binanceusdm", base_url="http://example.com"))


@pytest.mark.parametrize("way", ["rest", "socket"])
def test_nothing_leaves_for_a_host_that_is_not_on_the_list(way: str) -> None:
    async def body() -> None:
        client = build(PerpEndpoint(exchange="binanceusdm", base_url="http://127.0.0.1:9"), lambda: 10**18)
        session = client.session
        try:
            with pytest.raises(EgressRefused):
                if way == "rest":
                    await session.get("https://fapi.binance.com/fapi/v1/time")
                else:
                    await session.ws_connect("wss://fstream.binance.com/ws")
        finally:
            client.session = None
            await session.close()

    asyncio.run(body())


async def _built(exchange: str, **more: Any) -> Any:
    client = build(PerpEndpoint(exchange=exchange, key="k", secret="s", password="p", **more), lambda: 10**18)
    session, client.session = client.session, None
    await session.close()
    return client


def test_a_cancel_goes_before_what_waits() -> None:
    async def body(client: Any) -> None:
        line = line_of(client)
        limit = QUIRKS["binanceusdm"].allowances[0]
        for _ in range(limit.limit - limit.reserve):
            await line.turn(Priority.QUERY)
        late = asyncio.ensure_future(line.turn(Priority.QUERY))
        await asyncio.sleep(0)
        assert not late.done()
        await line.turn(Priority.CANCEL)
        late.cancel()

    on("binanceusdm", body)


@pytest.mark.parametrize("reply", [{}, {"code": 200}, "", "<html>", None], ids=repr)
def test_a_senseless_answer_is_an_error_and_no_empty_list(reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ccxt

    async def body(client: Any) -> None:
        async def fetch(self: Any, *request: Any) -> Any:
            return reply

        monkeypatch.setattr(type(client).__bases__[0], "fetch", fetch)
        del client.fetch
        for ask in (client.fetch_open_orders, client.fetch_my_trades):
            with pytest.raises(ccxt.BadResponse):
                await ask("BTC/USDT:USDT")

    on("binanceusdm", body)
