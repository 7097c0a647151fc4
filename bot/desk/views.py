"""Rows of the reading verbs: positions, orders, venues and signals of a desk as plain values.

They are read from an engine between two events and change nothing. The engine may be one that only folded a journal: its
books are empty then, and everything that needs a price is None, because unknown is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.desk.snapshot import S_NS, seen, venue_rows
from bot.desk.traffic import Messages, Traffic
from bot.engine import assess
from bot.engine.step import Engine
from bot.engine.watch import PairLoop
from bot.market.fair import years
from bot.market.funding import per_year
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.notation import iso
from bot.model.position import Position, pnl_est

Faults = Mapping[VenueId, Mapping[str, int]]
"""Scripted faults that have hit, by venue and kind."""


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a pair, or contracts at a venue that no pair owns (leg "unallocated").

    qty: signed contracts. avg, mark: quote currency. coins: signed. upnl: settle currency, at mark. age_s: of the quote.
    """

    venue: str
    instrument: str
    pair: str
    leg: str
    qty: float
    coins: float | None
    avg: float | None
    mark: float | None
    notional_usd: float | None
    upnl: float | None
    upnl_usd: float | None
    settle: str
    age_s: float | None


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A live order. qty, filled, leaves: contracts. age_s: market time since the intent."""

    id: str
    pair: str
    venue: str
    instrument: str
    side: str
    qty: float
    filled: float
    leaves: float
    limit: float
    tif: str
    purpose: str
    status: str
    reduce_only: bool
    sent_at: str
    age_s: float


class VenueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One venue as the desk sees it; up None: nobody has asked it.

    buffer: (equity - maintenance) / equity, unstressed. answered_at: last full answer that agreed with our record.
    messages: what went there and came back since this process began. faults_hit: scripted faults that struck.
    """

    venue: str
    up: bool | None
    reconciled: bool | None
    answered_at: str | None
    answer_age_s: float | None
    cash: dict[str, float]
    equity_usd: float | None
    maintenance_usd: float | None
    buffer: float | None
    positions: dict[str, float]
    unallocated: dict[str, float]
    working_orders: int
    unknown_orders: int
    messages: Messages
    faults_hit: dict[str, int]


class SignalRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair's strategy sees: premium, excess, mean, sigma, edge and hurdle in bp of the index; rates a year.

    edge_bp against hurdle_bp: at the last time it was worked out (edge_age_s). differential: expected funding minus
    implied carry. carry_age_s: None for a fixed carry. coverage: share of the window with samples. blocked: why nothing is opened now.
    """

    pair: str
    strategy: str
    lead: str
    hedge: str
    lead_mid: float | None
    hedge_mid: float | None
    index_usd: float | None
    premium_usd: float | None
    premium_bp: float | None
    excess_bp: float | None
    mean_bp: float | None
    sigma_bp: float | None
    z: float | None
    z_in: float | None
    z_out: float | None
    z_stop: float | None
    trade_z: float | None
    edge_bp: float | None
    edge_age_s: float | None
    hurdle_bp: float | None
    carry: float | None
    carry_source: str | None
    carry_age_s: float | None
    carry_implied: float | None
    funding_rate: float | None
    funding_interval_s: int | None
    funding_stamp: str | None
    funding_age_s: float | None
    funding_year: float | None
    differential: float | None
    half_life_days: float | None
    days_to_fixing: float | None
    coverage: float | None
    warm: bool
    armed: bool
    blocked: str


def positions(engine: Engine) -> list[PositionRow]:
    """Return both legs of every pair, flat ones too, then what no pair owns."""
    rows = []
    for loop in engine.loops:
        state, w = loop.state, loop.window
        for leg, terms, held in (("lead", w.lead_terms, state.lead), ("hedge", w.hedge_terms, state.hedge)):
            rows.append(_position(engine, terms, held, w.pair, leg))
    for silo in engine.ob.silos.values():
        for instrument, qty in silo.unallocated.items():
            if qty:
                rows.append(_position(engine, engine.terms[instrument], Position(qty=qty, qty_f=float(qty)), "", "unallocated"))
    return rows


def _position(engine: Engine, terms: Instrument, held: Position, pair: str, leg: str) -> PositionRow:
    book = engine.books[terms.id]
    price, usd, unit = assess.price_of(book), engine.desk.usd(terms.settle), float(terms.unit)
    known = price > 0.0
    upnl = pnl_est(terms, held, price, unit) if known and (held.avg_f or not held.qty_f) else None
    value = None
    if known and (usd > 0.0 or terms.inverse):
        value = held.qty_f * unit * (1.0 if terms.inverse else price * usd)
    coins = held.qty_f * unit if not terms.inverse else held.qty_f * unit / price if known else None
    return PositionRow(
        venue=terms.venue, instrument=terms.id, pair=pair, leg=leg, qty=held.qty_f, coins=coins, avg=held.avg_f or None,
        mark=price if known else None, notional_usd=value, upnl=upnl, upnl_usd=upnl * usd if upnl is not None and usd > 0.0 else None,
        settle=terms.settle, age_s=(engine.ob.now - book.venue_ts) / S_NS if book.venue_ts else None,
    )  # fmt: skip


def orders(engine: Engine) -> list[OrderRow]:
    """Return every order that may still change a position, oldest first."""
    ob, rows = engine.ob, []
    for client_id in ob.live:
        order = ob.orders[client_id]
        spec = order.spec
        rows.append(
            OrderRow(
                id=client_id, pair=spec.pair, venue=spec.venue, instrument=spec.instrument, side=spec.side.value, qty=float(spec.qty),
                filled=float(order.filled), leaves=float(order.leaves), limit=float(spec.limit), tif=spec.tif.value,
                purpose=spec.purpose.name.lower(), status=order.status.value, reduce_only=spec.reduce_only, sent_at=iso(order.sent_ns),
                age_s=(ob.now - order.sent_ns) / S_NS,
            )
        )  # fmt: skip
    return rows


def venues(engine: Engine, traffic: Traffic | None = None, faults: Faults | None = None) -> list[VenueRow]:
    """Return every venue of the run. traffic, faults: of the running process; without them the counts are empty.

    A record alone (no traffic) does not know whether a venue is up or agrees.
    """
    ob, rows, money = engine.ob, [], venue_rows(engine)
    for name, silo in ob.silos.items():
        contact, live = engine.contacts[name], [ob.orders[c] for c in ob.live if ob.orders[c].spec.venue == name]
        agreed = contact.agreed_ns
        rows.append(
            VenueRow(
                venue=name, up=silo.up if traffic is not None else None, reconciled=contact.reconciled if traffic is not None else None,
                answered_at=iso(agreed) if agreed else None, answer_age_s=(ob.now - agreed) / S_NS if agreed else None,
                cash={currency: float(amount) for currency, amount in silo.cash.items()}, equity_usd=money[name].equity_usd,
                maintenance_usd=money[name].maintenance_usd, buffer=money[name].buffer, positions=money[name].positions,
                unallocated={i: float(q) for i, q in silo.unallocated.items() if q}, working_orders=len(live),
                unknown_orders=sum(o.status.value == "unknown" for o in live),
                messages=traffic.of(name) if traffic is not None else Messages(), faults_hit=dict((faults or {}).get(name, {})),
            )
        )  # fmt: skip
    return rows


def signals(engine: Engine) -> list[SignalRow]:
    """Return what every pair's strategy sees now."""
    return [_signal(engine, loop) for loop in engine.loops]


