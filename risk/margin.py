"""Margin buffers, each silo alone: a profit on one leg cannot fund the other (worked case G6).

Every shock is adverse to the held direction: price, a widening of the premium loaded wholly on the leg, funding at
the venue's cap until cash arrives, a margin-rate hike at the broker, and the stablecoin moving quote and equity.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import msgspec

from bot.model.instrument import Instrument, initial_margin, maintenance_margin
from risk.limits import Limits
from risk.request import Exposure, LegState, Opening, SiloState, coins_of, equity_in_quote, net_after, value_of
from risk.verdict import Refusal, Rule

EASED = 0.9
"""A warning stands until the strain is below this part of the limit that it broke."""


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
    terms: Instrument, coins: float, lead_price: float, perp_price: float, widened_usd: float, limits: Limits,
    funding_cap: float = 0.0,
) -> Need:  # fmt: skip
    """Return the need of the perp silo for signed `coins` (short < 0) when the premium goes to `widened_usd`.

    The lead moves by the price shock against the perp position and the perp stands `widened_usd` beyond it, all in the
    perp's quote currency; the venue's funding cap counts where it is above the configured shock. The need is in the
    silo's currency: an inverse contract keeps its value in USD and loses, owes and reserves coins at the shocked price.
    """
    sign = 1.0 if coins < 0.0 else -1.0
    shocked = (lead_price * (1.0 + sign * limits.price_shock_share)) + sign * widened_usd
    shocked = max(shocked, 1e-9 * lead_price)
    size = abs(coins)
    notional, loss, rate = size * shocked, size * sign * (shocked - perp_price), 1.0
    if terms.inverse:
        notional = size * perp_price
        loss, rate = sign * notional * (1.0 / perp_price - 1.0 / shocked), 1.0 / shocked
    return Need(
        loss=loss,
        funding=max(limits.funding_shock_rate, funding_cap) * limits.funding_shock_stamps * notional * rate,
        maintenance=maintenance_margin(terms, notional) * rate,
        buffer=limits.margin_buffer_share * notional * rate,
    )


def lead_need(
    terms: Instrument, coins: float, lead_price: float, perp_price: float, widened_usd: float, limits: Limits
) -> Need:
    """Return the need of the broker silo: the perp falls (for a long) by the shock, the lead stands lower still."""
    sign = 1.0 if coins > 0.0 else -1.0
    shocked = perp_price * (1.0 - sign * limits.price_shock_share) - sign * widened_usd
    shocked = max(shocked, 1e-9 * perp_price)  # an absurd price of the lead is a large loss, never a price below zero
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


def initial(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when either silo cannot post initial margin for what it would hold (venue net, quote currency)."""
    for silo, leg in ((x.lead_silo, x.lead), (x.hedge_silo, x.hedge)):
        contracts = abs(net_after(x, leg))
        price = 1.0 if leg.terms.inverse else leg.ask
        need = initial_margin(leg.terms, contracts * float(leg.terms.unit) * price) * silo.margin_multiple + silo.other_initial
        equity = equity_in_quote(silo, leg)
        if not need <= equity:
            return Refusal(Rule.MARGIN_INITIAL, need, equity)
    return None


def stress(x: Opening, limits: Limits) -> Refusal | None:
    """Refuse when either silo would not survive every shock with its buffer, alone. Observed and limit: its currency."""
    for strain in _strains(x, net_after(x, x.lead), net_after(x, x.hedge), x.intent.excess_bp, limits):
        if not strain.need <= strain.free:
            return Refusal(Rule.MARGIN_STRESS, strain.need, strain.free)
    return None


class Strain(msgspec.Struct, frozen=True):
    """What every shock would take from one silo at once (need), and what it has for them (free), both in `currency`."""

    venue: str
    currency: str
    need: float
    free: float
    in_usd: float

    @property
    def share(self) -> float:
        """Return need over free: at 1 the silo just survives every shock with its buffer."""
        return self.need / self.free if self.free > 0.0 else inf


def strains(x: Exposure, limits: Limits) -> tuple[Strain, ...]:
    """Return how strained each silo of an open pair is by what the venue holds of its legs, the lead's first."""
    return tuple(_strains(x, x.lead.net_qty, x.hedge.net_qty, x.entry_excess_bp, limits))


