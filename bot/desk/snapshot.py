"""One look at a desk as plain values: what status, the live view and other screens show.

It is taken between two events and reads only what the engine already knows, so looking never changes a run. What is not
known is None or absent, never zero: an unpriced leg has no mark, a warming strategy no z.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from bot.engine import assess
from bot.engine.flatten import named
from bot.engine.obligations import Obligations, PairState, Silo
from bot.engine.observations import Window
from bot.engine.pair import unhedged_coins
from bot.engine.step import Engine
from bot.engine.watch import PairLoop
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import VenueId
from bot.model.market import Book
from bot.model.notation import iso
from bot.model.order import OrderStatus
from bot.model.position import Position, pnl_est
from bot.tally import buffers, coins_of
from risk import margin

S_NS = 1_000_000_000


class LegRow(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a pair. qty: signed contracts. avg, mark: quote currency. upnl: settle currency. age_s: of the quote."""

    pair: str
    leg: str
    venue: str
    instrument: str
    qty: float
    avg: float | None
    mark: float | None
    upnl: float | None
    settle: str
    age_s: float | None
    open: bool


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pair with what its strategy sees. Premium, excess, mean, sigma and edge in bp of the index; funding USD, > 0 received.

    blocked: why nothing is opened now, "" when something could be. held_s: age of the trade that is on; entry: what it was
    opened for. base: the coin. funding_due_usd: what the next stamp would pay on what is held, at the venue's estimate.
    """

    id: str
    strategy: str
    target: float
    held: float
    unhedged_coins: float
    armed: bool
    frozen: str
    premium_bp: float | None
    excess_bp: float | None
    mean_bp: float | None
    sigma_bp: float | None
    z: float | None
    z_in: float | None
    z_out: float | None
    edge_bp: float | None
    carry: float | None
    pnl_usd: float | None
    funding_usd: float
    funding_rate: float | None
    funding_stamp: str | None
    held_s: float | None
    blocked: str
    base: str
    entry: str
    funding_due_usd: float | None


class VenueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One venue: money in USD, and the unstressed margin buffer (equity - maintenance) / equity as a share.

    strain: share of its money that every shock at once would take (risk.margin), None with nothing held; strain_warn: the
    share that is warned of. call_move: change of the price, as a share, at which maintenance is reached; None: never.
    rates: multiple of the listed margin rates that the venue asks for.
    """

    up: bool
    equity_usd: float | None
    maintenance_usd: float | None
    buffer: float | None
    positions: dict[str, float]
    strain: float | None
    strain_warn: float
    call_move: float | None
    rates: float


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A live order. qty, filled: contracts."""

    id: str
    venue: str
    instrument: str
    side: str
    qty: float
    filled: float
    limit: float
    purpose: str
    status: str
    age_s: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The desk at one instant of market time. equity_usd None: something owned has no price yet."""

    run_id: str
    mode: str
    seed: int
    scenario: str
    at: str
    state: str
    kill_level: str
    evacuate: tuple[VenueId, ...]
    kill_id: str
    ready: bool
    pairs: tuple[PairRow, ...]
    legs: tuple[LegRow, ...]
    venues: dict[str, VenueRow]
    orders: tuple[OrderRow, ...]
    net_delta_base: float
    equity_usd: float | None
    day_pnl_usd: float | None
    opened: int
    closed: int
    fills: int
    rejects: int
    refusals: dict[str, int]
    blocked_by: tuple[str, ...]


def take(engine: Engine, *, run_id: str, seed: int = 0, scenario: str = "") -> Snapshot:
    """Return what the desk knows now. run_id: mode and number, as the run folder is named."""
    ob, desk = engine.ob, engine.desk
    priced = ob.started_ns and assess.priced(ob, desk)
    equity = assess.nav_usd(ob, desk) if priced else None
    pairs = tuple(_pair(ob, loop) for loop in engine.loops)
    return Snapshot(
        run_id=run_id, mode=run_id.partition("-")[0], seed=seed, scenario=scenario, at=iso(ob.now), state=_state(ob, engine),
        kill_level=ob.kill_level.value, evacuate=ob.evacuate, kill_id=ob.kill_id, ready=ob.ready, pairs=pairs,
        legs=tuple(row for loop in engine.loops for row in _legs(ob, loop)), venues=venue_rows(engine),
        orders=_orders(ob), net_delta_base=net_delta(engine), equity_usd=equity,
        day_pnl_usd=equity - ob.day_start_usd if equity is not None and ob.day_start_usd else None,
        opened=sum(p.opened for p in ob.pairs.values()), closed=sum(p.closed for p in ob.pairs.values()),
        fills=ob.fills, rejects=ob.rejects, refusals=dict(sorted(ob.refusals.items())),
        blocked_by=_blocked(ob, pairs),
    )  # fmt: skip


