"""One connection to TWS or Gateway: the library's socket client and decoder, and every question asked over it.

The library's upper half (its IB object and its trades) is left out on purpose: it marks live orders cancelled on any error
that names them, forgets everything when the socket drops, and keeps silent about executions of orders it did not place.
Its lower half takes any listener with the methods below and tells it what TWS said, no more and no less.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from datetime import UTC
from types import SimpleNamespace
from typing import Any, Protocol

import msgspec

from bot.venues.budget import Budget, Priority
from bot.venues.ib_endpoint import IbEndpoint, Pace


class LineError(ConnectionError):
    """The connection cannot be used: refused, cut, or silent."""


class RequestFailed(Exception):
    """TWS answered a question with an error. code: the broker's."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(f"{code}: {told}")
        self.code = code


def library() -> Any:
    """Return the client library: ib_insync, else its successor ib_async, which has the same names.

    To be called inside the running loop: the library asks for a current loop while it is imported.
    """
    asyncio.set_event_loop(asyncio.get_running_loop())
    try:
        import ib_insync as lib
    except ImportError:
        lib = importlib.import_module("ib_async")
    log = logging.getLogger(lib.__name__)
    log.propagate = False  # it would write into the terminal; what matters in it reaches us as messages
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return lib


class OrderHearer(Protocol):
    """Is told what TWS says of orders, pushed or in answers alike. piece_ended: what had arrived has been read."""

    def open_order(self, order_id: int, contract: Any, order: Any, status: str) -> None: ...
    def order_status(self, order_id: int, client: int, perm_id: int, status: str, filled: float) -> None: ...
    def execution(self, contract: Any, execution: Any) -> None: ...
    def commission(self, report: Any) -> None: ...
    def piece_ended(self) -> None: ...


class PriceHearer(Protocol):
    """Is told of prices. ticked: a piece of the stream has ended."""

    def tick(self, req_id: int, kind: int, price: float | None, size: float) -> None: ...
    def data_type(self, req_id: int, kind: int) -> None: ...
    def depth(self, req_id: int, at: int, operation: int, side: int, price: float, size: float) -> None: ...
    def ticked(self) -> None: ...


class NoticeHearer(Protocol):
    """Is told of codes, and of messages that could not be read."""

    def message(self, req_id: int, code: int, told: str) -> None: ...
    def garbled(self, told: str) -> None: ...


class Hearers(msgspec.Struct, frozen=True):
    """Who is told what TWS says on its own."""

    orders: OrderHearer
    prices: PriceHearer
    notices: NoticeHearer


class _Answers:
    """Rows and ends of answers, by what was asked: a request number, or a name where the protocol has none."""

    def __init__(self) -> None:
        self.asked: dict[int | str, tuple[asyncio.Future[list[Any]], list[Any]]] = {}

    def row(self, key: int | str, row: Any) -> None:
        """Add to the answer of a question, if anybody still waits for it."""
        if key in self.asked:
            self.asked[key][1].append(row)

    def end(self, key: int | str) -> None:
        """End an answer."""
        if key in self.asked:
            future, rows = self.asked.pop(key)
            if not future.done():
                future.set_result(rows)

    def fail(self, key: int | str, error: Exception) -> None:
        """End a question without an answer."""
        if key in self.asked:
            future, _ = self.asked.pop(key)
            if not future.done():
                future.set_exception(error)

    # What the decoder calls: names and arguments are the protocol's.

    def openOrderEnd(self) -> None:
        self.end("open")

    def completedOrder(self, contract: Any, order: Any, state: Any) -> None:
        self.row("completed", (contract, order, state))

    def completedOrdersEnd(self) -> None:
        self.end("completed")

    def execDetailsEnd(self, reqId: int) -> None:
        self.end(reqId)

    def contractDetails(self, reqId: int, details: Any) -> None:
        self.row(reqId, details)

    def contractDetailsEnd(self, reqId: int) -> None:
        self.end(reqId)

    def position(self, account: str, contract: Any, size: float, cost: float) -> None:
        self.row("positions", (account, contract, size))

    def positionEnd(self) -> None:
        self.end("positions")

    def accountSummary(self, reqId: int, account: str, tag: str, value: str, currency: str) -> None:
        self.row(reqId, (account, tag, value, currency))

    def accountSummaryEnd(self, reqId: int) -> None:
        self.end(reqId)

    def currentTime(self, seconds: int) -> None:
        self.row("time", seconds)
        self.end("time")

    def historicalData(self, reqId: int, bar: Any) -> None:
        self.row(reqId, bar)

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:
        self.end(reqId)


