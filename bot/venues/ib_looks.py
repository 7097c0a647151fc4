"""Looks at the broker's records, one at a time: every question that came before a look began is answered from it.

A question that comes during a look waits for the next one, because what it asks about may have been sent meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bot.model import event as ev
from bot.model.ids import ClientId, VenueId
from bot.model.ports import Emit
from bot.venues.budget import Priority
from bot.venues.ib_account import holdings, look, snapshot
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_line import Line, LineError, RequestFailed
from bot.venues.ib_orders import Orders


class Looks:
    """What is asked, and the answering of it. orders: set by the owner, who needs `want` to make them.

    linked: whether the gateway reaches the broker; while it does not, nothing is asked, as nothing would be answered.
    """

    def __init__(self, venue: VenueId, contracts: Contracts, clock: Callable[[], int], log: Callable[..., None]) -> None:
        self.emit: Emit = lambda event: None
        self.orders: Orders
        self._venue = venue
        self._contracts = contracts
        self._clock = clock
        self._log = log
        self._asked: dict[ClientId, None] = {}
        self._whole, self._since_ns = False, 0
        self._wanted = asyncio.Event()
        self.linked = asyncio.Event()
        self.linked.set()
        self._foreign: tuple[str, ...] = ()
        self._waiting: list[asyncio.Future[None]] = []

    def want(self) -> None:
        """Look soon: something was said of an order that has to be confirmed."""
        self._wanted.set()

    def order(self, client_id: ClientId) -> None:
        """Answer what became of an order."""
        self._asked[client_id] = None
        self.want()

    def venue(self, since_ns: int) -> None:
        """Answer what has been booked since a UTC instant, and what is held and working."""
        self._since_ns = min(self._since_ns, since_ns) if self._whole else since_ns
        self._whole = True
        self.want()

    async def done(self) -> None:
        """Wait for a look that begins from now on."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.want()
        await future

    def fail(self, why: str) -> None:
        """Answer every question with its failure: the connection is gone."""
        if self._asked or self._whole:
            self._asked.clear()
            self._whole = False
            self.emit(ev.QueryFailed(ts=self._clock(), venue=self._venue, reason=why))

    async def run(self, line: Line) -> None:
        """Look whenever it is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            await self.linked.wait()
            try:
                await self.once(line)
            except LineError as error:
                if not line.alive:
                    raise
                await self._failed(line, str(error))
            except RequestFailed as error:
                await self._failed(line, str(error))
            except TimeoutError:
                await self._failed(line, "no answer in time")

    async def once(self, line: Line) -> None:
        """Look now and answer. Raises LineError, RequestFailed, TimeoutError; questions then stay asked."""
        self._wanted.clear()
        asked, whole, waiting = list(self._asked), self._whole, self._waiting[:]
        unsettled = self.orders.unsettled()
        try:
            seen = await look(line)
        except BaseException:
            self.orders.unsure(unsettled)
            raise
        for ticket in self.orders.settle(unsettled, seen):
            if ticket.order_id:
                line.tell(Priority.CANCEL, lambda n=ticket.order_id: line.client.cancelOrder(n, ""))  # type: ignore[misc]
                asyncio.get_running_loop().call_later(line.pace.fresh, self.want)
        for client_id in asked:
            self._asked.pop(client_id, None)
            self.orders.answer(client_id, seen)
        if whole:
            held = await holdings(line, self._contracts)
            self._whole = False
            self.orders.executions.repeat(self._since_ns)
            unknown = self._contracts.unknown(self._clock())
            self._report(held.foreign, held.values["LookAheadExcessLiquidity"])
            self.emit(
                ev.QueryFailed(ts=self._clock(), venue=self._venue, reason=unknown) if unknown
                else snapshot(self._venue, self._clock(), seen, held, self.orders)
            )  # fmt: skip
        for future in waiting:
            self._waiting.remove(future)
            if not future.done():
                future.set_result(None)

    async def _failed(self, line: Line, why: str) -> None:
        """Answer with the failure and look again soon: what waits to be confirmed still waits."""
        self._log("ib.look_failed", reason=why)
        self.fail(why)
        await asyncio.sleep(line.pace.fresh)
        self.want()

    def _report(self, foreign: tuple[str, ...], excess: float) -> None:
        """Alert to what a snapshot has no place for."""
        if foreign != self._foreign:
            self._foreign = foreign
            if foreign:
                self._alert(ev.Severity.WARN, "ib.foreign_position", f"the account holds what is not traded here: {', '.join(foreign)[:200]}")
        if excess <= 0.0:
            text = f"excess liquidity after the next margin change is {excess:.0f} USD: the broker liquidates without a call"
            self._alert(ev.Severity.CRIT, "ib.excess_liquidity", text)

    def _alert(self, severity: ev.Severity, code: str, text: str) -> None:
        self.emit(ev.Alert(ts=self._clock(), severity=severity, code=code, text=text))
