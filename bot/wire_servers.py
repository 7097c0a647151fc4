"""Composition root of the wire: one seeded market at the pace of the wall clock, behind the servers that real client libraries speak to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from bot.clock import Steady, now_ns
from bot.composition import desk, exchange, reference_price, seeded_market
from bot.config import Settings
from bot.desk.secrets import Credentials
from bot.model import event as ev
from bot.model.ids import VenueId
from bot.model.notation import iso
from bot.sim.budget import UNLIMITED
from bot.sim.faults import FaultPlan, decode_faults
from bot.venues.sim import SimVenue
from bot.wire import binance, reference, tws
from bot.wire.ready import HOST, KEY, SECRET, Ready
from bot.wire.tws_account import ACCOUNT
from bot.wire.world import World


class _Server(Protocol):
    async def open(self, host: str, port: int) -> None: ...
    async def close(self) -> None: ...


class Wire:
    """A world and its servers. settings: whose seed, scenario, cash and latencies; faults: lines of a faults file.

    Raises ConfigError for settings or faults that cannot be used.
    """

    def __init__(self, settings: Settings, faults: Sequence[str] = ()) -> None:
        self.settings = settings
        self.desk = built = desk(settings)
        start = settings.market.start_ns
        self.lead, self.hedge = built.terms[built.pair.lead].venue, built.terms[built.pair.hedge].venue
        market = seeded_market(built)
        scripted = [*market.faults(), *decode_faults(faults, start, built.venues, wire=True)]
        history = list(market.history())
        last = {(type(e), e.instrument): e for e in history if not isinstance(e, ev.Timer | ev.VenueSnapshot)}
        self.sites: dict[VenueId, SimVenue] = {}
        for name in built.venues:
            site = SimVenue(
                exchange(built, name, start), delays=settings.latency[name], plan=FaultPlan(name, scripted, start), now_ns=start,
                budget=settings.messages.get(name, UNLIMITED), seed=settings.market.seed,
            )  # fmt: skip
            for event in last.values():
                site.prime(event)
            self.sites[name] = site
        shows = {name: venue.observe for name, venue in reference_price(built, scripted, start).items()}
        stable = built.pair.stable or ""
        seen: Callable[[object], object] = shows[built.terms[stable].venue] if stable else (lambda event: event)
        self.prices = reference.Prices(stable, history, seen)
        self.clock = Steady()
        self.pacing: asyncio.Task[None]
        self.world = World(self.sites, self.prices.tap(market.events()), self.clock, history)

    @asynccontextmanager
    async def served(self, ports: Sequence[int], given: Credentials) -> AsyncIterator[Ready]:
        """Serve for the length of a block. ports: of broker, exchange and reference price; 0 is the system's choice. The market starts with the block.

        given: key and secret that the exchange knows; without them the published ones, which the ready line then shows.
        """
        key, secret = (given.key.reveal(), given.secret.reveal()) if given.given else (KEY, SECRET)
        self.clock.offset_ns = self.settings.market.start_ns - now_ns()
        async with AsyncExitStack() as stack:
            broker, offshore = tws.Server(self.world, self.lead), binance.Server(self.world, self.hedge, {key: secret})
            price = reference.Server(self.prices, self.clock)
            servers: tuple[tuple[_Server, int], ...] = ((broker, ports[0]), (offshore, ports[1]), (price, ports[2]))
            for server, port in servers:
                await server.open(HOST, port)
                stack.push_async_callback(server.close)
            self.world.start()
            self.pacing = asyncio.get_running_loop().create_task(self.world.run())
            try:
                shown = ("", "") if given.given else (key, secret)
                yield Ready(
                    pid=os.getpid(), seed=self.settings.market.seed, tws_port=broker.port, perp_port=offshore.port, reference_port=price.port,
                    account=ACCOUNT, key=shown[0], secret=shown[1], market_now=iso(self.clock()), offset_ns=self.clock.offset_ns,
                )  # fmt: skip
            finally:
                self.pacing.cancel()


async def serve(
    settings: Settings, faults: Sequence[str], *, ports: Sequence[int], given: Credentials, ready: Callable[[Ready], None], attached: bool,
    ended_with: Callable[[Mapping[VenueId, Mapping[str, int]]], None] = lambda hits: None,
) -> int:  # fmt: skip
    """Serve until SIGINT or SIGTERM and return its exit code. ready: is told when the servers listen.

    ended_with: is told how often each scripted fault struck, by venue and kind. attached: end, with 0, when standard input closes
    too: whoever started this has gone. Whatever breaks the market breaks out here.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        loop.add_signal_handler(number, end, code)
    if attached:
        loop.add_reader(sys.stdin.fileno(), lambda: end(0) if not os.read(sys.stdin.fileno(), 4096) else None)
    wire = Wire(settings, faults)
    async with wire.served(ports, given) as said:
        ready(said)
        waited: set[asyncio.Future[Any]] = {ended, wire.pacing}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if wire.pacing.done():
            wire.pacing.result()
    ended_with({name: {kind.value: n for kind, n in site.plan.hits.items()} for name, site in wire.sites.items()})
    return ended.result()
