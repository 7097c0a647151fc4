"""What the parts of the adapter share: reads, ids, and streams that the library gives up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

import ccxt  # noqa: E402

from bot.venues import perp_line  # noqa: E402
from bot.venues.perp_line import Line, heard, silent  # noqa: E402
from bot.venues.perp_parse import Symbols  # noqa: E402
from bot.venues.perp_quirks import QUIRKS  # noqa: E402


class Client:
    """As much of a client as a line looks at."""

    banned_s = 0.0


def line() -> Line:
    """A line on no client at all."""
    return Line("perp", Client(), QUIRKS["binanceusdm"], Symbols({}, "perp"), lambda: 0, silent)


def test_a_future_that_the_library_cancels_is_a_broken_connection_and_our_own_cancellation_is_one() -> None:
    async def body() -> None:
        given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given_up.cancel()
        with pytest.raises(ccxt.NetworkError, match="gave up"):
            await heard(given_up)
        waiting = asyncio.ensure_future(heard(asyncio.sleep(60.0)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await heard(asyncio.sleep(60.0))

    asyncio.run(body())


@pytest.mark.parametrize(
    ("error", "times"), [(ccxt.ExchangeNotAvailable("reset"), 2), (ccxt.RequestTimeout("x"), 1), (ccxt.OnMaintenance("x"), 1), (ccxt.BadResponse("x"), 1)],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_only_a_broken_connection_is_tried_again_and_only_once(error: Exception, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perp_line, "AGAIN_S", 0.0)
    asked: list[Any] = []

    async def ask() -> None:
        asked.append(1)
        raise error

    async def body() -> None:
        with pytest.raises(type(error)):
            await line().read(ask)

    asyncio.run(body())
    assert len(asked) == times


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perp_line, "READ_S", 0.01)

    async def body() -> None:
        with pytest.raises(TimeoutError):
            await line().read(lambda: asyncio.sleep(60.0))

    asyncio.run(body())


def test_what_an_order_is_called_is_remembered_for_the_latest_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perp_line, "KNOWN_ORDERS", 2)

    async def body() -> None:
        made = line()
        for n in "123":
            made.learn(n, f"id{n}")
        assert (made.known("1"), made.known("2"), made.known("3")) == (None, "id2", "id3")

    asyncio.run(body())


def test_a_throttle_holds_everything_and_a_refused_time_or_key_is_looked_into() -> None:
    async def body() -> None:
        made = line()
        made.client.banned_s = 30.0
        made.judge(ccxt.DDoSProtection("429"))
        made.judge(ccxt.InvalidNonce("-1021"))
        made.judge(ccxt.AuthenticationError("-2015"))
        assert made.clock_doubted.is_set() and made.key_refused.is_set() and made.client.banned_s == 0.0
        waiting = asyncio.ensure_future(made.turn(perp_line.Priority.CANCEL))
        await asyncio.sleep(0)
        assert not waiting.done() and made.budget.waiting == 1
        waiting.cancel()

    asyncio.run(body())
