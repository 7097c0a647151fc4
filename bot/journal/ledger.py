"""Project journal events into the ledger tables, behind a watermark that moves in the same transaction.

The accounting itself is bot.journal.accounts; here its postings become rows. The ledger may lag or be rebuilt: it is
derived, so its connections sync less strictly than the journal's and its transactions are short, because SQLite has
one writer and an intent must never wait long for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, CursorResult, Engine, Select, Table, and_, bindparam, create_engine, delete, event, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from bot.crash import crash_point
from bot.journal import codec, tables
from bot.journal.accounts import BOOKED_KINDS, Accounts, FillPosting, FundingPosting, Posting, Trade
from bot.journal.decisions import Decision, Decisions
from bot.model import event as ev
from bot.model.errors import JournalError
from bot.model.ids import InstrumentId, PairId
from bot.model.instrument import Instrument

CHUNK_EVENTS = 200
"""Events per transaction."""

_NAME = "ledger"
_STEP = 1 << 16
"""More than a step has events: seq x this + n orders rows like (seq, n)."""

Row = dict[str, Any]
T = TypeVar("T")


def ledger_engine(path: Path) -> Engine:
    """Return an engine on the journal's database file for projections and reports."""
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 1.0})

    @event.listens_for(engine, "connect")
    def _relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


