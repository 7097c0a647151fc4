"""Worked cases G8 and G9: a round trip and a roll reproduce every line to the cent."""

from __future__ import annotations

from decimal import Decimal
from math import exp

import pytest

from bot.journal.attribution import Leg, Marks, PairAttribution, WalletAttribution
from bot.model.instrument import Instrument, Kind

DAY = 86_400 * 10**9


def instrument(name: str, settle: str, unit: str, inverse: bool = False) -> Instrument:
    """Return minimal terms for an attribution leg."""
    return Instrument(
        id=name, venue="v", kind=Kind.PERP, base="BTC", unit=Decimal(unit), tick=Decimal("0.1"),
        lot=Decimal("0.001"), index_quote=settle, settle=settle, inverse=inverse,
    )  # fmt: skip


def marks(day: float, lead: float, hedge: float, stable: float, index: float) -> Marks:
    """Return marks on `day` of the trade, 30 days before the fixing at day 0, carry 6 %."""
    return Marks(int(day * DAY), lead, hedge, stable, index, index * exp(0.06 * (30 - day) / 365))


def round_trip(direction: int) -> tuple[dict[str, float], float]:
    """Play G8 in one direction and return (lines, change of equity computed from cash alone)."""
    pair = PairAttribution(instrument("MBT", "USD", "0.1"), instrument("BTCUSDT", "USDT", "1"))
    wallet = WalletAttribution(50_000.0, 0.9990)
    n = 2.0 * direction
    start = marks(0, 70_500, 71_500, 0.9990, 70_000)
    end = marks(5, 71_320, 71_080, 1.0002, 71_000)
    usd, usdt = 60_000.0, 50_000.0

    def perp_fee(amount: float, at: Marks) -> None:
        nonlocal usdt
        pair.fee(amount, "USDT", at)
        wallet.add(-amount, at.stable)
        usdt -= amount

    pair.fill(Leg.LEAD, n, 70_505.0, 70_500.0, start)
    wallet.add(pair.fill(Leg.HEDGE, -n, 71_490.0, 71_500.0, start), start.stable)
    pair.fee(60.0, "USD", start)
    perp_fee(2 * 71_490 * 0.0005, start)
    for amount, stable, day in ((71.0, 0.9990, 1.0), (-16.848, 0.9985, 2.0), (13.96, 1.0001, 3.0)):
        at = marks(day, 70_600 + 50 * day, 71_200, stable, 70_300)
        pair.funding(direction * amount, at)
        wallet.add(direction * amount, stable)
        usdt += direction * amount
    pair.fill(Leg.LEAD, -n, 71_315.0, 71_320.0, end)
    realised = pair.fill(Leg.HEDGE, n, 71_085.0, 71_080.0, end)
    wallet.add(realised, end.stable)
    pair.fee(60.0, "USD", end)
    perp_fee(2 * 71_085 * 0.0005, end)
    pair.cash("interest", 12.34, "USD", end)
    usd += n * (71_315 - 70_505) - 120.0 + 12.34
    usdt += -n * (71_085 - 71_490)
    lines = dict(pair.lines)
    lines["stablecoin_wallet"] += wallet.line
    assert wallet.balance == pytest.approx(usdt, abs=1e-8)
    return lines, usd + usdt * 1.0002 - (60_000 + 50_000 * 0.9990)


def test_g8_every_line_to_the_cent() -> None:
    """The worked round trip gives each printed line, the printed equity change and no residual."""
    lines, change = round_trip(1)
    assert {name: round(value, 2) for name, value in lines.items()} == {
        "roll_down": -107.35, "richening": -252.65, "perp_premium": 2_668.57, "residual_delta": 0.0,
        "slippage": -50.01, "funding": 68.07, "fees": -262.52, "stablecoin_notional": 171.60,
        "stablecoin_wallet": 59.97, "financing": 12.34, "roll": 0.0,
    }  # fmt: skip
    assert round(change, 2) == 2_308.02
    assert sum(lines.values()) == pytest.approx(change, abs=1e-6)


def test_g8_mirror() -> None:
    """The other direction mirrors market lines and funding, keeps fees, and still adds up."""
    long, _ = round_trip(1)
    short, change = round_trip(-1)
    for name in ("roll_down", "richening", "perp_premium", "slippage", "funding", "stablecoin_notional"):
        assert short[name] == pytest.approx(-long[name], abs=1e-6), name
    assert short["fees"] == pytest.approx(long["fees"])
    assert sum(short.values()) == pytest.approx(change, abs=1e-6)


@pytest.mark.parametrize(("near", "far"), [(71_000.0, 71_212.0), (70_995.0, 71_207.0)])
def test_g9_roll_costs_only_spread_slippage(near: float, far: float) -> None:
    """A roll books 2 coins x (210 - 212) on its line and nothing else, whatever the legs print."""
    pair = PairAttribution(instrument("MBT", "USD", "0.1"), instrument("BTCUSDT", "USDT", "1"))
    old = marks(0, 71_000, 71_400, 1.0, 70_900)
    pair.fill(Leg.LEAD, 2.0, 71_000, 71_000, old)
    pair.fill(Leg.HEDGE, -2.0, 71_400, 71_400, old)
    new = Marks(old.ts, 71_210.0, 71_400.0, 1.0, 70_900.0, 71_300.0)
    pair.roll(far - near, 210.0, old, new)
    assert pair.lines["roll"] == -4.0
    assert pair.total() == -4.0
    pair.mark(new)
    assert pair.total() == -4.0


def test_inverse_hedge_is_refused() -> None:
    """An inverse contract has no linear attribution: the error names it."""
    with pytest.raises(ValueError, match="BTCUSD_PERP"):
        PairAttribution(instrument("MBT", "USD", "0.1"), instrument("BTCUSD_PERP", "BTC", "100", inverse=True))
