"""The servers' side of the benchmark: both wire servers on a market that ticks at a fixed pace and always fills.

Half a pace lies between a tick of the lead and one of the hedge, so that no tick waits behind another one's parsing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from bot.clock import Steady, now_ns
from bot.composition import Desk, desk
from bot.config import Settings
from bot.model import event as ev
from bot.model.ids import VenueId
from bot.model.notation import iso
from bot.sim.exchange import Exchange
from bot.venues.sim import SimVenue
from bot.wire import binance, tws
from bot.wire.ready import HOST, KEY, SECRET, Ready
from bot.wire.tws_account import ACCOUNT
from bot.wire.world import World

S = 1_000_000_000
MID = 70_000.0
SIZE = 50.0
CASH = Decimal(10_000_000)
RATE, RATE_CAP, FUNDING_S = 0.0001, 0.003, 28_800


def ticks(built: Desk, from_ns: int, pace_ns: int) -> Iterator[Any]:
    """Yield a quote of the lead every `pace_ns`, one of the hedge in between, marks and rate once a second; asks move by one tick to and fro."""
    lead, hedge = built.terms[built.pair.lead], built.terms[built.pair.hedge]
    interval_s = hedge.funding_interval_s or FUNDING_S
    stamp = (from_ns // (interval_s * S) + 1) * interval_s * S
    ts, marked, up = from_ns, 0, False
    while True:
        if ts - marked >= S:
            marked = ts
            yield ev.MarkPrice(ts, hedge.id, MID, MID)
            yield ev.FundingRate(ts, hedge.id, RATE, interval_s, stamp, RATE_CAP)
        for terms, at in ((hedge, ts), (lead, ts + pace_ns // 2)):
            tick = float(terms.tick)
            yield ev.Quote(at, terms.id, MID, MID + (2.0 if up else 1.0) * tick, SIZE, SIZE, at)
        ts, up = ts + pace_ns, not up


def alone(which: int) -> frozenset[int]:
    """Run on one core, by its place among those that may be used, if there are two; return what was allowed before, empty if nothing changed.

    A server woken on the desk's own core would run in the middle of the send that woke it.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return frozenset()
    before = frozenset(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {sorted(before)[which]})
    return before


async def serve(settings: Settings, pace_ns: int, ready: Callable[[Ready], None]) -> int:
    """Serve until standard input closes: whoever started this has gone. ready: is told when the servers listen."""
    alone(-1)
    built = desk(settings)
    start = settings.market.start_ns
    sites: dict[VenueId, SimVenue] = {}
    for name in built.venues:
        listed = [terms for terms in built.terms.values() if terms.venue == name]
        cash = {currency: CASH for currency in settings.cash[name]}
        sites[name] = SimVenue(Exchange(name, listed, cash, built.sessions, now_ns=start), now_ns=start)
    clock = Steady(start - now_ns())
    world = World(sites, ticks(built, start, pace_ns), clock)
    broker, offshore = tws.Server(world, built.venues[0]), binance.Server(world, built.venues[1], {KEY: SECRET})
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: gone.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    for server in (broker, offshore):
        await server.open(HOST, 0)
    world.start()
    pacing = loop.create_task(world.run())
    try:
        ready(Ready(pid=os.getpid(), seed=0, tws_port=broker.port, perp_port=offshore.port, reference_port=0, account=ACCOUNT, key=KEY, secret=SECRET,
                    market_now=iso(clock()), offset_ns=clock.offset_ns))  # fmt: skip
        waiting = loop.create_task(gone.wait())
        await asyncio.wait({waiting, pacing}, return_when=asyncio.FIRST_COMPLETED)
        if pacing.done():
            pacing.result()
        return 0
    finally:
        pacing.cancel()
        for server in (broker, offshore):
            await server.close()
