"""The result of a backtest: what the command line promises, and the numbers that say why trades were made or not."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from bot.backtest.formats import SECOND_NS
from bot.backtest.play import Played
from bot.backtest.trades import Look, Trade, direction_name
from bot.journal.attribution import LINES
from bot.model.notation import instant_ns, iso
from bot.tally import RunResult

BUCKETS_BP = (*(float(x) for x in range(-40, 45, 5)), 60.0, 100.0)
"""Edges of the histogram of edge minus hurdle, bp of index; 0 parts what is worth trading from what is not."""


_REASONS = {
    "z": "z below z_in", "z_stop": "z at or above z_stop", "edge": "edge below edge_min", "hurdle": "edge below capital hurdle",
    "sigma": "deviation below its floor", "warming": "window not filled yet",
}  # fmt: skip


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Signals whose edge less what was required lies in [from_bp, to_bp); None is open. signals: those with z >= z_in."""

    from_bp: float | None
    to_bp: float | None
    looks: int
    signals: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One pass at other costs: spread and slippage multiple, bars of delay, shift of the stablecoin. USD and bp of index.

    trades_usd: what the trades made; pnl_usd: the run, with what the stablecoin did to the money that lay in it.
    """

    spread_multiple: float
    delay_bars: int
    stable_shift_bp: float
    trades: int
    trades_usd: float
    pnl_usd: float
    fees_usd: float
    funding_usd: float
    expected_bp: float | None
    result_bp: float | None
    signals_over_hurdle: int


class Half(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the period. Nothing is fitted, so both are out of sample; a result that lives in one half alone says so."""

    name: str
    market_from: str
    market_to: str
    trades: int
    won: int
    pnl_usd: float
    expected_bp: float | None
    result_bp: float | None


class ContractRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was played of one contract. basis_bp: median of CME over perp at the signals (perp x stable, bp of perp)."""

    contract: str
    market_from: str
    market_to: str
    samples: int
    obtainable: int
    weighed: int
    trades: int
    pnl_usd: float
    basis_bp: float


class BreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a round trip of four fills, bp of price: fees and half-spreads of both legs, twice; slippage apart."""

    lead: str
    venue: str
    fill: str
    price_usd: float
    cost_bp: float
    slippage_bp: float


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A signal at z_in or more, by how far its edge was from what was required. why: what was in the way, "" for nothing."""

    at: str
    contract: str
    direction: str
    z: float
    premium_bp: float
    excess_bp: float
    edge_bp: float
    required_bp: float
    why: str


class Assumption(msgspec.Struct, frozen=True):
    """Something the result rests on that the files do not say."""

    what: str
    value: str
    source: str


class BacktestResult(RunResult, frozen=True, kw_only=True):
    """A finished backtest: the fields of every run, then its own (USD, times ISO 8601 UTC)."""

    trades: list[Trade]
    edge_histogram: list[Bucket]
    bars_read: dict[str, int]
    rows_rejected: dict[str, int]
    files: dict[str, str]
    dropped_days: dict[str, str]
    bars_at_signals: dict[str, int]
    signals_by_reason: dict[str, int]
    best_edges: list[Near]
    basis_bp: dict[str, float]
    contracts: list[ContractRow]
    cases: list[Case]
    halves: list[Half]
    break_even: list[BreakEven]
    assumptions: list[Assumption]
    profile: str
    strategy: dict[str, Any]
    z_in: float
    open_at_end: int


def totals(played: Played) -> dict[str, Any]:
    """Return the run's common fields, summed over its contracts; equity and P&L run through from first to last."""
    scores = played.scores
    first, last = scores[0], scores[-1]
    lines = {name: sum(s.attribution[name] for s in scores) for name in LINES}
    lines["stablecoin_wallet"] += played.idle_usd
    refusals: Counter[str] = Counter()
    buffers: dict[str, float] = {}
    digest = hashlib.sha256()
    for score in scores:
        refusals.update(score.refusals)
        digest.update(bytes.fromhex(score.commands_sha256))
        for venue, share in score.margin_buffer_min.items():
            buffers[venue] = min(share, buffers.get(venue, share))
    pnl = last.equity_end_usd - first.equity_start_usd
    return {
        "pairs_opened": sum(s.pairs_opened for s in scores),
        "pairs_closed": sum(s.pairs_closed for s in scores),
        "fills": sum(s.fills for s in scores),
        "net_delta_base": last.net_delta_base,
        "net_delta_max_base": max(s.net_delta_max_base for s in scores),
        "unhedged_usd_s_max": max(s.unhedged_usd_s_max for s in scores),
        "pnl_usd": pnl,
        "equity_start_usd": first.equity_start_usd,
        "equity_end_usd": last.equity_end_usd,
        "attribution": lines,
        "residual_usd": pnl - sum(lines.values()),
        "funding_usd": lines["funding"],
        "fees_usd": lines["fees"],
        "refusals": {str(rule): n for rule, n in sorted(refusals.items())},
        "rejects": sum(s.rejects for s in scores),
        "unknown_orders": sum(s.unknown_orders for s in scores),
        "margin_buffer_min": buffers,
        "kill_level": last.kill_level,
        "commands_sha256": digest.hexdigest(),
        "journal_sha256": played.journal_sha256,
        "market_from": iso(played.from_ns),
        "market_to": iso(played.to_ns),
        "events": played.events,
        "trades": played.trades,
        "open_at_end": sum(t.open_at_end for t in played.trades),
    }


