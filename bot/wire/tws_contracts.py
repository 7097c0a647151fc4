"""Contracts as TWS names them: the futures chains of the exchange's products, found by what a request says of them.

Every month that the product's rule lists has a definition; only what the exchange behind this server lists can be traded
and shows a market.
"""

from __future__ import annotations

import zlib
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import msgspec

from bot.market.calendar import State, intervals
from bot.market.expiry import parse_contract
from bot.market.holidays import chicago_date, chicago_ns
from bot.market.listing import Contract, contract_of, listed
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, Kind
from bot.sim.exchange import Exchange
from bot.wire.tws_codec import ContractFields

ZONE = "US/Central"
"""The zone of all times of a contract: a client that finds one beside the last trading day takes it for that of the hours too."""
SYMBOLS = {"BTC": "BRR", "ETH": "ETHUSDRR", "BFF": "BRRNY"}
"""The broker's symbol where it is not the exchange's code (broker's fee page and public symbol maps, read 2026-11)."""
ORDER_TYPES = "ACTIVETIM,DAY,IOC,LMT,MKT,WHATIF"
DAYS_SHOWN = 6
"""Days of trading hours in a contract's details (a request at the broker shows about a week)."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. instrument: the exchange's id, "" when only its definition is known here. tick: USD per coin."""

    instrument: InstrumentId
    root: str
    con_id: int
    symbol: str
    expiry: str
    expiry_ns: int
    multiplier: str
    local_symbol: str
    tick: Decimal
    exchange: str = "CME"
    currency: str = "USD"


def con_id(symbol: str) -> int:
    """Return the number of a contract: a pure function of its symbol, so that restarts and both sides of a test agree."""
    return 500_000_000 + zlib.crc32(symbol.encode()) % 400_000_000


def chain(exchange: Exchange, now_ns: int) -> list[Row]:
    """Return every contract that has not expired, nearest first, product by product."""
    futures = [x.instrument for x in exchange.listings.values() if x.instrument.kind is Kind.FUTURE]
    by_root: dict[str, Instrument] = {}
    for i in futures:
        by_root.setdefault(i.product or parse_contract(i.id)[0], i)
    rows = []
    for root, terms in by_root.items():
        named = {c.symbol: c for c in listed(root, chicago_date(now_ns))}
        named.update({i.id: contract_of(i.id) for i in futures if (i.product or parse_contract(i.id)[0]) == root})
        rows += [_row(c, terms, exchange) for c in sorted(named.values(), key=lambda c: c.expiry_ns) if c.expiry_ns > now_ns]
    return rows


def _row(contract: Contract, terms: Instrument, exchange: Exchange) -> Row:
    month = contract.symbol[len(contract.root) :]
    return Row(
        instrument=contract.symbol if contract.symbol in exchange.listings else "", root=contract.root, con_id=con_id(contract.symbol),
        symbol=SYMBOLS.get(contract.root, contract.root), expiry=contract.last_day.strftime("%Y%m%d"), expiry_ns=contract.expiry_ns,
        multiplier=format(terms.unit.normalize(), "f"), local_symbol=contract.root + month[0] + month[2:], tick=terms.tick,
    )  # fmt: skip


def find(rows: list[Row], asked: ContractFields) -> list[Row]:
    """Return the contracts that a request's description fits: the number alone decides when it is given."""
    if asked.con_id:
        return [row for row in rows if row.con_id == asked.con_id]
    if asked.sec_type != "FUT" or not (asked.symbol or asked.local_symbol):
        return []
    return [row for row in rows if _fits(row, asked)]


def _fits(row: Row, asked: ContractFields) -> bool:
    texts = (
        (asked.symbol, row.symbol), (asked.local_symbol, row.local_symbol), (asked.trading_class, row.root),
        (asked.exchange, row.exchange), (asked.currency, row.currency),
    )  # fmt: skip
    if any(wanted and wanted != has for wanted, has in texts) or not row.expiry.startswith(asked.expiry):
        return False
    try:
        return not asked.multiplier or Decimal(asked.multiplier) == Decimal(row.multiplier)
    except InvalidOperation:
        return False


def short(row: Row) -> list[object]:
    """Return the eleven fields by which orders and executions name a contract."""
    return [row.con_id, row.symbol, "FUT", row.expiry, "0", "?", row.multiplier, row.exchange, row.currency, row.local_symbol, row.root]


def details(row: Row, req_id: int, version: int, now_ns: int) -> list[object]:
    """Return a contractDetails message."""
    ends = datetime.fromtimestamp(row.expiry_ns // 1_000_000_000, ZoneInfo(ZONE))
    hours = trading_hours(row.root, now_ns)
    old = version < 164
    out: list[object] = [10, 8] if old else [10]
    out += [req_id, row.symbol, "FUT", f"{row.expiry} {ends:%H:%M:%S} {ZONE}", "0", "", row.exchange, row.currency, row.local_symbol]
    out += [row.root, row.root, row.con_id, row.tick]
    out += [1] if old else []  # mdSizeMultiplier
    out += [row.multiplier, ORDER_TYPES, row.exchange, 1, con_id(row.symbol), f"{row.root} futures", "", row.expiry[:6]]
    out += ["", "", "", ZONE, hours, hours, "", "", 0]
    out += [1, row.symbol, "IND", str(rule_id(row)), row.expiry, ""]
    if version == 163:
        out += [1]
    elif version >= 164:
        out += [1, 1, 1]
    return out


def rule_id(row: Row) -> int:
    """Return the number of the market rule that holds the price increments of a contract: one per tick size."""
    return 1 + zlib.crc32(format(row.tick.normalize(), "f").encode()) % 9_999


def trading_hours(root: str, now_ns: int) -> str:
    """Return the next days' hours as TWS writes them: 20261103:0000-20261103:1600;20261107:CLOSED, in Chicago time."""
    first = chicago_date(now_ns)
    parts: list[str] = []
    for n in range(DAYS_SHOWN):
        day = first + timedelta(days=n)
        begin, end = _midnight(day), _midnight(day + timedelta(days=1))
        opens = [i for i in intervals(root, begin, end) if i.state is State.OPEN]
        parts += [f"{_local(i.from_ns)}-{_local(i.to_ns)}" for i in opens] or [f"{day:%Y%m%d}:CLOSED"]
    return ";".join(parts)


def _midnight(day: date) -> int:
    return chicago_ns(day, datetime.min.time())


def _local(ns: int) -> str:
    """Return an instant as Chicago's clock shows it."""
    return datetime.fromtimestamp(ns // 1_000_000_000, ZoneInfo(ZONE)).strftime("%Y%m%d:%H%M")
