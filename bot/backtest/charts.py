"""Charts of a backtest as plain plotly figures in HTML fragments; the script itself is inlined once by the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from bot.backtest.formats import SECOND_NS
from bot.backtest.result import BacktestResult, Bucket
from bot.backtest.trades import Look

_GREY, _BLUE, _GREEN, _RED = "#a8b3bf", "#2f6db3", "#2b8a57", "#c0453b"
_HEIGHT = 320
GAP_NS = 4 * 86_400 * SECOND_NS
"""Longer silence than any weekend: a line across it would show a market nobody saw."""


def script() -> str:
    """Return plotly's own script, from its installed package."""
    return str(get_plotlyjs())


def edges(r: BacktestResult) -> str:
    """Return the histogram of edge minus hurdle: every weighed signal, and those at z_in or more."""
    labels = [label(b) for b in r.edge_histogram]
    figure = go.Figure()
    figure.add_bar(x=labels, y=[b.looks - b.signals for b in r.edge_histogram], name=f"z below {r.z_in:g}", marker_color=_GREY)
    figure.add_bar(x=labels, y=[b.signals for b in r.edge_histogram], name=f"z {r.z_in:g} or more", marker_color=_BLUE)
    zero = next(i for i, b in enumerate(r.edge_histogram) if b.from_bp == 0.0)
    figure.add_vline(x=zero - 0.5, line_color=_RED, line_dash="dash", annotation_text="hurdle")
    figure.update_layout(barmode="stack", xaxis_title="edge minus required edge, bp of index", yaxis_title="signals", xaxis_type="category")
    return _html(figure)


def label(bucket: Bucket) -> str:
    """Return the words of a bucket, in bp.

    >>> label(Bucket(from_bp=-5.0, to_bp=0.0, looks=0, signals=0)), label(Bucket(from_bp=100.0, to_bp=None, looks=0, signals=0))
    ('-5..0', '>= 100')
    """
    if bucket.from_bp is None:
        return f"< {bucket.to_bp:g}"
    return f">= {bucket.from_bp:g}" if bucket.to_bp is None else f"{bucket.from_bp:g}..{bucket.to_bp:g}"


def premium(r: BacktestResult, looks: Sequence[Look]) -> str:
    """Return the premium at every signal, each contract by itself, with entries and exits."""
    figure = go.Figure()
    of: dict[str, list[Look]] = {}
    for look in looks:
        of.setdefault(look.contract, []).append(look)
    for number, (contract, found) in enumerate(of.items()):
        xs: list[datetime | None] = []
        ys: list[float | None] = []
        last = 0
        for look in found:
            if last and look.ts_ns - last > GAP_NS:
                xs.append(None)
                ys.append(None)
            xs.append(datetime.fromtimestamp(look.ts_ns / SECOND_NS, UTC))
            ys.append(round(look.premium_bp, 2))
            last = look.ts_ns
        figure.add_scatter(
            x=xs, y=ys, mode="lines+markers" if len(looks) < 4_000 else "lines", name=contract, showlegend=len(of) <= 8,
            line={"width": 1, "color": (_BLUE, _GREY)[number % 2]}, marker={"size": 3},
        )  # fmt: skip
    for name, stamps, colour, symbol in (
        ("entered", [t.entered_at for t in r.trades], _GREEN, "triangle-up"),
        ("left", [t.exited_at for t in r.trades if t.exited_at], _RED, "triangle-down"),
    ):
        if stamps:
            level = max((x.premium_bp for x in looks), default=0.0)
            figure.add_scatter(x=stamps, y=[level] * len(stamps), mode="markers", name=name, marker={"color": colour, "symbol": symbol, "size": 9})
    figure.update_layout(yaxis_title="perp over CME, bp of index")
    return _html(figure)


def equity(r: BacktestResult) -> str:
    """Return the sum of the trades' profits by exit, with each trade's expected and realised bp."""
    figure = go.Figure()
    total, xs, ys = 0.0, [], []
    for trade in r.trades:
        total += trade.pnl_usd
        xs.append(trade.exited_at or r.market_to)
        ys.append(round(total, 2))
    figure.add_scatter(x=xs, y=ys, mode="lines+markers", line={"shape": "hv", "color": _BLUE}, name="sum of trades")
    figure.update_layout(yaxis_title="USD")
    return _html(figure)


def attribution(r: BacktestResult) -> str:
    """Return the lines of the run's profit as a waterfall."""
    lines = {name.replace("_", " "): value for name, value in r.attribution.items() if abs(value) >= 0.005}
    lines["residual"] = r.residual_usd
    figure = go.Figure(
        go.Waterfall(
            x=[*lines, "P&L"], y=[*(round(v, 2) for v in lines.values()), 0.0], measure=["relative"] * len(lines) + ["total"],
            increasing={"marker": {"color": _GREEN}}, decreasing={"marker": {"color": _RED}}, totals={"marker": {"color": _BLUE}},
        )
    )  # fmt: skip
    figure.update_layout(yaxis_title="USD")
    return _html(figure)


def cases(r: BacktestResult) -> str:
    """Return what the trades made at each spread and delay."""
    figure = go.Figure()
    for spread, colour in zip(dict.fromkeys(c.spread_multiple for c in r.cases), (_BLUE, _RED, _GREY), strict=False):
        rows = [c for c in r.cases if c.spread_multiple == spread and c.stable_shift_bp == 0.0]
        names = ["next open" if c.delay_bars == 0 else f"{c.delay_bars} later" for c in rows]
        figure.add_bar(x=names, y=[round(c.trades_usd, 2) for c in rows], name=f"spreads x{spread:g}", marker_color=colour)
    figure.update_layout(barmode="group", yaxis_title="trades, USD")
    return _html(figure)


def _html(figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white", height=_HEIGHT, margin={"l": 60, "r": 20, "t": 20, "b": 50}, legend={"orientation": "h", "y": 1.12},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"family": "system-ui, sans-serif", "size": 12},
    )  # fmt: skip
    return str(to_html(figure, full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}))
