"""Describe the desk to the risk rules: legs, silos and totals as the plain values that risk.request defines."""

from __future__ import annotations

from math import isfinite, nan

from bot.engine.obligations import Obligations, PairState, Silo
from bot.engine.observations import Session, Window
from bot.model.event import VenueSnapshot
from bot.model.ids import InstrumentId, PairId, VenueId
from bot.model.instrument import Instrument, initial_margin, maintenance_margin
from bot.model.intent import PairIntent
from bot.model.market import Book
from bot.model.position import delta_coins, pnl_est
from risk.request import DeskState, Exposure, LegState, Opening, SiloState, StableState

MINUTE_NS = 60_000_000_000
RATES_NOISE = 0.03
"""A multiple of margin rates that moves by less (a fraction) is prices moving, not rates."""


class Desk:
    """What the whole desk knows beyond one pair: totals for the gate, kept as observations.

    sent, openings: times of recent orders. margin_multiple: margin a venue asks for over the listed rates, by venue.
    """

    __slots__ = ("books", "coin_of", "margin_multiple", "openings", "sent", "stable_of", "terms")

    def __init__(
        self,
        terms: dict[InstrumentId, Instrument],
        books: dict[InstrumentId, Book],
        stable_of: dict[str, InstrumentId],
    ) -> None:
        self.terms = terms
        self.books = books
        self.stable_of = stable_of
        self.coin_of = {t.settle: i for i, t in terms.items() if t.inverse}
        self.sent: list[int] = []
        self.openings: list[int] = []
        self.margin_multiple: dict[VenueId, float] = {}

    def copy(self) -> Desk:
        """Return a desk to look through: what looking forgets (old orders) stays in this one."""
        other = Desk(self.terms, self.books, self.stable_of)
        other.sent, other.openings, other.margin_multiple = list(self.sent), list(self.openings), dict(self.margin_multiple)
        return other

    def usd(self, currency: str) -> float:
        """Return USD per unit of `currency`; 0.0 when its price was never seen. Coins are priced by their inverse contract."""
        if currency == "USD":
            return 1.0
        stable = self.stable_of.get(currency)
        if stable is not None:
            return self.books[stable].mid
        coin = self.coin_of.get(currency)
        return price_of(self.books[coin]) if coin is not None else 0.0


def note_margin(desk: Desk, snapshot: VenueSnapshot) -> bool:
    """Compare the margin a venue asks for with the listed rates; return whether its multiple of them has changed.

    What prices moved between its answer and our books is not a change of rates, and a venue that asks for less than it
    lists is believed to ask for what it lists.
    """
    known, held = desk.margin_multiple.get(snapshot.venue, 1.0), snapshot.positions
    if any(i not in desk.terms for i in held):
        return False
    multiples = []
    for currency, asked in snapshot.maintenance.items():
        listed = sum(held_maintenance(t, float(q), price_of(desk.books[t.id])) for t, q in ((desk.terms[i], q) for i, q in held.items())
                     if t.settle == currency)  # fmt: skip
        if listed > 0.0 and isfinite(asked):
            multiples.append(asked / listed)
    if not multiples:  # nothing held: what it asked for last is still what is known
        return False
    found = max(1.0, *multiples)
    if abs(found - known) <= RATES_NOISE * known:
        return False
    desk.margin_multiple[snapshot.venue] = found
    return True


def held_maintenance(terms: Instrument, qty: float, price: float) -> float:
    """Return the listed maintenance margin of signed `qty` contracts in the settle currency; 0.0 without a price."""
    value = abs(qty) * float(terms.unit)
    if price <= 0.0:
        return 0.0
    return maintenance_margin(terms, value) / price if terms.inverse else maintenance_margin(terms, value * price)


def price_of(book: Book) -> float:
    """Return the price positions are marked at: the mark, else the mid."""
    return book.mark or book.mid


