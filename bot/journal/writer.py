"""The one thread that owns the journal's write connection and makes batches durable in order.

A batch whose commit is not confirmed in time is not given up: it may hold fills, and the desk's state already
contains them. It stays at the head of the queue, is written before anything later, and its rows are marked
`confirmed = 0`. So the record of a living process has no holes, and a reader can tell which intents were never
released to the wire. A process that dies in between loses only batches it was told are not durable; one that dies
after a late commit and before its mark leaves an intent that recovery resolves like any unanswered send.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any

from bot.crash import crash_point
from bot.model.errors import JournalError

INSERT = "INSERT OR IGNORE INTO journal (seq, n, ts, kind, body, crc, confirmed) VALUES (?, ?, ?, ?, ?, ?, 1)"
"""IGNORE makes the retry of a batch whose COMMIT failed ambiguously harmless; seqs never repeat otherwise."""
MARK_UNCONFIRMED = "UPDATE journal SET confirmed = 0 WHERE seq = ?"

RETRY_S = 0.05
"""Pause before an unconfirmed batch is tried again."""
STALLED_WAIT_S = 0.005
"""Wait of an append behind an unconfirmed batch. SQLite gives up the interpreter lock at every row and gets it back
from a busy loop only after the 5 ms switch interval, so without a wait a backlog grew faster than it was written."""


class Job:
    """Rows for one statement. seq: the step's number if the rows are journal rows, else None and not retried."""

    __slots__ = ("done", "error", "gate", "late", "rows", "seq", "sql")

    def __init__(self, sql: str, rows: list[Any], seq: int | None = None) -> None:
        self.sql = sql
        self.rows = rows
        self.seq = seq
        self.done = False
        self.late = False
        self.error = ""
        self.gate = threading.Lock()
        self.gate.acquire()


class Writer:
    """Commits jobs one after the other; `submit` waits at most `timeout_s` for its own."""

    def __init__(self, connection: sqlite3.Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._mutex = threading.Lock()
        self._pending: deque[Job] = deque()
        self._overdue: list[int] = []
        self._behind = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Return when `job` is durable; raise JournalError when that is not known within the time.

        While an earlier batch is still unconfirmed the wait is short: the loop must not pay the whole time for
        every event of a dead disk, yet must leave the interpreter to this thread or it could never catch up.
        """
        what = f"seq {job.seq}" if job.seq is not None else "a record"
        wait_s = min(STALLED_WAIT_S, self._timeout_s) if self._behind else self._timeout_s
        self._queue.put(job)
        if not job.gate.acquire(timeout=wait_s):
            with self._mutex:
                if not job.done:
                    job.late = self._behind = True
                    alive = self._thread.is_alive()
                    job.error = job.error or ("commit is late" if alive else "its thread has died")
        if job.error:
            raise JournalError(f"journal: {what} not confirmed within {wait_s * 1e3:.0f} ms: {job.error}")

    @property
    def alive(self) -> bool:
        """Return whether the thread still runs: after `close` only while the disk hangs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write what is left and end the thread. Raises JournalError if batches could not be written."""
        self._queue.put(None)
        self._thread.join(timeout=10 * self._timeout_s + 5)
        if self._thread.is_alive() or self._pending or not self._queue.empty():
            raise JournalError(f"journal: {len(self._pending) or 'some'} batches could not be written at close")

    def _run(self) -> None:
        behind = False
        while not self._stopping:
            self._take(wait=RETRY_S if behind else None)
            behind = not self._attempt()
        if behind:
            self._attempt()
        self._connection.close()

    def _take(self, wait: float | None) -> None:
        """Move what is queued now into `_pending`, waiting at most `wait` seconds for the first."""
        try:
            self._accept(self._queue.get(timeout=wait))
            for _ in range(self._queue.qsize()):
                self._accept(self._queue.get_nowait())
        except Empty:
            return

    def _accept(self, job: Job | None) -> None:
        if job is None:
            self._stopping = True
        else:
            self._pending.append(job)

    def _attempt(self) -> bool:
        """Commit everything pending in one transaction and answer the waiting; return whether nothing is left."""
        jobs = list(self._pending)
        unconfirmed = {*self._overdue, *(job.seq for job in jobs if job.late and job.seq is not None)}
        try:
            if jobs or unconfirmed:
                self._transact(jobs, unconfirmed)
        except sqlite3.Error as error:
            self._fail(jobs, f"{type(error).__name__}: {error}")
            return not (self._pending or self._overdue)
        with self._mutex:
            self._pending.clear()
            self._overdue = [j.seq for j in jobs if j.late and j.seq is not None and j.seq not in unconfirmed]
            self._behind = bool(self._overdue)
            for job in jobs:
                job.done = True
                if not job.late:  # who was told that it is late waits no more, and a second release would end this thread
                    job.gate.release()
        return not self._overdue

    def _transact(self, jobs: list[Job], unconfirmed: set[int]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                connection.executemany(job.sql, job.rows)
            connection.executemany(MARK_UNCONFIRMED, [(seq,) for seq in unconfirmed])
            crash_point("journal.before_commit")
            connection.execute("COMMIT")
            crash_point("journal.after_commit")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _fail(self, jobs: list[Job], reason: str) -> None:
        """Tell the waiting; keep the journal rows for the next attempt and drop the rest."""
        with self._mutex:
            self._behind = True
            for job in jobs:
                if not job.done and not job.late:
                    job.late = True
                    job.error = reason
                    job.gate.release()
            self._pending = deque(job for job in jobs if job.seq is not None)
