"""A report as text at 80 columns and as CSV, one file per table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.desk.card import plain
from bot.desk.columns import WIDTH, Column, number, table
from bot.desk.report import TABLES, Report
from bot.journal.attribution import LINES

C = Column
LONGEST = 40
"""Rows of a long table that are printed; the rest is in JSON and CSV."""
WHOLE = frozenset({"break_even"})
"""Tables that are printed whatever their length."""
_FRACTION = re.compile(r"(\d\dT\d\d:\d\d:\d\d)\.\d+Z")
TITLES = {
    "trades": "Trades: attribution in USD, against decision mids", "dates": "Trade dates: attribution in USD", "fills": "Fills against decision mids",
    "funding": "Funding by stamp (> 0 received)", "fees": "Fees by venue (> 0 paid)", "refusals": "Refusals by hour and rule",
    "decisions": "Decisions", "hedge": "Hedge quality", "episodes": "Open delta beyond tolerance", "incidents": "Incidents",
    "margin": "Margin low points (unstressed)", "equity": "Equity by silo", "tie_out": "Tie-out against the venues' own logs",
    "break_even": "Break-even of a round trip, four crossing fills", "reproducibility": "To run this again", "notes": "Notes",
}  # fmt: skip
COLUMNS: dict[str, tuple[Column, ...]] = {
    "fills": (
        C("at", "at"), C("instrument", "contract"), C("side", "side"), C("qty", "qty"), C("price", "price", 2), C("slippage_bp", "slip bp", 2, True),
        C("slippage_usd", "slip USD", 2, True), C("fee_usd", "fee USD", 2),
    ),
    "funding": (
        C("stamp", "stamp"), C("rate", "rate", 6, True), C("predicted_rate", "predicted", 6, True), C("mark", "mark", 1), C("qty", "qty", None, True),
        C("amount", "paid", 2, True), C("predicted", "expected", 2, True),
    ),
    "fees": (C("venue", "venue"), C("instrument", "contract"), C("fills", "fills"), C("maker_fills", "maker"), C("qty", "qty"),
             C("notional_usd", "notional USD", 0), C("fee_usd", "fee USD", 2), C("fee_bp", "bp", 3)),
    "refusals": (C("hour", "hour"), C("rule", "rule"), C("pair", "pair"), C("count", "count"), C("observed_last", "last"), C("limit", "limit")),
    "decisions": (C("at", "at"), C("kind", "kind"), C("rule", "rule"), C("count", "n"), C("observed", "observed"), C("limit", "limit"), C("reason", "reason")),
    "episodes": (C("at", "at"), C("pair", "pair"), C("seconds", "seconds", 2), C("coins_max", "coins", 3), C("usd_s", "USD-seconds", 0),
                 C("incident", "incident")),
    "incidents": (C("at", "at"), C("pair", "pair"), C("what", "what"), C("detail", "detail")),
    "margin": (C("trade_date", "date"), C("venue", "venue"), C("buffer", "buffer", 4), C("at", "at"), C("equity_usd", "equity USD", 0),
               C("maintenance_usd", "maintenance", 0)),
    "equity": (C("trade_date", "date"), C("venue", "venue"), C("currency", "in"), C("opening", "opening", 2), C("realised", "realised", 2, True),
               C("fees", "fees", 2, True), C("funding", "funding", 2, True), C("closing", "closing", 2)),
    "tie_out": (C("venue", "venue"), C("item", "item"), C("opening", "opening", 2), C("closing", "closing", 4), C("statement", "venue's log", 4),
                C("break", "break", 8, True)),
    "break_even": (C("contract", "contract"), C("perp", "perp"), C("venue", "venue"), C("price", "price USD", 0), C("break_even_bp", "bp", 1),
                   C("usd_per_coin", "USD per coin", 2)),
}  # fmt: skip


def text_of(report: Report) -> Iterator[str]:
    """Yield the whole report for people."""
    tables = {name: [_to_seconds(row) for row in plain(rows)] for name, rows in report.tables.items()}
    yield from _summary(tables["summary"][0], tables["attribution"])
    for name in TABLES[2:]:
        yield ""
        yield TITLES[name]
        yield "-" * min(WIDTH, len(TITLES[name]))
        yield from _body(name, tables[name])


def _to_seconds(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with times to the second: people compare minutes, JSON and CSV keep the rest."""
    return {key: _FRACTION.sub(r"\1Z", value) if isinstance(value, str) else value for key, value in row.items()}