def silo_equity(silo: Silo, desk: Desk, currency: str, *, at_mid: bool = False) -> float:
    """Return equity of a silo in `currency`: its cash plus unrealised profit at mark (or at mid for reports)."""
    equity = float(silo.cash.get(currency, 0))
    for instrument_id, position in silo.positions.items():
        if position.qty_f:
            terms = desk.terms[instrument_id]
            book = desk.books[instrument_id]
            price = book.mid if at_mid else price_of(book)
            if terms.settle == currency and price > 0.0:
                equity += pnl_est(terms, position, price, float(terms.unit))
    return equity


def nav_usd(ob: Obligations, desk: Desk, *, at_mid: bool = True) -> float:
    """Return the value of all silos in USD at the stable mark; unfilled orders count 0."""
    total = 0.0
    for silo in ob.silos.values():
        currencies = set(silo.cash) | {desk.terms[i].settle for i, p in silo.positions.items() if p.qty_f}
        for currency in sorted(currencies):
            total += silo_equity(silo, desk, currency, at_mid=at_mid) * desk.usd(currency)
    return total


def priced(ob: Obligations, desk: Desk) -> bool:
    """Return whether every currency owned and position held has a price: without one the NAV is not known."""
    for silo in ob.silos.values():
        if any(desk.usd(currency) <= 0.0 for currency in silo.cash):
            return False
        if any(p.qty_f and price_of(desk.books[i]) <= 0.0 for i, p in silo.positions.items()):
            return False
    return True


def silo_state(silo: Silo, desk: Desk, leg: Instrument) -> SiloState:
    """Return the silo of one leg, other positions there summed beside it."""
    other_notional = other_initial = other_maintenance = 0.0
    multiple = desk.margin_multiple.get(silo.venue, 1.0)
    for instrument_id, position in silo.positions.items():
        if instrument_id != leg.id and position.qty_f:
            terms = desk.terms[instrument_id]
            price = price_of(desk.books[instrument_id])
            value = abs(position.qty_f) * float(terms.unit) * (1.0 if terms.inverse else price)
            other_notional += value
            other_initial += initial_margin(terms, value)
            other_maintenance += maintenance_margin(terms, value)
    return SiloState(
        venue=silo.venue,
        currency=leg.settle,
        equity=silo_equity(silo, desk, leg.settle),
        usd=desk.usd(leg.settle),
        margin_multiple=multiple,
        other_notional=other_notional,
        other_initial=other_initial * multiple,
        other_maintenance=other_maintenance * multiple,
    )


def still_wanted(pair: PairState, terms: Instrument, terms_of: dict[InstrumentId, Instrument]) -> float:
    """Return the signed contracts of `terms` between what a pair holds and what its approved target needs."""
    if terms.id == pair.terms.lead:
        return float(pair.target - pair.lead.qty)
    if terms.id != pair.terms.hedge or terms.inverse:
        return 0.0  # what an inverse hedge needs depends on a price: its live orders are counted, its clips to come are not
    coins = pair.target * terms_of[pair.terms.lead].unit * pair.hedge_ratio
    return float(-coins / terms.unit - pair.hedge.qty)


