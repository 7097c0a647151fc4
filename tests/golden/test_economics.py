"""Worked cases G1-G5, G7 (inverse), G9 and G10 to their printed digits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.market import edge, fair, fixing, funding, inverse, roll, stable
from bot.market.book import walk
from bot.model.instrument import Instrument, Kind, Rounding, coins, contracts_for


def test_g1_signal() -> None:
    """Premium, fair premium, excess and implied carry of the worked signal."""
    t = 30 / 365
    s = fair.signal(70_000, 70_500, 71_500, 0.999, 0.06, t)
    assert s.perp_usd == pytest.approx(71_428.50, abs=1e-9)
    assert s.premium == pytest.approx(928.50, abs=1e-9)
    assert round(s.premium_bp, 3) == 132.643
    assert round(fair.cme_fair(70_000, 0.06, t), 4) == 70_346.0581
    assert round(s.fair_premium, 4) == -346.0581
    assert round(s.excess, 4) == 1_274.5581
    assert round(s.excess_bp, 4) == 182.0797
    assert round(fair.implied_carry(70_500, 70_000, t) * 100, 5) == 8.65959
    assert round(funding.per_year(0.0005, 3600) * 100, 6) == 438.0


def test_g2_edge() -> None:
    """Every line of the worked edge and its sum."""
    cme = walk([(70_505, 12), (70_510, 8)], 20)
    perp = walk([(71_490, 1.5), (71_480, 0.5)], 2)
    assert cme == 70_507 and perp == 71_487.5
    rates = funding.expected_rates(15, 0.0005, 0.0001, 3.0)
    assert round(sum(rates), 10) == 0.0033783373
    expected = funding.expected_funding(rates, 71_428.5)
    assert round(expected, 4) == 241.3096
    fair_exit = fair.fair_premium(70_000, 0.06, 25 / 365)
    assert round(fair_exit, 4) == -288.2631
    e = edge.expected_edge(
        edge.EdgeInputs(
            direction=1, index_usd=70_000, cme_price=cme, perp_price_usd=perp * 0.999, fair_premium_exit=fair_exit,
            excess_exit=100, exit_half_spreads=12, expected_funding=expected, cme_fees=60,
            perp_fees=2 * 0.0005 * perp * 0.999, financing_rate=0.05, horizon_days=5, cme_margin_share=0.40,
            perp_margin_share=0.35, stable_haircut=0.0002,
        )
    )  # fmt: skip
    assert round(e.executable_premium, 4) == 909.0125
    assert round(e.expected_exit_premium, 4) == -176.2631
    assert round(e.fees, 4) == 131.4160
    assert round(e.financing, 4) == 36.4373
    assert round(e.haircut, 4) == 19.2823
    assert round(e.edge_usd, 4) == 1_139.4496
    assert round(e.edge_bp, 4) == 162.7785


def test_g2_mirror() -> None:
    """Mirroring every price about the index mirrors the edge: costs stay costs."""
    base = {
        "index_usd": 70_000.0, "excess_exit": 0.0, "exit_half_spreads": 12.0, "cme_fees": 60.0, "perp_fees": 70.0,
        "financing_rate": 0.0, "horizon_days": 5.0, "cme_margin_share": 0.4, "perp_margin_share": 0.35,
        "stable_haircut": 0.0, "fair_premium_exit": 0.0,
    }  # fmt: skip
    up = edge.EdgeInputs(
        direction=1, cme_price=70_000, perp_price_usd=70_500, expected_funding=50, **base
    )
    down = edge.EdgeInputs(
        direction=-1, cme_price=70_000, perp_price_usd=69_500, expected_funding=-50, **base
    )
    assert edge.expected_edge(up).edge_usd == pytest.approx(edge.expected_edge(down).edge_usd, abs=1e-9)


def test_g3_funding_of_a_short() -> None:
    """A short receives when the rate is positive, in the stablecoin, worth its price at the stamp."""
    rows = [("-2.0", "71000", "0.0005", ".9990"), ("-2.0", "70200", "-0.00012", ".9985"),
            ("-1.4", "69800", "0.0001", "1.0002")]  # fmt: skip
    paid = [funding.payment(Decimal(q), Decimal(m), Decimal(r)) for q, m, r, _ in rows]
    usd = [p * Decimal(s) for p, (_, _, _, s) in zip(paid, rows, strict=True)]
    assert paid == [Decimal("71.000"), Decimal("-16.848"), Decimal("9.772")]
    assert usd == [Decimal("70.929"), Decimal("-16.822728"), Decimal("9.7739544")]
    assert sum(paid) == Decimal("63.924") and round(sum(usd), 2) == Decimal("63.88")


def test_g4_depeg() -> None:
    """A stablecoin at 0.97 costs a short 3 % of notional plus equity although the USD premium stands still."""
    quote = 100_000 / 0.97
    equity = 30_000 - (quote - 100_000)
    assert round(quote, 2) == 103_092.78 and round(equity, 2) == 26_907.22
    assert round(equity * 0.97, 6) == 26_100
    assert 30_000 - equity * 0.97 == pytest.approx(0.03 * stable.exposure_usd(100_000, 30_000, 1.0))
    assert stable.pair_pnl_usd(1, 0, 0, 100_000, 1.0, 0.97) == pytest.approx(-3_000)


@pytest.mark.parametrize(("price", "equity", "over"), [(80_000, 0.75, 1.25), (125_000, 0.30, 0.80)])
def test_g5_inverse(price: float, equity: float, over: float) -> None:
    """An inverse short's coin delta and the hedged USD value do not move with price."""
    assert inverse.coin_equity(0.5, 100_000, 100_000, price) == pytest.approx(equity)
    assert 100_000 / price == pytest.approx(over)
    assert inverse.account_delta(0.5, 100_000, 100_000, price) == pytest.approx(-0.5)
    assert equity * price + 0.5 * (price - 100_000) == pytest.approx(50_000)


