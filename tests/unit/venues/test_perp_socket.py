"""The order socket: what is written is what ccxt would write, and it is written before the call that sends returns."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

from exchanges import CLIENT_ID, on  # noqa: E402
from test_perp_requests import line_of, spec  # noqa: E402

from bot.model import event as ev  # noqa: E402
from bot.model.command import Submit  # noqa: E402
from bot.model.order import Outcome, TimeInForce  # noqa: E402
from bot.venues.budget import Priority  # noqa: E402
from bot.venues.perp_account import Fills  # noqa: E402
from bot.venues.perp_line import Line  # noqa: E402
from bot.venues.perp_orders import Orders  # noqa: E402

DIRECT = ("binanceusdm", "binancecoinm")

class Written:
    """ccxt's connection of an order socket, as far as an order needs it. broken: the socket is gone when it is written to."""

    isConnected = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = self
        self.frames: list[dict[str, Any]] = []
        self.futures: dict[str, asyncio.Future[Any]] = {}
        self.subscriptions: dict[str, Any] = {}
        self.broken = self.full = False

    def closed(self) -> bool:
        """It is open."""
        return False

    def future(self, number: str) -> asyncio.Future[Any]:
        """The future of an answer."""
        return self.futures.setdefault(number, asyncio.get_running_loop().create_future())

    async def send_str(self, text: str) -> None:
        """Take a frame; a full buffer takes it too and then waits for room."""
        if self.broken:
            raise ConnectionResetError("Cannot write to closing transport")
        self.frames.append(json.loads(text))
        if self.full:
            await asyncio.get_running_loop().create_future()


def rig(client: Any) -> tuple[Orders, Written, Line, list[Any]]:
    """Orders on a line whose order socket is open; what is heard of them."""
    line = line_of(client)
    heard: list[Any] = []
    line.emit = heard.append
    assert line.quirks.order_url is not None
    written = Written(line.quirks.order_url(client))
    client.clients = {written.url: written}
    return Orders(line, Fills(line), socket=True), written, line, heard


@pytest.mark.parametrize("exchange", DIRECT)
@pytest.mark.parametrize(("tif", "reduce_only"), [(TimeInForce.IOC, False), (TimeInForce.IOC, True), (TimeInForce.DAY, False)])
def test_an_order_is_the_one_that_ccxt_would_write(exchange: str, tif: TimeInForce, reduce_only: bool) -> None:
    async def body(client: Any) -> None:
        orders, written, _, _ = rig(client)
        order = spec(client, tif, reduce_only)
        seen: list[Any] = []

        async def watch(url: str, number: str, message: Any, *more: Any) -> None:
            seen.append(message)

        client.watch, client.nonce = watch, lambda: 1_793_716_200_123
        await client.create_order_ws(*orders._socket.arguments(order))
        answer = orders.submit(Submit(order, opening=True))
        answer.close()
        (theirs,), (ours,) = seen, written.frames
        assert ours["method"] == theirs["method"] and ours["params"].keys() == theirs["params"].keys()
        same = {k: (str(v), str(theirs["params"][k])) for k, v in ours["params"].items()}
        assert all(a == b for a, b in same.values()), same
        assert ours["params"]["newClientOrderId"] == CLIENT_ID and len(ours["params"]["signature"]) == 64
        client.nonce = lambda: 1_793_716_200_456
        orders._sent.clear()
        orders.submit(Submit(order, opening=True)).close()
        kept = dict(written.frames[1]["params"])
        assert kept.pop("signature") == client.sign_params(dict(kept))["signature"] and kept["timestamp"] == 1_793_716_200_456

    on(exchange, body)


def test_it_has_left_when_the_call_returns_and_a_second_one_is_its_own() -> None:
    """Nothing is awaited; a kept request does not carry size, price or id of the order before."""

    async def body(client: Any) -> None:
        orders, written, line, _ = rig(client)
        first = spec(client)
        second = type(first)(**{**{f: getattr(first, f) for f in first.__struct_fields__}, "client_id": "L00001H00000002", "qty": 5 * first.qty,
                                "limit": first.limit + 1})  # fmt: skip
        for order in (first, second):
            orders.submit(Submit(order)).close()
        assert [(f["params"]["newClientOrderId"], f["params"]["quantity"], f["params"]["price"]) for f in written.frames] == [
            (CLIENT_ID, "0.003", "70000.1"), ("L00001H00000002", "0.015", "70001.1"),
        ]  # fmt: skip
        assert CLIENT_ID not in json.dumps(written.frames[1])
        assert len({f["id"] for f in written.frames}) == 2 and len({f["params"]["signature"] for f in written.frames}) == 2
        orders.submit(Submit(first)).close()
        assert len(written.frames) == 2, "a client id was sent twice"

    on("binanceusdm", body)


def test_what_must_not_leave_is_not_written() -> None:
    """A blocked line, openings that are denied, and a budget without room: as on the longer way."""

    async def body(client: Any) -> None:
        orders, written, line, heard = rig(client)
        line.no_openings = "the key may withdraw"
        await orders.submit(Submit(spec(client), opening=True))
        line.blocked = "the account's stream is down"
        await orders.submit(Submit(spec(client)))
        assert [e.outcome for e in heard] == [Outcome.DENIED] * 2 and written.frames == []
        line.blocked = ""
        line.budget.hold(10**12)
        waiting = asyncio.ensure_future(orders.submit(Submit(spec(client))))
        await asyncio.sleep(0)
        assert written.frames == [] and line.budget.waiting == 1
        waiting.cancel()

    on("binanceusdm", body)


def test_an_order_on_a_socket_that_breaks_may_exist_and_a_full_one_has_it() -> None:
    """An error while writing proves nothing; a buffer without room still takes the frame, and only once."""

    async def body(client: Any) -> None:
        orders, written, line, heard = rig(client)
        written.broken = True
        await orders.submit(Submit(spec(client)))
        assert [type(e) for e in heard] == [ev.NoAnswer] and written.futures == {}
        written.broken, written.full = False, True
        order = spec(client)
        again = type(order)(**{**{f: getattr(order, f) for f in order.__struct_fields__}, "client_id": "L00001H00000003"})
        answer = asyncio.ensure_future(orders.submit(Submit(again)))
        await asyncio.sleep(0)
        assert len(written.frames) == 1 and not answer.done()
        answer.cancel()

    on("binanceusdm", body)


def test_the_budget_counts_each_order_once() -> None:
    """What is written directly is counted where everything else is."""

    async def body(client: Any) -> None:
        orders, written, line, _ = rig(client)
        orders.submit(Submit(spec(client))).close()
        counted = [len(sent) for sent in line.budget._sent]
        assert written.frames and counted == [1] * len(line.quirks.allowances)
        assert line.ask(Priority.CANCEL).done()

    on("binanceusdm", body)
