"""One session of the broker's own Python client (ibapi 9.81.1.post1), run in an environment of its own: port on the command line, JSON out.

Connects, asks for contract details and bars, watches quotes, buys at the touch, lets an order rest and cancels it, and asks for
positions and executions. Needs nothing of this project.
"""

import json
import queue
import sys
import threading
from typing import Any

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.wrapper import EWrapper


class Session(EWrapper, EClient):  # type: ignore[misc]
    """Keeps every callback of interest, by name, in the order of arrival."""

    def __init__(self) -> None:
        EClient.__init__(self, self)
        self.heard: queue.Queue[tuple[str, list[Any]]] = queue.Queue()
        self.all: list[tuple[str, list[Any]]] = []

    def keep(self, name: str, *args: Any) -> None:
        self.heard.put((name, list(args)))

    def wait(self, name: str, fits: Any = lambda args: True) -> list[Any]:
        """Return the next callback of that name that fits; queue.Empty after five seconds of silence."""
        while True:
            item = self.heard.get(timeout=5)
            self.all.append(item)
            if item[0] == name and fits(item[1]):
                return item[1]

    def nextValidId(self, orderId: int) -> None:
        self.keep("nextValidId", orderId)

    def managedAccounts(self, accountsList: str) -> None:
        self.keep("managedAccounts", accountsList)

    def error(self, reqId: int, errorCode: int, errorString: str) -> None:
        self.keep("error", reqId, errorCode)

    def contractDetails(self, reqId: int, contractDetails: Any) -> None:
        c = contractDetails.contract
        self.keep("contractDetails", c.conId, c.localSymbol, c.multiplier, contractDetails.minTick, c.lastTradeDateOrContractMonth)

    def contractDetailsEnd(self, reqId: int) -> None:
        self.keep("contractDetailsEnd", reqId)

    def tickPrice(self, reqId: int, tickType: int, price: float, attrib: Any) -> None:
        self.keep("tickPrice", int(tickType), price)

    def tickSize(self, reqId: int, tickType: int, size: int) -> None:
        self.keep("tickSize", int(tickType), size)

    def marketDataType(self, reqId: int, marketDataType: int) -> None:
        self.keep("marketDataType", marketDataType)

    def historicalData(self, reqId: int, bar: Any) -> None:
        self.keep("historicalData", bar.date, bar.close, bar.volume)

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:
        self.keep("historicalDataEnd", start, end)

    def openOrder(self, orderId: int, contract: Any, order: Any, orderState: Any) -> None:
        self.keep("openOrder", orderId, contract.localSymbol, order.orderRef, order.lmtPrice, orderState.status)

    def orderStatus(self, orderId: int, status: str, filled: float, remaining: float, avgFillPrice: float, *rest: Any) -> None:
        self.keep("orderStatus", orderId, status, filled, remaining, avgFillPrice)

    def execDetails(self, reqId: int, contract: Any, execution: Any) -> None:
        self.keep("execDetails", reqId, execution.execId, execution.shares, execution.price, execution.orderRef)

    def execDetailsEnd(self, reqId: int) -> None:
        self.keep("execDetailsEnd", reqId)

    def commissionReport(self, commissionReport: Any) -> None:
        self.keep("commissionReport", commissionReport.execId, commissionReport.commission)

    def position(self, account: str, contract: Any, position: float, avgCost: float) -> None:
        self.keep("position", account, contract.localSymbol, position, avgCost)

    def positionEnd(self) -> None:
        self.keep("positionEnd")


def order(qty: int, price: float, ref: str) -> Order:
    made = Order()
    made.action, made.totalQuantity, made.orderType, made.lmtPrice, made.tif, made.orderRef = "BUY", qty, "LMT", price, "DAY", ref
    return made


def main(port: int) -> None:
    session = Session()
    session.connect("127.0.0.1", port, 7)
    threading.Thread(target=session.run, daemon=True).start()
    out: dict[str, Any] = {"version": session.serverVersion()}
    (first,) = session.wait("nextValidId")
    future = Contract()
    future.symbol, future.secType, future.exchange, future.currency, future.lastTradeDateOrContractMonth = "MBT", "FUT", "CME", "USD", "202611"
    session.reqContractDetails(1, future)
    out["details"] = session.wait("contractDetails")
    session.wait("contractDetailsEnd")
    future.conId = out["details"][0]
    session.reqMktData(2, future, "", False, False, [])
    out["type"] = session.wait("marketDataType")
    out["bid"], out["ask"] = session.wait("tickPrice", lambda a: a[0] == 1)[1], session.wait("tickPrice", lambda a: a[0] == 2)[1]
    session.cancelMktData(2)
    session.reqHistoricalData(4, future, "", "120 S", "1 min", "MIDPOINT", 0, 1, False, [])
    out["bars"] = [session.wait("historicalData"), session.wait("historicalData")]
    out["bars_end"] = session.wait("historicalDataEnd")
    session.placeOrder(first, future, order(3, 70_010.0, "P00001L00000001"))
    out["fill"] = session.wait("execDetails")
    out["filled"] = session.wait("orderStatus", lambda a: a[1] == "Filled")
    out["commission"] = session.wait("commissionReport")[1]
    session.placeOrder(first + 1, future, order(1, 69_000.0, "P00001L00000002"))
    out["resting"] = session.wait("openOrder", lambda a: a[4] == "Submitted")
    session.reqOpenOrders()
    out["open"] = session.wait("openOrder")
    session.cancelOrder(first + 1)
    out["cancelled"] = session.wait("orderStatus", lambda a: a[1] == "Cancelled")
    session.wait("error", lambda a: a[1] == 202)
    session.reqPositions()
    out["position"] = session.wait("position")
    session.wait("positionEnd")
    session.reqExecutions(3, ExecutionFilter())
    out["execution"] = session.wait("execDetails", lambda a: a[0] == 3)
    session.wait("execDetailsEnd")
    out["errors"] = [args for name, args in session.all if name == "error" and args[1] < 2000 and args[1] != 202]
    print(json.dumps(out))
    session.disconnect()


main(int(sys.argv[1]))
