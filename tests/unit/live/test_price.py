"""The stablecoin's price over HTTP: the loopback server and the adapter together, and answers that are no price."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from live_rig import STABLE, S

from bot.model import event as ev
from bot.model.command import QueryVenue
from bot.model.errors import VenueError
from bot.venues.price import PublicPrice
from bot.wire.reference import Prices, Server

NOW = 1_800_000_000 * S


def quote(at_s: float, bid: float) -> ev.Quote:
    """One quote of the stablecoin, a tick wide, `at_s` after NOW."""
    ts = NOW + int(at_s * S)
    return ev.Quote(ts, STABLE.id, bid, round(bid + 0.0001, 4), 1e6, 1e6, ts)


def adapter(port: int, said: list[tuple[str, dict[str, Any]]] | None = None) -> PublicPrice:
    """Return an adapter that looks every 10 ms."""
    kept = [] if said is None else said
    return PublicPrice(STABLE, f"http://127.0.0.1:{port}/", "USDTUSD", 0.01, clock=lambda: NOW, log=lambda name, **keys: kept.append((name, keys)))


def bounded(act: Callable[[], Awaitable[None]]) -> None:
    """Run within ten seconds."""

    async def run() -> None:
        async with asyncio.timeout(10):
            await act()

    asyncio.run(run())


def test_the_price_of_the_worlds_time_and_what_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is read a little ahead: what is not yet is not told. History comes as closes of bars, at their ends."""
    history = [quote(60.0 * n - 7_200.0, 1.0 + n * 1e-6) for n in range(120)]
    prices = Prices(STABLE.id, history, lambda event: event)
    assert len(list(prices.tap(iter([quote(0.0, 0.9990), quote(30.0, 0.5)])))) == 2

    async def act() -> None:
        server, seen = Server(prices, lambda: NOW), []
        await server.open("127.0.0.1", 0)
        price = adapter(server.port)
        price.start(seen.append)
        try:
            while not seen:
                await asyncio.sleep(0.005)
            assert (seen[0].bid, seen[0].ask, seen[0].ts, seen[0].instrument) == (0.9990, 0.9991, NOW, STABLE.id)
            past = await price.history(STABLE.id, NOW - 7_200 * S, NOW)
            assert len(past) == 7 and all(q.bid < q.ask and q.bid_size > 0 for q in past)
            assert [q.ts for q in past] == [NOW - 7_200 * S + (n + 1) * 900 * S for n in range(7)]
            assert past[0].bid + past[0].ask == pytest.approx(2 * (1.00005 + 14e-6), abs=2e-5)
            assert (await price.examine())[0].ok
            with pytest.raises(ValueError):
                price.send(QueryVenue("ref"), NOW)
        finally:
            price.stop()
            await price.closed()
            await server.close()

    bounded(act)


ANSWERS = {
    "garbage": "<html>502</html>", "nothing": "", "a list": "[]", "an error": '{"error": ["EService:Unavailable"]}', "no result": '{"error": []}',
    "empty": '{"error": [], "result": {}}', "crossed": '{"error": [], "result": {"X": {"a": ["0.9"], "b": ["1.1"]}}}',
    "zero": '{"error": [], "result": {"X": {"a": ["1"], "b": ["0"]}}}', "not a number": '{"error": [], "result": {"X": {"a": ["nan"], "b": ["nan"]}}}',
    "half": '{"error": [], "result": {"X": {"a": ["1"]}}}', "null": '{"error": [], "result": {"X": null}}',
}  # fmt: skip


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_is_no_price_is_a_failure_that_is_told_and_never_a_quote(body: str) -> None:
    """The price then ages, which blocks openings; the adapter goes on asking."""

    async def act() -> None:
        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(text=body)

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        said: list[tuple[str, dict[str, Any]]] = []
        seen: list[ev.Event] = []
        price = adapter(runner.addresses[0][1], said)
        price.start(seen.append)
        try:
            while price.failures < 2:
                await asyncio.sleep(0.005)
            assert not seen and said[0][0] == "price.failed" and said[0][1]["error"]
            found = (await price.examine())[0]
            assert not found.ok and found.fix
            if body not in (ANSWERS["crossed"], ANSWERS["zero"], ANSWERS["not a number"], ANSWERS["half"], ANSWERS["null"]):
                with pytest.raises(VenueError):
                    await price.history(STABLE.id, 0, NOW)
        finally:
            price.stop()
            await price.closed()
            await runner.cleanup()

    bounded(act)


def test_nobody_there_is_a_failure_too() -> None:
    """A refused connection is told with its cause."""

    async def act() -> None:
        price = adapter(1)
        with pytest.raises(VenueError, match="ref: ClientConnectorError"):
            await price.history(STABLE.id, 0, NOW)

    bounded(act)