class _Ear(_Answers):
    """What TWS says, handed on. ib, defaultTimezone: the decoder asks for the zone of times that name none."""

    def __init__(self, hearers: Hearers, gone: Callable[[], None], own_ids: Callable[[int], None], unset: float) -> None:
        super().__init__()
        self.ib = SimpleNamespace(TimezoneTWS="UTC")
        self.defaultTimezone = UTC
        self._orders, self._prices, self._notices = hearers.orders, hearers.prices, hearers.notices
        self._gone = gone
        self._own_ids = own_ids
        self._unset = unset

    def openOrder(self, orderId: int, contract: Any, order: Any, state: Any) -> None:
        if order.whatIf:
            if float(state.initMarginChange or 0) != self._unset:
                self.row(orderId, state)
                self.end(orderId)
            return
        self._own_ids(orderId + 1)  # the next id must be above every one seen
        self.row("open", (contract, order, state))
        self._orders.open_order(orderId, contract, order, state.status)

    def orderStatus(
        self, orderId: int, status: str, filled: float, remaining: float, average: float, permId: int, parentId: int, last: float, clientId: int, *more: Any
    ) -> None:
        self._orders.order_status(orderId, clientId, permId, status, filled)

    def execDetails(self, reqId: int, contract: Any, execution: Any) -> None:
        self._orders.execution(contract, execution)

    def commissionReport(self, report: Any) -> None:
        self._orders.commission(report)

    def priceSizeTick(self, reqId: int, kind: int, price: float, size: float) -> None:
        self._prices.tick(reqId, kind, price, size)

    def tickSize(self, reqId: int, kind: int, size: float) -> None:
        self._prices.tick(reqId, kind, None, size)

    def updateMktDepth(self, reqId: int, position: int, operation: int, side: int, price: float, size: float) -> None:
        self._prices.depth(reqId, position, operation, side, price, size)

    def updateMktDepthL2(
        self, reqId: int, position: int, marketMaker: str, operation: int, side: int, price: float, size: float, isSmartDepth: bool = False
    ) -> None:
        self._prices.depth(reqId, position, operation, side, price, size)

    def marketDataType(self, reqId: int, kind: int) -> None:
        self._prices.data_type(reqId, kind)

    def error(self, reqId: int, code: int, told: str, advanced: str = "") -> None:
        self._notices.message(reqId, code, told)

    def tcpDataProcessed(self) -> None:
        self._orders.piece_ended()
        self._prices.ticked()

    def connectAck(self) -> None:
        """Nothing is to be done: the library starts the session itself."""

    def connectionClosed(self) -> None:
        self._gone()

    def setEventsDone(self) -> None:
        self._gone()


class _Complaints:
    """Stands where the decoder logs what it could not read: a message was lost, perhaps an execution."""

    def __init__(self, notices: NoticeHearer) -> None:
        self._notices = notices

    def exception(self, told: str, *more: Any) -> None:
        self._notices.garbled(told[:200])

    error = warning = info = debug = exception


