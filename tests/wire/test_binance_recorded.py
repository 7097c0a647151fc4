"""What the Binance USD-M server says beside what the real one was recorded to say: fields, types, how numbers are written, and how
a book is followed."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binance_rig import Desk, running, until

WIRE = Path(__file__).parents[2] / "../shared/data/wire"
LIMIT_S = 10.0
NUMBER = re.compile(r"^-?\d+(\.\d+)?$")

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=f"recorded traffic is not here ({WIRE})")


def lines(name: str) -> Iterator[str]:
    """Return the lines of a recording."""
    with gzip.open(WIRE / name, "rt", encoding="utf-8") as file:
        yield from file


def shape(value: Any) -> Any:
    """Return a message without its values: types by field, one row of a list, text that is a number apart from other text."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        return "number" if NUMBER.match(value) else "text"
    return type(value).__name__


def first(messages: Iterator[dict[str, Any]], event: str) -> dict[str, Any]:
    """Return the first recorded message of a kind; a book that changed on both sides."""
    return next(m for m in messages if m.get("e") == event and m.get("b") != [] and m.get("a") != [])


def recorded(name: str) -> Iterator[dict[str, Any]]:
    """Return the messages of a recorded stream."""
    for line in lines(name):
        found = json.loads(line[line.index("{") :]) if "{" in line else {}
        yield found.get("data", found)


async def ours(desk: Desk, streams: str, wanted: int) -> list[dict[str, Any]]:
    """Return the first messages of our streams while the market moves."""
    from aiohttp import ClientSession

    async with ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{desk.server.port}/stream?streams={streams}") as socket:
        await until(lambda: any(s.names for s in desk.server.hub.streams))
        found: list[dict[str, Any]] = []
        while len(found) < wanted:
            desk.to(desk.at + 0.1)
            desk.quote(70_000.0 + desk.at, 70_001.0 + desk.at)
            for _ in range(streams.count("/") + 1):
                message = await socket.receive_json()
                assert message["stream"] in streams.split("/")
                found.append(message["data"])
        return found


def of_ours(streams: str, wanted: int) -> list[dict[str, Any]]:
    async def whole() -> list[dict[str, Any]]:
        async with asyncio.timeout(LIMIT_S), running() as desk:
            return await ours(desk, streams, wanted)

    return asyncio.run(whole())


async def asked(desk: Desk, path: str) -> Any:
    """Return the answer to a public question."""
    from aiohttp import ClientSession

    async with ClientSession() as session, session.get(f"http://127.0.0.1:{desk.server.port}{path}") as response:
        return await response.json()


def answered(path: str) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(LIMIT_S), running() as desk:
            return await asked(desk, path)

    return asyncio.run(whole())


def test_streams_have_the_recorded_fields() -> None:
    messages = of_ours("btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@kline_1m", 6)
    for event in ("depthUpdate", "bookTicker"):
        assert shape(first(iter(messages), event)) == shape(first(recorded("binance_usdm_btcusdt_ws_20240808.gz"), event))
    bar = next(m for m in recorded("binance_futures.ws.1.0.txt.gz") if m.get("e") == "kline")
    assert shape(next(m for m in messages if m["e"] == "kline")) == shape(bar)


def test_the_snapshot_has_the_recorded_fields() -> None:
    real = next(m for m in recorded("binance_usdm_btcusdt_ws_20240808.gz") if "lastUpdateId" in m)
    assert shape(answered("/fapi/v1/depth?symbol=BTCUSDT&limit=1000")) == shape(real)


def test_exchange_information_has_the_recorded_fields() -> None:
    line = next(line for line in lines("binance_futures.0.txt.gz") if "exchangeInfo" in line)
    real, mine = json.loads(line[line.index("{") :]), answered("/fapi/v1/exchangeInfo")
    assert shape({k: v for k, v in mine.items() if k != "symbols"}) == shape({k: v for k, v in real.items() if k != "symbols"})
    a, b = (next(s for s in info["symbols"] if s["symbol"] == "BTCUSDT") for info in (real, mine))
    filters = [{f["filterType"]: shape(f) for f in symbol.pop("filters")} for symbol in (a, b)]
    assert filters[0] == filters[1]
    a.pop("underlyingSubType"), b.pop("underlyingSubType")
    assert {k: shape(v) for k, v in b.items() if k in a} == shape(a)


def followed(messages: Iterator[dict[str, Any]]) -> int:
    """Follow a book by its numbers as the exchange tells clients to; return how many updates joined. AssertionError for a gap."""
    snapshot: dict[str, Any] | None = None
    early, last, joined = [], 0, 0
    for m in messages:
        if "lastUpdateId" in m:
            snapshot = m
            kept = [d for d in early if d["u"] >= m["lastUpdateId"]]
            assert not kept or kept[0]["U"] <= m["lastUpdateId"] <= kept[0]["u"] or kept[0]["pu"] <= m["lastUpdateId"]
            last, joined = (kept[-1]["u"], len(kept)) if kept else (0, 0)
        elif m.get("e") == "depthUpdate":
            if snapshot is None:
                early.append(m)
                continue
            assert not last or m["pu"] == last, m
            assert m["pu"] < m["U"] <= m["u"]
            last, joined = m["u"], joined + 1
    return joined


def test_both_books_are_followed_by_the_same_numbers() -> None:
    assert followed(recorded("binance_usdm_btcusdt_ws_20240808.gz")) > 1_000

    async def whole() -> list[dict[str, Any]]:
        async with asyncio.timeout(LIMIT_S), running() as desk:
            early = await ours(desk, "btcusdt@depth", 1)
            snapshot = await asked(desk, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
            return [*early, snapshot, *await ours(desk, "btcusdt@depth", 20)]

    assert followed(iter(asyncio.run(whole()))) >= 20
