"""What the market did before the desk was there: one-minute bars of the exchange as quotes."""

from __future__ import annotations

import math

from bot.model import event as ev
from bot.model.instrument import Instrument
from bot.venues.perp_line import Line
from bot.venues.perp_parse import MS

MINUTE_MS = 60_000
PAGE = 1_000


async def bars(line: Line, instrument: Instrument, from_ns: int, to_ns: int) -> list[ev.Quote]:
    """Return the closes of whole minutes as quotes one tick wide around the close; sizes are the minute's volume."""
    symbol, since, out = line.symbols.symbol[instrument.id], from_ns // MS, []
    half = float(instrument.tick) / 2.0
    while since * MS < to_ns:
        rows = await line.read(lambda since=since: line.client.fetch_ohlcv(symbol, "1m", since, PAGE))  # type: ignore[misc]
        for stamp, _, _, _, close, volume in rows:
            at = (int(stamp) + MINUTE_MS) * MS
            price = float(close)
            if not from_ns <= at <= to_ns or not (math.isfinite(price) and price > 0):
                continue
            out.append(ev.Quote(at, instrument.id, price - half, price + half, float(volume or 0), float(volume or 0), at))
        last = max((int(r[0]) for r in rows), default=since - MINUTE_MS)
        if last < since:
            break
        since = last + MINUTE_MS
    return out
