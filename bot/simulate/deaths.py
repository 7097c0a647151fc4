"""Where a process dies: at a crash point the code passes (bot.crash), or between two events."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bot import crash
from bot.model.errors import JournalError

BETWEEN = "between"
"""A death between two events, at no point of the code."""


def _named(*prefixes: str) -> tuple[str, ...]:
    return tuple(p for p in crash.POINTS if p.startswith(prefixes))


FILE_POINTS = _named("run.", "migration.", "emergency.allocated", "import.", "lease.", "journal.before_commit", "journal.after_commit",
                     "journal.before_mark", "checkpoint.", "tape.", "venue_log.", "ledger.", "close.")  # fmt: skip
"""Crash points that only a day on real files passes."""
FIRST_POINTS = _named("run.", "migration.", "emergency.allocated")
"""Of a run's first start."""
START_POINTS = _named("import.", "lease.", "recovery.", "venue_log.opened")
"""Of every start."""
END_POINTS = _named("checkpoint.", "tape.before_end", "tape.after_end", "stop.", "ledger.", "close.")
"""Of an orderly end."""
LATCH_POINTS = _named("latch.", "kill.")
"""Of a kill and a resume."""
EMERGENCY_POINTS = _named("emergency.before_write", "emergency.after_write")
IMPORT_POINTS = _named("import.")
"""Of a step whose commit failed, and of the start after one."""
RUNNING_POINTS = tuple(p for p in crash.POINTS if p not in {*FIRST_POINTS, *START_POINTS, *END_POINTS, *LATCH_POINTS, *EMERGENCY_POINTS})
"""Of any moment of a day, and FILE_RUNNING those of them that only real files pass."""
FILE_RUNNING = tuple(p for p in RUNNING_POINTS if p in FILE_POINTS)
SELDOM = ("booking.", "cancel.", "tape.", "end.", "ready.")
"""Points passed so seldom that a death waits for the first passage only."""
IN_WRITER = frozenset({"journal.before_commit", "journal.after_commit"})
"""Points passed in the journal's own thread: an exception there would end the thread and not the process."""


class Crash(Exception):
    """The process is gone at this instruction."""


class Reaper:
    """Ends the process at one armed crash point. struck: how often each point was the last one passed.

    In the journal's thread it refuses the commit, for ever, and `mortal` turns that into the death of the caller. failing: the
    disk refuses every commit until the process is gone, which is a fault of the disk and no death.
    """

    def __init__(self) -> None:
        self.struck: Counter[str] = Counter()
        self.failing = False
        self._point = ""
        self._left = 0
        self._gone = ""

    def arm(self, point: str, nth: int) -> None:
        """Die at the `nth` passage of `point` from now on; whatever was armed before is forgotten. Raises ConfigError as bot.crash.arm."""
        crash.arm(point, nth, lambda: None)  # says what is wrong with it
        self._point, self._left = point, nth
        self._listen()

    def fail(self) -> None:
        """Let the disk refuse every commit from now on."""
        if not self.failing:
            self.failing = True
            self._listen()

    def rest(self) -> None:
        """Forget what is armed: the process is gone, or nothing shall happen any more."""
        self.failing = False
        self._point = self._gone = ""
        crash.disarm()

    @contextmanager
    def mortal(self) -> Iterator[None]:
        """Run something that waits for the journal's thread."""
        try:
            yield
        except JournalError:
            if self._gone:
                raise Crash(self._gone) from None
            raise

    def _listen(self) -> None:
        crash.disarm()
        crash.watch(self._passed)

    def _passed(self, name: str) -> None:
        if self._gone or self.failing:
            if name == "journal.before_commit":
                raise sqlite3.OperationalError("disk I/O error")
            return
        if name != self._point:
            return
        self._left -= 1
        if self._left:
            return
        self.struck[name] += 1
        self._point = ""
        if name in IN_WRITER:
            self._gone = name
            raise sqlite3.OperationalError("the process is gone")
        raise Crash(name)
