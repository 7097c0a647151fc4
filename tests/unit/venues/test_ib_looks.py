"""Looks that fail: every question is answered, nothing that waited to be confirmed is forgotten."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from bot.model import event as ev
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_endpoint import Pace
from bot.venues.ib_line import LineError, RequestFailed
from bot.venues.ib_looks import Looks
from bot.venues.ib_orders import Orders, Sent, Ticket


class Deaf:
    """A line that answers the n-th question with an error and those before with nothing."""

    def __init__(self, error: Exception, at: int) -> None:
        self.alive, self.pace, self.client = True, Pace(fresh=0.0), _Client()
        self.lib = SimpleNamespace(ExecutionFilter=lambda **more: None)
        self.endpoint = SimpleNamespace(account="")
        self._error, self._at, self.asked = error, at, 0

    def next_number(self) -> int:
        return 1

    async def ask(self, key: Any, act: Any) -> list[Any]:
        self.asked += 1
        if self.asked >= self._at:
            raise self._error
        return []


class _Client:
    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def looks() -> tuple[Looks, list[Any], Ticket]:
    """Return looks, what they emit, and an order that a code has named."""
    heard: list[Any] = []
    contracts = Contracts({}, {})
    made = Looks("cme", contracts, lambda: 1_000, lambda event, **more: None)
    made.orders = Orders("cme", 7, contracts, lambda: 1_000, lambda event, **more: None, made.want)
    made.emit = made.orders.emit = heard.append
    ticket = made.orders.tickets["A1"] = Ticket(client_id="A1", sent=Sent.GONE, doubt=True)
    return made, heard, ticket


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_look_that_fails_at_any_question_keeps_its_doubts_and_says_nothing_of_orders(at: int) -> None:
    async def body() -> None:
        made, heard, ticket = looks()
        made.order("A1")
        with pytest.raises(LineError):
            await made.once(Deaf(LineError("cut"), at))  # type: ignore[arg-type]
        assert ticket.doubt and not heard

    asyncio.run(body())


@pytest.mark.parametrize("error", [TimeoutError(), RequestFailed(321, "read-only"), LineError("a value is missing")])
def test_questions_are_answered_with_the_failure_and_the_look_is_repeated(error: Exception) -> None:
    async def body() -> None:
        made, heard, ticket = looks()
        line = Deaf(error, 1)
        made.order("A1")
        made.venue(0)
        task = asyncio.ensure_future(made.run(line))  # type: ignore[arg-type]
        async with asyncio.timeout(5.0):
            while line.asked < 3:
                await asyncio.sleep(0)
        task.cancel()
        assert [type(e) for e in heard] == [ev.QueryFailed] and ticket.doubt

    asyncio.run(body())


def test_without_the_broker_nothing_is_asked() -> None:
    async def body() -> None:
        made, _, _ = looks()
        line = Deaf(TimeoutError(), 1)
        made.linked.clear()
        made.want()
        task = asyncio.ensure_future(made.run(line))  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
        assert line.asked == 0
        made.linked.set()
        async with asyncio.timeout(5.0):
            while not line.asked:
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(body())
