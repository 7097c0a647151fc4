"""Decisions as a ledger table; a checksum on every journal row and checkpoint."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DERIVED = ("watermark", "orders", "fills", "allocations", "funding", "cash", "trades", "equity")
"""Emptied, so that the next projection reads the journal from its start and past decisions are in the table too."""
BATCH = 1000


def upgrade() -> None:
    """Add the table and the columns, and seal what is there."""
    text, whole = sa.Text, sa.BigInteger
    op.create_table(
        "decisions",
        sa.Column("seq", whole(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("n", whole(), primary_key=True, nullable=False, autoincrement=False),
        *(sa.Column(name, kind(), nullable=False) for name, kind in (
            ("ts", whole), ("last_ts", whole), ("pair", text), ("kind", text), ("rule", text),
        )),
        sa.Column("observed", text(), nullable=True),
        sa.Column("limit", text(), nullable=True),
        *(sa.Column(name, kind(), nullable=False) for name, kind in (("reason", text), ("count", whole))),
    )  # fmt: skip
    op.create_index("ix_decisions_pair_ts", "decisions", ["pair", "ts"])
    op.add_column("journal", sa.Column("crc", sa.BigInteger(), nullable=True))
    op.add_column("checkpoint", sa.Column("crc", sa.BigInteger(), nullable=True))
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT seq, n, ts, kind, body FROM journal"))
    _seal(connection, "journal", rows, ("seq", "n"), lambda r: b"%d %d %d %s " % (r.seq, r.n, r.ts, r.kind.encode()))
    _seal(connection, "checkpoint", connection.execute(sa.text("SELECT seq, body FROM checkpoint")), ("seq",), lambda r: b"%d " % r.seq)
    for table in DERIVED:
        op.execute(f"DELETE FROM {table}")


def _seal(connection: Any, table: str, rows: Iterable[Any], key: tuple[str, ...], place: Any) -> None:
    """Write the checksum of each row: CRC-32 of its place and its body."""
    where = " AND ".join(f"{name} = :{name}" for name in key)
    found = [{**{name: getattr(row, name) for name in key}, "crc": zlib.crc32(row.body, zlib.crc32(place(row)))} for row in rows]
    for start in range(0, len(found), BATCH):
        connection.execute(sa.text(f"UPDATE {table} SET crc = :crc WHERE {where}"), found[start : start + BATCH])