def _summary(s: Mapping[str, Any], attribution: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{s['mode']} {s['run_id']} seed {s['seed']}"
    yield f"{s['market_from']} .. {s['market_to']}, {number(s['events'])} journalled events"
    yield f"pairs {s['pairs_opened']} opened, {s['pairs_closed']} closed; {s['fills']} fills, {s['rejects']} rejects; kill level {s['kill_level']}"
    yield f"equity {number(s['equity_start_usd'], 2)} -> {number(s['equity_end_usd'], 2)} USD, P&L {number(s['pnl_usd'], 2, True)}"
    yield from _lines({row["line"]: row["usd"] for row in attribution})


def _body(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "none"
    elif name == "trades":
        for row in rows:
            yield from _trade(row)
    elif name == "dates":
        for row in rows:
            yield f"{row['trade_date']}  {row['from']} .. {row['to']}"
            yield from _lines({line: row[line] for line in LINES} | {"residual": row["residual_usd"], "pnl": row["pnl_usd"]})
    elif name == "hedge":
        yield from (f"{key.replace('_', ' '):<28}{number(value):>16}" for key, value in rows[0].items())
    elif name == "reproducibility":
        yield from (piece for row in rows for piece in _folded(f"{row['what']}: {row['value']}"))
    elif name == "notes":
        yield from (piece for row in rows for piece in _folded(row["note"]))
    else:
        shown = len(rows) if name in WHOLE else LONGEST
        yield from table(rows[:shown], COLUMNS[name])
        if len(rows) > shown:
            yield f"... and {len(rows) - shown} more: --format csv or json"


def _trade(t: Mapping[str, Any]) -> Iterator[str]:
    ends = t["closed_at"] or "still open"
    yield f"{t['pair']} {t['number']} {t['direction']} {number(t['lots'])} lots: {t['opened_at']} .. {ends}"
    yield from _folded(f"in: {t['entry']}", "  ")
    if t["exit"]:
        yield from _folded(f"out: {t['exit']}", "  ")
    yield f"  expected {number(t['edge_bp'], 1, True)} bp, realised {number(t['realised_bp'], 1, True)} bp of {number(t['notional_usd'], 0)} USD"
    yield from _lines({line: t[line] for line in LINES} | {"residual": t["residual_usd"], "pnl": t["pnl_usd"]})


def _lines(amounts: Mapping[str, float]) -> Iterator[str]:
    """Yield attribution lines, two beside each other."""
    cells = [f"  {name.replace('_', ' '):<21}{number(usd, 2, True):>14}" for name, usd in amounts.items()]
    for n in range(0, len(cells), 2):
        yield "  ".join(cells[n : n + 2])


def _folded(text: str, indent: str = "") -> Iterator[str]:
    """Yield `text` in lines that fit, broken at words where it has any."""
    line = indent
    for word in text.split():
        while len(indent) + 2 + len(word) > WIDTH:
            yield line.rstrip() if line.strip() else indent + word[: WIDTH - len(indent)]
            word, line = (word, indent + "  ") if line.strip() else (word[WIDTH - len(indent) :], indent + "  ")
        if len(line) + len(word) > WIDTH:
            yield line.rstrip()
            line = indent + "  "
        line += word + " "
    if line.strip():
        yield line.rstrip()


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one table as CSV with a heading; an unknown value is an empty field, decimals are exact."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return out.getvalue()


def write_csv(report: Report, folder: Path) -> list[Path]:
    """Write one file per table that has rows into `folder`, made if needed, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in TABLES:
        if report.tables[name]:
            path = folder / f"{name}.csv"
            path.write_text(csv_of(report.tables[name]), encoding="utf-8")
            written.append(path)
    return written
