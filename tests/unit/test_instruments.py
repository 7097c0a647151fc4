"""Products as data: every term says how well it is known, and what is not known cannot be traded."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from bot import config
from bot.instruments import FUTURE_TERMS, PERP_TERMS, Catalogue, check
from bot.market.listing import contract_of, listed
from bot.market.products import PRODUCTS
from bot.model.errors import ConfigError
from bot.model.instrument import Kind, Rounding, initial_margin, maintenance_margin, round_qty, tier_for

UNKNOWN = ("ADA", "ADA-MICRO", "LINK", "LINK-MICRO", "XLM", "XLM-MICRO", "AVAX", "AVAX-MICRO", "SUI", "SUI-MICRO")


def packaged(*sets: str) -> Catalogue:
    """The packaged products, with a few values put over them."""
    return config.load(environ={}, sets=sets).settings.catalogue


CATALOGUE = packaged()


def statuses(code: str) -> dict[str, str]:
    """Status by term."""
    return {term.name: term.status for term in CATALOGUE.terms(code)}


def test_the_calendar_and_the_configuration_know_the_same_products() -> None:
    """No product has money terms without a calendar or a calendar without money terms."""
    assert set(CATALOGUE.futures) == set(PRODUCTS) and set(CATALOGUE.perps) >= {"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"}


@pytest.mark.parametrize(
    ("code", "unit", "tick", "spread_tick", "index"),
    [
        ("BTC", "5", "5", "1", "BRR"), ("MBT", "0.1", "5", "1", "BRR"), ("ETH", "50", "0.5", None, "ETHUSD_RR"), ("MET", "0.1", "0.5", None, "ETHUSD_RR"),
        ("SOL", "500", "0.05", None, "SOLUSD_RR"), ("MSL", "25", "0.05", None, "SOLUSD_RR"), ("XRP", "50000", "0.0005", "0.0001", "XRPUSD_RR"),
        ("MXP", "2500", "0.0005", "0.0001", "XRPUSD_RR"), ("BFF", "0.02", "5", None, "BRRNY"), ("QBTC", "0.01", "10", None, "BRR"),
        ("QETH", "0.2", "0.5", None, "ETHUSD_RR"), ("QSOL", "5", "0.02", None, "SOLUSD_RR"), ("QXRP", "250", "0.0004", None, "XRPUSD_RR"),
        ("ADA", "100000", None, None, "ADAUSD_NY"), ("ADA-MICRO", "10000", None, None, "ADAUSD_NY"), ("LINK", "5000", None, None, "LINKUSD_RR"),
        ("LINK-MICRO", "250", None, None, "LINKUSD_RR"), ("XLM", "250000", None, None, "XLMUSD_RR"), ("XLM-MICRO", "12500", None, None, "XLMUSD_RR"),
        ("AVAX", None, None, None, "AVAXUSD_RR"), ("SUI-MICRO", None, None, None, "SUIUSD_RR"),
    ],
)  # fmt: skip
def test_terms_are_those_of_the_contract_table(code: str, unit: str | None, tick: str | None, spread_tick: str | None, index: str) -> None:
    """Unit, ticks and index of every product, absent where nobody knows them."""
    product = CATALOGUE.futures[code]
    given = tuple(None if text is None else Decimal(text) for text in (unit, tick, spread_tick))
    assert (product.unit, product.tick, product.spread_tick, product.settlement_index) == (*given, index)


def test_tick_values_in_dollars() -> None:
    """A tick is worth what the contract table says a lot."""
    worth = {"BTC": "25", "MBT": "0.5", "ETH": "25", "MET": "0.05", "SOL": "25", "MSL": "1.25", "XRP": "25", "MXP": "1.25", "QSOL": "0.1", "QXRP": "0.1"}
    for code, dollars in worth.items():
        product = CATALOGUE.futures[code]
        assert product.unit is not None and product.tick is not None and product.unit * product.tick == Decimal(dollars), code


def test_every_packaged_term_has_a_status_and_a_dated_source() -> None:
    """None is left to the default, and a term that is absent is never called verified."""
    for code, product in [*CATALOGUE.futures.items(), *CATALOGUE.perps.items()]:
        assert set(product.terms) == set(FUTURE_TERMS if code in CATALOGUE.futures else PERP_TERMS), code
        assert all("2026-11" in told for told in product.terms.values()), code
        for term in CATALOGUE.terms(code):
            assert term.status in ("V", "S", "U") and term.source and term.confirmed_by in ("contract details", "what-if order"), (code, term)


def test_unverified_terms_are_exposed_by_name() -> None:
    """Live learns what to have confirmed; paper shows the mark; only a term seen in a primary page needs neither."""
    assert {t.name for t in CATALOGUE.unverified("MBT")} == {"fee_per_lot", "margin"}
    assert {t.name for t in CATALOGUE.unverified("SOL")} >= {"tick", "fee_per_lot", "margin", "listing"} and statuses("SOL")["unit"] == "V"
    assert statuses("BFF")["tick"] == "U" and statuses("QXRP")["tick"] == "S" and statuses("XRP")["tick"] == "V" and statuses("ADA")["unit"] == "S"
    assert "tick (U)" in CATALOGUE.mark("SOL") and "unit" not in CATALOGUE.mark("SOL")
    assert {t.name for t in CATALOGUE.unverified("BTCUSDT")} == {"fees", "min_notional", "funding_interval", "funding_cap"}


def test_a_term_without_a_line_is_unverified() -> None:
    """Silence is not verification, for a future and for a perp."""
    bare = msgspec.structs.replace(CATALOGUE.futures["BTC"], terms={})
    perp = msgspec.structs.replace(CATALOGUE.perps["BTCUSDT"], terms={})
    told = Catalogue(futures={"BTC": bare}, perps={"P": perp}, stables={})
    assert {t.name for t in told.unverified("BTC")} == set(FUTURE_TERMS)
    assert {t.name for t in told.unverified("P")} == set(PERP_TERMS)


@pytest.mark.parametrize("code", UNKNOWN)
def test_unknown_terms_refuse_every_contract_and_say_why(code: str) -> None:
    """No mode can build the contract; the error names product, term and what is known of it."""
    assert "unknown (U: not found" in CATALOGUE.untradable(code)
    for ask in (lambda: CATALOGUE.future(code, 2026, 12), lambda: CATALOGUE.named(f"{code}Z26")):
        with pytest.raises(ConfigError, match=rf"futures.{code} is not tradable: .*(unit|tick) is unknown"):
            ask()


def test_a_calendar_spread_has_its_own_tick_or_none() -> None:
    """The finer tick of spreads where it is known; elsewhere an error, not the outright's tick."""
    assert [CATALOGUE.spread_tick(code) for code in ("BTC", "MBT", "XRP")] == [Decimal(1), Decimal(1), Decimal("0.0001")]
    with pytest.raises(ConfigError, match="futures.ETH.spread_tick is unknown"):
        CATALOGUE.spread_tick("ETH")


