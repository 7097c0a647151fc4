"""A TWS server on a market that a test moves: a scripted source of quotes, a clock it turns, and the exchange to look into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from bot.market.calendar import DeskSessions
from bot.market.expiry import expiry_ns
from bot.model import event as ev
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultPlan
from bot.sim.wire import Delays
from bot.venues.sim import SimVenue
from bot.wire.tws import Server, serve
from bot.wire.world import World

S = 1_000_000_000
START = 1_793_716_200 * S
"""2026-11-03 14:30 UTC, a Tuesday in session."""
D = Decimal
TIER = MarginTier(notional_floor=D(0), maintenance_rate=D("0.30"), initial_rate=D("0.40"))
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=D("0.1"), tick=D(5), lot=D(1), index_quote="USD", settle="USD",
                 tiers=(TIER,), fees=FeeSchedule(per_contract=D("2.5")), product="MBT", expiry_ns=expiry_ns(2026, 11))  # fmt: skip
QUOTES = ((0.0, 70_000.0, 70_010.0, 8.0),)
"""(seconds from the start, bid, ask, size of both sides)."""


class Desk:
    """The server and its market. at: seconds from the start that the clock shows."""

    def __init__(self, quotes: Sequence[tuple[float, float, float, float]], faults: Sequence[Fault], cash: str, rules: Rules, history_min: int) -> None:
        self.at = 0.0
        exchange = Exchange("cme", (MBT,), {"USD": D(cash)}, DeskSessions({MBT.id: MBT}), rules, START)
        self.site = SimVenue(exchange, delays=Delays(), plan=FaultPlan("cme", faults), now_ns=START)
        self.world = World({"cme": self.site}, _source(quotes), lambda: START + int(self.at * S), _history(history_min))
        self.exchange = exchange
        self.server: Server = None  # type: ignore[assignment]

    def to(self, seconds: float) -> None:
        """Turn the clock, half a second at a time, and let everything due happen."""
        while self.at < seconds:
            self.at = min(seconds, self.at + 0.5)
            self.world.catch_up()
        self.world.catch_up()


def _history(minutes: int) -> Iterator[ev.Quote]:
    """Yield a close a minute up to START, each 10 above the one before."""
    for n in range(minutes):
        ts, bid = START - (minutes - 1 - n) * 60 * S, 60_000.0 + 10 * n
        yield ev.Quote(ts, MBT.id, bid, bid + 10, 8.0, 8.0, ts)


def _source(quotes: Sequence[tuple[float, float, float, float]]) -> Iterator[ev.Quote]:
    for at, bid, ask, size in quotes:
        ts = START + int(at * S)
        yield ev.Quote(ts, MBT.id, bid, ask, size, size, ts)


@asynccontextmanager
async def running(
    quotes: Sequence[tuple[float, float, float, float]] = QUOTES, faults: Sequence[Fault] = (), cash: str = "600000", rules: Rules | None = None,
    history_min: int = 0,
) -> AsyncIterator[Desk]:  # fmt: skip
    """Serve a market for the length of a block."""
    desk = Desk(quotes, faults, cash, rules or Rules(), history_min)
    desk.server = await serve(desk.world, "cme")
    desk.world.start()
    desk.to(0.0)
    try:
        yield desk
    finally:
        await desk.server.close()


async def until(condition: Callable[[], object], told: str = "") -> None:
    """Wait for a condition, bounded by the caller's timeout."""
    while not condition():
        await asyncio.sleep(0.001)
