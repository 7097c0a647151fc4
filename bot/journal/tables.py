"""The database schema as SQLAlchemy Core tables: the journal as store.py writes it, and the ledger projected from it.

Money and quantities are text of the exact decimal: SQLite has no decimal type and a float column would round.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.types import TypeDecorator


class DecimalText(TypeDecorator[Decimal]):
    """A Decimal kept as text; anything else is refused, floats above all."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Return the exact text. Raises TypeError for anything but a finite Decimal."""
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise TypeError(f"ledger rows take finite Decimals only, not {value!r}")
        return str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the Decimal written."""
        return None if value is None else Decimal(value)


METADATA = MetaData()


def _text(*names: str, key: bool = False) -> list[Column[Any]]:
    return [Column(name, Text, primary_key=key, nullable=False) for name in names]


def _whole(*names: str, key: bool = False) -> list[Column[Any]]:
    return [Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False) for name in names]


def _money(*names: str) -> list[Column[Any]]:
    return [Column(name, DecimalText, nullable=False) for name in names]


JOURNAL = Table(
    "journal", METADATA, *_whole("seq", "n", key=True), *_whole("ts"), *_text("kind"),
    Column("body", LargeBinary, nullable=False),
    Column("confirmed", Integer, nullable=False, server_default=text("1")),
    Column("crc", BigInteger),
)  # fmt: skip
CHECKPOINT = Table(
    "checkpoint", METADATA, *_whole("seq", key=True), Column("body", LargeBinary, nullable=False),
    Column("crc", BigInteger),
)  # fmt: skip
META = Table("meta", METADATA, *_text("key", key=True), *_text("value"))

WATERMARK = Table("watermark", METADATA, *_text("name", key=True), *_whole("seq"))
ORDERS = Table(
    "orders", METADATA, *_text("client_id", key=True), *_text("pair", "venue", "instrument", "side"),
    *_money("qty", "limit_price"), *_text("tif", "purpose"), *_whole("sent_ns"), *_money("filled"),
    *_text("outcome", "reason", "venue_order_id"), *_whole("ended_ns"),
)  # fmt: skip
FILLS = Table(
    "fills", METADATA, *_text("venue", "exec_id", key=True), *_whole("seq", "ts"),
    *_text("client_id", "pair", "instrument", "side"), *_money("qty", "price", "fee"), *_text("fee_currency"),
    *_money("realised"), *_text("currency"), Column("maker", Integer, nullable=False), *_text("reason"),
)  # fmt: skip
ALLOCATIONS = Table(
    "allocations", METADATA, *_whole("seq", "n", key=True), *_whole("ts"), *_text("pair", "instrument"),
    *_money("qty", "price"), *_text("exec_id"),
)  # fmt: skip
FUNDING = Table(
    "funding", METADATA, *_text("venue", "instrument", key=True), *_whole("stamp_ns", key=True),
    *_text("pair", key=True), *_whole("ts"), *_money("amount"), *_text("currency"),
)  # fmt: skip
CASH = Table(
    "cash", METADATA, *_text("venue", "ref", key=True), *_whole("ts"), *_text("kind"), *_money("amount"),
    *_text("currency"),
)  # fmt: skip
TRADES = Table(
    "trades", METADATA, *_text("pair", key=True), *_whole("number", key=True), *_text("currency", key=True),
    *_whole("opened_ns", "closed_ns"), *_money("realised", "fees", "funding"),
)  # fmt: skip
EQUITY = Table(
    "equity", METADATA, *_text("trade_date", "venue", "currency", key=True),
    *_money("opening", "realised", "fees", "funding", "cash", "closing"),
)  # fmt: skip
DECISIONS = Table(
    "decisions", METADATA, *_whole("seq", "n", key=True), *_whole("ts", "last_ts"), *_text("pair", "kind", "rule"),
    Column("observed", DecimalText), Column("limit", DecimalText), *_text("reason"), *_whole("count"),
)  # fmt: skip
"""See bot.journal.decisions. Numbers a decision does not have are NULL, never zero."""
Index("ix_decisions_pair_ts", DECISIONS.c.pair, DECISIONS.c.ts)
Index("ix_fills_pair_ts", FILLS.c.pair, FILLS.c.ts)
Index("ix_journal_kind", JOURNAL.c.kind, JOURNAL.c.seq)

LEDGER = (WATERMARK, ORDERS, FILLS, ALLOCATIONS, FUNDING, CASH, TRADES, EQUITY, DECISIONS)
"""Tables that can be emptied and projected again from the journal."""
