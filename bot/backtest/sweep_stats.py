"""What many trials on one history are worth: drawdown, walk-forward choice, and a Sharpe ratio deflated for the search.

The best of many trials without any skill looks skilled. So the number of trials is part of every result, the best one is
judged against what the best of as many worthless ones would have shown, and a choice is judged only on what came after
the data it was made on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, pstdev, variance
from typing import Any

import msgspec

from bot.model.event import NEVER
from bot.model.notation import iso

EULER = 0.5772156649015329
TRADES_MIN = 3
"""Fewer trades have neither a deviation worth the name nor a skew."""


class Deal(msgspec.Struct, frozen=True, gc=False):
    """One trade as the statistics need it: decided and over (UTC ns), USD made, bp of index made."""

    decided_ns: int
    over_ns: int
    usd: float
    bp: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one trial. USD; violations: checks of the record that failed; journal_sha256: None where none is written."""

    deals: list[Deal]
    open_at_end: int
    pnl_usd: float
    fees_usd: float
    funding_usd: float
    max_drawdown_usd: float
    refusals: dict[str, int]
    signals_over_hurdle: int
    violations: int
    journal_sha256: str | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Trades of one part of the period."""

    trades: int
    trades_usd: float


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the walk: params are those that made most up to train_to; test is what they made from there to test_to.

    params: None when no trial traded before train_to: then nothing is traded in the test either.
    """

    train_from: str
    train_to: str
    test_to: str
    params: Mapping[str, Any] | None
    train_trades: int
    train_usd: float
    test_trades: int
    test_usd: float


def drawdown(values: Sequence[float]) -> float:
    """Return the largest fall from a peak before it, in the unit of the values, >= 0.

    >>> drawdown([1.0, 3.0, 2.0, 4.0, 1.5])
    2.5
    """
    worst, peak = 0.0, -math.inf
    for value in values:
        peak = max(peak, value)
        worst = max(worst, peak - value)
    return worst


def part(deals: Sequence[Deal], from_ns: int, to_ns: int) -> Part:
    """Return what was decided and over within [from, to): a trade across a bound belongs to neither side of it."""
    inside = [d.usd for d in deals if d.decided_ns >= from_ns and d.over_ns < to_ns]
    return Part(trades=len(inside), trades_usd=math.fsum(inside))


def sharpe(deals: Sequence[Deal]) -> float | None:
    """Return mean over deviation of the trades' results in bp, per trade; None for fewer than three or no deviation."""
    results = [d.bp for d in deals]
    if len(results) < TRADES_MIN:
        return None
    deviation = pstdev(results)
    return fmean(results) / deviation if deviation > 0.0 else None


def expected_best(ratios: Sequence[float], trials: int) -> float | None:
    """Return the Sharpe ratio the best of `trials` worthless ones would show, from the spread of the ratios seen.

    None when it cannot be told: one trial, or fewer than two ratios. Source: Bailey and Lopez de Prado, The Deflated Sharpe
    Ratio, Journal of Portfolio Management 40 (2014).
    """
    if trials < 2 or len(ratios) < 2:
        return None
    inverse = NormalDist().inv_cdf
    best = (1.0 - EULER) * inverse(1.0 - 1.0 / trials) + EULER * inverse(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance(ratios)) * best


def deflated(deals: Sequence[Deal], benchmark: float | None) -> float | None:
    """Return the probability that a trial's true Sharpe ratio is above `benchmark`, by number, skew and tails of its trades.

    None without a ratio or a benchmark, or where the trades are too odd for the formula (same source as expected_best).
    """
    ratio = sharpe(deals)
    if ratio is None or benchmark is None:
        return None
    results = [d.bp for d in deals]
    middle, deviation = fmean(results), pstdev(results)
    skew = fmean(((x - middle) / deviation) ** 3 for x in results)
    tails = fmean(((x - middle) / deviation) ** 4 for x in results)
    spread = 1.0 - skew * ratio + (tails - 1.0) / 4.0 * ratio * ratio
    if spread <= 0.0:
        return None
    return NormalDist().cdf((ratio - benchmark) * math.sqrt(len(results) - 1) / math.sqrt(spread))


def walk(trials: Sequence[tuple[Mapping[str, Any], Sequence[Deal]]], bounds: Sequence[int]) -> list[Fold]:
    """Return the anchored walk-forward over bounds (UTC ns, rising): train on all before a bound, test up to the next.

    What made most in training is taken, the first in the grid's order on a tie, and never a trial that did not trade.
    """
    folds = []
    for at in range(1, len(bounds) - 1):
        trained = [(params, deals, part(deals, bounds[0], bounds[at])) for params, deals in trials]
        traded = [t for t in trained if t[2].trades]
        best = max(traded, key=lambda t: t[2].trades_usd) if traded else None
        until = bounds[at + 1] if at + 2 < len(bounds) else NEVER  # the last trade may be over after the last signal
        tested = part(best[1], bounds[at], until) if best else Part(trades=0, trades_usd=0.0)
        folds.append(
            Fold(
                train_from=iso(bounds[0]), train_to=iso(bounds[at]), test_to=iso(bounds[at + 1]), params=best[0] if best else None,
                train_trades=best[2].trades if best else 0, train_usd=best[2].trades_usd if best else 0.0,
                test_trades=tested.trades, test_usd=tested.trades_usd,
            )
        )  # fmt: skip
    return folds