def _signal(engine: Engine, loop: PairLoop) -> SignalRow:
    w, memory, now, state = loop.window, loop.memory, engine.ob.now, loop.state
    params, hedge = getattr(memory, "params", None), w.hedge
    sampled, warm = bool(getattr(memory, "sampled_ns", 0)), bool(getattr(memory, "warm", False))
    edge_ns, index = int(getattr(memory, "edge_ns", 0)), w.index_usd
    source = getattr(params, "carry_source", None)
    premium, checked = seen(memory, "premium_bp", sampled), bool(getattr(memory, "check_due_ns", 0))
    expiry = w.lead_terms.expiry_ns
    return SignalRow(
        pair=w.pair, strategy=state.terms.strategy, lead=w.lead_terms.id, hedge=w.hedge_terms.id, lead_mid=w.lead.mid or None,
        hedge_mid=hedge.mid or None, index_usd=index or None, premium_bp=premium,
        premium_usd=premium * 1e-4 * index if premium is not None and index > 0.0 else None,
        excess_bp=seen(memory, "excess_bp", sampled), mean_bp=seen(memory, "mean_bp", warm), sigma_bp=seen(memory, "sigma_bp", warm),
        z=seen(memory, "z", warm), z_in=seen(params, "z_in"), z_out=seen(params, "z_out"), z_stop=seen(params, "z_stop"),
        trade_z=seen(memory, "trade_z", bool(state.target)), edge_bp=seen(memory, "edge_bp", edge_ns > 0),
        edge_age_s=(now - edge_ns) / S_NS if edge_ns else None, hurdle_bp=seen(memory, "required_bp", edge_ns > 0),
        carry=seen(memory, "carry"), carry_source=source, carry_implied=seen(memory, "implied", checked),
        carry_age_s=None if source == "fixed" else _age(now, int(getattr(memory, "carry_ns", 0))),
        **_funding(w.hedge.instrument, engine, now), differential=seen(memory, "differential", checked),
        half_life_days=seen(memory, "half_life_days", warm), days_to_fixing=years(now, expiry) * 365.0 if expiry else None,
        coverage=seen(memory, "coverage", sampled), warm=warm, armed=state.armed, blocked=str(getattr(memory, "blocked", "") or ""),
    )  # fmt: skip


def _age(now: int, then: int) -> float | None:
    return (now - then) / S_NS if then else None


def _funding(instrument: InstrumentId, engine: Engine, now: int) -> dict[str, Any]:
    """Return the venue's estimate for the next stamp with its age, all None before the first one."""
    book = engine.books[instrument]
    known = book.funding_ts > 0
    annual = per_year(book.funding_rate, book.funding_interval_s) if known and book.funding_interval_s > 0 else None
    return {
        "funding_rate": book.funding_rate if known else None,
        "funding_interval_s": book.funding_interval_s if known else None,
        "funding_stamp": iso(book.funding_stamp_ns) if known and book.funding_stamp_ns else None,
        "funding_age_s": _age(now, book.funding_ts),
        "funding_year": annual,
    }
