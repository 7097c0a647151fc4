"""Historical bars as quotes, asked for within the broker's limits on historical data."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from bot.model.event import Quote
from bot.model.instrument import Instrument
from bot.venues.budget import Allowance, Budget, Priority
from bot.venues.ib_contracts import Found
from bot.venues.ib_line import Line, RequestFailed

_S = 1_000_000_000
MINUTE_NS, DAY_NS = 60 * _S, 86_400 * _S
LIMITS = (Allowance(limit=5, span_ns=2 * _S), Allowance(limit=60, span_ns=600 * _S))
"""Requests: fewer than six of one contract in 2 s, sixty in ten minutes, none twice in 15 s (broker's page, read 2026-11)."""
AGAIN_S = 16.0
"""Pause after a request that came too soon all the same: another client of the login may have asked too."""
PATIENCE = 6.0
"""The data service may take its time."""
NO_DATA, HISTORICAL = "no data", 162


class History:
    """Asks for minutes of middles, a day at a time. Needs a running loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._limits = Budget(LIMITS, lambda: int(loop.time() * 1e9), loop.call_later)

    async def quotes(self, line: Line, found: Found, from_ns: int, to_ns: int) -> list[Quote]:
        """Return closes of whole minutes that end in [from_ns, to_ns), oldest first, each as a quote one tick wide around it.

        Sizes are 1: a bar has none. A minute in which nothing was quoted is missing. Raises LineError, RequestFailed, TimeoutError.
        """
        out: dict[int, Quote] = {}
        end_ns, first_ns = to_ns // _S * _S, from_ns - MINUTE_NS
        while end_ns > first_ns:
            span_s = min(DAY_NS, end_ns - first_ns) // _S
            span_s = -(-span_s // 60) * 60
            for begins_s, close in await self._minutes(line, found, end_ns, f"{span_s} S" if span_s < 86_400 else "1 D"):
                at = begins_s * _S + MINUTE_NS
                if from_ns <= at < to_ns and close > 0.0:
                    out[at] = _quote(found.instrument, at, close)
            end_ns -= DAY_NS
        return [out[at] for at in sorted(out)]

    async def _minutes(self, line: Line, found: Found, end_ns: int, span: str) -> list[tuple[int, float]]:
        """Ask once, and once more if it was too soon. Returns (beginning in UTC s, close)."""
        for attempt in (1, 2):
            await self._room()
            number, ends = line.next_number(), f"{datetime.fromtimestamp(end_ns // _S, UTC):%Y%m%d-%H:%M:%S}"
            try:
                rows = await line.ask(
                    number, lambda n=number, e=ends: line.client.reqHistoricalData(n, found.contract, e, span, "1 min", "MIDPOINT", 0, 2, False, []),  # type: ignore[misc]
                    patience=PATIENCE,
                )  # fmt: skip
                return [(int(row.date), float(row.close)) for row in rows]
            except RequestFailed as error:
                if error.code == HISTORICAL and NO_DATA in str(error):
                    return []
                if attempt == 2 or error.code != HISTORICAL:
                    raise
            await asyncio.sleep(AGAIN_S)
        raise AssertionError("unreachable")

    async def _room(self) -> None:
        """Wait until the limits allow a request."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limits.ask(Priority.QUERY, lambda: None if future.done() else future.set_result(None))
        await future


def _quote(instrument: Instrument, at_ns: int, close: float) -> Quote:
    half = 0.5 * float(instrument.tick)
    return Quote(at_ns, instrument.id, close - half, close + half, 1.0, 1.0, at_ns)
