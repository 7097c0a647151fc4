"""Which contract of the broker an instrument is: found by its terms, exactly one or none, and pinned by number and terms.

The broker's symbol is not the exchange's code everywhere, and its own pages differ about some (see SYMBOLS), so every
candidate is asked and the terms decide. A contract that was found once and comes back with other terms is not traded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from bot.market.expiry import parse_contract
from bot.market.holidays import chicago_date
from bot.market.listing import contract_of, roll_window
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, to_decimal
from bot.venues.ib_line import Line, RequestFailed

EXCHANGE, CURRENCY = "CME", "USD"
SYMBOLS: dict[str, tuple[str, ...]] = {
    "BTC": ("BRR",), "MBT": ("MBT", "BRR"), "ETH": ("ETHUSDRR",), "MET": ("MET", "ETHUSDRR"), "BFF": ("BRRNY", "BFF"),
}  # fmt: skip
"""Symbols to try by the exchange's code; the code itself where none is named (broker's fee page, a public symbol map, 2026-11)."""


class Found(msgspec.Struct, frozen=True):
    """The one contract of an instrument. pin: number and fingerprint of its terms. contract: as the library names it.

    hours, zone: when it trades in the next days, as the broker writes it.
    """

    instrument: Instrument
    con_id: int
    pin: str
    contract: Any
    hours: str = ""
    zone: str = ""


def product_of(instrument: Instrument) -> str:
    """Return the exchange's code of a future, e.g. MBT."""
    return instrument.product or parse_contract(instrument.id)[0]


def last_day(instrument: Instrument) -> str:
    """Return the last trading day as the broker writes it, YYYYMMDD. Raises ValueError for what does not expire."""
    if instrument.expiry_ns is None:
        raise ValueError(f"{instrument.id} does not expire")
    return datetime.fromtimestamp(instrument.expiry_ns // 1_000_000_000, UTC).strftime("%Y%m%d")


def pin_of(details: Any) -> str:
    """Return what a contract is pinned by: its number and a fingerprint of the terms that money depends on."""
    c = details.contract
    terms = (c.conId, c.symbol, c.secType, c.tradingClass, _number(c.multiplier), c.exchange, c.currency, _day(c), _number(details.minTick))
    return f"{c.conId}:{hashlib.sha256('|'.join(map(str, terms)).encode()).hexdigest()[:16]}"


def choose(instrument: Instrument, rows: Iterable[Any]) -> tuple[Any | None, str]:
    """Return the one row of contract details that is `instrument`, or None and why there is none."""
    rows = list(rows)
    fitting = {}
    for details in rows:
        c = details.contract
        told = (c.secType, c.tradingClass, _number(c.multiplier), c.exchange, c.currency, _day(c))
        if told == ("FUT", product_of(instrument), instrument.unit, EXCHANGE, CURRENCY, last_day(instrument)):
            fitting[c.conId] = details
    if len(fitting) != 1:
        named = ", ".join(sorted(f"{d.contract.localSymbol} {_day(d.contract)} x{d.contract.multiplier}" for d in rows)) or "nothing"
        return None, f"{len(fitting)} contracts of the broker are {instrument.id}; it offered {named[:200]}"
    details = next(iter(fitting.values()))
    if _number(details.minTick) != instrument.tick:
        return None, f"{instrument.id} has a tick of {details.minTick} at the broker, {instrument.tick} here"
    return details, ""


async def find(line: Line, instrument: Instrument) -> tuple[Found | None, str, bool]:
    """Ask for the contract of an instrument. Returns it, or None and why; then whether anything was offered at all.

    Raises LineError and TimeoutError.
    """
    code, rows = product_of(instrument), []
    for symbol in SYMBOLS.get(code, (code,)):
        wanted = line.lib.Contract(
            secType="FUT", symbol=symbol, lastTradeDateOrContractMonth=last_day(instrument)[:6], exchange=EXCHANGE, currency=CURRENCY, tradingClass=code,
            includeExpired=True,
        )  # fmt: skip
        number = line.next_number()
        try:
            rows += await line.ask(number, lambda n=number, c=wanted: line.client.reqContractDetails(n, c))  # type: ignore[misc]
        except RequestFailed as error:
            if error.code != 200:  # 200: nothing is called that
                return None, f"{instrument.id}: {error}", False
    details, why = choose(instrument, rows)
    if details is None:
        return None, why, bool(rows)
    c = details.contract
    named = line.lib.Contract(
        secType="FUT", conId=c.conId, symbol=c.symbol, lastTradeDateOrContractMonth=_day(c), multiplier=c.multiplier, exchange=EXCHANGE,
        currency=CURRENCY, localSymbol=c.localSymbol, tradingClass=c.tradingClass,
    )  # fmt: skip
    return Found(instrument, c.conId, pin_of(details), named, details.tradingHours, details.timeZoneId), "", True


class Contracts:
    """The contracts of the desk's instruments, as pinned; what is not in `found` is not traded, for the reason in `why`."""

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], pins: Mapping[InstrumentId, str]) -> None:
        self.instruments = dict(instruments)
        self.pins = dict(pins)
        self.found: dict[InstrumentId, Found] = {}
        self.why: dict[InstrumentId, str] = {}

    def by_number(self, con_id: int) -> Instrument | None:
        """Return the instrument of a contract number, None for a contract that is not the desk's."""
        return next((f.instrument for f in self.found.values() if f.con_id == con_id), None)

    def unknown(self, now_ns: int) -> str:
        """Return why some contract that has not expired is not known, "" when all are: without it a position would look like none."""
        return next((why for i, why in self.why.items() if (self.instruments[i].expiry_ns or 0) > now_ns), "")

    async def resolve(self, line: Line) -> list[str]:
        """Ask for every contract anew and return what is wrong. Raises LineError and TimeoutError.

        A contract that was found before stays so when nothing is said of it now; when something else is said, it does not.
        """
        for instrument in self.instruments.values():
            found, why, offered = await find(line, instrument)
            if found is None and not offered and instrument.id in self.found:
                continue
            if found is not None and self.pins.setdefault(instrument.id, found.pin) != found.pin:
                why = f"{instrument.id} is {found.pin} at the broker and was pinned as {self.pins[instrument.id]}: its terms have changed"
                found = None
            if found is None:
                self.found.pop(instrument.id, None)
                self.why[instrument.id] = why
            else:
                self.found[instrument.id] = found
                self.why.pop(instrument.id, None)
        return list(self.why.values())


def front(instruments: Iterable[Instrument], now_ns: int) -> Instrument | None:
    """Return the contract to begin a position in: the nearest whose suggested roll has not begun; None when there is none.

    The roll begins some business days before the last trading day, see bot.market.listing; weeklies are never rolled.
    """
    today = chicago_date(now_ns)
    for instrument in sorted((i for i in instruments if i.expiry_ns), key=lambda i: i.expiry_ns or 0):
        window = roll_window(contract_of(instrument.id))
        if (instrument.expiry_ns or 0) > now_ns and (window is None or today < window.opens):
            return instrument
    return None


def rolls_on(instrument: Instrument) -> date | None:
    """Return the first suggested day to roll out of a contract, None for a weekly."""
    window = roll_window(contract_of(instrument.id))
    return None if window is None else window.opens


def _day(contract: Any) -> str:
    return str(contract.lastTradeDateOrContractMonth).split(" ")[0]


def _number(told: Any) -> Decimal | None:
    """Return a number of the broker's, None for what is none."""
    try:
        return to_decimal(told).normalize() if isinstance(told, float) else Decimal(str(told)).normalize()
    except (InvalidOperation, ValueError):
        return None
