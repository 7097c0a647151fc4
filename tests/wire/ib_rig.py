"""The adapter of Interactive Brokers on a TWS server: what it emits, and a market clock that follows the wall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from tws_rig import MBT, START, Desk, S, running, until

from bot.model import event as ev
from bot.model.command import Cancel, QueryOrder, QueryVenue, Submit
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.venues.ib import IbEndpoint, IbVenue, Pace

LIMIT_S = 15.0
SPEED = 15.0
"""Seconds of market time in one of the wall: what lasts long in a market does not last as long in a test."""
QUOTES = tuple((float(n), 70_000.0 + 10 * n, 70_010.0 + 10 * n, 8.0) for n in range(90))
"""One quote a second of market time, each 10 higher."""
PACE = Pace(connect=3.0, answer=0.6, probe=0.15, stale=5.0, retry=0.02, retry_max=0.1, fresh=0.05)
E = TypeVar("E")


class Rig:
    """A venue under test. heard: everything it emitted, in order."""

    def __init__(self, desk: Desk, venue: IbVenue) -> None:
        self.desk = desk
        self.venue = venue
        self.heard: list[Any] = []

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type."""
        return [e for e in self.heard if isinstance(e, kind)]

    def fills(self) -> list[ev.OrderFilled]:
        """Return the fills, without what answers have repeated. AssertionError for a repetition that is not one."""
        seen: dict[str, ev.OrderFilled] = {}
        for fill in self.of(ev.OrderFilled):
            before = seen.setdefault(fill.exec_id, fill)
            assert msgspec.structs.replace(fill, ts=before.ts) == before
        return list(seen.values())

    def alerts(self, code: str) -> list[ev.Alert]:
        """Return the alerts of one code."""
        return [a for a in self.of(ev.Alert) if a.code == code]

    @property
    def up(self) -> bool:
        """Return what was last said of the venue."""
        told = self.of(ev.VenueStatus)
        return bool(told) and told[-1].up

    def submit(self, client_id: str, side: Side, qty: int, limit: int, *, tif: TimeInForce = TimeInForce.DAY, opening: bool = True) -> None:
        """Send an order."""
        spec = OrderSpec(
            client_id=client_id, pair="p", venue="cme", instrument=MBT.id, side=side, qty=Decimal(qty), limit=Decimal(limit), tif=tif, purpose=Purpose.LEAD
        )  # fmt: skip
        self.venue.send(Submit(spec, opening), self.desk.world.clock())

    def cancel(self, client_id: str) -> None:
        """Ask for a cancel."""
        self.venue.send(Cancel("cme", MBT.id, client_id), self.desk.world.clock())

    def query(self, client_id: str) -> None:
        """Ask what became of an order."""
        self.venue.send(QueryOrder("cme", MBT.id, client_id), self.desk.world.clock())

    def query_venue(self, since_ns: int = ev.NEVER) -> None:
        """Ask for everything, bookings since an instant included."""
        self.venue.send(QueryVenue("cme", since_ns), self.desk.world.clock())

    async def quoted(self) -> None:
        """Wait for the first price."""
        await until(lambda: self.up and self.of(ev.Quote))


async def flow(desk: Desk, speed: float = SPEED) -> None:
    """Let the market's clock follow the wall, `speed` times as fast."""
    loop = asyncio.get_running_loop()
    began = loop.time() - desk.at / speed
    while True:
        desk.to(max(desk.at, (loop.time() - began) * speed))
        await asyncio.sleep(0.002)


@asynccontextmanager
async def adapter(
    desk: Desk, pace: Pace = PACE, client_id: int = 7, pins: dict[str, str] | None = None, port: int = 0, ahead_ns: int = 0,
    depth_rows: int = 0,
) -> AsyncIterator[Rig]:  # fmt: skip
    """Run the adapter against a server for the length of a block. ahead_ns: what its clock is ahead of the market's."""
    endpoint = IbEndpoint(host="127.0.0.1", port=port or desk.server.port, client_id=client_id, pins=pins or {}, depth_rows=depth_rows)
    rig = Rig(desk, IbVenue("cme", {MBT.id: MBT}, endpoint, clock=lambda: desk.world.clock() + ahead_ns, pace=pace))
    rig.venue.start(rig.heard.append)
    try:
        yield rig
    finally:
        rig.venue.stop()
        await rig.venue.closed()


Body = Callable[[Rig], Awaitable[None]]


def play(body: Body, *, pace: Pace = PACE, pins: dict[str, str] | None = None, speed: float = SPEED, depth_rows: int = 0, **more: Any) -> None:
    """Let a body have an adapter that has begun to connect, and a market whose clock runs."""

    heard: list[Any] = []

    async def whole() -> None:
        async with asyncio.timeout(LIMIT_S), running(**more) as desk:
            clock = asyncio.ensure_future(flow(desk, speed))
            try:
                async with adapter(desk, pace, pins=pins, depth_rows=depth_rows) as rig:
                    rig.heard = heard
                    rig.venue.session.listen(heard.append)
                    await body(rig)
            finally:
                clock.cancel()

    try:
        asyncio.run(whole())
    except BaseException as error:
        lines = [f"  {(e.ts - START) / S:7.3f} {e}" for e in heard if not isinstance(e, ev.Quote)]
        error.add_note("\n".join(["heard, quotes left out:", *lines[-40:]]))
        raise


__all__ = ["QUOTES", "LIMIT_S", "MBT", "PACE", "START", "Body", "Desk", "Rig", "S", "adapter", "flow", "play", "running", "until"]
