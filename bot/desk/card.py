"""Results as text for people and as JSON for scripts, one form per verb.

JSON numbers are numbers, money to 8 places; a value that is not known is null. A schema for each verb lies in bot/schemas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

PLACES = 8
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def json_line(verb: str, result: Any) -> str:
    """Return the result object of a verb as one line."""
    return _ENCODER.encode({"schema": f"{verb}/1", **plain(result)}).decode()


def plain(value: Any) -> Any:
    """Return builtins with floats rounded to 8 places; NaN and infinities are unknown, hence None."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return round(value, PLACES) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return plain(float(value))
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    return value


def text(verb: str, result: Any) -> str:
    """Return the result of a verb for a terminal, without colours."""
    r = plain(result)
    forms = {
        "paper": _run, "live": _run, "status": _status, "kill": _kill, "sessions": _sessions, "config show": _settings,
        "config check": _checks, "doctor": _checks,
    }  # fmt: skip
    form = forms.get(verb, _pairs)
    return "\n".join(form(r))


def _pairs(r: dict[str, Any]) -> Iterable[str]:
    return (f"{key:<20} {_short(value)}" for key, value in r.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return "none" if value in (None, [], {}) else str(value)


def _run(r: dict[str, Any]) -> Iterable[str]:
    """Yield lines of at most 80 characters."""
    since, until = (f"{r[key][:19].removesuffix('Z')}Z" for key in ("market_from", "market_to"))
    yield f"{r['mode']} {r['run_id']} seed {r['seed']}: {since} .. {until}"
    yield f"{r['events']:,} events, {r['fills']} fills, {r['rejects']} rejects, {r['unknown_orders']} unknown orders"
    yield f"pairs {r['pairs_opened']} opened, {r['pairs_closed']} closed"
    yield f"equity {r['equity_start_usd']:,.2f} -> {r['equity_end_usd']:,.2f} USD, P&L {r['pnl_usd']:+,.2f}"
    for name, amount in r["attribution"].items():
        yield f"  {name.replace('_', ' '):<22}{amount:>+16,.2f}"
    yield f"  {'residual':<22}{r['residual_usd']:>+16,.2f}"
    delta = f"net delta {r['net_delta_base']:+.4f} coins (largest {r['net_delta_max_base']:.4f})"
    yield f"{delta}, unhedged {r['unhedged_usd_s_max']:,.0f} USD-s at most"
    buffers = ", ".join(f"{venue} {share:.0%}" for venue, share in r["margin_buffer_min"].items()) or "unknown"
    yield f"smallest margin buffer: {buffers}"
    yield f"kill level {r['kill_level']}; invariant violations {r['invariant_violations']}"
    refusals = ", ".join(f"{rule} {n}" for rule, n in sorted(r["refusals"].items(), key=lambda x: -x[1])) or "none"
    yield f"refusals: {refusals}"
    yield f"commands {r['commands_sha256'][:16]} journal {r['journal_sha256'][:16]}"


def _status(r: dict[str, Any]) -> Iterable[str]:
    if not r["running"]:
        yield f"no desk running; kill level {r['kill_level']}"
    else:
        stale = f" STALE by {r['stale_s']:.1f} s: the desk does not answer" if r["stale_s"] else ""
        yield f"{r['mode']} {r['state']}, kill level {r['kill_level']}{stale}"
    for leg in r["legs"]:
        yield f"  {leg['venue']} {leg['instrument']} {leg['qty']:+g} avg {_short(leg['avg'])} mark {_short(leg['mark'])}"
    if r["net_delta_base"] is not None:
        equity = "not priced" if r["equity_usd"] is None else f"{r['equity_usd']:,.2f} USD"
        yield f"  net delta {r['net_delta_base']:+.4f} coins, equity {equity}"
    for reason in r["blocked_by"]:
        yield f"  blocked by {reason}"


def _kill(r: dict[str, Any]) -> Iterable[str]:
    done = "confirmed by the venues" if r["reached"] else "NOT CONFIRMED"
    yield f"{r['level']} {r['kill_id']}: latched, {done}; {'flat' if r['confirmed_flat'] else 'not confirmed flat'} (desk: {r['desk']})"


def _sessions(r: dict[str, Any]) -> Iterable[str]:
    for x in r["intervals"]:
        yield f"{x['from']}  {x['to']}  {x['state']:<9} {x['trade_date'] or '-':<10}  {x['reason']}".rstrip()
    for e in r["expiries"]:
        disputed = f" (or {e['disputed']}: disputed)" if e["disputed"] else ""
        yield f"{e['contract']} ends {e['expires']}, last trading day {e['last_trading_day']}{disputed}, rule {e['status']}"
        yield f"  fixed {e['fixing_from']}..{e['fixing_to']} ({e['fixing_in']})" + (
            f", roll {e['roll_from']}..{e['roll_to']}, relief fades {e['relief_fades']}" if e["roll_from"] else ""
        )


def _settings(r: dict[str, Any]) -> Iterable[str]:
    yield "precedence, lowest first: " + " < ".join(r["precedence"])
    width = max(len(s["key"]) for s in r["settings"])
    for s in r["settings"]:
        value = str(s["value"])
        value = value if len(value) <= 60 else value[:57] + "..."
        yield f"{s['key']:<{width}}  {value:<24}  {s['source']}"


def _checks(r: dict[str, Any]) -> Iterable[str]:
    for c in r["checks"]:
        yield f"{'ok  ' if c['ok'] else 'FAIL'} {c['name']}: {c['found']}" + (f" -> {c['fix']}" if c["fix"] else "")
