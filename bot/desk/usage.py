"""How much of every limit is used now: the rows of the `limits` verb.

What is measured is what the rules themselves look at (risk/*), on a copy of the desk's counters, so that looking prunes nothing.
A limit that shapes sizes or shocks has a value and no usage. An unknown price is an unknown usage, never zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import msgspec

from bot.desk.snapshot import S_NS, venue_rows
from bot.engine import assess
from bot.engine.pair import unhedged_coins
from bot.engine.step import Engine
from bot.engine.watch import PairLoop
from bot.model.instrument import notional
from risk import funding
from risk.limits import Limits
from risk.request import DeskState, Exposure, value_of

Number = float | None
LOWER_IS_WORSE = frozenset({"expiry_stop_s", "closing_s_min", "margin_buffer_share"})
"""Limits that are a floor: what is left must stay above them."""
UNITS = (
    ("_usd_s_max", "USD-seconds"), ("_minute_max", "per minute"), ("_hour_max", "per hour"), ("_lots_max", "lots"),
    ("_coins_max", "coins"), ("_share", "share"), ("_share_max", "share"), ("_share_ceiling", "share"), ("_usd", "USD"), ("_usd_max", "USD"),
    ("_bp", "bp"), ("_s", "s"), ("_s_max", "s"), ("_s_min", "s"), ("_multiple", "times"), ("_rate", "per stamp"),
    ("_stamps", "stamps"), ("_samples", "samples"), ("_pairs", "pairs"), ("sigma_stop", "sigma"),
)  # fmt: skip
"""Ending of a limit's name -> its unit, the first that fits."""


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    """One limit on one scope ("desk", "pair ID" or "venue ID"). bound: "max", or "min" when less is worse.

    headroom: how far `used` may still move before the limit, < 0 beyond it; None where nothing uses it or it is not known.
    """

    name: str
    scope: str
    unit: str
    bound: str
    limit: float
    used: float | None
    headroom: float | None


class Look(msgspec.Struct, frozen=True):
    """What the usages of one pair are read from. x: the open trade as the monitors see it, None when flat or unpriced."""

    engine: Engine
    loop: PairLoop
    desk: DeskState
    x: Exposure | None


def limits(engine: Engine) -> list[LimitRow]:
    """Return every limit: per pair or venue where it applies to one, else once for the desk."""
    rows = []
    looks = [_look(engine, loop) for loop in engine.loops]
    for name in Limits.__struct_fields__:
        value = float(getattr(engine.limits, name))
        if name in VENUE_USE:
            rows += [_row(name, f"venue {venue}", value, used) for venue, used in VENUE_USE[name](engine)]
        elif name in DESK_USE:
            rows.append(_row(name, "desk", value, DESK_USE[name](looks[0]) if looks else None))
        elif name in PAIR_USE:
            rows += [_row(name, f"pair {look.loop.window.pair}", value, PAIR_USE[name](look)) for look in looks]
        else:
            rows.append(_row(name, "desk", value, None))
    for look in looks:
        rows += _funding_budget(look)
    return rows


def unit_of(name: str) -> str:
    """Return the unit that a limit's name ends in."""
    return next((unit for ending, unit in UNITS if name.endswith(ending)), "number")


def _row(name: str, scope: str, limit: float, used: Number, unit: str = "") -> LimitRow:
    used = used if used is not None and isfinite(used) else None
    floor = name in LOWER_IS_WORSE
    headroom = None if used is None else used - limit if floor else limit - used
    return LimitRow(name=name, scope=scope, unit=unit or unit_of(name), bound="min" if floor else "max", limit=limit, used=used, headroom=headroom)


def _look(engine: Engine, loop: PairLoop) -> Look:
    ob, state, watch = engine.ob, loop.state, loop.watch
    peek = engine.desk.copy()
    direction = _direction(loop)
    x = None
    if not state.flat and loop.window.lead.mid > 0.0 and loop.window.hedge.mid > 0.0 and assess.settle_usd(loop.window) > 0.0:
        x = assess.exposure(ob, state, loop.window, peek, best_pnl_usd=watch.best_pnl, unhedged=float(unhedged_coins(state, loop.window)),
                            unhedged_since_ns=watch.since_ns, unhedged_usd_s=watch.usd_s)  # fmt: skip
    return Look(engine, loop, assess.desk_state(ob, state, peek, direction), x)


