"""The contract's rig over the wire: the real client libraries on real sockets to the loopback servers, in virtual time.

One event loop serves both sides and runs only while the rig waits. The market's clock follows the loop's and can be turned ahead,
which no side sleeps through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from venue_rig import KEY, MBT, PERP, SECRET, START, D, Hours, Rig, S, money

from bot.model import event as ev
from bot.model.command import Command
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultPlan
from bot.venues.sim import SimVenue
from bot.wire.world import World
from tests.virtual import VirtualLoop

STEP_S = 0.1
"""Market time between two looks at what is due at the exchange."""
UP_S = 30.0
"""Virtual time a venue may take to come up."""


def nothing() -> Iterator[Any]:
    """Yield no market: the tests move it."""
    yield from ()


class WireRig(Rig):
    """One adapter and its server. ahead: by how many ns the market's clock was turned beyond the loop's."""

    in_process = False

    def __init__(self, venue: str, cash: dict[str, str] | None, faults: tuple[Fault, ...], rules: Rules | None) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.ahead = START
        instruments = (MBT,) if venue == "cme" else (PERP,)
        hours = Hours()
        self.exchange = Exchange(venue, instruments, money(venue, cash), hours, rules or Rules(), START)
        site = SimVenue(self.exchange, plan=FaultPlan(venue, faults), now_ns=START)
        self.world = World({venue: site}, nothing(), lambda: self.now)
        self.server: Any = None
        super().__init__(None, instruments, hours, venue)  # type: ignore[arg-type]
        self.run(self._open(venue))

    async def _open(self, venue: str) -> None:
        if venue == "cme":
            from bot.venues.ib import IbEndpoint, IbVenue
            from bot.wire.tws import serve

            self.server = await serve(self.world, venue)
            endpoint = IbEndpoint(host="127.0.0.1", port=self.server.port, client_id=7)
            self.venue = IbVenue(venue, self.terms, endpoint, clock=lambda: self.now)  # type: ignore[assignment]
        else:
            import ccxt.pro  # noqa: F401  seconds that must not pass in virtual time

            from bot.venues.perp import PerpEndpoint, PerpVenue
            from bot.wire.binance import Server

            self.server = Server(self.world, venue, {KEY: SECRET})
            await self.server.open("127.0.0.1", 0)
            base = f"http://127.0.0.1:{self.server.port}"
            at = PerpEndpoint(exchange="binanceusdm", key=KEY, secret=SECRET, base_url=base)
            self.venue = PerpVenue(venue, self.terms, at, clock=lambda: self.now, log=lambda what, fields: self.log.append((what, fields)))  # type: ignore[assignment]
        self.world.start()
        self.venue.start(self._hear)
        await self._up()

    async def _up(self) -> None:
        """Let time pass until the venue is up."""
        for _ in range(int(UP_S / STEP_S)):
            told = [e for e in self.said if isinstance(e, ev.VenueStatus)]
            if told and told[-1].up:
                return
            await self._pass(STEP_S)
        raise AssertionError(f"{self.name} never came up: {self.said[-5:]}, {self.log[-5:]}")

    async def _pass(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end - 1e-6:
            self.world.catch_up()
            await asyncio.sleep(min(STEP_S, end - self.loop.time()))
        self.world.catch_up()

    def run(self, act: Coroutine[Any, Any, None]) -> None:
        """Let the loop run as long as something takes."""
        self.runner.run(act)

    @property
    def now(self) -> int:  # type: ignore[override]
        return self.ahead + int(self.loop.time() * S)

    @now.setter
    def now(self, value: int) -> None:
        self.ahead = value - int(self.loop.time() * S)

    def to(self, seconds: float) -> None:
        self.now = max(self.now, START + int(seconds * S))
        self.settle()
        self.run(self._up())

    def settle(self) -> None:
        self.run(self._pass(1.0))

    def observe(self, event: Any) -> None:
        """Show the exchange a market observation of now."""
        self.world._feed(event)

    def send(self, command: Command, settle: bool = True) -> list[ev.Event]:
        before = len(self.said)

        async def act() -> None:
            self.venue.send(command, self.now)

        self.run(act())
        if settle:
            self.settle()
        return self.said[before:]

    def stop(self) -> None:
        async def act() -> None:
            self.venue.stop()

        self.run(act())

    def close(self) -> None:
        async def act() -> None:
            self.venue.stop()
            await self.venue.closed()  # type: ignore[attr-defined]
            await self.server.close()

        self.run(act())
        self.runner.close()


def over_the_wire(venue: str = "perp", cash: dict[str, str] | None = None, faults: tuple[Fault, ...] = (), rules: Rules | None = None) -> Rig:
    """Return a rig over sockets; skips where the venue's client library is not installed."""
    if venue == "perp":
        pytest.importorskip("ccxt", reason="ccxt is not installed here")
    else:
        _broker_library()
    return WireRig(venue, cash, faults, rules)


def _broker_library() -> None:
    """Skip without ib_insync and without ib_async; neither is imported here, they ask for a running loop."""
    from importlib.util import find_spec

    if find_spec("ib_insync") is None and find_spec("ib_async") is None:
        pytest.skip("no client library of Interactive Brokers is installed here")


__all__ = ["D", "WireRig", "over_the_wire"]
