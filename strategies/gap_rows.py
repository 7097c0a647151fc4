"""A gap as the verbs list it, from whatever it was found in: a file of bars or what a desk has seen."""

from __future__ import annotations

import msgspec

from bot.model.notation import iso
from strategies.gaps import Followed, Gap


class GapRow(msgspec.Struct, frozen=True, kw_only=True):
    """One gap. gap_bps: size in bp of the prior close, without sign; direction: "up" or "down".

    kind: None while history is too short, and for a roll. filled_*_at: when the prior close was touched and when the
    prior session's range was entered, at the end of the bar that did it. age_days: from the open to the fill of the
    close, else to the last price seen of its contract; None for a roll, which is not followed.
    """

    prior_close_at: str
    open_at: str
    prior_close: float
    open: float
    gap_bps: float
    direction: str
    kind: str | None
    regime: str
    is_roll: bool
    filled_close_at: str | None
    filled_range_at: str | None
    age_days: float | None


def row(gap: Gap, f: Followed | None) -> GapRow:
    """Return one gap as it is printed; f: what has become of it, None when it is not followed."""
    return GapRow(
        prior_close_at=iso(gap.prior_close_ns), open_at=iso(gap.open_ns), prior_close=gap.prior_close, open=gap.open, gap_bps=abs(gap.bp),
        direction="up" if gap.sign > 0 else "down", kind=gap.kind, regime=gap.regime, is_roll=gap.is_roll,
        filled_close_at=None if f is None or f.filled_close_ns is None else iso(f.filled_close_ns),
        filled_range_at=None if f is None or f.filled_range_ns is None else iso(f.filled_range_ns),
        age_days=None if f is None else f.age_days,
    )  # fmt: skip
