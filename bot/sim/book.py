"""The book behind the touch: how much rests at which price, what of it we have taken, and how fast it comes back.

Without a `Depth` a venue shows its touch and no more: what is displayed can be had once, until the next quote. With one
the displayed touch is the first of several levels.
"""

from __future__ import annotations

import msgspec


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """What is behind a displayed touch, and how it lives.

    levels: price levels on each side, the touch included (>= 1). spacing_ticks: ticks from one to the next (>= 1).
    growth: size of a level as a multiple of the one before it (> 0). refill_half_life_s: time after which half of what we
    took is there again (> 0). turnover: share of the displayed touch that trades against it per second (>= 0).
    """

    levels: int = 10
    spacing_ticks: int = 1
    growth: float = 1.0
    refill_half_life_s: float = 10.0
    turnover: float = 0.1
