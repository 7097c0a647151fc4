"""Rolling the CME leg by calendar spread: spread slippage is the only roll P&L (worked case G9)."""

from __future__ import annotations

import msgspec


class Roll(msgspec.Struct, frozen=True):
    """Outcome of a roll in USD: slippage against the spread mid, fees, and the premium's re-basing per coin."""

    slippage: float
    fees: float
    premium_rebase: float


def roll(
    coins: float, lots: int, spread_mid: float, spread_paid: float, fee_per_side: float, direction: int = 1
) -> Roll:
    """Return the cost of rolling; a long buys the far month and pays the spread, a short receives it.

    Two sides per lot. The premium re-bases by the spread mid with zero P&L, whatever the legs print.
    """
    return Roll(
        slippage=-direction * coins * (spread_paid - spread_mid),
        fees=-2.0 * lots * fee_per_side,
        premium_rebase=-spread_mid,
    )
