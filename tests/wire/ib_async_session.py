"""One session of ib_async 2.1.0, ib_insync's maintained successor, in an environment of its own: port on the command line, JSON out.

Connects, asks for contract details and bars, watches quotes, asks what an order would do, buys at the touch, lets an order
rest and cancels it, has one refused, reconnects and finds orders, executions and positions. Needs nothing of this project.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from ib_async import IB, Future, LimitOrder


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, bounded by the whole session's timeout."""
    while not condition():
        await asyncio.sleep(0.002)


async def connected(port: int) -> IB:
    ib = IB()
    await ib.connectAsync("127.0.0.1", port, clientId=5, timeout=5, raiseSyncErrors=True)
    return ib


async def session(port: int) -> dict[str, Any]:
    ib = await connected(port)
    errors: list[int] = []
    ib.errorEvent += lambda req, code, text, contract: errors.append(code)
    out: dict[str, Any] = {"version": ib.client.serverVersion()}
    (found,) = await ib.reqContractDetailsAsync(Future("MBT", "202611", "CME", currency="USD"))
    contract = found.contract
    out["details"] = [contract.localSymbol, contract.multiplier, found.minTick, contract.lastTradeDateOrContractMonth]
    ticker = ib.reqMktData(contract)
    await until(lambda: ticker.bid == ticker.bid and ticker.ask == ticker.ask)
    out["quote"] = [ticker.marketDataType, ticker.bid, ticker.ask]
    ib.cancelMktData(contract)
    bars = await ib.reqHistoricalDataAsync(contract, "", "300 S", "1 min", "MIDPOINT", useRTH=False, formatDate=2)
    out["bars"] = [[bar.date.isoformat(), bar.close] for bar in bars]
    state = await ib.whatIfOrderAsync(contract, LimitOrder("BUY", 2, 70_000, tif="DAY"))
    out["margin"] = float(state.initMarginChange)

    filled = ib.placeOrder(contract, LimitOrder("BUY", 3, 70_010, tif="DAY", orderRef="P00001L00000001"))
    await until(lambda: filled.orderStatus.status == "Filled" and filled.fills and filled.fills[0].commissionReport.execId)
    fill = filled.fills[0]
    out["fill"] = [fill.execution.shares, fill.execution.price, fill.execution.orderRef, fill.commissionReport.commission]
    gone = ib.placeOrder(contract, LimitOrder("BUY", 1, 69_000, tif="DAY", orderRef="P00001L00000002"))
    await until(lambda: gone.orderStatus.status == "Submitted")
    ib.cancelOrder(gone.order)
    await until(lambda: gone.orderStatus.status == "Cancelled")
    refused = ib.placeOrder(contract, LimitOrder("BUY", 400, 70_010, tif="DAY", orderRef="P00001L00000003"))
    await until(lambda: 201 in errors and refused.orderStatus.status == "Inactive")
    rests = ib.placeOrder(contract, LimitOrder("BUY", 1, 68_000, tif="DAY", orderRef="P00001L00000004"))
    await until(lambda: rests.orderStatus.status == "Submitted")
    ib.disconnect()

    ib = await connected(port)
    out["open"] = [[t.order.orderRef, t.orderStatus.status, t.order.permId == rests.orderStatus.permId] for t in ib.openTrades()]
    out["executions"] = [[f.execution.orderRef, f.execution.shares] for f in ib.fills()]
    out["completed"] = sorted([t.order.orderRef, t.orderStatus.status] for t in await ib.reqCompletedOrdersAsync(False))
    out["positions"] = [[p.contract.localSymbol, p.position, p.avgCost] for p in ib.positions()]
    out["summary"] = sorted(v.tag for v in await ib.accountSummaryAsync() if v.tag in ("NetLiquidation", "MaintMarginReq"))
    ib.reqGlobalCancel()
    await until(lambda: not ib.openTrades())
    ib.disconnect()
    out["errors"] = [code for code in errors if code < 2_000]
    return out


print(json.dumps(asyncio.run(asyncio.wait_for(session(int(sys.argv[1])), 20))))
