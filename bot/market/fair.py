"""Fair value of the two legs: a future is not spot, and everything is compared in USD per coin.

premium = perp_usd - cme; long CME / short perp earns when it falls. The future's fair value carries the index to the
fixing, the perpetual's is the index itself, so in contango the raw difference picks the wrong side (worked case G1).
"""

from __future__ import annotations

from math import exp, log

import msgspec

DAY_NS = 86_400_000_000_000
YEAR_NS = 365 * DAY_NS


def years(now_ns: int, then_ns: int) -> float:
    """Return the time from now to then in years of 365 days, >= 0."""
    return max(0.0, (then_ns - now_ns) / YEAR_NS)


def cme_fair(index_usd: float, carry: float, t_years: float) -> float:
    """Return the fair future in USD: index x exp(carry x T), carry continuous and annual.

    >>> round(cme_fair(70_000, 0.06, 30 / 365), 4)
    70346.0581
    """
    return index_usd * exp(carry * t_years)


def fair_premium(index_usd: float, carry: float, t_years: float) -> float:
    """Return the premium in USD that two fairly priced legs show: negative in contango.

    >>> round(fair_premium(70_000, 0.06, 30 / 365), 4)
    -346.0581
    """
    return index_usd - cme_fair(index_usd, carry, t_years)


def premium_usd(perp_quote: float, stable_usd: float, cme: float) -> float:
    """Return perp x stable - CME in USD per coin."""
    return perp_quote * stable_usd - cme


def bp_of_index(usd: float, index_usd: float) -> float:
    """Return an amount in USD per coin as bp of the index."""
    return usd / index_usd * 1e4


def implied_carry(future: float, index_usd: float, t_years: float) -> float:
    """Return ln(F / index) / T, continuous and annual. Raises ValueError at or after the fixing."""
    if t_years <= 0.0:
        raise ValueError("implied carry needs time to the fixing")
    return log(future / index_usd) / t_years


class Signal(msgspec.Struct, frozen=True):
    """The premium of one instant and what of it is not explained by carry; USD per coin and bp of index."""

    perp_usd: float
    premium: float
    premium_bp: float
    fair_premium: float
    excess: float
    excess_bp: float


def signal(
    index_usd: float, cme: float, perp_quote: float, stable_usd: float, carry: float, t_years: float
) -> Signal:
    """Return premium and excess of two prices (worked case G1)."""
    perp = perp_quote * stable_usd
    premium = perp - cme
    fair = fair_premium(index_usd, carry, t_years)
    excess = premium - fair
    return Signal(
        perp, premium, bp_of_index(premium, index_usd), fair, excess, bp_of_index(excess, index_usd)
    )
