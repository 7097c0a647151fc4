"""Garbage collection of a live desk: a full collection must not stop it between a fill and its hedge."""

from __future__ import annotations

import gc


def settled() -> None:
    """Collect once, then take all that lives now out of every later collection.

    The client libraries leave some hundred thousand objects that stay as long as the process. A full collection over them took
    90 to 220 ms, about every 120 orders (measured 2026-11-25, 2 shared cores, Python 3.11.7).
    """
    gc.collect()
    gc.freeze()
