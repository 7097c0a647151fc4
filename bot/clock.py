"""The wall clock: the only module that reads it. Market time comes from events; a core that asked here could not be replayed."""

from __future__ import annotations

import time
from collections.abc import Callable


def now_ns() -> int:
    """Return UTC now in ns. It may jump; durations are measured with time.monotonic."""
    return time.time_ns()


def now_s() -> float:
    """Return UTC now in seconds, to compare with file times."""
    return time.time()


class Steady:
    """UTC in ns plus a fixed offset, never going back: what a desk on live venues and the venues on a wire stamp with.

    offset_ns: added to the wall clock, so that a seeded market's own date is now. A wall clock that is set back stands still
    here until it has caught up; one that is set forward is followed.
    """

    def __init__(self, offset_ns: int = 0, read: Callable[[], int] = now_ns) -> None:
        self.offset_ns = offset_ns
        self._read = read
        self._last = 0

    def __call__(self) -> int:
        """Return the present instant, UTC ns."""
        now = self._read() + self.offset_ns
        if now > self._last:
            self._last = now
        return self._last
