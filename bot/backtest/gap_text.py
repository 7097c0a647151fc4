"""Gaps and their fill statistics as text of at most 80 columns, small samples marked, chance beside every rate."""

from __future__ import annotations

from collections.abc import Iterator

from bot.backtest.gaps import GapsResult

SHOWN = 40
"""Gaps listed on a terminal; the JSON has all."""


def lines(r: GapsResult, shown: int = SHOWN) -> Iterator[str]:
    """Yield the result for people: the last `shown` gaps, the register of open ones, the fill statistics."""
    rolls = sum(g.is_roll for g in r.gaps)
    yield f"{r.product}: {len(r.gaps)} gaps of {r.floor_bp:g} bp or more in {r.sessions} sessions, close = {r.close.replace('_', ' ')}"
    yield f"{r.market_from} .. {r.market_to}"
    yield f"* significant, above max({r.floor_bp:g} bp, {r.atr_multiple:g} x ATR): {len(r.significant)}; rolls, which are no gaps: {rolls}"
    for reason, n in r.skipped.items():
        yield f"  left out: {n} x {reason}"
    yield ""
    yield f"  {'open (UTC)':<16}{'close':>10}{'open':>10}{'bp':>8}  {'kind':<13}{'close filled':<12}{'days':>6}"
    marked = set(r.significant)
    for g in r.gaps[-shown:]:
        filled = "roll" if g.is_roll else "no" if g.filled_close_at is None else g.filled_close_at[:10]
        age = "" if g.age_days is None else f"{g.age_days:.1f}"
        bp = g.gap_bps if g.direction == "up" else -g.gap_bps
        star = "*" if g.open_at in marked else " "
        yield f"{star} {g.open_at[:16]:<16}{g.prior_close:>10g}{g.open:>10g}{bp:>+8.0f}  {g.kind or '-':<13}{filled:<12}{age:>6}"
    if len(r.gaps) > shown:
        yield f"  (the last {shown} of {len(r.gaps)}; --json has all)"
    yield from _open(r)
    yield from _fills(r)


def _open(r: GapsResult) -> Iterator[str]:
    yield ""
    yield f"open, significant, in the last contract: {len(r.open_gaps) or 'none'}"
    for g in r.open_gaps:
        yield f"  {g.contract} {g.direction} from {g.prior_close:g}: {g.age_days:.1f} days, {g.sessions} sessions old, filled {g.retraced:.0%} at most"


def _fills(r: GapsResult) -> Iterator[str]:
    yield ""
    yield "fills of significant gaps whose contract was seen for the whole horizon"
    yield f"  close: prior close touched within {r.horizon_sessions} sessions, 95 % interval (Wilson)"
    yield f"  chance: {r.benchmark}"
    yield "  range: prior session's range entered; at open: it held there already"
    yield "  ?: fewer than 30 gaps, a rate of little weight"
    regime = ""
    for s in r.statistics:
        if s.regime != regime:
            regime = s.regime
            yield ""
            yield f"{regime:<31}{'gaps':>6}{'close':>7}{'95 %':>10}{'chance':>8}{'range':>7}{'at open':>9}"
        if s.share is None or s.range_share is None:
            continue
        chance = "-" if s.benchmark is None else f"{s.benchmark:.0%}"
        label = s.value if s.by == "all" else f"{s.by} {s.value}"
        interval = f"{s.low:.0%}-{s.high:.0%}"
        yield f"{label[:29]:<30}{'?' if s.small else ' '}{s.gaps:>6}{s.share:>7.0%}{interval:>10}{chance:>8}{s.range_share:>7.0%}{s.range_at_open:>9}"
