"""Journal, checkpoint, metadata and every ledger table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _columns(spec: str) -> list[sa.Column[Any]]:
    """Return columns from "name:t name:i*": t text (also decimals), i big integer, b bytes, * part of the key."""
    kinds = {"t": sa.Text, "i": sa.BigInteger, "b": sa.LargeBinary}
    found: list[sa.Column[Any]] = []
    for part in spec.split():
        name, kind = part.split(":")
        found.append(sa.Column(name, kinds[kind[0]](), nullable=False, primary_key=kind.endswith("*"), autoincrement=False))
    return found


TABLES = {
    "checkpoint": "seq:i* body:b",
    "meta": "key:t* value:t",
    "watermark": "name:t* seq:i",
    "orders": "client_id:t* pair:t venue:t instrument:t side:t qty:t limit_price:t tif:t purpose:t sent_ns:i filled:t "
    "outcome:t reason:t venue_order_id:t ended_ns:i",
    "allocations": "seq:i* n:i* ts:i pair:t instrument:t qty:t price:t exec_id:t",
    "funding": "venue:t* instrument:t* stamp_ns:i* pair:t* ts:i amount:t currency:t",
    "cash": "venue:t* ref:t* ts:i kind:t amount:t currency:t",
    "trades": "pair:t* number:i* currency:t* opened_ns:i closed_ns:i realised:t fees:t funding:t",
    "equity": "trade_date:t* venue:t* currency:t* opening:t realised:t fees:t funding:t cash:t closing:t",
}


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "journal",
        *_columns("seq:i* n:i* ts:i kind:t body:b"),
        sa.Column("confirmed", sa.Integer(), nullable=False, server_default=sa.text("1")),
    )
    op.create_index("ix_journal_kind", "journal", ["kind", "seq"])
    op.create_table(
        "fills",
        *_columns("venue:t* exec_id:t* seq:i ts:i client_id:t pair:t instrument:t side:t qty:t price:t fee:t fee_currency:t realised:t currency:t"),
        sa.Column("maker", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_index("ix_fills_pair_ts", "fills", ["pair", "ts"])
    for name, spec in TABLES.items():
        op.create_table(name, *_columns(spec))