def test_a_term_given_by_the_operator_makes_paper_possible_but_not_verified() -> None:
    """Values from the broker's contract details are set like any other; the mark stays until somebody states the source."""
    catalogue = packaged("futures.AVAX.unit=500", "futures.AVAX.tick=0.01", "futures.AVAX.fee_per_lot=9.5")
    terms = catalogue.future("AVAX", 2026, 12)
    assert (terms.unit, terms.tick, catalogue.untradable("AVAX")) == (Decimal(500), Decimal("0.01"), "")
    assert {"unit", "tick"} <= {t.name for t in catalogue.unverified("AVAX")}


def test_every_tradable_product_builds_each_listed_contract() -> None:
    """Each listed month or week becomes an instrument that expires when the rule says, by its product's own hour."""
    for code in sorted(set(PRODUCTS) - set(UNKNOWN)):
        assert CATALOGUE.untradable(code) == ""
        for contract in listed(code, contract_of("MBTX26").last_day):
            terms = CATALOGUE.named(contract.symbol)
            assert (terms.kind, terms.product, terms.expiry_ns, terms.id) == (Kind.FUTURE, code, contract.expiry_ns, contract.symbol)


@pytest.mark.parametrize(
    ("ask", "told"), [("BFFX26", "BFFX2627"), ("MBTX2627", "no weekly"), ("DOGEX26", "DOGE"), ("BFFX2626", "no Friday"), ("nonsense", "nonsense")]
)
def test_symbols_of_no_contract_are_refused(ask: str, told: str) -> None:
    """A month of a weekly, a week of a monthly, an unknown product: one error that says which."""
    with pytest.raises(ConfigError, match=told):
        CATALOGUE.named(ask)
    with pytest.raises(ConfigError, match=r"futures.BFF: .*weekly"):
        CATALOGUE.future("BFF", 2026, 11)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("futures.MBT.terms.unit=V", "futures.MBT.terms.unit: 'V' must be"), ("futures.MBT.terms.unit=X: page", "must be V, S or U"),
        ("futures.MBT.terms.unit=V: ", "must be V, S or U"), ("futures.AVAX.terms.unit=V: a page, 2026", "verified, but futures.AVAX.unit is missing"),
        ("futures.SOL.spread_tick=-1", "futures.SOL.spread_tick: -1 must be"), ("futures.SOL.fee_per_lot=-1", "futures.SOL.fee_per_lot"),
        ("perps.SOLUSDT.terms.tick=none", "perps.SOLUSDT.terms.tick"), ("futures.SOL.tick=NaN", "futures.SOL.tick"), ("futures.SOL.unit=0", "futures.SOL.unit"),
    ],
)  # fmt: skip
def test_wrong_terms_are_refused_where_they_stand(given: str, told: str) -> None:
    """A status without a source, a verified absence, a tick of no size: an error that names the key."""
    with pytest.raises(ConfigError, match=told):
        packaged(given)