def leg_state(
    ob: Obligations, terms: Instrument, book: Book, session: Session, pair: PairState, direction: int,
    terms_of: dict[InstrumentId, Instrument],
) -> LegState:  # fmt: skip
    """Return one leg of `pair`. direction: sign of the orders the opening would send on it."""
    held = pair.lead if terms.id == pair.terms.lead else pair.hedge
    silo = ob.silos[terms.venue]
    position = silo.positions.get(terms.id)
    net = position.qty_f if position is not None else 0.0
    flying: dict[PairId, float] = {}
    for client_id in ob.live:
        order = ob.orders[client_id]
        if order.spec.instrument == terms.id and order.spec.side.sign == direction:
            flying[order.spec.pair] = flying.get(order.spec.pair, 0.0) + float(order.leaves)
    own_pending = flying.pop(pair.terms.id, 0.0)
    pending = own_pending + sum(flying.values())
    for other in ob.pairs.values():
        if other is not pair:  # an approval reserves its headroom until its last clip is done, sent or not
            pending += max(0.0, direction * still_wanted(other, terms, terms_of) - flying.get(other.terms.id, 0.0))
    return LegState(
        terms=terms,
        bid=book.bid,
        ask=book.ask,
        bids=book.levels(False),
        asks=book.levels(True),
        ts=book.ts,
        venue_ts=book.venue_ts,
        mark=price_of(book),
        mark_ts=book.mark_ts,
        pair_qty=held.qty_f,
        pair_coins=float(delta_coins(terms, held)),
        net_qty=net,
        worst_qty=net + direction * pending,
        venue_up=silo.up,
        session_open=session.open_at(ob.now),
        closes_ns=session.closes_ns(ob.now),
        own_pending=own_pending,
        index=book.index,
        funding_rate=book.funding_rate,
        funding_interval_s=book.funding_interval_s,
        funding_stamp_ns=book.funding_stamp_ns,
        funding_cap=book.funding_cap,
        funding_ts=book.funding_ts,
    )


def desk_state(ob: Obligations, pair: PairState, desk: Desk, direction: int) -> DeskState:
    """Return totals of the desk as an opening of `pair` in `direction` meets them; flow counters cover the last minute."""
    horizon = ob.now - MINUTE_NS
    for times in (desk.sent, desk.openings):
        while times and times[0] < horizon:
            del times[0]
    stable_usd = 0.0
    for silo in ob.silos.values():
        for currency in silo.cash:
            if currency != "USD" and currency in desk.stable_of:
                stable_usd += silo_equity(silo, desk, currency) * desk.usd(currency)
        for instrument_id, position in silo.positions.items():
            terms = desk.terms[instrument_id]
            if terms.settle != "USD" and terms.settle in desk.stable_of and not terms.inverse:
                stable_usd += abs(position.qty_f) * float(terms.unit) * position.avg_f * desk.usd(terms.settle)
    gaps = ob.edge_gaps_bp
    return DeskState(
        now=ob.now,
        nav_usd=nav_usd(ob, desk) if priced(ob, desk) else nan,
        day_start_usd=ob.day_start_usd,
        peak_usd=ob.peak_usd,
        ready=ob.ready,
        halted=bool(ob.halted) or ob.kill_level != "NONE",
        pair_frozen=bool(pair.frozen),
        orders_last_minute=len(desk.sent),
        openings_last_minute=len(desk.openings),
        edge_shortfall_bp=-sum(gaps) / len(gaps) if gaps else 0.0,
        edge_pairs=len(gaps),
        stable_exposure_usd=stable_usd,
        aggregate_coins=_futures_coins(ob, pair, desk, direction),
    )


def _futures_coins(ob: Obligations, pair: PairState, desk: Desk, direction: int) -> float:
    """Return the coins held in futures of the lead's base at its venue, other pairs' live orders in `direction` filled.

    Exchanges aggregate a product's sizes and months, micros as fractions; other coins are other products.
    """
    lead = desk.terms[pair.terms.lead]

    def counted(instrument_id: InstrumentId) -> float:
        terms = desk.terms[instrument_id]
        same = terms.kind is lead.kind and terms.base == lead.base and terms.venue == lead.venue
        return float(terms.unit) if same else 0.0

    coins = sum(p.qty_f * counted(i) for i, p in ob.silos[lead.venue].positions.items())
    for client_id in ob.live:
        order = ob.orders[client_id]
        spec = order.spec
        if spec.pair != pair.terms.id and spec.side.sign == direction:
            coins += direction * float(order.leaves) * counted(spec.instrument)
    return coins


def _stable_state(ob: Obligations, window: Window) -> StableState:
    if window.stable is None:
        return StableState(usd=1.0, ts=ob.now)
    return StableState(usd=window.stable.mid, ts=window.stable.venue_ts)


