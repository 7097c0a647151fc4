"""A Binance USD-M server on a market that a test moves, and ccxt.pro pointed at it: every URL is the server's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier
from bot.sim.exchange import Exchange, Rules
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.wire import INSTANT, Delays
from bot.venues.sim import SimVenue
from bot.wire.binance import Server
from bot.wire.world import World

S = 1_000_000_000
START = 1_793_716_200 * S
"""2026-11-03 14:30 UTC, a Tuesday."""
STAMP = START + 5_400 * S
"""16:00 UTC: the funding stamp."""
D = Decimal
KEY, SECRET = "k" * 64, "s" * 64
TIERS = tuple(
    MarginTier(notional_floor=D(a), maintenance_rate=D(m), initial_rate=D(i), cum=D(c))
    for a, m, i, c in (("0", "0.004", "0.008", "0"), ("50000", "0.005", "0.01", "50"), ("600000", "0.0065", "0.0134", "950"))
)
BTC = Instrument(
    id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"), index_quote="USDT", settle="USDT",
    tiers=TIERS, fees=FeeSchedule(maker_rate=D("0.0002"), taker_rate=D("0.0005")), funding_interval_s=28_800, funding_cap=0.003, min_notional=D(100),
)  # fmt: skip
RULES = Rules(limit_share=0.05)
SYMBOL = "BTC/USDT:USDT"
QUOTES = ((0.0, 70_000.0, 70_000.1, 8.0),)
"""(seconds from the start, bid, ask, size of both sides)."""


class Desk:
    """The server and its market. at: seconds from the start that the clock shows."""

    def __init__(
        self, quotes: Sequence[tuple[float, float, float, float]], faults: Sequence[Fault], cash: str, rules: Rules, delays: Delays,
        clock: Callable[[], int] | None,
    ) -> None:  # fmt: skip
        self.at = 0.0
        start = clock() if clock is not None else START
        exchange = Exchange("perp", (BTC,), {"USDT": D(cash)}, DeskSessions({BTC.id: BTC}), rules, start)
        self.site = SimVenue(exchange, delays=delays, plan=FaultPlan("perp", faults), now_ns=start)
        self.world = World({"perp": self.site}, _source(quotes, start), clock or (lambda: START + int(self.at * S)))
        self.exchange = exchange
        self.server = Server(self.world, "perp", {KEY: SECRET}, answer_s=0.3)

    def to(self, seconds: float) -> None:
        """Turn the clock and let everything due happen."""
        self.at = seconds
        self.world.catch_up()

    def quote(self, bid: float, ask: float, size: float = 8.0) -> None:
        """Move the touch, now."""
        now = self.world.clock()
        self._show(ev.Quote(now, BTC.id, bid, ask, size, size, now))

    def mark(self, price: float) -> None:
        """Move mark and index, now."""
        self._show(ev.MarkPrice(self.world.clock(), BTC.id, price, price))

    def funding(self, rate: float, stamp_ns: int = STAMP) -> None:
        """Announce a funding rate, now."""
        self._show(ev.FundingRate(self.world.clock(), BTC.id, rate, 28_800, stamp_ns, 0.003))

    def _show(self, event: Any) -> None:
        self.world._feed(event)


def _source(quotes: Sequence[tuple[float, float, float, float]], start: int) -> Iterator[ev.Observation]:
    yield ev.MarkPrice(start, BTC.id, 70_000.0, 70_000.0)
    yield ev.FundingRate(start, BTC.id, 0.0001, 28_800, start + STAMP - START, 0.003)
    for at, bid, ask, size in quotes:
        ts = start + int(at * S)
        yield ev.Quote(ts, BTC.id, bid, ask, size, size, ts)


@asynccontextmanager
async def running(
    quotes: Sequence[tuple[float, float, float, float]] = QUOTES, faults: Sequence[Fault] = (), cash: str = "400000", rules: Rules = RULES,
    delays: Delays = INSTANT, clock: Callable[[], int] | None = None,
) -> AsyncIterator[Desk]:  # fmt: skip
    """Serve a market for the length of a block. clock: UTC ns, else the one that `to` turns."""
    desk = Desk(quotes, faults, cash, rules, delays, clock)
    await desk.server.open("127.0.0.1", 0)
    desk.world.start()
    desk.to(0.0)
    try:
        yield desk
    finally:
        await desk.server.close()


def fault(kind: FaultKind, at: float = 0.0, count: int = 1, seconds: float = 0.0, **args: float) -> Fault:
    """Return a fault of the venue, `at` seconds from the start."""
    return Fault(at_ns=START + int(at * S), venue="perp", kind=kind, count=count, for_ns=int(seconds * S), args=args)


async def until(condition: Any, told: str = "") -> None:
    """Wait for a condition, bounded by the caller's timeout."""
    while not condition():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def client(desk: Desk, key: str = KEY, secret: str = SECRET) -> AsyncIterator[Any]:
    """Return ccxt.pro's binanceusdm talking to the server and to nothing else, with the venue's own error map."""
    import ccxt.pro

    class Local(ccxt.pro.binanceusdm):  # type: ignore[misc]
        def milliseconds(self) -> int:
            return desk.world.clock() // 1_000_000

        def get_exceptions_by_url(self, url: Any, exactOrBroad: str) -> Any:
            return self.exceptions["linear"].get(exactOrBroad, {})

    base = f"127.0.0.1:{desk.server.port}"
    exchange = Local({"apiKey": key, "secret": secret, "enableRateLimit": False, "timeout": 2_000})
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"] = _urls(exchange.urls["api"], base)
    exchange.urls["api"]["ws"] = {"linear": f"ws://{base}/ws", "ws-api": {"linear": f"ws://{base}/ws-fapi/v1"}}
    try:
        yield exchange
    finally:
        await exchange.close()


def _urls(urls: dict[str, Any], base: str) -> dict[str, Any]:
    """Return every address of a table moved to the server."""
    out = {}
    for name, url in urls.items():
        if isinstance(url, str):
            out[name] = f"http://{base}/" + url.split("://", 1)[1].partition("/")[2]
    return out
