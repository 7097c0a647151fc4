"""Bookings of the account that no order explains: funding paid, transfers, rebates, insurance."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bot.model import event as ev
from bot.model.instrument import Instrument, Rounding, round_qty
from bot.venues.perp_line import Line
from bot.venues.perp_parse import MS
from bot.venues.perp_quirks import number

FUNDING = frozenset({"funding_fee", "funding", "fundingfee", "settlement"})
WITH_FILLS = frozenset({"commission", "realized_pnl", "trade", "fee", "commission_rebate", "pnl"})
"""Kinds that the fills themselves already account for."""
OTHER = frozenset({"transfer", "deposit", "withdrawal", "transfer_in", "transfer_out", "internal_transfer", "insurance_clear", "bonus", "interest"})
"""Kinds that are booked for exchanges whose ledger also lists trades, under names of their own."""
NEAR_MS = 120_000
"""A payment is booked within this of its stamp."""
HOUR_MS = 3_600_000
LEDGER_PAGE = 1_000


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
            entries = await line.read(lambda: client.fetch_ledger(None, since_ms, LEDGER_PAGE))
            if len(entries) >= LEDGER_PAGE:
                raise ValueError("more bookings than one answer holds")
            for entry in sorted(entries, key=lambda e: (e["timestamp"], str(e["id"]))):
                event = await self._event(entry)
                if event is not None:
                    out.append(event)
        if not line.quirks.ledger_has_funding and client.has.get("fetchFundingHistory"):
            for symbol in line.symbols.id_of:
                paid = await line.read(lambda symbol=symbol: client.fetch_funding_history(symbol, since_ms))  # type: ignore[misc]
                out.extend([await self._paid(line.symbols.of(symbol), p["timestamp"], number(p["amount"]), str(p["code"])) for p in paid])
        return out

    async def _event(self, entry: Mapping[str, Any]) -> ev.Event | None:
        line = self._line
        info = entry.get("info") or {}
        kind = str(info.get("incomeType") or entry.get("type") or "").lower()
        amount = number(entry["amount"]) * (-1 if entry.get("direction") == "out" else 1)
        if kind in FUNDING:
            if not line.quirks.ledger_has_funding:
                return None
            name = line.symbols.named(str(info.get("symbol")))
            instrument = line.symbols.instruments.get(name)
            if instrument is not None:
                return await self._paid(instrument, entry["timestamp"], amount, str(entry["currency"]))
        if kind in WITH_FILLS or not amount:
            return None
        if not line.quirks.ledger_has_funding and kind not in OTHER:  # elsewhere trades appear under many names
            return None
        return ev.CashBooked(
            ts=line.clock(), venue=line.venue, kind=kind, amount=amount, currency=str(entry["currency"]), ref=f"{kind}:{entry['id']}:{entry['currency']}"
        )

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
        shown = line.rates.get((instrument.id, stamp * MS), 0.0), line.marks.get(instrument.id, 0.0)
        return self._rates.get(key, shown)


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
