"""Products as the configuration describes them, and the instruments built from them.

A contract is a product and a month or a week: its expiry comes from the exchange's rule (bot.market.listing), never from a
file. Any linear or inverse perpetual is a table in a TOML file; nothing here knows a particular one. Every term says how
well it is known, "V: source", "S: source" or "U: source": V seen in a primary page, S in secondary ones only, U not seen.
What is not V may be traded on paper, with the mark shown, and live only after the broker or the venue has confirmed it.
A term that nobody knows is absent, never zero, and its product cannot be traded anywhere.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

import msgspec

from bot.market.listing import Contract, contract_of, month_contract
from bot.market.products import PRODUCTS
from bot.model.errors import ConfigError
from bot.model.ids import InstrumentId
from bot.model.instrument import FeeSchedule, Instrument, Kind, MarginTier

T = TypeVar("T")
Bracket = tuple[Decimal, Decimal, Decimal, Decimal]
"""(notional floor in quote currency, maintenance rate, initial rate, maintenance amount subtracted)."""

FUTURE_TERMS = ("unit", "tick", "spread_tick", "fee_per_lot", "settlement_index", "margin")
PERP_TERMS = ("unit", "tick", "lot", "fees", "min_notional", "funding_interval", "funding_cap", "tiers")
_FROM_WHAT_IF = ("fee_per_lot", "margin", "fees", "tiers")
"""Terms that a what-if order or the account's own fee and bracket tables confirm; contract details confirm the others."""
_DATED = ("fixing", "listing")
"""Calendar facts that a contract's terms depend on; the first trading day is past and needs no confirmation."""
_NO_SOURCE = "U: no source given"


class Term(msgspec.Struct, frozen=True):
    """One term of a product as it is known. status: V, S or U. confirmed_by: what the venue must be asked to confirm it."""

    name: str
    status: str
    source: str
    confirmed_by: str


class FutureProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One CME product. unit: coins per contract. tick, spread_tick: USD. fee_per_lot: USD per contract and side, all in.

    initial_rate, maintenance_rate: share of notional that the broker asks for. None: not known. terms: status and source of
    each of FUTURE_TERMS; one left out is U.
    """

    venue: str = "cme"
    base: str
    unit: Decimal | None = None
    tick: Decimal | None = None
    spread_tick: Decimal | None = None
    lot: Decimal = Decimal(1)
    fee_per_lot: Decimal | None = None
    settlement_index: str
    initial_rate: Decimal
    maintenance_rate: Decimal
    source: str
    terms: dict[str, str] = {}


class PerpProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual. unit: coins per contract (linear) or quote currency per contract (inverse).

    maker_rate, taker_rate: fractions of notional. funding_interval_s: 0 when it pays none. tiers: brackets, rising. terms:
    status and source of each of PERP_TERMS; one left out is U.
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
    terms: dict[str, str] = {}


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
        """Return the contract of `root` that expires in that month, e.g. MBTX26.

        ConfigError for an unknown root, one with weekly contracts, and one of which a term is not known.
        """
        _named(self.futures, "futures", root)
        try:
            return self._contract(month_contract(root, year, month))
        except ValueError as error:
            raise ConfigError(f"futures.{root}: {error}") from error

    def _contract(self, contract: Contract) -> Instrument:
        product = _named(self.futures, "futures", contract.root)
        unit, tick, fee = product.unit, product.tick, product.fee_per_lot
        if unit is None or tick is None or fee is None:
            raise ConfigError(f"futures.{contract.root} is not tradable: {self.untradable(contract.root)}")
        tier = MarginTier(
            notional_floor=Decimal(0), maintenance_rate=product.maintenance_rate, initial_rate=product.initial_rate
        )
        return Instrument(
            id=contract.symbol, venue=product.venue, kind=Kind.FUTURE, base=product.base, unit=unit, tick=tick,
            lot=product.lot, index_quote="USD", settle="USD", fees=FeeSchedule(per_contract=fee, source=product.source),
            tiers=(tier,), product=contract.root, settlement_index=product.settlement_index, expiry_ns=contract.expiry_ns,
        )  # fmt: skip

    def untradable(self, root: str) -> str:
        """Return why no contract of future `root` can be traded anywhere, "" if it can. ConfigError for an unknown root."""
        product = _named(self.futures, "futures", root)
        missing = [name for name in ("unit", "tick", "fee_per_lot") if getattr(product, name) is None]
        told = "; ".join(f"{name} is unknown ({product.terms.get(name, _NO_SOURCE)})" for name in missing)
        return f"{told}; take it from the broker's contract details" if told else ""

    def spread_tick(self, root: str) -> Decimal:
        """Return the tick of calendar spreads in future `root`, USD per coin. ConfigError where nobody knows it: never the outright's."""
        tick = _named(self.futures, "futures", root).spread_tick
        if tick is None:
            raise ConfigError(f"futures.{root}.spread_tick is unknown: a calendar spread in {root} cannot be priced")
        return tick

    def terms(self, code: str) -> tuple[Term, ...]:
        """Return every term of a future or perp with its status, a future's calendar facts too. ConfigError for an unknown code."""
        if code in self.perps:
            return tuple(_term(name, self.perps[code].terms.get(name, _NO_SOURCE)) for name in PERP_TERMS)
        given = _named(self.futures, "futures", code).terms
        facts = PRODUCTS[code].facts if code in PRODUCTS else {}
        dated = tuple(_term(name, f"{facts[name].status}: {facts[name].source}" if name in facts else _NO_SOURCE) for name in _DATED)
        return tuple(_term(name, given.get(name, _NO_SOURCE)) for name in FUTURE_TERMS) + dated

    def unverified(self, code: str) -> tuple[Term, ...]:
        """Return the terms of a future or perp that no primary source confirms (S and U): live waits for the venue's word on each."""
        return tuple(term for term in self.terms(code) if term.status != "V")

    def mark(self, code: str) -> str:
        """Return the one line that paper shows beside a product with unverified terms, "" if all are verified."""
        found = self.unverified(code)
        return f"{code}: unverified terms: " + ", ".join(f"{t.name} ({t.status})" for t in found) if found else ""

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
        """Return the instrument with this id: a perp, a `CODE/USD` stable, or a contract symbol like MBTX26 or BFFX2627."""
        if instrument in self.perps:
            return self.perp(instrument)
        if instrument.endswith("/USD"):
            return self.stable(instrument.removesuffix("/USD"))
        try:
            contract = contract_of(instrument)
        except ValueError as error:
            raise ConfigError(f"{instrument!r} is no perp, stable or contract symbol of the configuration: {error}") from error
        return self._contract(contract)

    def stable_of(self, settle: str) -> InstrumentId | None:
        """Return the instrument that prices settle currency `settle` in USD, None for USD and for coins."""
        return f"{settle}/USD" if settle in self.stables else None


