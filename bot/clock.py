"""The wall clock: the only module that reads it. Market time comes from events; a core that asked here could not be replayed."""

from __future__ import annotations

import time


def now_ns() -> int:
    """Return UTC now in ns. It may jump; durations are measured with time.monotonic."""
    return time.time_ns()


def now_s() -> float:
    """Return UTC now in seconds, to compare with file times."""
    return time.time()
