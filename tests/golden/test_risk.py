"""Worked cases G6 (margin silos) and G7 (sizing)."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from bot.model.instrument import Instrument, Kind, MarginTier, Rounding, contracts_for
from risk import margin, sizing
from risk.limits import Limits


def perp() -> Instrument:
    """A linear perpetual with the bracket of the worked case (0.65 % - 950 from 600,000)."""
    tiers = (
        MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.004"), initial_rate=Decimal("0.01")),
        MarginTier(notional_floor=Decimal(50_000), maintenance_rate=Decimal("0.005"), initial_rate=Decimal("0.01"), cum=Decimal(50)),
        MarginTier(notional_floor=Decimal(600_000), maintenance_rate=Decimal("0.0065"), initial_rate=Decimal("0.02"), cum=Decimal(950)),
    )  # fmt: skip
    return Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"),
                      lot=Decimal("0.001"), index_quote="USDT", settle="USDT", tiers=tiers)  # fmt: skip


def mbt() -> Instrument:
    """A CME micro future at 30 % maintenance."""
    tier = MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.30"), initial_rate=Decimal("0.40"))
    return Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5),
                      lot=Decimal(1), index_quote="USD", settle="USD", tiers=(tier,))  # fmt: skip


LIMITS = Limits()


def test_g6_perp_silo() -> None:
    """The perp silo needs 234,362.50: 240,000 passes by 5,637.50 and 230,000 fails by 4,362.50."""
    need = margin.perp_need(perp(), -10.0, 70_000, 70_500, 1_000, LIMITS)
    assert need.loss == pytest.approx(180_000) and need.funding == pytest.approx(5_310)
    assert need.maintenance == pytest.approx(4_802.50) and need.buffer == pytest.approx(44_250)
    assert 240_000 - need.total == pytest.approx(5_637.50)
    assert 230_000 - need.total == pytest.approx(-4_362.50)
    price = margin.liquidation_price(perp(), -10.0, 70_500, 240_000)
    assert round(price, 2) == 93_984.10 and round((price / 70_500 - 1) * 100, 2) == 33.31


def test_g6_broker_silo() -> None:
    """The broker silo fails at 400,000 despite the perp's gain: one leg cannot fund the other."""
    need = margin.lead_need(mbt(), 10.0, 70_000, 70_500, 1_000, LIMITS)
    assert need.loss == pytest.approx(181_250) and need.maintenance == pytest.approx(194_531.25)
    assert need.buffer == pytest.approx(25_937.50) and need.total == pytest.approx(401_718.75)
    assert 410_000 - need.total == pytest.approx(8_281.25)


def test_g7_sizing() -> None:
    """1 % of 500,000 at a stop of 710 a coin is 7.04225 BTC, 70 lots, 4,970 at risk."""
    assert round(500_000 * 0.01 / 710, 5) == 7.04225
    assert sizing.lots_for_risk(500_000, 0.01, 700, 10, 0.1) == 70
    assert 70 * 0.1 * 710 == pytest.approx(4_970)


@pytest.mark.parametrize(("lots", "coins"), [(41, "4.100"), (12, "1.200")])
def test_g7_hedge_follows_fills(lots: int, coins: str) -> None:
    """The hedge is the filled lots in coins, in the perp's own lots."""
    filled = Decimal(lots) * mbt().unit
    assert contracts_for(perp(), filled, Decimal(70_000), Rounding.NEAREST) == Decimal(coins)


def test_limits_have_no_off_value() -> None:
    """NaN, zero, negative and shares above one are refused by name."""
    from risk.limits import check

    check(LIMITS)
    for name, value in (("spread_stop_bp", float("nan")), ("pair_lots_max", 0), ("money_stop_usd", -1.0), ("perp_cap_share", 1.5)):
        with pytest.raises(ValueError, match=name):
            check(msgspec.structs.replace(LIMITS, **{name: value}))