def _named(products: dict[str, T], table: str, code: str) -> T:
    if code not in products:
        raise ConfigError(f"{table}.{code}: no such product; known: {', '.join(sorted(products))}")
    return products[code]


def _term(name: str, told: str) -> Term:
    status, _, source = told.partition(": ")
    return Term(name, status, source, "what-if order" if name in _FROM_WHAT_IF else "contract details")


def check(catalogue: Catalogue) -> None:
    """Raise ConfigError naming the first product whose terms cannot be right."""
    for root, product in catalogue.futures.items():
        _positive(f"futures.{root}", product, ("unit", "tick", "spread_tick", "lot", "initial_rate", "maintenance_rate"))
        _check_terms(f"futures.{root}", product, product.terms, FUTURE_TERMS)
        if root not in PRODUCTS:
            raise ConfigError(f"futures.{root}: no CME calendar for it; known are {', '.join(sorted(PRODUCTS))}")
        if product.fee_per_lot is not None and product.fee_per_lot < 0:
            raise ConfigError(f"futures.{root}.fee_per_lot: {product.fee_per_lot} must not be negative")
        if product.maintenance_rate > product.initial_rate:
            raise ConfigError(f"futures.{root}.maintenance_rate: above initial_rate")
    for code, perp in catalogue.perps.items():
        _positive(f"perps.{code}", perp, ("unit", "tick", "lot"))
        if perp.funding_interval_s < 0 or perp.min_notional < 0 or perp.funding_cap <= 0:
            raise ConfigError(f"perps.{code}: funding_interval_s, min_notional must be >= 0 and funding_cap > 0")
        _check_terms(f"perps.{code}", perp, perp.terms, PERP_TERMS)
        _check_tiers(f"perps.{code}.tiers", perp.tiers)
    for code, stable in catalogue.stables.items():
        _positive(f"stables.{code}", stable, ("tick",))


def _positive(where: str, product: msgspec.Struct, names: tuple[str, ...]) -> None:
    for name in names:
        value: Decimal | None = getattr(product, name)
        if value is None:
            continue
        if not value.is_finite() or value <= 0:
            raise ConfigError(f"{where}.{name}: {value} must be finite and > 0")


def _check_terms(where: str, product: msgspec.Struct, terms: dict[str, str], known: tuple[str, ...]) -> None:
    """Each entry names a term, begins with its status and goes on with a source; what is not known cannot be verified."""
    for name, told in terms.items():
        status, colon, source = told.partition(": ")
        if name not in known:
            raise ConfigError(f"{where}.terms.{name}: no such term; known: {', '.join(known)}")
        if status not in ("V", "S", "U") or not colon or not source.strip():
            raise ConfigError(f"{where}.terms.{name}: {told!r} must be V, S or U, a colon, and a source with its date")
        if status == "V" and getattr(product, name, "") is None:
            raise ConfigError(f"{where}.terms.{name}: verified, but {where}.{name} is missing")


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
