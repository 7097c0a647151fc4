"""The session with the broker: connected, proved alive, begun anew when it is not; and what its codes make us do."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine

from bot.model import event as ev
from bot.model.ids import VenueId
from bot.model.ports import Emit, SessionSource
from bot.venues.budget import Budget, Priority
from bot.venues.ib_account import account_of
from bot.venues.ib_codes import Reaction, reaction
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_endpoint import IbEndpoint, Pace
from bot.venues.ib_line import Hearers, Line, LineError, RequestFailed
from bot.venues.ib_looks import Looks
from bot.venues.ib_orders import Orders
from bot.venues.ib_quotes import LIVE, Quotes
from bot.venues.ib_windows import window_at

_S = 1_000_000_000
CLOCK_OFFSET_S = 3
"""Beyond this the broker's clock, told in whole seconds, and ours disagree."""
HOLD_NS = _S
"""Pause after the gateway threw a message away because there were too many."""
R = Reaction
CRIT, WARN, INFO = ev.Severity.CRIT, ev.Severity.WARN, ev.Severity.INFO


class Session:
    """One session after another. line: the connection in use or being built, None between two. up: whether the venue is reported up.

    linked: whether the gateway reaches the broker, by its last word. ready: set while up. offset_s: the broker's clock less ours,
    by its last answer. pinned: instruments whose contract terms the
    configuration confirms. why: reason for being down, "" while up.
    """

    def __init__(
        self, venue: VenueId, contracts: Contracts, endpoint: IbEndpoint, sessions: SessionSource, *, clock: Callable[[], int],
        log: Callable[..., None], pace: Pace,
    ) -> None:  # fmt: skip
        self.emit: Emit = lambda event: None
        self.line: Line | None = None
        self.up = False
        self.ready = asyncio.Event()
        self.linked = True
        self.offset_s = 0
        self.pinned = frozenset(endpoint.pins)
        self.contracts = contracts
        self.looks = Looks(venue, contracts, clock, log)
        self.orders = self.looks.orders = Orders(venue, endpoint.client_id, contracts, clock, log, self.looks.want)
        self.quotes = Quotes(sessions, clock, endpoint.depth_rows)
        self.pace = pace
        self._venue = venue
        self._endpoint = endpoint
        self._clock = clock
        self._log = log
        self.why = ""
        self._told = ""
        self._time: Callable[[], float] = lambda: 0.0  # the loop's, from `run` on
        self._unlinked = self._resolved = 0.0
        self._odd: set[str] = set()
        self._helpers: set[asyncio.Task[None]] = set()

    def listen(self, emit: Emit) -> None:
        """Tell everything to `emit` from now on."""
        self.emit = self.looks.emit = self.orders.emit = self.quotes.emit = emit

    # Supervision.

    async def run(self, budget: Budget) -> None:
        """Keep a session until cancelled."""
        self._time = asyncio.get_running_loop().time
        failures = number = 0
        while True:
            line = self.line = Line(self._endpoint, Hearers(self.orders, self.quotes, self), budget, self.pace, number)
            began = self._time()
            why = "stopped"
            try:
                await self._one(line)
            except TimeoutError:
                why = "no answer in time"
            except (OSError, RequestFailed) as error:  # the library raises ConnectionError where a line has just gone
                why = str(error)
            finally:
                self.line = None
                line.close(why)
                for task in list(self._helpers):
                    task.cancel()
            number += 1
            failures = 1 if self._time() - began > self.pace.retry_max else failures + 1
            self._lost(why)
            pause = min(self.pace.retry_max, self.pace.retry * 2.0 ** min(failures - 1, 16))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _one(self, line: Line) -> None:
        """Connect, look at everything, and stay. Raises LineError, RequestFailed or TimeoutError when it is over."""
        self.linked = True
        self.looks.linked.set()
        await line.open()
        account_of(line)
        await self._hour(line)
        self._log("ib.connected", server=line.client.serverVersion(), connection=line.number)
        self.orders.new_line()
        self.quotes.forget()
        line.tell(Priority.QUERY, lambda: line.client.reqMarketDataType(LIVE))
        await self._resolve(line)
        self._spawn(self._relink(line, bare=False, told="connected"))
        tasks = [asyncio.ensure_future(self._watch(line)), asyncio.ensure_future(self.looks.run(line))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, line: Line) -> None:
        """Prove that the session lives: by an answer to the time of day, and by prices while the market is open."""
        while True:
            try:
                async with asyncio.timeout(self.pace.probe):
                    await line.lost.wait()
            except TimeoutError:
                pass
            else:
                raise LineError(line.why)
            if not self.linked and self._time() - self._unlinked > self.pace.relink:
                raise LineError("the gateway has been without the broker for long")
            await self._hour(line)
            if self.contracts.why and self._time() - self._resolved > self.pace.relink:
                await self._resolve(line)
            for instrument in self.quotes.silent(int(self.pace.stale * _S)):
                self._log("ib.stale_stream", instrument=instrument)
                self.quotes.subscribe(line, self.contracts.found[instrument])
            for instrument in self.quotes.worn(int(self.pace.stale * _S)):
                self._log("ib.worn_depth", instrument=instrument)
                self.quotes.ladders.subscribe(line, self.contracts.found[instrument])

    async def _resolve(self, line: Line) -> None:
        """Find the contracts, tell of what is wrong for the first time, and subscribe to what is not yet subscribed to."""
        self._resolved = self._time()
        for why in await self.contracts.resolve(line):
            if why not in self._odd:
                self._alert(CRIT, "ib.contract", why)
        self._odd = set(self.contracts.why.values())
        for name, found in self.contracts.found.items():
            if name not in self.quotes.streams:
                self.quotes.subscribe(line, found)

    async def _hour(self, line: Line) -> None:
        """Ask for the time of day: proof of life, and how far the clocks are apart."""
        told = await line.ask("time", line.client.reqCurrentTime)
        before, self.offset_s = self.offset_s, int(told[0]) - self._clock() // _S
        if abs(self.offset_s) > CLOCK_OFFSET_S >= abs(before):
            self._alert(WARN, "ib.clock", f"the broker's clock is {self.offset_s} s ahead of ours")

    def _subscribe(self, line: Line) -> None:
        for found in self.contracts.found.values():
            self.quotes.subscribe(line, found)

    def _lost(self, why: str) -> None:
        """Report that the session is over; the same reason is alerted to once until a session has come up."""
        self.quotes.forget()
        self.looks.fail(why)
        window = window_at(self._clock())
        more = "" if window is None else f" ({window.name}{', somebody has to log in' if window.person else ''})"
        self._status(False, why + more)
        if why != self._told:
            self._told = why
            self._alert(CRIT if window is None or window.person else INFO, "ib.session", f"no session with the broker: {why}{more}")

    async def _relink(self, line: Line, bare: bool, told: str) -> None:
        """Report the venue up once its records have been looked at; bare: subscriptions have been lost."""
        if bare:
            self._subscribe(line)
        await self.looks.done()
        if line is self.line and line.alive and self.linked:
            self._status(True, told)

    # What TWS says: ib_line.NoticeHearer.

    def message(self, req_id: int, code: int, told: str) -> None:
        """React to a code. req_id: the question or order it names, -1 for none."""
        what, line = reaction(code), self.line
        self._log("ib.code", code=code, req_id=req_id, told=told[:200], reaction=what.name)
        if what in (R.LINK_LOST, R.LINK_BACK, R.LINK_BACK_BARE):
            self._link(what, f"{code} {told}")
        elif what in (R.RECONNECT, R.ID_TAKEN):
            if what is R.ID_TAKEN:
                told = f"client id {self._endpoint.client_id} is in use by another session"
            if line is not None:
                line.close(f"{code} {told}")
        elif what is R.TOO_FAST and line is not None:
            line.budget.hold(HOLD_NS)
            self._alert(WARN, "ib.too_many_messages", told)
        elif what in (R.DATA_PAUSED, R.DATA_BACK) and line is not None:
            for instrument in self.quotes.farm(told, up=what is R.DATA_BACK):
                self.quotes.subscribe(line, self.contracts.found[instrument])
        elif what is R.DEPTH_RESET:
            self.quotes.ladders.cleared(req_id)
        elif what is R.DEPTH_HALTED:
            self.quotes.ladders.halted(req_id)
        elif what is R.TELL:
            self._alert(WARN, "ib.order_notice", f"{self.orders.name(req_id)} {code}: {told}".strip())
        elif what is not R.NOTE:
            self._about(what, req_id, code, told)

    def garbled(self, told: str) -> None:
        """React to a message that could not be read: it may have been an execution, or word that a break is over."""
        self._alert(CRIT, "ib.unreadable", f"a message of the broker could not be read: {told}")
        if self.line is not None and (not self.linked or self.quotes.paused):
            self.line.close("a message that could not be read may have ended a break")
        self._resolved = -math.inf  # or it named a contract
        self.looks.want()

    def _about(self, what: Reaction, req_id: int, code: int, told: str) -> None:
        """React to a code that may name a question, a subscription or an order."""
        line = self.line
        if line is not None and line.failed(req_id, code, told):
            return
        if self.quotes.denied(req_id, f"{code} {told}"):
            return
        if what is R.NO_DATA:
            self.quotes.all_denied(f"{code} {told}")
            return
        if self.orders.hint(req_id, code, told, refused=what is R.REFUSED) is None or what is R.UNKNOWN:
            self._alert(WARN, "ib.code", f"{code}: {told}")

    def _link(self, what: Reaction, told: str) -> None:
        """React to a break between gateway and broker, and to its end."""
        self._unlinked = self._time() if self.linked else self._unlinked
        self.linked = what is not R.LINK_LOST
        line = self.line
        if not self.linked:
            self.looks.linked.clear()
            self._status(False, told)
            return
        self.looks.linked.set()
        self.orders.missed()  # what happened while nothing came through
        self.looks.want()
        if line is not None and not self.up:
            self._spawn(self._relink(line, bare=what is R.LINK_BACK_BARE, told="broker reached again"))
        elif line is not None and what is R.LINK_BACK_BARE:
            self._subscribe(line)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)

    def _status(self, up: bool, reason: str) -> None:
        """Report the venue up or down; while it is down, every new reason."""
        if up is not self.up or (not up and reason != self.why):
            self.up, self.why = up, "" if up else reason
            self.ready.set() if up else self.ready.clear()
            self._told = "" if up else self._told
            self.emit(ev.VenueStatus(ts=self._clock(), venue=self._venue, up=up, reason=reason))

    def _alert(self, severity: ev.Severity, code: str, text: str) -> None:
        self.emit(ev.Alert(ts=self._clock(), severity=severity, code=code, text=text))
