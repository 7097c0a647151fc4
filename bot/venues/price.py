"""The stablecoin in USD from a public market: a price that is looked at and not traded.

Kraken's public REST API is asked every few seconds (`/0/public/Ticker`, and `/0/public/OHLC` for what was before; Kraken REST
documentation, from memory, unverified, 2026-11). No key, no account. The answer carries no time, so a quote is as old as its
reply. An answer that cannot be read is no quote: the price then ages, and an old price blocks openings.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from bot.model.command import Command
from bot.model.errors import VenueError
from bot.model.event import Quote
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.ports import Emit
from bot.venues.finding import Finding

TIMEOUT_S = 10.0
INTERVAL_MIN = 15
"""Minutes of a bar of the history: 720 rows reach back a week."""
S = 1_000_000_000


class PublicPrice:
    """bot.model.ports.Venue of one reference price. url: base of the API; pair: its name there; every_s: between two looks."""

    def __init__(self, terms: Instrument, url: str, pair: str, every_s: float, *, clock: Callable[[], int], log: Callable[..., None]) -> None:
        self.failures = 0
        self._terms = terms
        self._url = url.rstrip("/")
        self._pair = pair
        self._every_s = every_s
        self._clock = clock
        self._log = log
        self._emit: Emit | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def venue(self) -> VenueId:
        """Return the venue's id."""
        return self._terms.venue

    def start(self, emit: Emit) -> None:
        """Begin to look; a price has no status."""
        self._emit = emit
        self._task = asyncio.get_running_loop().create_task(self._look())

    def send(self, command: Command, now_ns: int) -> None:
        """Refuse: nothing is traded or asked here. Raises ValueError."""
        raise ValueError(f"{self.venue} is a price, not a venue: {command}")

    def stop(self) -> None:
        """Stop looking."""
        self._emit = None
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Wait for the end of the task."""
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task

    async def history(self, instrument: InstrumentId, from_ns: int, to_ns: int) -> list[Quote]:
        """Return the closes of [from_ns, to_ns) as quotes one tick wide. Raises VenueError when there is no usable answer."""
        rows = await self._get("OHLC", {"pair": self._pair, "interval": str(INTERVAL_MIN)})
        found = []
        for row in rows if isinstance(rows, list) else []:
            try:
                at, close = (int(row[0]) + 60 * INTERVAL_MIN) * S, float(row[4])
            except (TypeError, ValueError, IndexError) as error:
                raise VenueError(f"{self.venue}: unreadable history: {error}") from error
            if from_ns <= at < to_ns:
                found.append(self._quote(at, close, close))
        return found

    async def examine(self) -> list[Finding]:
        """Look whether the price can be had."""
        try:
            quote = self._read(await self._get("Ticker", {"pair": self._pair}))
        except (VenueError, TypeError, ValueError, KeyError, IndexError) as error:
            return [Finding(name="price", ok=False, found=str(error) or type(error).__name__, fix="check reference.url, reference.pair and the network")]
        return [Finding(name="price", ok=True, found=f"{self._terms.id} {quote.bid} / {quote.ask}")]

    async def _look(self) -> None:
        """Ask for ever; a failure is counted and said, never a price."""
        while True:
            try:
                quote = self._read(await self._get("Ticker", {"pair": self._pair}))
                if self._emit is not None:
                    self._emit(quote)
            except (VenueError, TypeError, ValueError, KeyError, IndexError) as error:
                self.failures += 1
                self._log("price.failed", venue=self.venue, error=str(error) or type(error).__name__, failures=self.failures)
            await asyncio.sleep(self._every_s)

    def _read(self, told: Any) -> Quote:
        """Return a ticker as a quote. Raises ValueError, TypeError, KeyError or IndexError for one that is none."""
        bid, ask = float(told["b"][0]), float(told["a"][0])
        if not 0.0 < bid <= ask < math.inf:
            raise ValueError(f"no two-sided price: {bid} / {ask}")
        return self._quote(self._clock(), bid, ask)

    async def _get(self, what: str, query: Mapping[str, str]) -> Any:
        """Return the one result of an answer. Raises VenueError for a failed call and for an answer that is none."""
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.get(f"{self._url}/0/public/{what}", params=dict(query)) as reply,
            ):
                told = await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise VenueError(f"{self.venue}: {type(error).__name__} {error}".strip()) from error
        if not isinstance(told, dict) or told.get("error") or not isinstance(told.get("result"), dict):
            raise VenueError(f"{self.venue}: {told.get('error') if isinstance(told, dict) else 'no answer'}")
        for name, value in told["result"].items():
            if name != "last":
                return value
        raise VenueError(f"{self.venue}: an empty answer")

    def _quote(self, at_ns: int, bid: float, ask: float) -> Quote:
        """Return a quote; bid and ask of a bar are the close, half a tick away on either side so that the book is two-sided."""
        if bid == ask:
            half = 0.5 * float(self._terms.tick)
            bid, ask = round(bid - half, 8), round(ask + half, 8)
        return Quote(at_ns, self._terms.id, bid, ask, 1.0, 1.0, at_ns)
