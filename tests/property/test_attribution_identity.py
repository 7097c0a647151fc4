"""Whatever is traded, in whatever order, the lines of the attribution sum to the change of equity."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.journal.attribution import Leg, Marks, PairAttribution, WalletAttribution
from bot.model.instrument import Instrument, Kind

MBT = Instrument(
    id="MBT", venue="ib", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1),
    index_quote="USD", settle="USD",
)  # fmt: skip
PERP = Instrument(
    id="BTCUSDT", venue="x", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"),
    index_quote="USDT", settle="USDT",
)  # fmt: skip

price = st.floats(50_000, 90_000)
steps = st.tuples(
    st.sampled_from(["mark", "lead", "hedge", "flat_lead", "flat_hedge", "fee", "fee_usd", "funding", "interest"]),
    st.tuples(price, price, st.floats(0.9, 1.1), price, price),
    st.integers(-50, 50),
    price,
    price,
    st.sampled_from([0, 1]),
)


class Desk:
    """Equity recomputed from cash flows alone: no average cost, no lines."""

    def __init__(self) -> None:
        self.usd = 100_000.0
        self.usdt = 50_000.0
        self.lead = [0.0, 0.0]
        self.hedge = [0.0, 0.0]

    def equity(self, m: Marks) -> float:
        """Value both silos: every fill was paid for in full, so coins count at their whole price."""
        return self.usd + sum(self.lead) * m.lead_mid + (self.usdt + sum(self.hedge) * m.hedge_mid) * m.stable


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, min_size=1, max_size=40))
def test_lines_sum_to_change_of_equity(plan: list[tuple[str, tuple[float, ...], int, float, float, int]]) -> None:
    """Two pairs on one wallet: fills of both legs, legging, over-hedges, flips, fees, funding and depegs add up."""
    first = Marks(0, 70_000.0, 70_500.0, 1.0, 70_000.0, 70_300.0)
    pairs = (PairAttribution(MBT, PERP), PairAttribution(MBT, PERP))
    wallet, desk, gross = WalletAttribution(50_000.0, 1.0), Desk(), 150_000.0
    last, opening = first, desk.equity(first)
    for ts, (kind, values, lots, at, decided, which) in enumerate(plan, 1):
        last = Marks(ts, *values)
        pair = pairs[which]
        coins = lots / 10
        if kind.startswith("flat"):
            coins = -(desk.lead if kind == "flat_lead" else desk.hedge)[which]
        if kind in ("lead", "flat_lead"):
            pair.fill(Leg.LEAD, coins, at, decided, last)
            desk.lead[which] += coins
            desk.usd -= coins * at
        elif kind in ("hedge", "flat_hedge"):
            wallet.add(pair.fill(Leg.HEDGE, coins, at, decided, last), last.stable)
            desk.hedge[which] += coins
            desk.usdt -= coins * at
        elif kind == "fee":
            pair.fee(coins, "USDT", last)
            wallet.add(-coins, last.stable)
            desk.usdt -= coins
        elif kind == "fee_usd":
            pair.fee(coins, "USD", last)
            desk.usd -= coins
        elif kind == "funding":
            pair.funding(coins, last)
            wallet.add(coins, last.stable)
            desk.usdt += coins
        elif kind == "interest":
            pair.cash("interest", coins, "USD", last)
            desk.usd += coins
        gross += abs(coins) * at
    for pair in pairs:
        pair.mark(last)
    wallet.mark(last.stable)
    lines = sum(pair.total() for pair in pairs) + wallet.line
    residual = desk.equity(last) - opening - lines
    assert abs(residual) < 1e-6 * gross, f"residual {residual} of gross {gross}: {plan}"
