"""What the parts of the perp adapter share: the client, the names, the message budget, and the road to the desk."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.ports import Emit
from bot.venues.budget import Budget, Priority
from bot.venues.perp_errors import Meaning, Verdict, verdict
from bot.venues.perp_parse import Symbols
from bot.venues.perp_quirks import Quirks

T = TypeVar("T")
Log = Callable[[str, Mapping[str, Any]], None]
KNOWN_ORDERS = 5_000
KNOWN_RATES = 200
AHEAD_MS = 5_000
"""How far beyond now a span is asked for, so that the exchange's clock may be ahead of ours."""
AGAIN_S = 0.2
CLOSE_S = 1.0
READ_S = 4.0
"""How long an answer is waited for: a connection that is open and dead must not hold up what tells whether it is."""
"""Pause before a read that met a broken connection is tried once more."""


def silent(event: str, fields: Mapping[str, Any]) -> None:
    """Log nothing."""


def nobody(event: ev.Event) -> None:
    """Nobody listens."""


class Line:
    """One connection to one exchange. blocked: why no order may leave, no_openings: why none may that adds risk; "" when they may."""

    def __init__(self, venue: VenueId, client: Any, quirks: Quirks, symbols: Symbols, clock: Callable[[], int], log: Log) -> None:
        self.venue = venue
        self.client = client
        self.quirks = quirks
        self.symbols = symbols
        self.clock = clock
        self.log = log
        self.emit: Emit = nobody
        self.blocked = "not connected"
        self.no_openings = ""
        self.key_refused = asyncio.Event()
        self.clock_doubted = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.budget = Budget(quirks.allowances, lambda: int(loop.time() * 1e9), loop.call_later)
        self._known: OrderedDict[str, str] = OrderedDict()
        self.rates: dict[tuple[InstrumentId, int], float] = {}
        self.marks: dict[InstrumentId, float] = {}
        self._closing: set[asyncio.Future[Any]] = set()

    def learn(self, venue_order_id: str, client_id: str) -> None:
        """Remember which client id an order of the exchange has; its trades do not always say it."""
        if venue_order_id and client_id:
            self._known[venue_order_id] = client_id
            while len(self._known) > KNOWN_ORDERS:
                self._known.popitem(last=False)

    def known(self, venue_order_id: str) -> str | None:
        """Return the client id of an order of the exchange, None when it was not seen."""
        return self._known.get(venue_order_id)

    def shown(self, event: ev.MarkPrice | ev.FundingRate) -> None:
        """Tell the desk of a mark or a rate, and keep it: a payment's own record does not always hold them."""
        if isinstance(event, ev.MarkPrice):
            self.marks[event.instrument] = event.mark
        else:
            self.rates[event.instrument, event.stamp_ns] = event.rate
            if len(self.rates) > KNOWN_RATES:
                del self.rates[next(iter(self.rates))]
        self.emit(event)

    async def turn(self, priority: Priority) -> None:
        """Wait until the budget has room for one message."""
        free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.budget.ask(priority, lambda: None if free.done() else free.set_result(None))
        await free

    async def read(self, call: Callable[[], Awaitable[T]], patience: float = 1.0) -> T:
        """Ask the exchange something that changes nothing, in turn, once more after a broken connection; errors are the caller's.

        Only reads come here: what may act at the exchange is sent once. patience: how many times READ_S an answer may take.
        """
        import ccxt
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_fixed

        def again(error: BaseException) -> bool:
            return isinstance(error, ccxt.ExchangeNotAvailable) and not isinstance(error, ccxt.OnMaintenance)

        async for attempt in AsyncRetrying(retry=retry_if_exception(again), stop=stop_after_attempt(2), wait=wait_fixed(AGAIN_S), reraise=True):
            with attempt:
                await self.turn(Priority.QUERY)
                async with asyncio.timeout(READ_S * patience):
                    return await call()
        raise AssertionError("an attempt returns or raises")

    def let_close(self, closing: Coroutine[Any, Any, None]) -> None:
        """Let a connection say good-bye by itself: one to a peer that is gone takes seconds over it."""
        task = asyncio.ensure_future(closing)
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Future[Any]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.log("close_error", {"text": repr(task.exception())})

    async def close(self) -> None:
        """Close the client and every connection it was given."""
        session = self.client.session
        self.client.timeout_on_exit = 0
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()
        except TimeoutError:
            self.log("close_error", {"text": "a connection did not say good-bye"})
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await session.close()

    def judge(self, error: BaseException) -> Verdict:
        """Return what an error means, and do at once what it asks for: pause after a ban, doubt the clock or the key."""
        found = verdict(error, self.quirks)
        if found.meaning is Meaning.THROTTLED:
            self.budget.hold(int(max(1.0, self.client.banned_s) * 1e9))
            self.client.banned_s = 0.0
        elif found.meaning is Meaning.CLOCK:
            self.clock_doubted.set()
        elif found.meaning is Meaning.KEY:
            self.key_refused.set()
        return found

    def failed(self, reason: str) -> None:
        """Tell the desk that a query had no usable answer."""
        self.emit(ev.QueryFailed(ts=self.clock(), venue=self.venue, reason=reason))

    def silence(self, client_id: ClientId, reason: str) -> None:
        """Tell the desk that an order or cancel went out and what became of it is not known."""
        self.emit(ev.NoAnswer(ts=self.clock(), client_id=client_id, reason=reason))

    def alert(self, severity: ev.Severity, code: str, text: str) -> None:
        """Tell a person something."""
        self.emit(ev.Alert(ts=self.clock(), severity=severity, code=code, text=text))


WINDOW_MS = 6 * 86_400_000
"""Binance and Bybit answer at most a week at a time."""


async def windows(ask: Callable[[int, int], Awaitable[Sequence[Any]]], since_ms: int, until_ms: int, size: int) -> list[Any]:
    """Return everything of a span of any length, a window at a time."""
    out: list[Any] = []
    while since_ms <= until_ms:
        end = min(until_ms, since_ms + WINDOW_MS)
        out.extend(await every(ask, since_ms, end, size))
        since_ms = end + 1
    return out


async def every(ask: Callable[[int, int], Awaitable[Sequence[Any]]], since_ms: int, until_ms: int, size: int) -> list[Any]:
    """Return everything of a span; one whose answer is a full page of `size` is halved, whichever end the exchange begins at.

    Raises ValueError where even a millisecond fills a page.
    """
    page = await ask(since_ms, until_ms)
    if len(page) < size:
        return list(page)
    if until_ms - since_ms < 2:
        raise ValueError(f"{size} and more within {until_ms - since_ms} ms")
    middle = (since_ms + until_ms) // 2
    return [*await every(ask, since_ms, middle, size), *await every(ask, middle + 1, until_ms, size)]


async def heard(waiting: Awaitable[T]) -> T:
    """Wait for a stream or an answer of ccxt, which cancels its futures when it gives up a connection: that is no cancellation of ours."""
    import ccxt

    try:
        return await waiting
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ccxt.NetworkError("the library gave up the connection") from None


def failures() -> tuple[type[BaseException], ...]:
    """Return the classes that a call of ccxt may raise, of the library, of the network and of parsing."""
    import aiohttp
    import ccxt

    from bot.venues.egress import EgressRefused
    from bot.venues.perp_errors import SHAPE_ERRORS

    return (ccxt.BaseError, aiohttp.ClientError, OSError, TimeoutError, EgressRefused, *SHAPE_ERRORS)