def _direction(loop: PairLoop) -> int:
    """Return the direction held, else the one the strategy would open, else long lead."""
    held = loop.state.lead.qty or -loop.state.hedge.qty
    return (1 if held > 0 else -1) if held else int(getattr(loop.memory, "direction", 0)) or 1


def _age_s(look: Look, stamp_ns: int) -> Number:
    return (look.engine.ob.now - stamp_ns) / S_NS if stamp_ns else None


def _spread_bp(k: Look) -> Number:
    """Adverse premium move since the entry; favourable is negative."""
    if k.x is None or k.x.index_usd <= 0.0:
        return None
    premium = k.loop.window.hedge.mid * k.loop.window.stable_usd - k.loop.window.lead.mid
    return k.x.direction * (premium - k.x.entry_premium_usd) / k.x.index_usd * 1e4


def _sigma(k: Look) -> Number:
    z = getattr(k.loop.memory, "trade_z", None)
    return float(z) * k.x.direction if k.x is not None and z is not None else None


def _premium_bp(k: Look) -> Number:
    w = k.loop.window
    known = w.index_usd > 0.0 and w.lead.mid > 0.0 and w.hedge.mid > 0.0
    return abs(w.hedge.mid * w.stable_usd - w.lead.mid) / w.index_usd * 1e4 if known else None


def _closing_s(k: Look) -> Number:
    now = k.engine.ob.now
    ends = [t for t in (k.loop.window.lead_session.closes_ns(now), k.loop.window.hedge_session.closes_ns(now)) if t]
    return (min(ends) - now) / S_NS if ends else None


def _funding_hour(k: Look) -> Number:
    """What the direction pays per hour; received is negative."""
    book = k.loop.window.hedge
    return -_direction(k.loop) * book.funding_rate * 3600.0 / book.funding_interval_s if book.funding_ts and book.funding_interval_s > 0 else None


def _default_loss(k: Look) -> Number:
    """Share of NAV gone if one venue is lost and the other leg closed after the adverse move: the worse of the two."""
    x, nav = k.x, k.desk.nav_usd
    if x is None or not nav > 0.0:
        return None
    move = k.engine.limits.default_move_share
    shares = []
    for lost, survivor, leg in ((x.hedge_silo, x.lead_silo, x.lead), (x.lead_silo, x.hedge_silo, x.hedge)):
        in_usd = 1.0 if leg.terms.inverse else survivor.usd
        shares.append((max(0.0, lost.equity) * lost.usd + abs(value_of(leg, leg.net_qty)) * move * in_usd) / nav)
    return max(shares)


def _largest_order(k: Look) -> Number:
    ob, largest = k.engine.ob, 0.0
    for client_id in ob.live:
        spec = ob.orders[client_id].spec
        largest = max(largest, float(abs(notional(k.engine.terms[spec.instrument], spec.qty, spec.limit))))
    return largest


def _largest_clip(k: Look) -> Number:
    order = k.engine.ob.orders.get(k.loop.state.lead_order or "")
    return float(order.leaves) if order is not None else 0.0


def _share_of_nav(value: Number, nav: float) -> Number:
    return value / nav if value is not None and isfinite(nav) and nav > 0.0 else None


def _cap_use(kind: int) -> Callable[[Engine], list[tuple[str, Number]]]:
    """Return equity as a share of NAV at the venues of all leads (0) or hedges (1)."""

    def use(engine: Engine) -> list[tuple[str, Number]]:
        rows = venue_rows(engine)
        nav = assess.nav_usd(engine.ob, engine.desk) if assess.priced(engine.ob, engine.desk) else 0.0
        names = dict.fromkeys((x.window.lead_terms, x.window.hedge_terms)[kind].venue for x in engine.loops)
        return [(name, _share_of_nav(rows[name].equity_usd, nav)) for name in names]

    return use


def _buffer_use(engine: Engine) -> list[tuple[str, Number]]:
    """Return (equity - maintenance) / notional of each venue: unknown when nothing is held."""
    rows, found = venue_rows(engine), []
    for name, silo in engine.ob.silos.items():
        value = 0.0
        for instrument, position in silo.positions.items():
            terms, price = engine.terms[instrument], assess.price_of(engine.books[instrument])
            usd = 1.0 if terms.inverse else price * engine.desk.usd(terms.settle)
            value += abs(position.qty_f) * float(terms.unit) * usd
        row = rows[name]
        known = value > 0.0 and row.equity_usd is not None and row.maintenance_usd is not None
        found.append((name, (row.equity_usd - row.maintenance_usd) / value if known else None))  # type: ignore[operator]
    return found