def test_unknown_terms_and_products_without_a_calendar_are_refused() -> None:
    """A line about a term that does not exist, and a future the calendar does not know, are mistakes."""
    wrong = msgspec.structs.replace(CATALOGUE.futures["BTC"], terms={"colour": "V: page, 2026"})
    with pytest.raises(ConfigError, match="futures.BTC.terms.colour"):
        check(Catalogue(futures={"BTC": wrong}, perps={}, stables={}))
    with pytest.raises(ConfigError, match="futures.DOGE: no CME calendar"):
        check(Catalogue(futures={"DOGE": CATALOGUE.futures["BTC"]}, perps={}, stables={}))


@pytest.mark.parametrize(
    ("code", "notional", "maintenance", "initial"),
    [("SOLUSDT", 15_000, 75.0, 150.0), ("SOLUSDT", 500_000, 4_620.0, 10_000.0), ("XRPUSDT", 100_000, 915.0, 2_500.0)],
)
def test_perp_brackets(code: str, notional: float, maintenance: float, initial: float) -> None:
    """Maintenance is continuous over the brackets of the new perps, and a lot is what their venue takes."""
    perp = CATALOGUE.perp(code)
    assert maintenance_margin(perp, notional) == pytest.approx(maintenance) and initial_margin(perp, notional) == pytest.approx(initial)
    for tier in perp.tiers[1:]:
        floor = float(tier.notional_floor)
        assert maintenance_margin(perp, floor) == pytest.approx(maintenance_margin(perp, floor - 1e-6), abs=1e-3)
        assert tier_for(perp, floor) == tier
    assert round_qty(perp, Decimal("10.57"), Rounding.DOWN) == (Decimal(10) if code == "SOLUSDT" else Decimal("10.5"))