def net_delta(engine: Engine) -> float:
    """Return the coins of delta over all venues, signed."""
    return sum(
        coins_of(engine.terms[i], p.qty_f, engine.books[i].mid)
        for silo in engine.ob.silos.values()
        for i, p in silo.positions.items()
    )


def _state(ob: Obligations, engine: Engine) -> str:
    """Return the desk's state in one word, the gravest first."""
    flat = all(p.flat for p in ob.pairs.values()) and not ob.live
    tolerance = engine.x.unhedged_coins_max
    if ob.halted or not ob.started_ns:
        return "HALTED"
    if LEVEL_RANK[ob.kill_level] >= LEVEL_RANK[KillLevel.FLATTEN]:
        return "FLAT" if flat else "FLATTENING"
    if any(p.out and not p.flat for p in ob.pairs.values()):
        return "EVACUATING"
    if not ob.ready:
        return "RECONCILING"
    if any(p.unwind for p in ob.pairs.values()):
        return "UNWINDING"
    if any(abs(float(unhedged_coins(x.state, x.window))) > tolerance for x in engine.loops):
        return "LEGGING"
    return "FLAT" if flat else "HEDGED" if not all(p.flat for p in ob.pairs.values()) else "WORKING"


def _pair(ob: Obligations, loop: PairLoop) -> PairRow:
    state, window, memory = loop.state, loop.window, loop.memory
    hedge, warm = window.hedge, bool(getattr(memory, "warm", False))
    params, sampled = getattr(memory, "params", None), bool(getattr(memory, "sampled_ns", 0))
    return PairRow(
        id=window.pair, strategy=state.terms.strategy, target=float(state.target), held=state.lead.qty_f,
        unhedged_coins=float(unhedged_coins(state, window)), armed=state.armed, frozen=state.frozen,
        premium_bp=seen(memory, "premium_bp", sampled), excess_bp=seen(memory, "excess_bp", sampled),
        mean_bp=seen(memory, "mean_bp", warm), sigma_bp=seen(memory, "sigma_bp", warm), z=seen(memory, "z", warm),
        z_in=seen(params, "z_in"), z_out=seen(params, "z_out"), edge_bp=seen(memory, "edge_bp", bool(getattr(memory, "edge_ns", 0))),
        carry=seen(memory, "carry"), pnl_usd=None if state.flat else assess.pair_pnl_usd(state, window),
        funding_usd=float(state.funding) * window.stable_usd,
        funding_rate=hedge.funding_rate if hedge.funding_ts else None,
        funding_stamp=iso(hedge.funding_stamp_ns) if hedge.funding_stamp_ns else None,
        held_s=(ob.now - state.entered_ns) / S_NS if state.entered_ns and not state.flat else None,
        blocked=str(getattr(memory, "blocked", "") or ""), base=window.lead_terms.base,
        entry=state.entry.reason if state.entry is not None and not state.flat else "", funding_due_usd=_due_usd(state, window),
    )  # fmt: skip


def _due_usd(state: PairState, window: Window) -> float | None:
    """Return what the next stamp would pay, USD, > 0 received: a rate > 0 is paid by longs to shorts."""
    hedge, terms = window.hedge, window.hedge_terms
    if not hedge.funding_ts or not state.hedge.qty:
        return None
    return -coins_of(terms, state.hedge.qty_f, assess.price_of(hedge)) * hedge.funding_rate * assess.price_of(hedge) * window.stable_usd


def seen(source: Any, name: str, known: bool = True) -> float | None:
    """Return a display field of a strategy, None when it has none or nothing to say yet."""
    value = getattr(source, name, None)
    return float(value) if known and isinstance(value, int | float) and isfinite(value) else None


def _legs(ob: Obligations, loop: PairLoop) -> tuple[LegRow, LegRow]:
    state, w = loop.state, loop.window
    return (
        _leg(ob, w.pair, "lead", w.lead_terms, state.lead, w.lead, w.lead_session.open_at(ob.now)),
        _leg(ob, w.pair, "hedge", w.hedge_terms, state.hedge, w.hedge, w.hedge_session.open_at(ob.now)),
    )


def _leg(ob: Obligations, pair: str, leg: str, terms: Any, position: Position, book: Book, is_open: bool) -> LegRow:
    price = assess.price_of(book)
    return LegRow(
        pair=pair, leg=leg, venue=terms.venue, instrument=terms.id, qty=position.qty_f,
        avg=position.avg_f if position.qty_f else None, mark=price or None,
        upnl=pnl_est(terms, position, price, float(terms.unit)) if price else None, settle=terms.settle,
        age_s=(ob.now - book.venue_ts) / S_NS if book.venue_ts else None, open=is_open,
    )  # fmt: skip


