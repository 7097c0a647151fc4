"""The adapter with ib_async as its client library, in an environment of its own. Run by test_ib_async_adapter; argv: port of a TWS server.

Connects, looks, watches quotes, buys, lets an order rest, asks for everything, cancels, asks for history, examines. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from typing import Any

from tws_rig import MBT, START, S, until

from bot.model import event as ev
from bot.model.command import Cancel, QueryVenue, Submit
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce
from bot.venues.ib import IbEndpoint, IbVenue

LIMIT_S = 25.0


def order(name: str, limit: int) -> Submit:
    """Return an order for two contracts."""
    spec = OrderSpec(
        client_id=name, pair="p", venue="cme", instrument=MBT.id, side=Side.BUY, qty=Decimal(2), limit=Decimal(limit), tif=TimeInForce.DAY, purpose=Purpose.LEAD
    )  # fmt: skip
    return Submit(spec, True)


async def main(port: int) -> dict[str, Any]:
    """Return what the adapter made of a session."""
    heard: list[Any] = []

    def of(kind: type[Any]) -> list[Any]:
        return [e for e in heard if isinstance(e, kind)]

    venue = IbVenue("cme", {MBT.id: MBT}, IbEndpoint(host="127.0.0.1", port=port, client_id=3), clock=lambda: START)
    venue.start(heard.append)
    await until(lambda: of(ev.VenueStatus) and of(ev.Quote))
    venue.send(order("P00001L00000001", 70_010), START)
    venue.send(order("P00001L00000002", 69_000), START)
    await until(lambda: of(ev.OrderEnded) and {a.client_id for a in of(ev.OrderAccepted)} >= {"P00001L00000002"})
    venue.send(QueryVenue("cme", ev.NEVER), START)
    await until(lambda: of(ev.VenueSnapshot))
    venue.send(Cancel("cme", MBT.id, "P00001L00000002"), START)
    await until(lambda: len(of(ev.OrderEnded)) == 2)
    history = await venue.history(MBT.id, START - 300 * S, START)
    findings = await venue.examine()
    library = venue.session.line.lib.__name__ if venue.session.line else ""
    venue.stop()
    await venue.closed()
    snapshot, quote = of(ev.VenueSnapshot)[0], of(ev.Quote)[-1]
    return {
        "library": library, "quote": [quote.bid, quote.ask], "fills": [[f.client_id, str(f.qty), str(f.fee)] for f in of(ev.OrderFilled)],
        "ended": [[e.client_id, e.outcome.value, str(e.cum_qty)] for e in of(ev.OrderEnded)],
        "positions": {i: str(q) for i, q in snapshot.positions.items()}, "working": [w.client_id for w in snapshot.working],
        "history": [[(q.ts - START) // S, 0.5 * (q.bid + q.ask)] for q in history], "wrong": [f.name for f in findings if not f.ok],
        "alerts": [a.text for a in of(ev.Alert)],
    }  # fmt: skip


async def bounded() -> None:
    """Run the session within its limit."""
    async with asyncio.timeout(LIMIT_S):
        print(json.dumps(await main(int(sys.argv[1]))))


if __name__ == "__main__":
    asyncio.run(bounded())