def low(strain: Strain, warned: bool, limits: Limits) -> bool:
    """Return whether a silo deserves a warning. One that has been given stands until the strain has clearly eased."""
    return strain.share > limits.margin_warn_share * (EASED if warned else 1.0)


def warn_room_usd(strain: Strain, limits: Limits) -> float:
    """Return the adverse move in USD before which an unstrained silo cannot become `low` (>= 0).

    A move costs the silo its loss and raises the need with the notional: by less than twice the move, at any multiple
    of margin rates below 3.
    """
    return max(0.0, limits.margin_warn_share * strain.free - strain.need) * strain.in_usd * 0.4


def _strains(x: Opening | Exposure, lead_qty: float, hedge_qty: float, excess_bp: float, limits: Limits) -> Iterator[Strain]:
    """Yield the strain of each silo that holds the given signed contracts, at the worse price of the stablecoin.

    Widening is a move from where the premium stands now. The stablecoin's fall raises the perp's quote, which hurts a
    short alone, so both prices of it are tried.
    """
    stable = x.stable.usd
    lead_mid, perp_usd = 0.5 * (x.lead.bid + x.lead.ask), x.hedge.mark * stable
    move = widening_usd(excess_bp, x.index_usd, limits)
    lead, perp = coins_of(x.lead, lead_qty), coins_of(x.hedge, hedge_qty)
    if lead:
        sign = 1.0 if lead > 0.0 else -1.0
        level = sign * (perp_usd - lead_mid) + move
        yield _strain(x.lead_silo, x.lead, lead_need(x.lead.terms, lead, lead_mid, perp_usd, level, limits))
    if perp:
        sign = 1.0 if perp < 0.0 else -1.0
        level = sign * (perp_usd - lead_mid) + move
        pegged = x.hedge.terms.settle == "USD" or x.hedge.terms.inverse
        worst = (
            perp_need(x.hedge.terms, perp, lead_mid / usd, x.hedge.mark, level / usd, limits, x.hedge.funding_cap)
            for usd in ((stable,) if pegged else (stable, stable * (1.0 - limits.stable_shock_share)))
        )
        yield max((_strain(x.hedge_silo, x.hedge, need) for need in worst), key=lambda strain: strain.need)


def _strain(silo: SiloState, leg: LegState, need: Need) -> Strain:
    others = silo.other_maintenance / silo.usd if leg.terms.inverse else silo.other_maintenance
    asked = need.total + (silo.margin_multiple - 1.0) * need.maintenance
    return Strain(silo.venue, silo.currency, asked, silo.equity - others, silo.usd)


def breach(x: Exposure, limits: Limits) -> Refusal | None:
    """Return the silo whose unstressed equity is below maintenance plus buffer: reduce BOTH legs together."""
    for silo, leg in ((x.lead_silo, x.lead), (x.hedge_silo, x.hedge)):
        floor = _floor(silo, leg, limits)
        equity = equity_in_quote(silo, leg)
        if floor > 0.0 and equity < floor:
            return Refusal(Rule.MARGIN_BUFFER, equity, floor)
    return None


def _floor(silo: SiloState, leg: LegState, limits: Limits) -> float:
    """Return maintenance plus buffer of everything a silo holds, in the quote currency of `leg`; 0 when nothing is held."""
    value = abs(value_of(leg, leg.net_qty))
    own = maintenance_margin(leg.terms, value) * silo.margin_multiple if value > 0.0 else 0.0
    return own + silo.other_maintenance + limits.margin_buffer_share * (value + silo.other_notional)


def room_usd(x: Exposure, limits: Limits) -> float:
    """Return the adverse move in USD before which `breach` cannot trip (>= 0, infinite when nothing is held).

    A move costs a silo its loss and raises maintenance and buffer with the notional: less than twice the move.
    """
    room = float("inf")
    for silo, leg in ((x.lead_silo, x.lead), (x.hedge_silo, x.hedge)):
        floor = _floor(silo, leg, limits)
        if floor > 0.0:
            in_usd = 1.0 if leg.terms.inverse else silo.usd
            room = min(room, max(0.0, equity_in_quote(silo, leg) - floor) * in_usd * 0.5)
    return room
