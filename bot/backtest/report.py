"""The report of a backtest: on the terminal, and as one HTML file that needs nothing from anywhere.

Both are made of the result alone. The file appears whole or not at all: it is written beside its place and moved there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.backtest.assumptions import DROPPED
from bot.backtest.charts import label
from bot.backtest.result import BacktestResult, Case
from bot.backtest.trades import Look, Trade
from bot.backtest.verdict import verdict

TRADES_SHOWN = 40
"""Trades shown on a terminal; the file shows all."""
UNWATCHED_WIDTH = 110
"""Columns where no terminal says how many there are."""


def write(result: BacktestResult, looks: Sequence[Look], path: Path) -> None:
    """Write the report to `path`, replacing what is there. Raises OSError when it cannot."""
    page = render(result, looks)
    fd, name = tempfile.mkstemp(dir=path.resolve().parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def render(result: BacktestResult, looks: Sequence[Look]) -> str:
    """Return the HTML of a result; the charts are of its own looks."""
    from bot.backtest import charts

    environment = Environment(loader=PackageLoader("bot.backtest"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(usd=_usd, bp=_bp, number=_number, words=_words)
    drawn: dict[str, Callable[[], str]] = {
        "edges": lambda: charts.edges(result),
        "premium": lambda: charts.premium(result, looks),
        "cases": lambda: charts.cases(result),
    }
    if result.trades:
        drawn |= {"equity": lambda: charts.equity(result), "attribution": lambda: charts.attribution(result)}
    return environment.get_template("report.html.j2").render(
        r=result, verdict=verdict(result), charts={name: draw() for name, draw in drawn.items()}, script=charts.script(), dropped=DROPPED,
        label=label, break_even=break_even_rows(result), prices=list(dict.fromkeys(x.price_usd for x in result.break_even)),
    )  # fmt: skip


def break_even_rows(result: BacktestResult) -> list[tuple[str, str, str, list[tuple[float, float]]]]:
    """Return (future, venue, fill, [(cost, slippage) at each price]) in the order of the result."""
    rows: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for x in result.break_even:
        rows.setdefault((x.lead, x.venue, x.fill), []).append((x.cost_bp, x.slippage_bp))
    return [(*key, cells) for key, cells in rows.items()]


def show(result: BacktestResult, console: Console | None = None) -> None:
    """Print the report for people."""
    out = console or Console(width=None if sys.stdout.isatty() else UNWATCHED_WIDTH)
    out.print(Text(f"Backtest {result.run_id}: {result.market_from[:10]} .. {result.market_to[:10]}, profile {result.profile}", style="bold"))
    for sentence in verdict(result):
        out.print(Text("  " + sentence))
    for table in tables(result):
        out.print(table)
    out.print(Text(f"\ncommands {result.commands_sha256[:16]} journal {result.journal_sha256[:16]} events {result.events:,}", style="dim"))


def tables(r: BacktestResult) -> Iterator[Table]:
    """Yield what the report shows, as tables for a terminal."""
    yield _table("Read and dropped", ("what", "rows", "source"), _rows_read(r))
    yield _table("Why a signal opened nothing: first reason", ("reason", "signals"), [(k, f"{n:,}") for k, n in r.signals_by_reason.items()])
    yield _table("Refused by risk", ("rule", "times"), [(_words(k), f"{n:,}") for k, n in r.refusals.items()] or [("nothing was refused", "0")])
    yield _table(
        f"Edge minus what was required, bp of index (z_in {r.z_in:g})", ("bucket", "signals", "of these z >= z_in", ""),
        [(label(b), f"{b.looks:,}", f"{b.signals:,}", _bar(b.looks, r)) for b in r.edge_histogram if b.looks],
    )  # fmt: skip
    yield _table(
        "Nearest to a trade", ("at", "contract", "z", "excess\nbp", "edge\nbp", "required\nbp", "in the way"),
        [(_minute(n.at), n.contract, f"{n.z:.2f}", _bp(n.excess_bp), _bp(n.edge_bp), _bp(n.required_bp), n.why or "nothing") for n in r.best_edges],
    )  # fmt: skip
    if r.trades:
        yield _table("Trades", ("contract", "entered", "left", "z", "expected\nbp", "result\nbp", "USD", "left because"),
                     [_trade(t) for t in r.trades[:TRADES_SHOWN]])  # fmt: skip
        sums = [(_words(k), _usd(v)) for k, v in r.attribution.items() if round(v, 2)]
        yield _table("Attribution", ("line", "USD"), [*sums, ("residual", _usd(r.residual_usd)), ("P&L", _usd(r.pnl_usd))])
    yield _table(
        "What it depends on", ("spreads", "fills", "stable", "trades", "trades\nUSD", "P&L\nUSD", "expected\nbp", "result\nbp", "over\nhurdle"),
        [_case(c) for c in r.cases],
    )  # fmt: skip
    yield _table(
        "By date; nothing was fitted", ("part", "to", "trades", "won", "P&L USD", "expected bp", "result bp"),
        [(h.name, h.market_to[:10], str(h.trades), str(h.won), _usd(h.pnl_usd), _bp(h.expected_bp), _bp(h.result_bp)) for h in r.halves],
    )  # fmt: skip
    prices = list(dict.fromkeys(x.price_usd for x in r.break_even))
    yield _table(
        "Break-even of a round trip, bp of price (slippage on top)", ("future", "perp", "fill", *(f"{p:,.0f} USD" for p in prices)),
        [(lead, venue, fill, *(f"{cost:.1f} + {slip:.1f}" for cost, slip in cells)) for lead, venue, fill, cells in break_even_rows(r)],
    )  # fmt: skip
    yield _table("Assumptions", ("what", "value", "source"), [(a.what, a.value, a.source) for a in r.assumptions])


def _rows_read(r: BacktestResult) -> list[tuple[str, str, str]]:
    """Return (what, rows, file or meaning) of everything read, dropped and used."""
    meant = {"signals": "instants at which both closes are of one moment", "obtainable": "signals with a next open of both legs to fill at"}
    rows = [(f"read {_words(role)}", f"{n:,}", r.files[role]) for role, n in r.bars_read.items()]
    rows += [(f"dropped: {_words(why)}", f"{n:,}", DROPPED.get(why, "")) for why, n in r.rows_rejected.items()]
    return rows + [(name, f"{n:,}", meant[name]) for name, n in r.bars_at_signals.items()]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=Text(title, "bold"), title_justify="left", header_style="dim", box=SIMPLE_HEAD)
    for number, name in enumerate(columns):
        words = name in ("what", "value", "source", "reason", "rule", "in the way", "left because", "perp", "fill")
        table.add_column(name, justify="left" if number == 0 or words else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _trade(t: Trade) -> tuple[str, ...]:
    left = _minute(t.exited_at) if t.exited_at else "still open"
    return (t.contract, _minute(t.entered_at), left, f"{t.z:.2f}", _bp(t.expected_bp), _bp(t.result_bp), _whole(t.pnl_usd), t.exit_reason)


def _case(c: Case) -> tuple[str, ...]:
    later = "next open" if c.delay_bars == 0 else f"{c.delay_bars} later"
    over = str(c.signals_over_hurdle)
    return (f"x{c.spread_multiple:g}", later, f"{c.stable_shift_bp:+g} bp", str(c.trades), _whole(c.trades_usd), _whole(c.pnl_usd),
            _bp(c.expected_bp), _bp(c.result_bp), over)  # fmt: skip


def _minute(stamp: str) -> str:
    return stamp[2:16].replace("T", " ")


def _bar(count: int, r: BacktestResult, width: int = 30) -> str:
    most = max(b.looks for b in r.edge_histogram)
    return "#" * max(1, round(count / most * width))


def _usd(value: float) -> str:
    return f"{value:+,.2f}" if round(value, 2) else "0.00"


def _whole(value: float) -> str:
    return f"{value:+,.0f}" if round(value) else "0"


def _bp(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _words(name: str) -> str:
    return str(name).replace("_", " ")
