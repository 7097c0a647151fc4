"""What a strategy wants: a target for a pair, with the facts an exit will be judged by frozen into it; or why it wants none."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from bot.model.ids import PairId


class PairIntent(msgspec.Struct, frozen=True, kw_only=True):
    """Target of the lead leg in signed lots; it stands until replaced.

    edge_bp: expected profit after costs at decision, bp of index. mean_bp and sigma_bp: statistics of the excess
    frozen at entry. min_premium_bp: the executable premium (in the direction of the trade) below which a
    resting or next clip is no longer worth sending; None for exits. passive: the lead may rest at its own touch.
    """

    pair: PairId
    target_lead: Decimal
    hedge_ratio: Decimal = Decimal(1)
    reason: str
    z: float = 0.0
    excess_bp: float = 0.0
    edge_bp: float = 0.0
    expected_funding_bp: float = 0.0
    horizon_days: float = 0.0
    mean_bp: float = 0.0
    sigma_bp: float = 0.0
    carry: float = 0.0
    min_premium_bp: float | None = None
    passive: bool = False


class EntryDeclined(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A strategy saw a signal to open and did not ask: said when the reason changes, not at every quote.

    why: the strategy's own word; observed, limit: its numbers in its own unit (convergence: bp of index), 0 where it has none.
    An event: what was not opened, and why, is on record beside what risk refused.
    """

    ts: int
    pair: PairId
    why: str
    observed: float = 0.0
    limit: float = 0.0