def _funding_budget(k: Look) -> list[LimitRow]:
    """Return what was spent, has accrued and is expected on the funding of an open trade, against its budget in USD."""
    x, bounds = k.x, k.engine.limits
    if x is None:
        return []
    until = x.entered_ns + int(x.intent.horizon_days * funding.DAY_NS) if x.entered_ns else x.now
    accrued, forecast = funding.expected_cost(x.hedge, value_of(x.hedge, x.hedge.pair_qty), x.now, until)
    allowed = funding.allowed_usd(x.intent, abs(x.lead.pair_qty) * float(x.lead.terms.unit), x.index_usd, bounds)
    return [_row("funding_budget", f"pair {x.pair}", allowed, x.funding_spent_usd + (accrued + forecast) * x.stable.usd, "USD")]


Use = Callable[[Look], Number]
VENUE_USE: dict[str, Callable[[Engine], list[tuple[str, Number]]]] = {
    "broker_cap_share": _cap_use(0), "perp_cap_share": _cap_use(1), "margin_buffer_share": _buffer_use,
}  # fmt: skip
DESK_USE: dict[str, Use] = {
    "daily_loss_share": lambda k: (k.desk.day_start_usd - k.desk.nav_usd) / k.desk.day_start_usd if k.desk.day_start_usd > 0.0 else None,
    "drawdown_share": lambda k: (k.desk.peak_usd - k.desk.nav_usd) / k.desk.peak_usd if k.desk.peak_usd > 0.0 else None,
    "stable_cap_share": lambda k: _share_of_nav(k.desk.stable_exposure_usd, k.desk.nav_usd),
    "orders_minute_max": lambda k: float(k.desk.orders_last_minute),
    "openings_minute_max": lambda k: float(k.desk.openings_last_minute),
    "order_notional_usd_max": _largest_order,
    "edge_decay_bp": lambda k: k.desk.edge_shortfall_bp if k.desk.edge_pairs else None,
    "edge_decay_pairs": lambda k: float(k.desk.edge_pairs),
}
PAIR_USE: dict[str, Use] = {
    "spread_stop_bp": _spread_bp,
    "sigma_stop": _sigma,
    "stop_samples": lambda k: float(k.loop.watch.samples) if k.x is not None else None,
    "money_stop_usd": lambda k: -k.x.pnl_usd if k.x is not None else None,
    "trailing_stop_usd": lambda k: max(k.x.best_pnl_usd, k.x.pnl_usd) - k.x.pnl_usd if k.x is not None else None,
    "time_stop_s": lambda k: _age_s(k, k.loop.state.entered_ns) if not k.loop.state.flat else None,
    "expiry_stop_s": lambda k: (k.loop.window.lead_terms.expiry_ns - k.engine.ob.now) / S_NS if k.loop.window.lead_terms.expiry_ns else None,
    "pair_lots_max": lambda k: abs(k.loop.state.lead.qty_f),
    "clip_lots_max": _largest_clip,
    "funding_rate_hour_max": _funding_hour,
    "default_loss_share": _default_loss,
    "unhedged_coins_max": lambda k: abs(float(unhedged_coins(k.loop.state, k.loop.window))),
    "unhedged_s_max": lambda k: _age_s(k, k.loop.watch.since_ns) or 0.0,
    "unhedged_usd_s_max": lambda k: k.loop.watch.usd_s,
    "lead_age_s_max": lambda k: _age_s(k, k.loop.window.lead.venue_ts),
    "hedge_age_s_max": lambda k: _age_s(k, k.loop.window.hedge.venue_ts),
    "stable_age_s_max": lambda k: _age_s(k, k.loop.window.stable.venue_ts) if k.loop.window.stable is not None else None,
    "mark_age_s_max": lambda k: _age_s(k, k.loop.window.hedge.mark_ts),
    "funding_age_s_max": lambda k: _age_s(k, k.loop.window.hedge.funding_ts),
    "skew_s_max": lambda k: abs(k.loop.window.lead.venue_ts - k.loop.window.hedge.venue_ts) / S_NS
    if k.loop.window.lead.venue_ts and k.loop.window.hedge.venue_ts else None,
    "premium_absurd_bp": _premium_bp,
    "closing_s_min": _closing_s,
    "depeg_share_max": lambda k: abs(k.loop.window.stable_usd - 1.0) if k.loop.window.stable_usd > 0.0 else None,
    "position_coins_max": lambda k: abs(k.desk.aggregate_coins),
}  # fmt: skip
