"""Bookings of the account that no order explains: funding paid, transfers, rebates, insurance."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bot.model import event as ev
from bot.model.instrument import Instrument, Rounding, round_qty
from bot.venues.perp_line import AHEAD_MS, Line, windows
from bot.venues.perp_parse import MS
from bot.venues.perp_quirks import number

WITH_FILLS = frozenset({"commission", "realized_pnl", "commission_rebate"})
"""Kinds of Binance's income that the fills themselves already account for."""
NEAR_MS = 120_000
"""A payment is booked within this of its stamp."""
HOUR_MS = 3_600_000


class Ledger:
    """Reads the exchange's ledger. Payments are told again on every question; the desk books each once."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._rates: dict[tuple[str, int], tuple[float, float]] = {}

    async def since(self, since_ms: int) -> list[ev.Event]:
        """Return funding payments and other bookings since an instant, oldest first."""
        line, client = self._line, self._line.client
        out: list[ev.Event] = []
        if client.has.get("fetchLedger"):
            until_ms = int(client.milliseconds()) + AHEAD_MS
            size, until = line.quirks.ledger_page, line.quirks.ledger_until
            entries = await windows(lambda a, b: line.read(lambda: client.fetch_ledger(None, a, size, {until: b})), since_ms, until_ms, size)
            unique = {(str(e["id"]), str(e["currency"]), e["timestamp"]): e for e in entries}
            for entry in sorted(unique.values(), key=lambda e: (e["timestamp"], str(e["id"]))):
                event = await self._event(entry)
                if event is not None:
                    out.append(event)
        if not line.quirks.funding_kind and client.has.get("fetchFundingHistory"):
            for symbol in line.symbols.id_of:
                paid = await line.read(lambda symbol=symbol: client.fetch_funding_history(symbol, since_ms))  # type: ignore[misc]
                out.extend([await self._paid(line.symbols.of(symbol), p["timestamp"], number(p["amount"]), str(p["code"])) for p in paid])
        return out

    async def _event(self, entry: Mapping[str, Any]) -> ev.Event | None:
        """Return what an entry books, None for what fills or payments already tell."""
        line, quirks = self._line, self._line.quirks
        kind, info = kind_of(entry), entry.get("info") or {}
        amount = abs(number(entry["amount"])) if entry.get("direction") else number(entry["amount"])
        amount = -amount if entry.get("direction") == "out" else amount
        if quirks.funding_kind and kind == quirks.funding_kind:
            instrument = line.symbols.instruments.get(line.symbols.named(str(info.get("symbol"))))
            if instrument is not None:
                return await self._paid(instrument, entry["timestamp"], amount, str(entry["currency"]))
        elif kind in WITH_FILLS or (quirks.cash_kinds is not None and kind not in quirks.cash_kinds):
            return None
        if not amount:
            return None
        ref = f"{kind}:{entry['id']}:{entry['currency']}"
        return ev.CashBooked(ts=line.clock(), venue=line.venue, kind=kind, amount=amount, currency=str(entry["currency"]), ref=ref)

    async def _paid(self, instrument: Instrument, at_ms: int, amount: Decimal, currency: str) -> ev.FundingPaid:
        """Return a payment under its stamp, with the rate and mark the exchange used; the quantity follows from them."""
        stamp = stamp_of(int(at_ms))
        rate, mark = await self._rate(instrument, stamp)
        qty = paid_qty(instrument, amount, rate, mark)
        return ev.FundingPaid(
            ts=self._line.clock(), venue=self._line.venue, instrument=instrument.id, stamp_ns=stamp * MS, rate=rate, mark=mark, qty=qty,
            amount=amount, currency=currency,
        )  # fmt: skip

    async def _rate(self, instrument: Instrument, stamp: int) -> tuple[float, float]:
        """Return (rate, mark) of a stamp: the exchange's record, else what it last showed before it; 0 for what was never told."""
        line, client = self._line, self._line.client
        key = (instrument.id, stamp)
        if key not in self._rates and client.has.get("fetchFundingRateHistory"):
            symbol = line.symbols.symbol[instrument.id]
            rows = await line.read(lambda: client.fetch_funding_rate_history(symbol, stamp - NEAR_MS, 10))
            for row in rows:
                if stamp_of(int(row["timestamp"])) == stamp:
                    mark = (row.get("info") or {}).get("markPrice")
                    self._rates[key] = (float(row["fundingRate"]), float(mark or 0.0))
        rate, mark = self._rates.get(key, (line.rates.get((instrument.id, stamp * MS), 0.0), 0.0))
        return rate, mark or line.marks.get(instrument.id, 0.0)


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return an entry's kind in the exchange's own words, in ccxt's where those are numbers."""
    info = entry.get("info") or {}
    for word in (info.get("incomeType"), info.get("type"), entry.get("type")):
        if word and not str(word).isdigit():
            return str(word).lower()
    return ""


def stamp_of(at_ms: int) -> int:
    """Return the full hour that a payment belongs to, or its own time when none is near.

    >>> stamp_of(7_200_004), stamp_of(7_199_990), stamp_of(9_000_000)
    (7200000, 7200000, 9000000)
    """
    hour = (at_ms + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    return hour if abs(at_ms - hour) <= NEAR_MS else at_ms


def paid_qty(instrument: Instrument, amount: Decimal, rate: float, mark: float) -> Decimal:
    """Return the position that a payment was for, signed contracts: a long pays a positive rate. 0 where it cannot be told."""
    per_contract = float(instrument.unit) * rate / mark if instrument.inverse and mark else float(instrument.unit) * rate * mark
    if not per_contract:
        return Decimal(0)
    return round_qty(instrument, Decimal(repr(-float(amount) / per_contract)), Rounding.NEAREST)
