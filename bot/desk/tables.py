"""Answers of the reading verbs as text for people, at 80 columns; what is not from a running desk says STALE first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.desk.columns import WIDTH, Column, number, table

C = Column
COLUMNS = {
    "positions": (
        C("leg", "leg"), C("venue", "venue"), C("instrument", "instrument"), C("qty", "qty", None, True), C("coins", "coins", 4, True),
        C("avg", "avg", 2), C("mark", "mark", 2), C("upnl_usd", "uPnL USD", 2, True),
    ),
    "orders": (
        C("id", "id"), C("instrument", "instrument"), C("side", "side"), C("qty", "qty"), C("filled", "filled"), C("limit", "limit", 2),
        C("purpose", "purpose"), C("status", "status"), C("age_s", "age s", 1),
    ),
    "limits": (
        C("name", "limit", whole=True), C("scope", "of"), C("used", "used", whole=True), C("at", "at", whole=True), C("headroom", "headroom", whole=True),
        C("unit", "unit", whole=True),
    ),
    "venues": (
        C("venue", "venue"), C("up", "up"), C("reconciled", "agrees"), C("equity_usd", "equity USD", 2), C("buffer", "buffer", 4),
        C("working_orders", "working"), C("answer_age_s", "answered s", 1), C("positions", "holds"),
    ),
    "gaps": (
        C("open_at", "opened"), C("direction", ""), C("gap_bps", "bp", 1), C("prior_close", "close", 2), C("open", "open", 2), C("kind", "kind"),
        C("age_days", "days", 2), C("filled", "filled"),
    ),
}  # fmt: skip


def text_of(verb: str, r: Mapping[str, Any]) -> Iterator[str]:
    """Yield the answer of one reading verb (bot.desk.read) line by line."""
    yield from head(r)
    if verb == "signals":
        for row in r[verb]:
            yield from _signal(row)
        return
    shown = {"limits": _limit, "gaps": _gap}.get(verb)
    yield from table(r[verb] if shown is None else [shown(row) for row in r[verb]], COLUMNS[verb])
    if verb == "venues":
        for row in r[verb]:
            yield from _messages(row)


def head(r: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the answer comes from."""
    if not r["stale"]:
        yield f"{r['run_id']} at {r['at']}"
        return
    desk = "the desk does not answer" if r["running"] else "no desk running"
    if r["run_id"] is None:
        yield f"STALE: {desk}, and no run to read"
        return
    yield f"STALE by {number(r['stale_s'], 1)} s: {desk}"
    yield f"from the journal of {r['run_id']}, market time {r['at'] or 'unknown'}"


def _limit(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a limit in words that fit: its digits by its size, what it is a limit of without the kind."""
    sign = ">=" if row["bound"] == "min" else "<="
    return {
        "name": row["name"], "scope": row["scope"].rpartition(" ")[2], "used": _short(row["used"]), "at": f"{sign} {_short(row['limit'])}",
        "headroom": _short(row["headroom"]), "unit": row["unit"],
    }  # fmt: skip


def _gap(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gap in words that fit: opened to the minute, and which of its two levels has been reached."""
    filled = "close" if row["filled_close_at"] else "range" if row["filled_range_at"] else "no"
    return {**row, "open_at": row["open_at"][:16], "kind": row["kind"] or "-", "filled": filled}


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    size = abs(value)
    return number(value, 0) if size >= 1_000 else number(round(value, 2) if size >= 1 else value)


def _messages(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield message counts and faults of one venue, wrapped."""
    counts = [f"{name.replace('_', ' ')} {n}" for name, n in row["messages"].items() if n]
    hits = [f"{name} {n}" for name, n in row["faults_hit"].items()]
    yield from _wrapped(f"{row['venue']} messages: ", counts)
    if hits:
        yield from _wrapped(f"{row['venue']} faults hit: ", hits)


def _wrapped(title: str, parts: list[str]) -> Iterator[str]:
    line = title
    for n, part in enumerate(parts or ["none"]):
        piece = part + ("" if n == len(parts) - 1 or not parts else ", ")
        if len(line) + len(piece.rstrip()) > WIDTH:
            yield line.rstrip()
            line = "  "
        line += piece
    yield line.rstrip()


def _signal(s: Mapping[str, Any]) -> Iterator[str]:
    n = number
    yield f"{s['pair']}: {s['lead']} {n(s['lead_mid'], 2)} / {s['hedge']} {n(s['hedge_mid'], 2)}, index {n(s['index_usd'], 2)} USD"
    yield f"  premium {n(s['premium_usd'], 2, True)} USD = {n(s['premium_bp'], 2, True)} bp, excess {n(s['excess_bp'], 2, True)} bp"
    bands = f"in {n(s['z_in'])}, out {n(s['z_out'])}, stop {n(s['z_stop'])}"
    yield f"  z {n(s['z'], 2, True)} ({bands}), mean {n(s['mean_bp'], 2, True)}, sigma {n(s['sigma_bp'], 2)} bp"
    yield f"  edge {n(s['edge_bp'], 2, True)} bp against {n(s['hurdle_bp'], 2)} bp, {n(s['edge_age_s'], 0)} s ago; half-life {n(s['half_life_days'], 2)} d"
    yield f"  carry {_percent(s['carry'])} ({s['carry_source'] or 'no source'}, age {n(s['carry_age_s'], 0)} s), implied {_percent(s['carry_implied'])}"
    yield f"  funding {_percent(s['funding_rate'], 4)} next at {s['funding_stamp'] or '-'} = {_percent(s['funding_year'])} a year"
    yield f"  differential {_percent(s['differential'])}; coverage {_percent(s['coverage'], 0)}; {n(s['days_to_fixing'], 1)} d to the fixing"
    yield f"  {'armed' if s['armed'] else 'disarmed'}; {'blocked: ' + s['blocked'] if s['blocked'] else 'nothing blocks an entry'}"


def _percent(value: float | None, places: int = 2) -> str:
    return "-" if value is None else f"{value * 100:+.{places}f} %"
