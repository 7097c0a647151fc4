"""Interactive Brokers as a venue: bot.model.ports.Venue on sessions with TWS or Gateway, through ib_insync or ib_async.

Parts: ib_line one connection and its questions, ib_session supervision and codes, ib_looks what the broker's records show,
ib_orders what follows for orders, ib_outbox what leaves, ib_quotes prices, ib_contracts which contract an instrument is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.model.command import Command, QueryOrder, QueryVenue, Submit
from bot.model.errors import VenueError
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument, Kind
from bot.model.ports import Emit
from bot.venues import ib_checks
from bot.venues.budget import Allowance, Budget
from bot.venues.finding import Finding
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_endpoint import IbEndpoint, Pace
from bot.venues.ib_history import History
from bot.venues.ib_line import Line, LineError, RequestFailed
from bot.venues.ib_outbox import Outbox
from bot.venues.ib_session import Session

__all__ = ["IbEndpoint", "IbVenue", "Pace"]

ALLOWANCE = Allowance(limit=45, span_ns=1_000_000_000, reserve=15)
"""TWS takes 50 messages a second of one client (broker's page, read 2026-11); what is reserved is for cancels and reductions."""


def silent(event: str, **more: Any) -> None:
    """Log nothing."""


class IbVenue:
    """bot.model.ports.Venue. instruments: those of other venues are left out. clock: UTC ns. pace: patience in wall time.

    Only futures with explicit time in force DAY or IOC are sent, never one that outlives the day.
    """

    def __init__(
        self, venue: VenueId, instruments: Mapping[InstrumentId, Instrument], endpoint: IbEndpoint, *, clock: Callable[[], int],
        log: Callable[..., None] = silent, pace: Pace | None = None,
    ) -> None:  # fmt: skip
        own = {i: x for i, x in instruments.items() if x.venue == venue and x.kind is Kind.FUTURE}
        self._venue = venue
        self._clock = clock
        self.session = Session(venue, Contracts(own, endpoint.pins), endpoint, DeskSessions(own), clock=clock, log=log, pace=pace or Pace())
        self._outbox = Outbox(self.session, endpoint.client_id, clock, log)
        self._task: asyncio.Task[None] | None = None
        self._history: History | None = None

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self._venue

    def start(self, emit: Emit) -> None:
        """Begin to connect; needs a running loop. The venue is reported up when its records have been looked at."""
        self.session.listen(emit)
        loop = asyncio.get_running_loop()
        budget = Budget((ALLOWANCE,), lambda: int(loop.time() * 1e9), loop.call_later)
        self._task = loop.create_task(self.session.run(budget), name=f"venue {self._venue}")
        self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Disconnect; nothing is emitted any more. Orders at the broker stay."""
        self.session.listen(_unheard)
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Wait for the end of what `stop` has ended. Raises what ended it before, a defect."""
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()

    def send(self, command: Command, now_ns: int) -> None:
        """Hand over one command. An order that cannot leave is answered within the call, a question without a session fails."""
        session = self.session
        if isinstance(command, Submit):
            self._outbox.submit(command)
        elif isinstance(command, QueryOrder | QueryVenue):
            if not session.up:
                session.emit(ev.QueryFailed(ts=self._clock(), venue=self._venue, reason="not connected"))
            elif isinstance(command, QueryOrder):
                session.looks.order(command.client_id)
            else:
                session.looks.venue(command.since_ns)
        else:
            self._outbox.cancel(command)

    # For others than the loop.

    async def history(self, instrument: InstrumentId, from_ns: int, to_ns: int) -> list[ev.Quote]:
        """Return the one-minute closes of [from_ns, to_ns) as quotes, oldest first. Raises VenueError when they cannot be had."""
        async with self._connected() as line:
            found = self.session.contracts.found.get(instrument)
            if found is None:
                raise VenueError(f"{self._venue}: {self.session.contracts.why.get(instrument, f'{instrument} is not traded here')}")
            if self._history is None:
                self._history = History()
            return await self._history.quotes(line, found, from_ns, to_ns)

    async def examine(self) -> list[Finding]:
        """Look at everything that must be right before orders may leave."""
        try:
            async with self._connected() as line:
                return await ib_checks.examine(self.session, line, self._clock())
        except VenueError as error:
            return [Finding(name="session", ok=False, found=str(error), fix="start TWS or Gateway, allow API connections, check port, client id and account")]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Line]:
        """Lend the session's line, of a session for the length of the block when none is kept. Raises VenueError."""
        own, session = self._task is None, self.session
        if own:
            self.start(_unheard)
        try:
            async with asyncio.timeout(session.pace.connect + session.pace.answer):
                await session.ready.wait()
            if session.line is None:
                raise VenueError(f"{self._venue}: not connected")
            yield session.line
        except TimeoutError:
            raise VenueError(f"{self._venue}: {session.why or 'no answer in time'}") from None
        except (LineError, RequestFailed) as error:
            raise VenueError(f"{self._venue}: {error}") from error
        finally:
            if own:
                self.stop()
                await self.closed()
                self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so when supervision has ended by itself, which only a defect can cause."""
        if not task.cancelled() and task.exception() is not None:
            session, now = self.session, self._clock()
            session.emit(ev.VenueStatus(ts=now, venue=self._venue, up=False, reason="defect"))
            session.emit(ev.Alert(ts=now, severity=ev.Severity.CRIT, code="ib.defect", text=f"the venue's supervision has died: {task.exception()!r}"))


def _unheard(event: ev.Event) -> None:
    """Nobody listens any more."""