def venue_rows(engine: Engine) -> dict[str, VenueRow]:
    """Return every venue's money in USD and its positions, None where something owned has no price."""
    ob, desk, shares, strains = engine.ob, engine.desk, buffers(engine), _strains(engine)
    rows = {}
    for name, silo in ob.silos.items():
        usd = [desk.usd(c) for c in silo.cash]
        known = bool(usd) and all(u > 0.0 for u in usd)
        unpriced = any(p.qty_f and assess.price_of(engine.books[i]) <= 0.0 for i, p in silo.positions.items())
        known = known and not unpriced
        equity = sum(assess.silo_equity(silo, desk, c) * desk.usd(c) for c in silo.cash) if known else None
        share = None if unpriced else shares.get(name)
        rows[name] = VenueRow(
            up=silo.up, equity_usd=equity, buffer=share,
            maintenance_usd=equity * (1.0 - share) if equity is not None and share is not None else None,
            positions={i: p.qty_f for i, p in silo.positions.items() if p.qty_f}, strain=strains.get(name),
            strain_warn=engine.limits.margin_warn_share, call_move=None if share is None else _call_move(engine, silo),
            rates=desk.margin_multiple.get(name, 1.0),
        )  # fmt: skip
    return rows


def _strains(engine: Engine) -> dict[str, float]:
    """Return how strained each silo of an open pair is, by venue; nothing of a pair that is not priced."""
    ob = engine.ob
    found: dict[str, float] = {}
    if not ob.started_ns or not assess.priced(ob, engine.desk):
        return {}
    desk = engine.desk.copy()
    for loop in engine.loops:
        state, w = loop.state, loop.window
        if state.flat or w.lead.mid <= 0.0 or w.hedge.mid <= 0.0:
            continue
        x = assess.exposure(ob, state, w, desk, best_pnl_usd=0.0, unhedged=0.0, unhedged_since_ns=0, unhedged_usd_s=0.0)
        for strain in margin.strains(x, engine.limits) if x is not None else ():
            found[strain.venue] = max(strain.share, found.get(strain.venue, 0.0))
    return {name: share for name, share in found.items() if isfinite(share)}


def _call_move(engine: Engine, silo: Silo) -> float | None:
    """Return the change of price at which a silo's equity is its maintenance; None when none is, or its legs are several.

    Equity + N r = m N (1 + r) for a long of value N and maintenance rate m; a short has the other sign on the left.
    """
    held = [(engine.terms[i], p) for i, p in silo.positions.items() if p.qty_f]
    if len(held) != 1 or held[0][0].inverse:
        return None
    terms, position = held[0]
    price = assess.price_of(engine.books[terms.id])
    value, sign = abs(position.qty_f) * float(terms.unit) * price, 1.0 if position.qty_f > 0.0 else -1.0
    asked = assess.held_maintenance(terms, position.qty_f, price) * engine.desk.margin_multiple.get(silo.venue, 1.0)
    if value <= 0.0:
        return None
    move = (asked - assess.silo_equity(silo, engine.desk, terms.settle)) / (sign * value - asked)
    return move if isfinite(move) and move > -1.0 else None


def _orders(ob: Obligations) -> tuple[OrderRow, ...]:
    rows = []
    for client_id in ob.live:
        order = ob.orders[client_id]
        spec = order.spec
        rows.append(
            OrderRow(
                id=client_id, venue=spec.venue, instrument=spec.instrument, side=spec.side.value, qty=float(spec.qty),
                filled=float(order.filled), limit=float(spec.limit), purpose=spec.purpose.name.lower(),
                status=order.status.value, age_s=(ob.now - order.sent_ns) / S_NS,
            )
        )  # fmt: skip
    return tuple(rows)


def _blocked(ob: Obligations, pairs: tuple[PairRow, ...]) -> tuple[str, ...]:
    """Return every reason why nothing is opened now, the desk's first."""
    reasons = []
    if ob.halted:
        reasons.append(f"halted: {ob.halted}")
    if ob.kill_level is not KillLevel.NONE:
        reasons.append(f"kill {named(ob.kill_level, ob.evacuate)} {ob.kill_id}".strip())
    if not ob.ready:
        reasons.append(ob.cause if "not reconciled" in ob.cause else f"not reconciled: {ob.cause}")
    reasons += [f"{name} unreachable" for name, silo in ob.silos.items() if not silo.up]
    unknown = sum(ob.orders[c].status is OrderStatus.UNKNOWN for c in ob.live)
    if unknown:
        reasons.append(f"{unknown} order(s) with unknown outcome")
    for pair in pairs:
        reasons += _pair_blocks(ob.pairs[pair.id], pair)
    return tuple(reasons)


def _pair_blocks(state: PairState, pair: PairRow) -> list[str]:
    reasons = []
    if state.frozen:
        reasons.append(f"{pair.id}: frozen, {state.frozen}")
    if not state.armed:
        reasons.append(f"{pair.id}: disarmed after a stop")
    elif pair.blocked and state.flat:
        reasons.append(f"{pair.id}: {pair.blocked}")
    return reasons
