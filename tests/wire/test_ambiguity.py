"""No order twice, none forgotten, none wrongly given up: over sockets and in memory, through the real adapters and libraries.

5 % of the requests are lost, of 5 % nothing is ever said, 5 % of everything is late; offshore 5 % of the answers are lost and 5 %
late besides. In memory only the carrying of bytes is replaced and the clock is virtual. BASISBOT_AMBIGUITY=1 runs ten times as many.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import ambiguity
import pytest
from ambiguity import HTTP_RATES, RATES, Count, broker, offshore

from bot.engine.pair import Execution
from bot.model import event as ev
from bot.model.command import Submit
from bot.venues import perp_orders
from bot.venues.perp_errors import Meaning
from tests.virtual import MemoryLoop, VirtualLoop

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")
pytest.importorskip("ccxt", reason="ccxt is not installed here")

TIMES = 10 if os.environ.get("BASISBOT_AMBIGUITY") else 1
BATCHES = {"broker": (broker, 25, RATES), "offshore": (offshore, 200, RATES | HTTP_RATES)}
"""Who runs a batch, and its orders: TWS tells all of a day's orders at every question, so that a long day costs more."""


def run(which: str, orders: int, loop: Callable[[], asyncio.AbstractEventLoop], x: Execution | None = None) -> Count:
    """Run batches of orders, each with its own seed and its own loop, and add up."""
    import ccxt.pro  # noqa: F401  seconds that must not pass in virtual time

    batch, size, _ = BATCHES[which]
    total = Count()
    for n in range(orders // size):
        with asyncio.Runner(loop_factory=loop) as runner:
            total.add(runner.run(batch(f"{which} {n}", size, x)))
    return total


def check(which: str, orders: int, total: Count) -> None:
    """Assert that everything agrees and that the faults have struck as often as they should."""
    assert total.clean and total.orders == orders, total
    for kind in BATCHES[which][2]:
        assert total.hits[kind.value] >= 0.03 * orders, total.hits
    assert total.unknown >= 0.1 * orders and total.absent >= 0.02 * orders and total.filled >= 0.3 * orders, total
    print(f"\n{which}: {total}")


@pytest.mark.parametrize("which", BATCHES)
def test_a_thousand_orders_over_sockets(which: str) -> None:
    """500 to the broker, 600 offshore."""
    orders = 500 if which == "broker" else 600
    check(which, orders, run(which, orders, VirtualLoop))


@pytest.mark.parametrize(("which", "orders"), [("broker", 2_000), ("offshore", 8_000)])
def test_ten_thousand_orders_in_memory(which: str, orders: int) -> None:
    """2,000 to the broker and 8,000 offshore; 20,000 and 80,000 when asked for."""
    check(which, orders * TIMES, run(which, orders * TIMES, MemoryLoop))


# Errors that must be found by it.


def test_sending_again_after_silence_is_found_offshore(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed order's id can be used again at the exchange: a retry with the same id is a second order."""
    sent: list[Any] = []

    async def again(self: perp_orders.Orders, command: Submit) -> None:
        await once(self, command)
        if told and told[-1] == command.order.client_id:
            sent.append(command)
            await self._place(command.order)

    told: list[str] = []

    def judged(self: perp_orders.Orders, spec: Any, error: BaseException) -> None:
        if self._line.judge(error).meaning is Meaning.UNKNOWN:
            told.append(spec.client_id)
        unplaced(self, spec, error)

    once, unplaced = perp_orders.Orders.submit, perp_orders.Orders._unplaced
    monkeypatch.setattr(perp_orders.Orders, "submit", again)
    monkeypatch.setattr(perp_orders.Orders, "_unplaced", judged)
    total = run("offshore", 200, MemoryLoop)
    assert sent and total.duplicates and total.orphans and not total.clean


def test_sending_again_after_silence_is_found_at_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk that takes silence for loss sends a second order under a new number."""

    class Impatient(ambiguity.Desk):
        def _take(self, event: Any) -> None:
            try:
                super()._take(event)
            except ValueError:  # an order that is unknown was said not to have left: the second one
                self.alerts.append("no such transition")

        def _emit(self, event: Any) -> None:
            super()._emit(event)
            if isinstance(event, ev.NoAnswer) and self.ob.orders[event.client_id].not_found == 0:
                self.venue.session.orders.tickets.pop(event.client_id, None)
                self.venue.send(Submit(self.specs[event.client_id], True), self.ob.now)

    monkeypatch.setattr(ambiguity, "Desk", Impatient)
    total = run("broker", 100, MemoryLoop)
    assert total.duplicates and not total.clean


def test_believing_one_answer_that_an_order_does_not_exist_is_found() -> None:
    """A request that is late arrives after the exchange has said that it knows no such order."""
    total = run("offshore", 400, MemoryLoop, Execution(absent_answers=1, absent_grace_ns=0))
    assert total.absences and not total.clean
