"""What is checked and mended before a desk may use a journal: damage, an old copy put back, intents left beside it.

A desk that starts on a wrong record mints ids the venues have seen and forgets orders that are live. So every sign that
this is not the newest whole record of the folder refuses the start, with one line that says which file and why; the
rules and what they can prove are in docs/adr/0005.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bot.crash import crash_point
from bot.journal import codec, migrations
from bot.journal.emergency import EmergencyFile
from bot.journal.mark import Mark
from bot.journal.reader import JournalReader
from bot.journal.writer import INSERT
from bot.model.errors import JournalError

TAKEN_ALONE = frozenset({"BooksRead", "OrderIntended", "CancelIntended"})
"""What is imported of a step the database never got. Its facts may rest on steps that are lost, and the venues
repeat facts; what was meant to be sent nobody else can tell us."""

_WAY_OUT = "; put the newest copy back, or start a new run"
_CONFIRM = "UPDATE journal SET confirmed = 1 WHERE seq = ? AND body = ?"


def refuse(path: Path, mark: Mark | None, must_exist: bool) -> None:
    """Raise JournalError unless the database is whole and the newest of its folder, or there is none and never was.

    Reads only: what is refused is left as it was found, its log too, for whoever has to mend it.
    """
    if not path.exists() or not path.stat().st_size:
        _refuse_missing(path, must_exist)
        return
    _refuse_damaged(path)
    if migrations.revision(path) in migrations.KNOWN:
        reader = JournalReader(path)
        try:
            _refuse_old(path, reader, mark)
        finally:
            reader.close()


def _refuse_missing(path: Path, must_exist: bool) -> None:
    beside = [path.with_name(path.name + suffix) for suffix in (".mark", ".emergency", "-wal")]
    left = [file.name for file in beside if file.exists() and file.stat().st_size]
    if left or must_exist:
        why = f"{left[0]} is left of it" if left else "the run's other files are there"
        raise JournalError(f"journal {path} is missing or empty although {why}{_WAY_OUT}")


def _refuse_damaged(path: Path) -> None:
    try:
        connection = migrations.untouched(path)
        try:
            found = str(next(connection.execute("PRAGMA integrity_check(1)"), ("nothing can be checked",))[0])
        finally:
            connection.close()
    except migrations.UNREADABLE as error:
        raise JournalError(f"journal {path}: {error}") from error
    if found != "ok":
        raise JournalError(f"journal {path} is damaged: {' '.join(found.split())}{_WAY_OUT}")


def _refuse_old(path: Path, reader: JournalReader, mark: Mark | None) -> None:
    last, booked = reader.last_seq(), reader.watermark()
    if booked > last:
        raise JournalError(f"journal {path} ends at seq {last}, but its ledger has booked up to {booked}: rows are missing{_WAY_OUT}")
    if mark is None:
        return
    run = reader.run()
    if run < mark.run:
        raise JournalError(f"journal {path} is an old copy: it knows run {run}, run {mark.run} was leased{_WAY_OUT}")
    if mark.seq:
        found = reader.seal(mark.seq)
        if found is None:
            raise JournalError(f"journal {path} is an old copy or lost its log: it ends at seq {last}, seq {mark.seq} was confirmed{_WAY_OUT}")
        if found != mark.seal:
            raise JournalError(f"journal {path} holds another history: its seq {mark.seq} is not what was confirmed{_WAY_OUT}")


def refuse_unknown(path: Path, reader: JournalReader, venue: str, client_ids: Iterable[str]) -> None:
    """Raise JournalError if a venue holds an order of this desk that the journal never meant to send.

    An intent is durable, here or in the emergency file, before its order leaves: so this journal is not the newest.
    """
    unknown = sorted({*client_ids} - reader.intended())
    if unknown:
        raise JournalError(f"journal {path} is behind venue {venue}: it does not know order {unknown[0]}, {len(unknown)} in all{_WAY_OUT}")


def import_emergency(connection: sqlite3.Connection, file: EmergencyFile) -> int:
    """Move the emergency file into the journal, in one transaction, empty it, and return how many events were new.

    An event that a late commit wrote is recognised by its content and only marked confirmed. So an import that is
    interrupted anywhere, before its commit or before the file is empty, and repeated changes nothing.
    Raises JournalError; the file then keeps what it holds.
    """
    rows = list(file.rows())
    if not rows:
        return 0
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            fresh = _new(connection, rows)
            connection.executemany(INSERT, codec.sealed(fresh))
            connection.executemany(_CONFIRM, [(row[0], row[4]) for row in rows])
            crash_point("import.before_commit")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise JournalError(f"journal: the emergency file could not be imported: {error}") from error
    crash_point("import.after_commit")
    file.clear()
    crash_point("import.after_clear")
    return len(fresh)


def _new(connection: sqlite3.Connection, rows: list[codec.Row]) -> list[codec.Row]:
    """Return the rows the journal does not have, numbered behind those it has of the same step."""
    known: dict[int, list[bytes]] = {}
    for seq in {row[0] for row in rows}:
        known[seq] = [body for (body,) in connection.execute("SELECT body FROM journal WHERE seq = ? ORDER BY n", (seq,))]
    left = {seq: Counter(bodies) for seq, bodies in known.items()}
    fresh: list[codec.Row] = []
    added: Counter[int] = Counter()
    for seq, _, ts, kind, body in rows:
        if left[seq][body]:
            left[seq][body] -= 1
        elif kind in TAKEN_ALONE:
            fresh.append((seq, len(known[seq]) + added[seq], ts, kind, body))
            added[seq] += 1
    return fresh