def test_g7_inverse_contracts() -> None:
    """7.3 coins at 71,400 are 5,212 contracts of 100 USD, leaving +0.00028011 coins."""
    inv = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(100), tick=Decimal("0.1"),
                     lot=Decimal(1), index_quote="USD", settle="BTC", inverse=True)  # fmt: skip
    qty = contracts_for(inv, Decimal("7.3"), Decimal(71_400), Rounding.NEAREST)
    assert qty == 5_212
    assert round(Decimal("7.3") - coins(inv, qty, Decimal(71_400)), 8) == Decimal("0.00028011")


def test_g9_roll() -> None:
    """Only spread slippage and fees are roll P&L; the premium re-bases; a wrong carry jumps the excess."""
    r = roll.roll(2.0, 20, 210, 212, 3.0)
    assert (r.slippage, r.fees, r.premium_rebase) == (-4.0, -120.0, -210)
    for near, far in ((71_000, 71_212), (70_995, 71_207)):
        assert roll.roll(2.0, 20, 210, far - near, 3.0) == r
    excess = []
    for days in (7, 35):
        t = days / 365
        future = fair.cme_fair(70_000, 0.09, t)
        excess.append(round(fair.signal(70_000, future, 70_000, 1.0, 0.06, t).excess_bp, 2))
    assert excess == [-5.76, -28.97]


def test_g10_fixing() -> None:
    """The perpetual is bought back by partitions because CME delta melts by twelfths."""
    medians = [70900, 70950, 71010, 71080, 71120, 71060, 71000, 70940, 70980, 71040, 71100, 71140]
    brr = fixing.fixing_price(medians)
    assert brr == 71_026.67
    assert round(2.4 * (brr - 70_500), 3) == 1_264.008
    buys = [m + 20 for m in medians]
    buys[5] = 71_095
    average = sum(buys) / 12
    assert round(average, 4) == 71_047.9167
    assert round(2.4 * (71_000 - average), 2) == -115.00
    assert round(2.4 * (brr - 70_500) + 2.4 * (71_000 - average), 3) == 1_149.008
    assert round(2.4 * (brr - 70_500) + 2.4 * (71_000 - 71_300), 3) == 544.008
    assert [fixing.delta_left(t, (0, 12)) for t in (-1, 0, 1, 11, 12)] == [1.0, 1.0, 11 / 12, 1 / 12, 0.0]