def histogram(looks: Sequence[Look], z_in: float) -> list[Bucket]:
    """Return how edges lie against what was required, of every signal with nothing on whose edge could be worked out."""
    counts, signals = [0] * (len(BUCKETS_BP) + 1), [0] * (len(BUCKETS_BP) + 1)
    for look in looks:
        if look.edge_bp is not None and look.required_bp is not None and not look.held:
            at = bisect_right(BUCKETS_BP, look.edge_bp - look.required_bp)
            counts[at] += 1
            signals[at] += look.z >= z_in
    bounds = (None, *BUCKETS_BP, None)
    return [Bucket(from_bp=bounds[i], to_bp=bounds[i + 1], looks=n, signals=signals[i]) for i, n in enumerate(counts)]


def reason(look: Look) -> str:
    """Return the first reason against an opening in words, "" when one was asked for."""
    return _REASONS.get(look.why, look.why)


def reasons(looks: Sequence[Look]) -> dict[str, int]:
    """Return for every signal the first reason against an opening, most frequent first."""
    found = Counter(reason(look) or "asked for" for look in looks)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def best(looks: Sequence[Look], z_in: float, count: int = 12) -> list[Near]:
    """Return the signals at z_in or more with the most edge over what was required."""
    found = sorted(
        (x.required_bp - x.edge_bp, x.ts_ns, x)
        for x in looks
        if x.edge_bp is not None and x.required_bp is not None and x.z >= z_in and not x.held
    )
    return [
        Near(
            at=iso(x.ts_ns), contract=x.contract, direction=direction_name(x.direction), z=x.z, premium_bp=x.premium_bp,
            excess_bp=x.excess_bp, edge_bp=x.edge_bp or 0.0, required_bp=x.required_bp or 0.0, why=reason(x),
        )
        for _, _, x in found[:count]
    ]  # fmt: skip


def case_of(played: Played, z_in: float, *, spread: float, delay: int, stable_shift_bp: float = 0.0) -> Case:
    """Return one pass as a row of the comparison."""
    fields = totals(played)
    over = sum(
        1 for x in played.looks
        if x.edge_bp is not None and x.required_bp is not None and not x.held and x.z >= z_in and x.edge_bp >= x.required_bp
    )  # fmt: skip
    return Case(
        spread_multiple=spread, delay_bars=delay, stable_shift_bp=stable_shift_bp, trades=len(played.trades),
        trades_usd=sum(t.pnl_usd for t in played.trades), pnl_usd=fields["pnl_usd"], fees_usd=fields["fees_usd"],
        funding_usd=fields["funding_usd"], expected_bp=_mean([t.expected_bp for t in played.trades]),
        result_bp=_mean([t.result_bp for t in played.trades]), signals_over_hurdle=over,
    )  # fmt: skip


def halves(played: Played) -> list[Half]:
    """Return the trades of the first and second half of the period, by the date of their decision."""
    middle = (played.from_ns + (played.to_ns - played.from_ns) // 2) // SECOND_NS * SECOND_NS
    found = []
    for name, a, b in (("first half", played.from_ns, middle), ("second half", middle, played.to_ns)):
        inside = [t for t in played.trades if a <= instant_ns(t.decided_at) < b]
        found.append(
            Half(
                name=name, market_from=iso(a), market_to=iso(b), trades=len(inside), won=sum(t.pnl_usd > 0.0 for t in inside),
                pnl_usd=sum(t.pnl_usd for t in inside), expected_bp=_mean([t.expected_bp for t in inside]),
                result_bp=_mean([t.result_bp for t in inside]),
            )
        )  # fmt: skip
    return found


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """Return median, mean deviation from it and tails of a list of numbers; empty for none."""
    if not values:
        return {}
    ordered = sorted(values)
    n = len(ordered)
    mean = sum(ordered) / n
    return {
        "median": median(ordered), "sd": (sum((x - mean) ** 2 for x in ordered) / n) ** 0.5, "p01": ordered[n // 100],
        "p05": ordered[n // 20], "p95": ordered[-1 - n // 20], "p99": ordered[-1 - n // 100],
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
