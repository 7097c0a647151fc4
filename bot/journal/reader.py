"""Read-only view of a journal database: what is in it, row by row, each held against its checksum."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.journal import codec
from bot.journal.migrations import UNREADABLE
from bot.model.errors import JournalError
from bot.model.event import Event

Entry = tuple[int, int, Event]

_LAST_SEQ = "SELECT max(coalesce((SELECT max(seq) FROM journal), 0), coalesce((SELECT max(seq) FROM checkpoint), 0))"


class JournalReader:
    """Works beside a running desk and needs no lock. Every method raises JournalError naming file and row or reason.

    A database of an older schema is read as it is: its rows carry no checksums yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        except sqlite3.Error as error:
            raise JournalError(f"journal {path}: {error}") from error
        try:
            self._sealed = any(row[1] == "crc" for row in self._rows("PRAGMA table_info(journal)"))
        except JournalError:
            self._connection.close()
            raise

    def read(self, from_seq: int = 0) -> Iterator[Entry]:
        """Yield (seq, n, event) from `from_seq` on, in order. See `unconfirmed` for intents never released."""
        crc = "crc" if self._sealed else "0"
        query = f"SELECT seq, n, ts, kind, body, {crc} FROM journal WHERE seq >= ? ORDER BY seq, n"
        for row in self._rows(query, from_seq):
            seq, n = row[:2]
            try:
                yield seq, n, codec.opened(*row) if self._sealed else codec.decode(seq, n, row[4])
            except JournalError as error:
                raise JournalError(f"{self._path}: {error}") from error

    def unconfirmed(self) -> frozenset[int]:
        """Return the seqs whose commit was not confirmed in time: their intents were not sent."""
        return frozenset(seq for (seq,) in self._rows("SELECT DISTINCT seq FROM journal WHERE confirmed = 0"))

    def intended(self) -> frozenset[str]:
        """Return the client id of every order this journal meant to send: what a venue may know of us."""
        rows = self._rows("SELECT seq, n, body FROM journal WHERE kind = 'OrderIntended'")
        events: Iterator[Any] = (codec.decode(*row) for row in rows)
        return frozenset(event.order.client_id for event in events)

    def seal(self, seq: int) -> int | None:
        """Return the seal of one step, None if it is not there. Raises JournalError for a damaged row."""
        rows = list(self._rows("SELECT seq, n, ts, kind, body FROM journal WHERE seq = ?", seq))
        try:
            return codec.seal(codec.sealed(rows)) if rows else None
        except (TypeError, AttributeError) as error:
            raise JournalError(f"journal {self._path}: a row of seq {seq} is damaged: {error}") from error

    def last_seq(self) -> int:
        """Return the highest seq of any event or checkpoint, 0 for an empty journal."""
        return self._whole(_LAST_SEQ)

    def watermark(self) -> int:
        """Return the highest seq that anything projected from this journal says it has read, 0 for none."""
        return self._whole("SELECT coalesce(max(seq), 0) FROM watermark")

    def run(self) -> int:
        """Return the run number leased last, 0 for none."""
        return self._whole("SELECT value FROM meta WHERE key = 'run'")

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (seq, state) of the newest undamaged checkpoint; the events after `seq` are its tail."""
        crc = "crc" if self._sealed else "NULL"
        for seq, body, found in self._rows(f"SELECT seq, body, {crc} FROM checkpoint ORDER BY seq DESC"):
            typed = isinstance(seq, int) and isinstance(body, bytes)
            if typed and (not self._sealed or found == codec.checkpoint_checksum(seq, body)):
                return seq, body
        return None

    def meta(self, key: str) -> str | None:
        """Return one fact about the database: "mode" or "run"."""
        for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", key):
            return str(value)
        return None

    def sha256(self) -> str:
        """Return the digest of every event in order."""
        return codec.sha256(self._rows("SELECT seq, n, body FROM journal ORDER BY seq, n"))

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def _whole(self, query: str) -> int:
        """Return the one whole number of a query, 0 for no row."""
        for (value,) in self._rows(query):
            try:
                return int(value)
            except (TypeError, ValueError) as error:
                raise JournalError(f"journal {self._path} is damaged: {value!r} where a number belongs") from error
        return 0

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        try:
            yield from self._connection.execute(query, values)
        except UNREADABLE as error:
            raise JournalError(f"journal {self._path}: {error}") from error
