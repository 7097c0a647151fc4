"""Bring a database to the schema this program writes; Alembic configured in code, its scripts in this package.

An upgrade is one transaction, so a crash in it leaves the old schema. What another program left half done is refused.
SQLAlchemy and Alembic load only when something has to change, so a desk on a current database starts without them.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.crash import crash_point
from bot.model.errors import JournalError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

HEAD = "0002"
"""Newest revision; a test holds it equal to the head of `versions`."""

KNOWN = ("0001", "0002")

SCHEMA = {
    "alembic_version": "version_num",
    "journal": "seq n ts kind body confirmed crc",
    "checkpoint": "seq body crc",
    "meta": "key value",
    "watermark": "name seq",
    "orders": "client_id pair venue instrument side qty limit_price tif purpose sent_ns filled outcome reason venue_order_id ended_ns",
    "fills": "venue exec_id seq ts client_id pair instrument side qty price fee fee_currency realised currency maker reason",
    "allocations": "seq n ts pair instrument qty price exec_id",
    "funding": "venue instrument stamp_ns pair ts amount currency",
    "cash": "venue ref ts kind amount currency",
    "trades": "pair number currency opened_ns closed_ns realised fees funding",
    "equity": "trade_date venue currency opening realised fees funding cash closing",
    "decisions": "seq n ts last_ts pair kind rule observed limit reason count",
}
"""Columns of every table at HEAD; a test holds it equal to tables.py, which a start does not load."""


UNREADABLE = (sqlite3.Error, UnicodeError)
"""What reading a damaged file raises: names and messages in it need not be text."""


def untouched(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing, the write-ahead log included. May raise sqlite3.Error.

    Only a rollback journal left by a crash (a first creation, before WAL) must be played back to read at all.
    """
    hot = path.with_name(path.name + "-journal")
    mode = "rw" if hot.exists() and hot.stat().st_size else "ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=1.0)


def revision(path: Path) -> str | None:
    """Return the schema revision of a database file, None if it has none. Raises JournalError if unreadable."""
    if not path.exists():
        return None
    try:
        connection = untouched(path)
        try:
            found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
            if not found.fetchone()[0]:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except UNREADABLE as error:
        raise JournalError(f"journal {path}: {error}") from error
    return None if row is None else str(row[0])


def open_current(path: Path) -> None:
    """Make `path` a database of the current schema; one that held anything older is copied first.

    Raises JournalError for a file that a newer program wrote, that is half migrated or that is no database.
    """
    found = revision(path)
    if found == HEAD:
        _refuse_half(path)
        return
    if found is not None and found not in KNOWN:
        raise JournalError(f"journal {path} has schema {found}, newer than this program's {HEAD}: use the program that wrote it")
    copy = _backup(path, found or "unversioned") if path.exists() and path.stat().st_size else None
    from alembic.util import CommandError
    from sqlalchemy import URL, create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    try:
        upgrade(engine)
    except (SQLAlchemyError, *UNREADABLE, CommandError) as error:
        if copy is not None:
            copy.unlink()  # nothing was changed, and a start that is tried again must not fill the disk with copies
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise JournalError(
            f"journal {path}: upgrade from schema {found or 'none'} to {HEAD} failed and changed nothing: {reason};"
            " free what blocks it and start again, or if it is half migrated put the copy made before the upgrade back"
        ) from error
    finally:
        engine.dispose()


def upgrade(engine: Engine) -> None:
    """Run every revision the database of `engine` does not have yet, in one transaction."""
    with engine.connect() as connection:
        # The driver's own transaction handling commits before DDL; taken from it, DDL rolls back like anything else.
        driver: Any = connection.connection.dbapi_connection
        driver.isolation_level = None
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _run(connection)
        crash_point("migration.before_commit")
        connection.commit()
        crash_point("migration.after_commit")


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_half(path: Path) -> None:
    """Raise JournalError if the schema is not what its revision says, naming the first difference."""
    try:
        connection = untouched(path)
        try:
            for table, columns in SCHEMA.items():
                found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                missing = [name for name in columns.split() if name not in found]
                if missing:
                    what = f"column {table}.{missing[0]}" if found else f"table {table}"
                    raise JournalError(f"journal {path} is half migrated: schema {HEAD} without {what}; put the copy made before the upgrade back")
        finally:
            connection.close()
    except UNREADABLE as error:
        raise JournalError(f"journal {path}: {error}") from error


def _backup(path: Path, found: str) -> Path:
    """Copy the database beside itself, complete with what is still in its log; an existing copy is kept.

    Raises JournalError if the copy cannot be made whole: without it nothing is upgraded.
    """
    copy = path.with_name(f"{path.name}.{found}.bak")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.{found}.{number}.bak")
    draft = copy.with_name(copy.name + ".tmp")
    try:
        draft.unlink(missing_ok=True)
        source, target = untouched(path), sqlite3.connect(draft)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, copy)
    except (*UNREADABLE, OSError) as error:
        draft.unlink(missing_ok=True)
        raise JournalError(f"journal {path}: no copy before the upgrade, so nothing was changed: {error}") from error
    return copy
