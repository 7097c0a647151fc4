"""Margin buffers, each silo alone: a profit on one leg cannot fund the other (worked case G6).

Every shock is adverse to the held direction: price, a widening of the premium loaded wholly on the leg, funding at
the venue's cap until cash arrives, a margin-rate hike at the broker, and the stablecoin moving quote and equity.
"""

from __future__ import annotations

import msgspec

from bot.model.instrument import Instrument, initial_margin, maintenance_margin
from risk.limits import Limits
from risk.request import Exposure, Opening
from risk.verdict import Refusal, Rule


class Need(msgspec.Struct, frozen=True):
    """What a silo must hold under stress, in its currency, by line."""

    loss: float
    funding: float
    maintenance: float
    buffer: float

    @property
    def total(self) -> float:
        """Return the sum of the lines."""
        return self.loss + self.funding + self.maintenance + self.buffer


def widening_usd(entry_excess_bp: float, index_usd: float, limits: Limits) -> float:
    """Return the adverse premium move in USD per coin: a multiple of the entry excess, history, or the floor."""
    bp = max(
        limits.widening_excess_multiple * abs(entry_excess_bp),
        limits.widening_historical_bp,
        limits.widening_floor_bp,
    )
    return bp * 1e-4 * index_usd


def perp_need(
    terms: Instrument, coins: float, lead_price: float, perp_price: float, widened_usd: float, limits: Limits
) -> Need:
    """Return the need of the perp silo for signed `coins` (short < 0) when the premium goes to `widened_usd`.

    The lead moves by the price shock against the perp position and the perp stands `widened_usd` beyond it (all in
    the perp's quote currency).
    """
    sign = 1.0 if coins < 0.0 else -1.0
    shocked = (lead_price * (1.0 + sign * limits.price_shock_share)) + sign * widened_usd
    size = abs(coins)
    notional = size * shocked
    return Need(
        loss=size * sign * (shocked - perp_price),
        funding=limits.funding_shock_rate * limits.funding_shock_stamps * notional,
        maintenance=maintenance_margin(terms, notional),
        buffer=limits.margin_buffer_share * notional,
    )


def lead_need(
    terms: Instrument, coins: float, lead_price: float, perp_price: float, widened_usd: float, limits: Limits
) -> Need:
    """Return the need of the broker silo: the perp falls (for a long) by the shock, the lead stands lower still."""
    sign = 1.0 if coins > 0.0 else -1.0
    shocked = perp_price * (1.0 - sign * limits.price_shock_share) - sign * widened_usd
    size = abs(coins)
    notional = size * shocked
    return Need(
        loss=size * sign * (lead_price - shocked),
        funding=0.0,
        maintenance=maintenance_margin(terms, notional) * limits.margin_hike_multiple,
        buffer=limits.margin_buffer_share * notional,
    )


def liquidation_price(terms: Instrument, coins: float, entry: float, equity: float) -> float:
    """Return the mark at which equity equals maintenance for signed `coins` opened at `entry` (linear)."""
    sign = 1.0 if coins > 0.0 else -1.0
    size = abs(coins)
    price = entry
    for _ in range(50):
        rate_now = maintenance_margin(terms, size * price) / (size * price)
        nxt = (sign * size * entry - equity) / (size * (sign - rate_now))
        if abs(nxt - price) < 1e-9:
            return nxt
        price = nxt
    return price


def buffer_fraction(equity: float, maintenance: float) -> float:
    """Return (equity - maintenance) / equity, negative infinity without equity."""
    return (equity - maintenance) / equity if equity > 0.0 else float("-inf")


def initial(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when either silo cannot post initial margin for the size asked."""
    coins = x.lots * float(x.lead.terms.unit)
    lead_value = coins * x.lead.ask + x.lead_silo.other_notional
    hedge_value = coins * x.hedge.ask + x.hedge_silo.other_notional
    for silo, terms, value in (
        (x.lead_silo, x.lead.terms, lead_value),
        (x.hedge_silo, x.hedge.terms, hedge_value),
    ):
        need = initial_margin(terms, value) + silo.other_maintenance
        if need > silo.equity:
            return Refusal(Rule.MARGIN_INITIAL, need, silo.equity)
    return None


def stress(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when either silo would not survive every shock with its buffer, alone."""
    coins = x.direction * x.lots * float(x.lead.terms.unit)
    stable = x.stable.usd
    widened = widening_usd(x.intent.excess_bp, x.index_usd, limits)
    lead_mid, perp_mid = 0.5 * (x.lead.bid + x.lead.ask), 0.5 * (x.hedge.bid + x.hedge.ask)
    lead = lead_need(x.lead.terms, coins, lead_mid, perp_mid * stable, widened, limits)
    if lead.total > x.lead_silo.equity - x.lead_silo.other_maintenance:
        return Refusal(Rule.MARGIN_STRESS, lead.total, x.lead_silo.equity)
    weak = stable * (1.0 - limits.stable_shock_share) if stable != 1.0 or x.lead.terms.settle != x.hedge.terms.settle else 1.0
    perp = perp_need(x.hedge.terms, -coins, lead_mid / weak, perp_mid, widened / weak, limits)
    if perp.total > x.hedge_silo.equity - x.hedge_silo.other_maintenance:
        return Refusal(Rule.MARGIN_STRESS, perp.total, x.hedge_silo.equity)
    return None


def breach(x: Exposure, limits: Limits) -> Refusal | None:
    """Return the silo whose unstressed equity is below maintenance plus buffer: reduce BOTH legs together."""
    for silo, leg in ((x.lead_silo, x.lead), (x.hedge_silo, x.hedge)):
        value = abs(leg.net_qty) * float(leg.terms.unit) * leg.mark + silo.other_notional
        if value <= 0.0:
            continue
        floor = maintenance_margin(leg.terms, value) + silo.other_maintenance + limits.margin_buffer_share * value
        if silo.equity < floor:
            return Refusal(Rule.MARGIN_BUFFER, silo.equity, floor)
    return None


def room_usd(x: Exposure, limits: Limits) -> float:
    """Return the adverse move in USD before which `breach` cannot trip (>= 0, infinite when nothing is held).

    A move costs a silo its loss and raises maintenance and buffer with the notional: less than twice the move.
    """
    room = float("inf")
    for silo, leg in ((x.lead_silo, x.lead), (x.hedge_silo, x.hedge)):
        value = abs(leg.net_qty) * float(leg.terms.unit) * leg.mark + silo.other_notional
        if value > 0.0:
            floor = maintenance_margin(leg.terms, value) + silo.other_maintenance + limits.margin_buffer_share * value
            room = min(room, max(0.0, silo.equity - floor) * silo.usd * 0.5)
    return room
