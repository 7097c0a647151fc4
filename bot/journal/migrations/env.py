"""Alembic's entry: runs the revisions on the connection that `upgrade` hands over."""

from __future__ import annotations

from alembic import context

from bot.journal.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
