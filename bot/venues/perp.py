"""An exchange of perpetuals as a venue of the desk, through ccxt.pro.

Commands go out once and what comes back are events; what is not known is never made up. While the account's stream is down
the venue is down, because fills could be missed: when it is back the desk asks for everything.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, Submit
from bot.model.errors import VenueError
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.order import Outcome
from bot.model.ports import Emit
from bot.venues import perp_checks
from bot.venues.finding import Finding
from bot.venues.perp_account import Fills
from bot.venues.perp_client import build
from bot.venues.perp_endpoint import PerpEndpoint
from bot.venues.perp_errors import told
from bot.venues.perp_history import bars
from bot.venues.perp_line import Line, Log, failures, nobody, silent
from bot.venues.perp_orders import Orders
from bot.venues.perp_parse import Symbols, terms_of
from bot.venues.perp_quirks import number, quirks_of
from bot.venues.perp_session import Session
from bot.venues.perp_snapshot import Snapshots

__all__ = ["PerpEndpoint", "PerpVenue"]

RETRY_S = (0.5, 10.0)


class PerpVenue:
    """bot.model.ports.Venue on one exchange. clock: UTC ns."""

    def __init__(
        self, venue: VenueId, instruments: Mapping[InstrumentId, Instrument], endpoint: PerpEndpoint, *,
        clock: Callable[[], int], log: Log = silent,
    ) -> None:  # fmt: skip
        """Raises ConfigError for an exchange that is not known or a venue without instruments."""
        terms_of(instruments, venue)
        self._venue = venue
        self._quirks = quirks_of(endpoint.exchange)
        self._symbols = Symbols(instruments, venue)
        self._endpoint = endpoint
        self._clock = clock
        self._log = log
        self._emit: Emit = nobody
        self._line: Line | None = None
        self._orders: Orders | None = None
        self._snapshots: Snapshots | None = None
        self._main: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self._venue

    # The port.

    def start(self, emit: Emit) -> None:
        """Connect in the running loop; VenueStatus tells when orders can go."""
        self._emit = emit
        self._main = asyncio.get_running_loop().create_task(self._run(), name=f"{self._venue} main")
        self._main.add_done_callback(self._over)

    def send(self, command: Command, now_ns: int) -> None:
        """Hand over one command; before the venue is connected, orders are denied and questions fail."""
        if self._main is None or self._main.done():
            return
        if isinstance(command, Submit):
            self._spawn(self._submit(command), command)
        elif isinstance(command, Cancel):
            self._spawn(self._ask(lambda orders, snapshots: orders.cancel(command)), command)
        elif isinstance(command, QueryOrder):
            self._spawn(self._ask(lambda orders, snapshots: orders.query(command)), command)
        else:
            self._spawn(self._ask(lambda orders, snapshots: snapshots.answer(command.since_ns)), command)

    def stop(self) -> None:
        """Disconnect; nothing is emitted any more. What is under way may still reach the exchange."""
        self._emit = nobody
        if self._line is not None:
            self._line.emit = nobody
        if self._main is not None:
            self._main.cancel()

    async def closed(self) -> None:
        """Wait until everything has ended."""
        if self._main is not None:
            await asyncio.gather(self._main, return_exceptions=True)

    # For others than the loop.

    async def history(self, instrument: InstrumentId, from_ns: int, to_ns: int) -> list[ev.Quote]:
        """Return the one-minute closes of a span as quotes, oldest first. Raises VenueError when they cannot be had."""
        async with self._borrowed() as line:
            try:
                await self._know(line)
                return await bars(line, self._symbols.instruments[instrument], from_ns, to_ns)
            except failures() as error:
                raise VenueError(f"{self._venue}: history of {instrument}: {told(error)}") from None

    async def examine(self) -> list[Finding]:
        """Look at everything that must be right before orders may leave."""
        async with self._borrowed() as line:
            try:
                odd = await self._know(line)
            except failures() as error:
                return [Finding(name="markets", ok=False, found=told(error), fix="check the address, the network and the exchange's status")]
            terms = Finding(
                name="terms", ok=not odd, found="; ".join(odd) or f"{len(self._symbols.symbol)} instruments as configured",
                fix="correct instruments.toml" if odd else "",
            )  # fmt: skip
            return [terms, *await perp_checks.examine(line, self._endpoint.leverage, self._endpoint.keyed)]

    # Inside.

    async def _run(self) -> None:
        """Connect and stay connected until cancelled."""
        await asyncio.to_thread(importlib.import_module, "ccxt.pro")  # seconds: the loop goes on meanwhile
        line = self._new_line()
        line.emit = self._emit
        self._line = line
        fills = Fills(line)
        self._snapshots = Snapshots(line, fills)
        self._orders = Orders(line, fills, self._endpoint.order_socket)
        try:
            await self._prepared(line)
            await Session(line, fills, self._snapshots, self._endpoint).run()
        finally:
            await self._close(line)

    def _new_line(self) -> Line:
        return Line(self._venue, build(self._endpoint, self._clock), self._quirks, self._symbols, self._clock, self._log)

    async def _prepared(self, line: Line) -> None:
        """Read the exchange's markets until they agree with our terms; say once what is wrong."""
        wait, said = RETRY_S[0], ""
        while True:
            try:
                odd = await self._know(line)
                if not odd:
                    return
                why, code = "; ".join(odd), "perp.terms"
            except failures() as error:
                why, code = line.judge(error).text, "perp.connect"
            if why != said:
                line.alert(ev.Severity.CRIT if code == "perp.terms" else ev.Severity.WARN, code, f"{self._venue}: {why}")
                line.emit(ev.VenueStatus(ts=line.clock(), venue=self._venue, up=False, reason=why))
                said = why
            await asyncio.sleep(wait)
            wait = min(2.0 * wait, RETRY_S[1])

    async def _know(self, line: Line) -> list[str]:
        """Read the markets; return where they disagree with our terms."""
        markets = await line.read(lambda: line.client.load_markets(True), patience=5.0)
        if not markets:
            raise ValueError("the exchange lists no markets")
        return self._symbols.resolve(markets)

    async def _submit(self, command: Submit) -> None:
        if self._orders is None:
            end = ev.OrderEnded(ts=self._clock(), client_id=command.order.client_id, outcome=Outcome.DENIED, cum_qty=number(None), reason="not connected")
            self._emit(end)
            return
        await self._orders.submit(command)

    async def _ask(self, act: Callable[[Orders, Snapshots], Coroutine[Any, Any, None]]) -> None:
        if self._orders is None or self._snapshots is None or not self._symbols.symbol:
            self._emit(ev.QueryFailed(ts=self._clock(), venue=self._venue, reason="not connected"))
            return
        await act(self._orders, self._snapshots)

    def _spawn(self, work: Coroutine[Any, Any, None], command: Command) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, command))

    def _ended(self, task: asyncio.Task[None], command: Command) -> None:
        """Let nothing fail in silence: an error that nobody foresaw says nothing about an order."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._log("unforeseen", {"command": type(command).__name__, "text": told(error)})
        self._emit(ev.Alert(ts=self._clock(), severity=ev.Severity.CRIT, code="perp.unforeseen", text=f"{self._venue}: {told(error)}"))
        if isinstance(command, Submit):
            self._emit(ev.NoAnswer(ts=self._clock(), client_id=command.order.client_id, reason=told(error)))

    def _over(self, task: asyncio.Task[None]) -> None:
        """Say so when the venue ended by itself: no library, a sandbox that does not exist, or what nobody foresaw."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._emit(ev.Alert(ts=self._clock(), severity=ev.Severity.CRIT, code="perp.stopped", text=f"{self._venue}: {told(error)}"))
            self._emit(ev.VenueStatus(ts=self._clock(), venue=self._venue, up=False, reason=told(error)))

    def _borrowed(self) -> _Borrowed:
        return _Borrowed(self._line, self._new_line)

    async def _close(self, line: Line) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await line.close()


class _Borrowed:
    """The line in use, or one of its own for the length of a block."""

    def __init__(self, line: Line | None, new: Callable[[], Line]) -> None:
        self._line = line
        self._new = new
        self._own: Line | None = None

    async def __aenter__(self) -> Line:
        if self._line is not None:
            return self._line
        await asyncio.to_thread(importlib.import_module, "ccxt.pro")
        self._own = self._new()
        return self._own

    async def __aexit__(self, *failure: object) -> None:
        if self._own is not None:
            await self._own.close()
