"""Named places at which a process may die, so that tests can kill it exactly there and prove what the next start makes of it.

The code passes a point by calling `crash_point`; unless something is armed that is one test of an empty list. Tests arm an
action in the same process (raise, count), or start `paper` with BOT_CRASH_AT=POINT:N, which makes the process kill itself
with SIGKILL at the N-th passage: nothing is flushed, closed or handed on, exactly as if the machine's owner had done it.

A name says what has happened already: `x.before_y` stands on the last line before y, `x.after_y` on the first one after. The
points of journal.before_commit and journal.after_commit are passed in the thread that writes, all others in their caller's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from bot.model.errors import ConfigError

VARIABLE = "BOT_CRASH_AT"

Point = Literal[
    # A new run: its folder with its settings, its database.
    "run.before_record", "run.before_rename", "run.after_rename", "migration.before_commit", "migration.after_commit", "emergency.allocated",
    # A start: intents left beside the database are imported, a run number leased, the record folded, venues asked.
    "import.before_commit", "import.after_commit", "import.clearing", "import.after_clear",
    "lease.before_commit", "lease.after_commit",
    "recovery.after_fold", "recovery.after_start", "recovery.before_query", "ready.after_commit",
    # One step becomes durable: rows, commit, the note beside the database.
    "journal.before_write", "journal.before_commit", "journal.after_commit", "journal.before_mark", "journal.after_mark",
    "emergency.before_write", "emergency.after_write",
    "checkpoint.before_write", "checkpoint.after_write", "checkpoint.after_drop",
    "tape.before_write", "tape.after_write", "tape.before_end", "tape.after_end",
    # Commands leave.
    "send.before", "send.after", "cancel.before", "cancel.after", "query.before", "query.after",
    # Reports arrive: acknowledgements, fills, ends of orders, funding and cash, full answers; time; the kill level.
    "ack.before_fold", "ack.after_commit", "fill.before_fold", "fill.after_commit", "end.before_fold", "end.after_commit",
    "booking.before_fold", "booking.after_commit", "snapshot.before_fold", "snapshot.after_commit",
    "timer.before_step", "timer.after_commit", "kill.before_fold", "kill.after_commit",
    # The latch: a draft of each copy, the two copies, the audit line.
    "latch.before_first", "latch.before_rename", "latch.between_copies", "latch.after_second", "latch.before_audit", "latch.after_audit",
    # The in-process venue's own record.
    "venue_log.opened", "venue_log.before_append", "venue_log.after_append",
    # The end of a run: venues disconnected, ledger projected, database closed.
    "stop.before", "stop.after", "ledger.before_commit", "ledger.after_commit", "close.before", "close.after",
]  # fmt: skip
"""A name the type checker knows: a hook with another name does not pass it."""

POINTS: tuple[str, ...] = get_args(Point)

_watchers: list[Callable[[str], None]] = []


def crash_point(name: Point) -> None:
    """Pass a point; whatever is armed there happens now."""
    if _watchers:
        for each in tuple(_watchers):
            each(name)


def watch(each: Callable[[str], None]) -> None:
    """Show every passage from now on to `each`, which may raise or not return."""
    _watchers.append(each)


def arm(name: str, nth: int, act: Callable[[], None]) -> None:
    """Call `act` once, at the `nth` passage of a point from now on (1 = the next). Raises ConfigError for an unknown point or nth < 1."""
    if name not in POINTS:
        raise ConfigError(f"unknown crash point {name!r}; one of {', '.join(POINTS)}")
    if nth < 1:
        raise ConfigError(f"crash point {name}: passage {nth} does not exist, the first is 1")
    left = nth

    def each(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left == 0:
                act()

    _watchers.append(each)


def disarm() -> None:
    """Forget everything armed and every watcher."""
    _watchers.clear()


def arm_from_environment(mode: str, environ: Mapping[str, str] = os.environ) -> None:
    """Let this process kill itself where BOT_CRASH_AT says; without it do nothing.

    Raises ConfigError for any mode but paper, an unknown point, or anything but POINT:N.
    """
    text = environ.get(VARIABLE)
    if text is None:
        return
    if mode != "paper":
        raise ConfigError(f"{VARIABLE} is set: a {mode} desk does not start with it")
    name, _, nth = text.partition(":")
    if not (nth.isascii() and nth.isdecimal()):
        raise ConfigError(f"{VARIABLE}={text}: want POINT:N, N from 1")
    arm(name, int(nth), die)


def die() -> None:
    """End this process by SIGKILL, here."""
    os.kill(os.getpid(), signal.SIGKILL)