class Line:
    """One connection, used once: after it is lost a new one is built, so that nothing late of this one is mistaken.

    lost: set when it is gone; why: the reason. number: how many lines were built before it.
    """

    def __init__(self, endpoint: IbEndpoint, hearers: Hearers, budget: Budget, pace: Pace, number: int = 0) -> None:
        self.lib = library()
        self.endpoint = endpoint
        self.pace = pace
        self.budget = budget
        self.number = number
        self.lost = asyncio.Event()
        self.why = ""
        self._ear = _Ear(hearers, self._gone, lambda n: self.client.updateReqId(n), self.lib.util.UNSET_DOUBLE)
        self.client = self.lib.Client(self._ear)
        self.client.MaxRequests = 0  # its own throttle is first in, first out, and silent
        self.client.decoder.logger = _Complaints(hearers.notices)

    @property
    def alive(self) -> bool:
        """Return whether messages can be sent."""
        return not self.lost.is_set() and bool(self.client.isReady())

    async def open(self) -> None:
        """Connect and log in. Raises LineError."""
        end = self.endpoint
        login = asyncio.ensure_future(self.client.connectAsync(end.host, end.port, end.client_id, self.pace.connect))
        gone = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({login, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not login.done():
                raise LineError(self.why or "cut off while logging in")
            login.result()
        except (OSError, TimeoutError) as error:
            raise LineError(self.why or f"{type(error).__name__} {error}".strip()) from error
        finally:
            gone.cancel()
            login.cancel()
            await asyncio.gather(gone, login, return_exceptions=True)

    def close(self, why: str) -> None:
        """Cut the connection at once; questions fail."""
        self._gone(why)
        transport = self.client.conn.transport
        self.client.disconnect()
        if transport is not None:
            transport.abort()  # a peer that does not read would keep a polite close waiting

    async def ask(self, key: int | str, act: Callable[[], None], patience: float = 1.0) -> list[Any]:
        """Send a question with `act` and return the rows of its answer. Raises LineError, RequestFailed, TimeoutError.

        key: a request number from `next_number`, or the protocol's own name of an answer that has none; such a question is
        asked by one caller at a time. patience: times Pace.answer,
        counted from when the question has left.
        """
        if key in self._ear.asked:
            raise LineError(f"{key!r} is already being asked")
        if not self.alive:
            raise LineError(self.why or "not connected")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        left: asyncio.Future[None] = loop.create_future()
        self._ear.asked[key] = future, []
        self.budget.ask(Priority.QUERY, lambda: self._act(key, act, left))
        try:
            either: set[asyncio.Future[Any]] = {left, future}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)  # waiting for room is no silence of theirs
            async with asyncio.timeout(self.pace.answer * patience):
                return await future
        except TimeoutError:
            if isinstance(key, str):  # a late end of this answer would end the next one, which then looks complete
                self._gone(f"no answer to {key}")
                raise LineError(self.why) from None
            raise
        finally:
            left.cancel()
            self._ear.asked.pop(key, None)

    def tell(self, priority: Priority, act: Callable[[], None]) -> None:
        """Send what has no answer of its own, when there is room for it."""
        self.budget.ask(priority, lambda: act() if self.alive else None)

    def next_number(self) -> int:
        """Return a number that no request and no order has had. Raises LineError."""
        if not self.alive:
            raise LineError(self.why or "not connected")
        return int(self.client.getReqId())

    def failed(self, key: int, code: int, told: str) -> bool:
        """Fail the question of that number; return whether there was one."""
        known = key in self._ear.asked
        self._ear.fail(key, RequestFailed(code, told))
        return known

    def _act(self, key: int | str, act: Callable[[], None], left: asyncio.Future[None]) -> None:
        """Send a question that may have waited for room."""
        if left.cancelled() or key not in self._ear.asked:
            return  # nobody waits any more
        if self.alive:
            act()
            if not left.done():
                left.set_result(None)
        else:
            self._ear.fail(key, LineError(self.why or "not connected"))

    def _gone(self, why: str = "connection lost") -> None:
        if self.lost.is_set():
            return
        self.why = self.why or why
        self.lost.set()
        for key in list(self._ear.asked):
            self._ear.fail(key, LineError(self.why))
