"""Bring a database to the schema this program writes; Alembic configured in code, its scripts in this package.

SQLAlchemy and Alembic load only when something has to change, so a desk on a current database starts without them.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bot.model.errors import JournalError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

HEAD = "0001"
"""Newest revision; a test holds it equal to the head of `versions`."""

KNOWN = ("0001",)


def revision(path: Path) -> str | None:
    """Return the schema revision of a database file, None if it has none. Raises JournalError if unreadable."""
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(path, timeout=1.0)
        try:
            found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
            if not found.fetchone()[0]:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalError(f"journal {path}: {error}") from error
    return None if row is None else str(row[0])


def open_current(path: Path) -> None:
    """Make `path` a database of the current schema; one that held anything older is copied first.

    Raises JournalError for a file that a newer program wrote or that is no database.
    """
    found = revision(path)
    if found == HEAD:
        return
    if found is not None and found not in KNOWN:
        raise JournalError(f"journal {path} has schema {found}, newer than this program's {HEAD}")
    if path.exists() and path.stat().st_size:
        _backup(path, found or "unversioned")
    from sqlalchemy import URL, create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    upgrade(engine)
    engine.dispose()


def upgrade(engine: Engine) -> None:
    """Run every revision the database of `engine` does not have yet."""
    with engine.begin() as connection:
        _run(connection)


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _backup(path: Path, found: str) -> None:
    """Copy the database beside itself, complete with what is still in its log; an existing copy is kept."""
    copy = path.with_name(f"{path.name}.{found}.bak")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.{found}.{number}.bak")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
