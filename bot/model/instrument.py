"""Contract terms as data, with the one notional function and the two rounding functions everything shares.

A quantity is always in contracts of the instrument. `unit` says what one contract is: coins for a linear
contract, units of the quote currency (USD) for an inverse one.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum

import msgspec

from bot.model.ids import InstrumentId, VenueId


class Kind(StrEnum):
    """What an instrument is."""

    FUTURE = "future"
    PERP = "perp"
    STABLE = "stable"


class Rounding(StrEnum):
    """Direction of a rounding; there is no default because each default is wrong for somebody."""

    DOWN = "down"
    UP = "up"
    NEAREST = "nearest"


_MODES = {Rounding.DOWN: ROUND_FLOOR, Rounding.UP: ROUND_CEILING, Rounding.NEAREST: ROUND_HALF_EVEN}


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue charges: dollars per contract and side (CME) and fractions of notional (perps)."""

    per_contract: Decimal = Decimal(0)
    maker_rate: Decimal = Decimal(0)
    taker_rate: Decimal = Decimal(0)
    source: str = "unspecified"


class MarginTier(msgspec.Struct, frozen=True, kw_only=True):
    """One bracket: from `notional_floor` on, maintenance = notional x maintenance_rate - cum."""

    notional_floor: Decimal
    maintenance_rate: Decimal
    initial_rate: Decimal
    cum: Decimal = Decimal(0)


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of one tradable contract or of a reference price (kind STABLE).

    unit: coins per contract (linear) or quote currency per contract (inverse). tick: quote currency.
    lot: smallest step of a quantity, in contracts. expiry_ns: UTC, None for a perpetual.
    """

    id: InstrumentId
    venue: VenueId
    kind: Kind
    base: str
    unit: Decimal
    tick: Decimal
    lot: Decimal
    index_quote: str
    settle: str
    inverse: bool = False
    fees: FeeSchedule = FeeSchedule()
    tiers: tuple[MarginTier, ...] = ()
    product: str = ""
    settlement_index: str | None = None
    expiry_ns: int | None = None
    funding_interval_s: int | None = None
    funding_cap: float | None = None
    min_notional: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for name in ("unit", "tick", "lot"):
            value: Decimal = getattr(self, name)
            if not value.is_finite() or value <= 0:
                raise ValueError(f"instrument {self.id}: {name} must be positive and finite, not {value}")


def notional(instrument: Instrument, qty: Decimal, price: Decimal) -> Decimal:
    """Return the value of `qty` contracts at `price`, in quote currency, with the sign of `qty`.

    >>> from bot.model.instrument import Kind
    >>> mbt = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"),
    ...     tick=Decimal(5), lot=Decimal(1), index_quote="USD", settle="USD")
    >>> notional(mbt, Decimal(20), Decimal(70500))
    Decimal('141000.0')
    """
    return qty * instrument.unit if instrument.inverse else qty * instrument.unit * price


def coins(instrument: Instrument, qty: Decimal, price: Decimal) -> Decimal:
    """Return the coin quantity of `qty` contracts: qty x unit, or qty x unit / price for an inverse contract."""
    return qty * instrument.unit / price if instrument.inverse else qty * instrument.unit


def contracts_for(instrument: Instrument, coin_qty: Decimal, price: Decimal, rounding: Rounding) -> Decimal:
    """Return the number of contracts, a multiple of the lot, worth `coin_qty` coins at `price` (sign kept).

    DOWN is towards zero and UP away from it: a size has no direction but more or less.
    """
    exact = coin_qty * price / instrument.unit if instrument.inverse else coin_qty / instrument.unit
    return round_qty(instrument, exact, rounding)


def round_qty(instrument: Instrument, qty: Decimal, rounding: Rounding) -> Decimal:
    """Return `qty` in whole lots; DOWN is towards zero, UP away from zero (sign kept)."""
    lots = (abs(qty) / instrument.lot).quantize(Decimal(1), rounding=_MODES[rounding])
    return (lots * instrument.lot).copy_sign(qty)


def round_price(instrument: Instrument, price: Decimal, rounding: Rounding) -> Decimal:
    """Return `price` on the tick grid in the given direction."""
    return (price / instrument.tick).quantize(Decimal(1), rounding=_MODES[rounding]) * instrument.tick


def to_decimal(value: float) -> Decimal:
    """Return the shortest decimal of a float; the only door from observations to obligations.

    Raises ValueError for NaN and infinities.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return Decimal(repr(value))


def to_price(instrument: Instrument, value: float, rounding: Rounding) -> Decimal:
    """Return a float price as an order price on the tick grid in the given direction."""
    return round_price(instrument, to_decimal(value), rounding)


def snap_price(instrument: Instrument, value: float) -> Decimal:
    """Return a reported float price on the tick grid, refusing one that is off the grid by > 1 % of a tick.

    Raises ValueError: a price off the grid means wrong terms, not noise.
    """
    exact = to_decimal(value)
    snapped = round_price(instrument, exact, Rounding.NEAREST)
    if abs(snapped - exact) * 100 > instrument.tick:
        raise ValueError(f"{instrument.id}: price {value!r} is not on the {instrument.tick} tick grid")
    return snapped


def tier_for(instrument: Instrument, notional_abs: float) -> MarginTier:
    """Return the bracket that `notional_abs` (quote currency, >= 0) falls into; LookupError without tiers."""
    found = None
    for tier in instrument.tiers:
        if notional_abs >= tier.notional_floor:
            found = tier
    if found is None:
        raise LookupError(f"{instrument.id}: no margin tiers")
    return found


def maintenance_margin(instrument: Instrument, notional_abs: float) -> float:
    """Return maintenance in quote currency for a position of `notional_abs` (G6: 0.0065 x 885,000 - 950)."""
    tier = tier_for(instrument, notional_abs)
    return max(0.0, notional_abs * float(tier.maintenance_rate) - float(tier.cum))


def initial_margin(instrument: Instrument, notional_abs: float) -> float:
    """Return initial margin in quote currency for a position of `notional_abs`."""
    return notional_abs * float(tier_for(instrument, notional_abs).initial_rate)