def opening(ob: Obligations, pair: PairState, window: Window, desk: Desk, intent: PairIntent) -> Opening:
    """Return the request that the gate reviews for `intent`."""
    direction = 1 if intent.target_lead > 0 else -1
    lead_silo, hedge_silo = ob.silos[window.lead_terms.venue], ob.silos[window.hedge_terms.venue]
    return Opening(
        pair=window.pair,
        direction=direction,
        lots=int(abs(intent.target_lead)),
        held_lots=int(abs(pair.lead.qty)),
        intent=intent,
        lead=leg_state(ob, window.lead_terms, window.lead, window.lead_session, pair, direction, desk.terms),
        hedge=leg_state(ob, window.hedge_terms, window.hedge, window.hedge_session, pair, -direction, desk.terms),
        stable=_stable_state(ob, window),
        index_usd=window.index_usd,
        lead_silo=silo_state(lead_silo, desk, window.lead_terms),
        hedge_silo=silo_state(hedge_silo, desk, window.hedge_terms),
        desk=desk_state(ob, pair, desk, direction),
        funding_spent_usd=-float(pair.funding) * settle_usd(window),
    )


def settle_usd(window: Window) -> float:
    """Return USD per unit of what the hedge pays in: its stablecoin, or the coin itself for an inverse contract."""
    return price_of(window.hedge) if window.hedge_terms.inverse else window.stable_usd


def pair_pnl_usd(pair: PairState, window: Window) -> float:
    """Return the profit of the trade that is on in USD at mids: realised, unrealised, fees and funding."""
    lead = pnl_est(window.lead_terms, pair.lead, window.lead.mid, window.lead_unit)
    hedge = pnl_est(window.hedge_terms, pair.hedge, window.hedge.mid, window.hedge_unit)
    return float(pair.result_usd) + lead + hedge * settle_usd(window)


def entry_premium_usd(pair: PairState) -> float:
    """Return the premium in USD per coin at the decision that opened the trade."""
    return pair.entry_hedge_mid * pair.entry_stable - pair.entry_lead_mid


def exposure(
    ob: Obligations,
    pair: PairState,
    window: Window,
    desk: Desk,
    *,
    best_pnl_usd: float,
    unhedged: float,
    unhedged_since_ns: int,
    unhedged_usd_s: float,
) -> Exposure | None:
    """Return an open pair as the slow monitors see it; None without an entry to judge it by."""
    intent = pair.entry or pair.intent
    if intent is None:
        return None
    direction = 1 if (pair.lead.qty or -pair.hedge.qty) > 0 else -1
    lead_silo, hedge_silo = ob.silos[window.lead_terms.venue], ob.silos[window.hedge_terms.venue]
    return Exposure(
        pair=window.pair,
        now=ob.now,
        direction=direction,
        entered_ns=pair.entered_ns,
        expiry_ns=window.lead_terms.expiry_ns or 0,
        lead=leg_state(ob, window.lead_terms, window.lead, window.lead_session, pair, direction, desk.terms),
        hedge=leg_state(ob, window.hedge_terms, window.hedge, window.hedge_session, pair, -direction, desk.terms),
        stable=_stable_state(ob, window),
        index_usd=window.index_usd or window.hedge.mid * window.stable_usd,
        lead_silo=silo_state(lead_silo, desk, window.lead_terms),
        hedge_silo=silo_state(hedge_silo, desk, window.hedge_terms),
        desk=desk_state(ob, pair, desk, direction),
        pnl_usd=pair_pnl_usd(pair, window),
        best_pnl_usd=best_pnl_usd,
        entry_premium_usd=entry_premium_usd(pair),
        entry_excess_bp=intent.excess_bp,
        intent=intent,
        funding_spent_usd=-float(pair.funding) * settle_usd(window),
        unhedged_coins=unhedged,
        unhedged_since_ns=unhedged_since_ns,
        unhedged_usd_s=unhedged_usd_s,
    )
