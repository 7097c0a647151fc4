"""The edge and the value of holding, from a pair's window to the printed digits of the worked case."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_view import H8, NOW, PERP, PairView, S, future, stack

from bot.market.fair import DAY_NS
from bot.model.instrument import FeeSchedule, Instrument, Kind
from strategies.convergence_params import ConvergenceParams
from strategies.funding import forecast
from strategies.prospect import Outlook, edge_at, fee_per_coin, holding_at, lots_shown

G2_PARAMS = ConvergenceParams(slippage_bp=0.0)
G2_OUTLOOK = Outlook(direction=1, carry=0.06, horizon_days=5.0, excess_exit_usd=100.0, half_spreads_usd=12.0)


def g2_view() -> PairView:
    """Return the books, index, stablecoin and funding of worked case G2."""
    view = PairView(stable=0.999)
    view.show(NOW, 70_500.0, 71_500.0, 70_000.0 / 0.999)
    stack(view.lead, asks=((70_505.0, 12.0), (70_510.0, 8.0)))
    stack(view.hedge, bids=((71_490.0, 1.5), (71_480.0, 0.5)))
    view.funding(0.0005)
    return view


def test_g2_through_the_strategys_own_road() -> None:
    """The books of G2 give its edge and every one of its lines to the printed digits."""
    e = edge_at(G2_PARAMS, g2_view(), 20, G2_OUTLOOK)
    assert e is not None
    assert round(e.executable_premium, 4) == 909.0125
    assert round(e.expected_exit_premium, 4) == -176.2631
    assert round(e.expected_funding, 4) == 241.3096
    assert round(e.fees, 4) == 131.4160
    assert round(e.financing, 4) == 36.4373
    assert round(e.haircut, 4) == 19.2823
    assert round(e.edge_usd, 4) == 1_139.4496
    assert round(e.edge_bp, 4) == 162.7785


def test_g2_funding_is_the_stamps_inside_the_horizon() -> None:
    """Fifteen stamps decaying to baseline, not the current rate for five days; none when the horizon ends before one."""
    view = g2_view()
    rates = forecast(view.hedge, NOW, 5 * DAY_NS, 0.0001, 24.0)
    assert rates is not None and len(rates) == 15 and round(sum(rates), 10) == 0.0033783373
    assert forecast(view.hedge, NOW, H8 - S, 0.0001, 24.0) == []
    view.hedge.funding_ts = 0
    assert forecast(view.hedge, NOW, 5 * DAY_NS, 0.0001, 24.0) is None


def test_baseline_follows_the_interval() -> None:
    """An hourly venue decays to an eighth of the 8 h baseline, over the same hours."""
    view = g2_view()
    view.funding(0.001, interval_s=3_600, cap=0.0006)
    rates = forecast(view.hedge, NOW, DAY_NS * 30, 0.0001, 24.0)
    assert rates is not None and len(rates) == 720
    assert rates[0] == 0.0006, "the venue's cap holds"
    assert rates[-1] == pytest.approx(0.0001 / 8, rel=1e-3)
    assert rates[24] == pytest.approx(0.0001 / 8 + (0.001 - 0.0001 / 8) / 2)


@pytest.mark.parametrize(("direction", "better"), [(1, True), (-1, False)])
def test_positive_funding_pays_the_short(direction: int, better: bool) -> None:
    """A positive rate raises the edge of long CME / short perp and lowers the mirror's; the sign is not a matter of taste."""
    outlook = msgspec.structs.replace(G2_OUTLOOK, direction=direction)
    high, low = g2_view(), g2_view()
    low.funding(-0.0005)
    a, b = edge_at(G2_PARAMS, high, 1, outlook), edge_at(G2_PARAMS, low, 1, outlook)
    assert a is not None and b is not None and (a.edge_bp > b.edge_bp) is better


def test_fair_carry_is_in_the_exit() -> None:
    """A dearer carry makes the fair premium roll up further while waiting: less edge for long CME / short perp."""
    cheap = edge_at(G2_PARAMS, g2_view(), 20, msgspec.structs.replace(G2_OUTLOOK, carry=0.0))
    dear = edge_at(G2_PARAMS, g2_view(), 20, G2_OUTLOOK)
    assert cheap is not None and dear is not None
    assert round(cheap.edge_usd - dear.edge_usd, 4) == -288.2631  # G2's fair premium at the exit, 25 days before the fixing


@pytest.mark.parametrize("lack", ["index", "stable", "funding", "depth"])
def test_unknown_is_not_zero(lack: str) -> None:
    """No index, stablecoin, funding estimate or depth: no edge at all, and no value of holding where it matters."""
    view = g2_view()
    if lack == "index":
        view.hedge.index = 0.0
    elif lack == "stable":
        assert view.stable is not None
        view.stable.mid = 0.0
    elif lack == "funding":
        view.hedge.funding_ts = 0
    assert edge_at(G2_PARAMS, view, 21 if lack == "depth" else 20, G2_OUTLOOK) is None
    assert (holding_at(G2_PARAMS, view, G2_OUTLOOK) is None) is (lack != "depth")


def test_depth_of_both_books_bounds_the_lots() -> None:
    """The thinner book decides: 20 lots of asks against 2 coins of bids, then against 1.25."""
    view = g2_view()
    assert lots_shown(view, 1) == 20
    stack(view.hedge, bids=((71_490.0, 1.25),))
    assert lots_shown(view, 1) == 12


def test_inverse_hedge_counts_in_dollars() -> None:
    """100,000 contracts of 1 USD at 50,000 are two coins: 20 lots; its taker fee is a rate of the notional."""
    inverse = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.5"), lot=Decimal(1), index_quote="USD",
                         settle="BTC", inverse=True, fees=FeeSchedule(taker_rate=Decimal("0.0005")))  # fmt: skip
    view = PairView(stable=None)
    view.hedge_terms = inverse
    view.show(NOW, 50_000.0, 50_000.0, 50_000.0)
    view.hedge.bid_size = 100_000.0
    assert lots_shown(view, 1) == 20
    e = edge_at(G2_PARAMS, view, 20, G2_OUTLOOK)
    assert e is not None and e.haircut == 0.0 and e.fees == pytest.approx(60 + 2 * 0.0005 * 49_997.5)


def test_fees_are_dollars_per_lot_at_cme() -> None:
    """Three dollars per 0.1 BTC lot are 30 per coin whatever the price; the perp's are five bp of it."""
    assert fee_per_coin(future(), 70_000.0) == fee_per_coin(future(), 35_000.0) == pytest.approx(30.0)
    assert fee_per_coin(PERP, 70_000.0) == pytest.approx(35.0)


def test_holding_value_is_the_edge_without_the_costs_of_both_ends() -> None:
    """Holding on earns convergence, funding and financing; entry is spent and the exit is paid either way."""
    view = PairView()
    view.show(NOW, 70_000.0, 70_300.0, 70_000.0)
    p = ConvergenceParams(financing_rate=0.0)
    x = Outlook(direction=1, carry=0.0, horizon_days=1.0, excess_exit_usd=100.0, half_spreads_usd=5.0)
    worth = holding_at(p, view, x)
    assert worth is not None
    assert worth.value_usd == pytest.approx(300 - 100 + 3 * 0.0001 * 70_300)
    assert worth.exit_cost_usd == pytest.approx(5 + 30 + 0.0005 * 70_300)
    view.funding(-0.003)
    paying = holding_at(p, view, x)
    assert paying is not None and paying.value_usd < worth.value_usd
