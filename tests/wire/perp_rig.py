"""The perp adapter on the Binance USD-M server, in one loop: a scripted market, real ccxt, and the exchange to look into."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar

from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.command import QueryOrder, Submit
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.wire import Delays
from bot.venues.perp import PerpEndpoint, PerpVenue
from bot.venues.sim import SimVenue
from bot.wire.binance import Server
from bot.wire.world import World

S = 1_000_000_000
START = 1_793_716_200 * S
"""2026-11-03 14:30 UTC."""
D = Decimal
TIERS = (
    MarginTier(notional_floor=D(0), maintenance_rate=D("0.004"), initial_rate=D("0.008")),
    MarginTier(notional_floor=D(50_000), maintenance_rate=D("0.005"), initial_rate=D("0.01"), cum=D(50)),
)
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"), index_quote="USDT", settle="USDT",
                  tiers=TIERS, fees=FeeSchedule(maker_rate=D("0.0002"), taker_rate=D("0.0005")), product="BTCUSDT", funding_interval_s=28_800,
                  funding_cap=0.003, min_notional=D(100))  # fmt: skip
KEY, SECRET = "k" * 16, "s" * 16
E = TypeVar("E")


class Rig:
    """heard: every event the adapter emitted. moves: the market is (seconds from the start, bid, ask, size) rows."""

    def __init__(self, moves: Sequence[tuple[float, float, float, float]], faults: Sequence[Fault], delays: Delays, start: int, rules: Rules) -> None:
        self.offset = start - time.time_ns()
        exchange = Exchange("perp", (PERP,), {"USDT": D(400_000)}, DeskSessions({PERP.id: PERP}), rules, start)
        self.exchange = exchange
        self.site = SimVenue(exchange, delays=delays, plan=FaultPlan("perp", faults), now_ns=start)
        self.world = World({"perp": self.site}, _source(moves, start), self.clock)
        self.server = Server(self.world, "perp", {KEY: SECRET}, answer_s=0.5)
        self.heard: list[ev.Event] = []
        self.logged: list[tuple[str, Any]] = []
        self.venue: PerpVenue = None  # type: ignore[assignment]

    def clock(self) -> int:
        """The world's time: the wall clock, moved to the start."""
        return time.time_ns() + self.offset

    def endpoint(self, **more: Any) -> PerpEndpoint:
        """Where the server is."""
        return PerpEndpoint(**{
            "exchange": "binanceusdm", "key": KEY, "secret": SECRET, "sandbox": True, "base_url": f"http://127.0.0.1:{self.server.port}", **more,
        })  # fmt: skip

    def adapter(self, **more: Any) -> PerpVenue:
        """An adapter for the server."""
        return PerpVenue("perp", {PERP.id: PERP}, self.endpoint(**more), clock=self.clock, log=lambda what, fields: self.logged.append((what, fields)))

    def hurt(self, kind: FaultKind, count: int = 1, seconds: float = 0.0, **args: float) -> None:
        """Script a fault from now on, in place of any other."""
        fault = Fault(at_ns=self.clock(), venue="perp", kind=kind, count=count, for_ns=int(seconds * S), args=args)
        self.site.plan.__init__("perp", [fault])  # type: ignore[misc]  # everyone who holds the plan sees it

    def hits(self, kind: FaultKind) -> int:
        """How often the scripted fault struck."""
        return self.server.faults.plan.hits.get(kind, 0)

    def of(self, kind: type[E]) -> list[E]:
        """Events of one type, in order."""
        return [e for e in self.heard if isinstance(e, kind)]

    def about(self, client_id: str) -> list[Any]:
        """Everything said about one order."""
        return [e for e in self.heard if getattr(e, "client_id", None) == client_id]

    def order(self, number: int, side: Side = Side.BUY, qty: str = "0.5", limit: str = "70020", tif: TimeInForce = TimeInForce.IOC, **more: Any) -> str:
        """Send an order; return its client id."""
        client_id = f"P00001H{number:08d}"
        spec = OrderSpec(client_id=client_id, pair="p", venue="perp", instrument=PERP.id, side=side, qty=D(qty), limit=D(limit), tif=tif,
                         purpose=Purpose.HEDGE, **more)  # fmt: skip
        self.venue.send(Submit(spec, opening=True), self.clock())
        return client_id