class Ledger:
    """Writes what happened into SQL. `terms` must name every instrument that events mention."""

    def __init__(self, engine: Engine, terms: Mapping[InstrumentId, Instrument]) -> None:
        self._engine = engine
        self._terms = terms
        self._accounts: Accounts | None = None
        self._decisions = Decisions()
        self._watermark = 0

    def watermark(self) -> int:
        """Return the seq up to which, inclusive, events are in the ledger. Raises JournalError."""
        return int(self._read(select(tables.WATERMARK.c.seq).where(tables.WATERMARK.c.name == _NAME), lambda found: found.scalar()) or 0)

    def decisions(self, *, pair: PairId | None = None, kind: str | None = None, since_ns: int = 0) -> list[Decision]:
        """Return what was decided and refused, oldest first; rows still going on at `since_ns` (UTC ns) count. Raises JournalError."""
        table = tables.DECISIONS
        wanted = [table.c.last_ts >= since_ns]
        wanted += [table.c.pair == pair] if pair is not None else []
        wanted += [table.c.kind == kind] if kind is not None else []
        return self._read(select(table).where(*wanted).order_by(table.c.seq, table.c.n), _as_decisions)

    def project(self, rows: Iterable[tuple[int, int, ev.Event]]) -> int:
        """Book the rows (seq, n, event) beyond the watermark and return the new watermark.

        `rows` must hold whole steps, as a journal's `read` gives them: the watermark passes a seq once.
        Raises JournalError if the database refuses; what was committed stays and the next call continues there.
        """
        try:
            accounts = self.books
            batch: list[tuple[int, int, ev.Event]] = []
            for row in rows:
                if row[0] <= self._watermark:
                    continue
                if len(batch) >= CHUNK_EVENTS and row[0] != batch[-1][0]:
                    self._write(accounts, batch)
                    batch = []
                batch.append(row)
            if batch:
                self._write(accounts, batch)
        except BaseException as error:
            self._accounts = None  # it may be ahead of the tables: the next call folds it again
            if isinstance(error, SQLAlchemyError):
                raise JournalError(f"ledger: {error}") from error
            raise
        return self._watermark

    @property
    def books(self) -> Accounts:
        """Return the books as of the watermark."""
        if self._accounts is None:
            self._accounts = self._refold()
        return self._accounts

    def rebuild(self) -> None:
        """Empty the ledger; the next `project` from seq 0 writes equal rows."""
        try:
            with self._engine.begin() as connection:
                for table in tables.LEDGER:
                    connection.execute(delete(table))
        except SQLAlchemyError as error:
            raise JournalError(f"ledger: {error}") from error
        self._accounts = None

    def _read(self, query: Select[Any], take: Callable[[CursorResult[Any]], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return take(connection.execute(query))
        except SQLAlchemyError as error:
            raise JournalError(f"ledger: {error}") from error

    def _refold(self) -> Accounts:
        """Return the books as of the watermark, folded from the journal in the same database."""
        accounts = Accounts(self._terms)
        self._watermark = self.watermark()
        newest = select(func.max(tables.DECISIONS.c.seq * _STEP + tables.DECISIONS.c.n)).group_by(tables.DECISIONS.c.pair)
        where = (tables.DECISIONS.c.seq * _STEP + tables.DECISIONS.c.n).in_(newest)
        self._decisions = Decisions(self._read(select(tables.DECISIONS).where(where), _as_decisions))
        if self._watermark:
            journal = tables.JOURNAL.c
            query = (
                select(journal.seq, journal.n, journal.ts, journal.kind, journal.body, journal.crc)
                .where(journal.seq <= self._watermark, journal.kind.in_(BOOKED_KINDS))
                .order_by(journal.seq, journal.n)
            )
            with self._engine.connect() as connection:
                for row in connection.execute(query):
                    accounts.fold(codec.opened(*row))
        return accounts

    def _write(self, accounts: Accounts, batch: list[tuple[int, int, ev.Event]]) -> None:
        """Fold one batch and commit its rows together with the watermark."""
        page = _Page()
        for seq, n, happened in batch:
            if isinstance(happened, ev.DayStarted):
                page.close_day(accounts)
            for posting in accounts.fold(happened):
                page.post(seq, n, posting)
            page.touch_order(accounts, happened)
            decided = self._decisions.fold(seq, n, happened)
            if decided is not None:
                page.put(tables.DECISIONS, msgspec.structs.asdict(decided))
        page.close_day(accounts)
        for trade in accounts.trades.values():
            page.trade(trade)
        page.put(tables.WATERMARK, {"name": _NAME, "seq": batch[-1][0]})
        with self._engine.begin() as connection:
            page.write(connection)
            crash_point("ledger.before_commit")
        crash_point("ledger.after_commit")
        self._watermark = batch[-1][0]


def _as_decisions(rows: CursorResult[Any]) -> list[Decision]:
    return [Decision(**row._mapping) for row in rows]


class _Page:
    """Rows of one transaction by table and primary key: the last version of a row is the one written."""

    def __init__(self) -> None:
        self._rows: dict[Table, dict[tuple[Any, ...], Row]] = {}

    def put(self, table: Table, row: Row) -> None:
        """Write `row`, replacing the row with the same key."""
        key = tuple(row[column.name] for column in table.primary_key.columns)
        self._rows.setdefault(table, {})[key] = row

    def post(self, seq: int, n: int, posting: Posting) -> None:
        """Turn one posting into rows."""
        if isinstance(posting, FillPosting):
            self._fill(seq, posting)
        elif isinstance(posting, FundingPosting):
            paid = posting.paid
            self.put(tables.FUNDING, {
                "venue": paid.venue, "instrument": paid.instrument, "stamp_ns": paid.stamp_ns, "pair": posting.pair,
                "ts": paid.ts, "amount": posting.amount, "currency": paid.currency,
            })  # fmt: skip
        elif isinstance(posting, ev.CashBooked):
            self.put(tables.CASH, {
                "venue": posting.venue, "ref": posting.ref, "ts": posting.ts, "kind": posting.kind,
                "amount": posting.amount, "currency": posting.currency,
            })  # fmt: skip
        elif isinstance(posting, ev.Allocated):
            self.put(tables.ALLOCATIONS, {
                "seq": seq, "n": n, "ts": posting.ts, "pair": posting.pair, "instrument": posting.instrument,
                "qty": posting.qty, "price": posting.price, "exec_id": posting.exec_id,
            })  # fmt: skip
        else:
            self.trade(posting)

    def trade(self, trade: Trade) -> None:
        """Write one trade, a row for each currency it touched."""
        for currency, line in trade.lines.items():
            self.put(tables.TRADES, {
                "pair": trade.pair, "number": trade.number, "currency": currency, "opened_ns": trade.opened_ns,
                "closed_ns": trade.closed_ns, "realised": line.realised, "fees": line.fees, "funding": line.funding,
            })  # fmt: skip

    def touch_order(self, accounts: Accounts, happened: ev.Event) -> None:
        """Write the order an event is about, as it now stands."""
        client_id = happened.order.client_id if isinstance(happened, ev.OrderIntended) else getattr(happened, "client_id", "")
        record = accounts.orders.get(client_id)
        if record is None:
            return
        spec = record.spec
        self.put(tables.ORDERS, {
            "client_id": client_id, "pair": spec.pair, "venue": spec.venue, "instrument": spec.instrument,
            "side": spec.side.value, "qty": spec.qty, "limit_price": spec.limit, "tif": spec.tif.value,
            "purpose": spec.purpose.value, "sent_ns": record.sent_ns, "filled": record.filled,
            "outcome": record.outcome.value if record.outcome else "", "reason": record.reason,
            "venue_order_id": record.venue_order_id, "ended_ns": record.ended_ns,
        })  # fmt: skip

    def close_day(self, accounts: Accounts) -> None:
        """Write the balances of the current trade date."""
        for (venue, currency), b in accounts.balances.items():
            self.put(tables.EQUITY, {
                "trade_date": accounts.trade_date, "venue": venue, "currency": currency, "opening": b.opening,
                "realised": b.realised, "fees": b.fees, "funding": b.funding, "cash": b.cash, "closing": b.closing,
            })  # fmt: skip

    def write(self, connection: Connection) -> None:
        """Replace every row by key, table by table."""
        for table, rows in self._rows.items():
            columns = list(table.primary_key.columns)
            same_key = and_(*(column == bindparam(f"key_{column.name}") for column in columns))
            keys = [{f"key_{column.name}": row[column.name] for column in columns} for row in rows.values()]
            connection.execute(delete(table).where(same_key), keys)
            connection.execute(insert(table), list(rows.values()))

    def _fill(self, seq: int, posting: FillPosting) -> None:
        fill = posting.fill
        self.put(tables.FILLS, {
            "venue": fill.venue, "exec_id": fill.exec_id, "seq": seq, "ts": fill.ts, "client_id": fill.client_id,
            "pair": posting.pair, "instrument": fill.instrument, "side": fill.side.value, "qty": fill.qty,
            "price": fill.price, "fee": fill.fee, "fee_currency": fill.fee_currency, "realised": posting.realised,
            "currency": posting.currency, "maker": int(fill.maker), "reason": fill.reason,
        })  # fmt: skip
