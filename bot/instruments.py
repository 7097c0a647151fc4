"""Products as the configuration describes them, and the instruments built from them.

A contract is a product and a month: its expiry comes from the exchange's rule (bot.market.expiry), never from a file.
Any linear or inverse perpetual is a table in a TOML file; nothing here knows a particular one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

import msgspec

from bot.market.expiry import contract_symbol, expiry_ns, parse_contract
from bot.model.errors import ConfigError
from bot.model.ids import InstrumentId
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier

T = TypeVar("T")
Bracket = tuple[Decimal, Decimal, Decimal, Decimal]
"""(notional floor in quote currency, maintenance rate, initial rate, maintenance amount subtracted)."""


class FutureProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One CME product. unit: coins per contract. tick: USD. fee_per_lot: USD per contract and side, all in.

    initial_rate, maintenance_rate: share of notional that the broker asks for.
    """

    venue: str = "cme"
    base: str
    unit: Decimal
    tick: Decimal
    lot: Decimal = Decimal(1)
    fee_per_lot: Decimal
    settlement_index: str
    initial_rate: Decimal
    maintenance_rate: Decimal
    source: str


class PerpProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual. unit: coins per contract (linear) or quote currency per contract (inverse).

    maker_rate, taker_rate: fractions of notional. funding_interval_s: 0 when it pays none. tiers: brackets, rising.
    """

    venue: str = "perp"
    base: str
    unit: Decimal
    tick: Decimal
    lot: Decimal
    index_quote: str
    settle: str
    inverse: bool = False
    maker_rate: Decimal
    taker_rate: Decimal
    min_notional: Decimal = Decimal(0)
    funding_interval_s: int = 28_800
    funding_cap: float = 0.003
    tiers: tuple[Bracket, ...]
    source: str


class StableProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A stablecoin's price in USD: a reference, not traded. tick: USD."""

    venue: str = "ref"
    tick: Decimal
    source: str


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Every product the configuration knows, by its code."""

    futures: dict[str, FutureProduct]
    perps: dict[str, PerpProduct]
    stables: dict[str, StableProduct]

    def future(self, root: str, year: int, month: int) -> Instrument:
        """Return the contract of `root` that expires in that month, e.g. MBTX26. ConfigError for an unknown root."""
        product = _named(self.futures, "futures", root)
        tier = MarginTier(
            notional_floor=Decimal(0), maintenance_rate=product.maintenance_rate, initial_rate=product.initial_rate
        )
        return Instrument(
            id=contract_symbol(root, year, month), venue=product.venue, kind=Kind.FUTURE, base=product.base,
            unit=product.unit, tick=product.tick, lot=product.lot, index_quote="USD", settle="USD",
            fees=FeeSchedule(per_contract=product.fee_per_lot, source=product.source), tiers=(tier,), product=root,
            settlement_index=product.settlement_index, expiry_ns=expiry_ns(year, month),
        )  # fmt: skip

    def perp(self, code: str) -> Instrument:
        """Return the perpetual `code`, e.g. BTCUSDT. ConfigError for an unknown one."""
        product = _named(self.perps, "perps", code)
        tiers = tuple(
            MarginTier(notional_floor=floor, maintenance_rate=maintenance, initial_rate=initial, cum=cum)
            for floor, maintenance, initial, cum in product.tiers
        )
        return Instrument(
            id=code, venue=product.venue, kind=Kind.PERP, base=product.base, unit=product.unit, tick=product.tick,
            lot=product.lot, index_quote=product.index_quote, settle=product.settle, inverse=product.inverse,
            fees=FeeSchedule(maker_rate=product.maker_rate, taker_rate=product.taker_rate, source=product.source),
            tiers=tiers, product=code, funding_interval_s=product.funding_interval_s or None,
            funding_cap=product.funding_cap, min_notional=product.min_notional,
        )  # fmt: skip

    def stable(self, code: str) -> Instrument:
        """Return the USD price of the stablecoin `code` as an instrument, e.g. USDT/USD."""
        product = _named(self.stables, "stables", code)
        return Instrument(
            id=f"{code}/USD", venue=product.venue, kind=Kind.STABLE, base=code, unit=Decimal(1), tick=product.tick,
            lot=Decimal(1), index_quote="USD", settle="USD", product=code,
        )  # fmt: skip

    def named(self, instrument: InstrumentId) -> Instrument:
        """Return the instrument with this id: a perp, a `CODE/USD` stable, or a contract symbol like MBTX26."""
        if instrument in self.perps:
            return self.perp(instrument)
        if instrument.endswith("/USD"):
            return self.stable(instrument.removesuffix("/USD"))
        try:
            root, year, month = parse_contract(instrument)
        except ValueError as error:
            raise ConfigError(f"{instrument!r} is no perp, stable or contract symbol of the configuration") from error
        return self.future(root, year, month)

    def stable_of(self, settle: str) -> InstrumentId | None:
        """Return the instrument that prices settle currency `settle` in USD, None for USD and for coins."""
        return f"{settle}/USD" if settle in self.stables else None


def _named(products: dict[str, T], table: str, code: str) -> T:
    if code not in products:
        raise ConfigError(f"{table}.{code}: no such product; known: {', '.join(sorted(products))}")
    return products[code]


def check(catalogue: Catalogue) -> None:
    """Raise ConfigError naming the first product whose terms cannot be right."""
    for root, product in catalogue.futures.items():
        _positive(f"futures.{root}", product, ("unit", "tick", "lot", "initial_rate", "maintenance_rate"))
        if product.fee_per_lot < 0:
            raise ConfigError(f"futures.{root}.fee_per_lot: {product.fee_per_lot} must not be negative")
        if product.maintenance_rate > product.initial_rate:
            raise ConfigError(f"futures.{root}.maintenance_rate: above initial_rate")
    for code, perp in catalogue.perps.items():
        _positive(f"perps.{code}", perp, ("unit", "tick", "lot"))
        if perp.funding_interval_s < 0 or perp.min_notional < 0 or perp.funding_cap <= 0:
            raise ConfigError(f"perps.{code}: funding_interval_s, min_notional must be >= 0 and funding_cap > 0")
        _check_tiers(f"perps.{code}.tiers", perp.tiers)
    for code, stable in catalogue.stables.items():
        _positive(f"stables.{code}", stable, ("tick",))


def _positive(where: str, product: msgspec.Struct, names: tuple[str, ...]) -> None:
    for name in names:
        value: Decimal = getattr(product, name)
        if not value.is_finite() or value <= 0:
            raise ConfigError(f"{where}.{name}: {value} must be finite and > 0")


def _check_tiers(where: str, tiers: tuple[Bracket, ...]) -> None:
    """Brackets start at 0, rise, and maintenance is continuous: the amount subtracted makes neighbours meet."""
    if not tiers or tiers[0][0] != 0:
        raise ConfigError(f"{where}: the first bracket must start at notional 0")
    previous: Bracket | None = None
    for floor, maintenance, initial, cum in tiers:
        if not 0 < maintenance <= initial <= 1:
            raise ConfigError(f"{where}: at {floor}: 0 < maintenance {maintenance} <= initial {initial} <= 1 is needed")
        if previous is not None:
            meets = previous[3] + floor * (maintenance - previous[1])
            if floor <= previous[0] or abs(meets - cum) > 1:
                raise ConfigError(f"{where}: at {floor}: floors must rise and {cum} be {meets}, so that neighbours meet")
        previous = (floor, maintenance, initial, cum)