def _source(moves: Sequence[tuple[float, float, float, float]], start: int) -> Iterator[Any]:
    for at, bid, ask, size in moves:
        ts = start + int(at * S)
        yield ev.Quote(ts, PERP.id, bid, ask, size, size, ts)
        yield ev.MarkPrice(ts, PERP.id, (bid + ask) / 2, (bid + ask) / 2)
        yield ev.FundingRate(ts, PERP.id, 0.0001, 28_800, ts // (28_800 * S) * 28_800 * S + 28_800 * S, 0.003)


def steady(seconds: int = 60, bid: float = 70_000.0, ask: float = 70_010.0, size: float = 8.0) -> list[tuple[float, float, float, float]]:
    """A market that says the same ten times a second."""
    return [(n / 10.0, bid, ask, size) for n in range(seconds * 10)]


async def resolved(rig: Rig, client_id: str, patience_s: float = 0.4, absent_s: float = 0.4) -> str:
    """Supervise an order as the engine does, in short: ask when there is silence; return "ended" or "absent".

    patience_s: silence before the first question; absent_s: how long the answer has to be that there is no such order.
    """
    sent = asked = rig.clock()
    unknown_since = 0
    seen = 0
    while True:
        for event in rig.about(client_id)[seen:]:
            seen += 1
            if isinstance(event, ev.OrderEnded) and sum((f.qty for f in fills_of(rig, client_id)), D(0)) >= event.cum_qty:
                return "ended"
            if isinstance(event, ev.OrderNotFound):
                unknown_since = unknown_since or event.ts
                if event.ts - unknown_since > absent_s * S:
                    return "absent"
            elif isinstance(event, ev.OrderAccepted | ev.OrderFilled):
                unknown_since = 0
        now = rig.clock()
        silent = any(isinstance(e, ev.NoAnswer) for e in rig.about(client_id)) or now - sent > patience_s * S
        if silent and now - asked > 0.1 * S:
            asked = now
            rig.venue.send(QueryOrder("perp", PERP.id, client_id), now)
        await asyncio.sleep(0.005)


def fills_of(rig: Rig, client_id: str) -> list[ev.OrderFilled]:
    """Distinct executions told of one order."""
    return list({e.exec_id: e for e in rig.about(client_id) if isinstance(e, ev.OrderFilled)}.values())


@asynccontextmanager
async def running(
    moves: Sequence[tuple[float, float, float, float]] | None = None, faults: Sequence[Fault] = (), delays: Delays | None = None,
    started: bool = True, start: int = START, rules: Rules | None = None, **more: Any,
) -> AsyncIterator[Rig]:  # fmt: skip
    """Serve a market and, for the length of a block, connect an adapter to it."""
    rig = Rig(steady() if moves is None else moves, faults, delays or Delays(), start, rules or Rules())
    await rig.server.open("127.0.0.1", 0)
    rig.world.start()
    pace = asyncio.ensure_future(rig.world.run())
    rig.venue = rig.adapter(**more)
    try:
        rig.venue.start(rig.heard.append)
        if started:
            await until(lambda: any(e.up for e in rig.of(ev.VenueStatus)), rig)
        yield rig
    finally:
        rig.venue.stop()
        await rig.venue.closed()
        pace.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pace
        await rig.server.close()


async def until(condition: Callable[[], object], rig: Rig | None = None, seconds: float = 8.0) -> None:
    """Wait for a condition; a failure shows what was heard and logged last."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        told = [e for e in rig.heard if not isinstance(e, ev.Quote | ev.MarkPrice | ev.FundingRate)][-12:] if rig else ""
        raise AssertionError(f"it never came; heard {told}; logged {rig.logged[-12:] if rig else ''}") from None
