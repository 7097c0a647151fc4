"""What a backtest's numbers say, in sentences a trader would check: never kinder than the numbers are."""

from __future__ import annotations

from bot.backtest.result import BacktestResult, Case, Half

FEW_TRADES = 30
"""Below this many trades a mean result says little, whatever its sign."""


def verdict(r: BacktestResult) -> list[str]:
    """Return the sentences, most important first."""
    said = [_outcome(r), _funnel(r)]
    if r.trades:
        said += [_expectation(r), _concentration(r)]
        said.append(_halves(r.halves))
    else:
        said.append(_nearest(r))
    said += [_costs(r.cases), _delay(r.cases)]
    if r.open_at_end:
        said.append(f"Still open where the data of their contract end: {_trades(r.open_at_end)}, marked at mid, which nobody paid.")
    if r.invariant_violations:
        said.append(f"NOT TO BE USED: {r.invariant_violations} checks of the record against the venues' statements failed.")
    return [sentence for sentence in said if sentence]


def _outcome(r: BacktestResult) -> str:
    wallet = r.attribution["stablecoin_wallet"]
    idle = f" The stablecoin the account lay in changed by another {wallet:+,.0f} USD." if abs(wallet) >= 0.5 else ""
    if not r.trades:
        return f"No trade was made.{idle}"
    made = sum(t.pnl_usd for t in r.trades)
    return f"{_trades(len(r.trades))} {'made' if made >= 0.0 else 'lost'} {abs(made):,.0f} USD on {r.equity_start_usd:,.0f} USD.{idle}"


def _trades(count: int) -> str:
    return "1 trade" if count == 1 else f"{count} trades"


def _funnel(r: BacktestResult) -> str:
    weighed, over = sum(b.looks for b in r.edge_histogram), r.cases[0].signals_over_hurdle
    stretched = sum(b.signals for b in r.edge_histogram)
    return (
        f"Of {r.bars_at_signals['signals']:,} signals the edge could be worked out at {weighed:,}; {stretched:,} of these had z >= {r.z_in:g},"
        f" and {over:,} of those an edge over the hurdle."
    )


def _nearest(r: BacktestResult) -> str:
    costs = [x for x in r.break_even if x.fill == "taker" and x.lead == _root(r)]
    cost = f" A round trip costs {min(x.cost_bp for x in costs):.1f} to {max(x.cost_bp for x in costs):.1f} bp before slippage;" if costs else ""
    spread = f" the premium's deviation over the whole period was {r.basis_bp['sd']:.1f} bp." if r.basis_bp else ""
    if not r.best_edges:
        return f"No signal reached z {r.z_in:g}.{cost}{spread}"
    near = r.best_edges[0]
    short = near.required_bp - near.edge_bp
    gap = f"{short:.1f} bp short of" if short > 0.0 else f"{-short:.1f} bp over"
    return f"The best signal ({near.contract}, {near.at}, z {near.z:.2f}) had an edge of {near.edge_bp:.1f} bp, {gap} what was required.{cost}{spread}"


def _root(r: BacktestResult) -> str:
    return r.contracts[0].contract[:-3] if r.contracts else ""


def _expectation(r: BacktestResult) -> str:
    base = r.cases[0]
    few = f" {_trades(len(r.trades))} make no estimate." if len(r.trades) < FEW_TRADES else ""
    return f"A trade was expected to bring {base.expected_bp or 0.0:.1f} bp and brought {base.result_bp or 0.0:.1f} bp on average.{few}"


def _concentration(r: BacktestResult) -> str:
    won = sum(t.pnl_usd > 0.0 for t in r.trades)
    best = max(r.trades, key=lambda t: t.pnl_usd)
    rest = sum(t.pnl_usd for t in r.trades) - best.pnl_usd
    return f"{won} of {len(r.trades)} made money; without the best one ({best.contract}, {best.pnl_usd:+,.0f} USD) their sum is {rest:+,.0f} USD."


def _halves(found: list[Half]) -> str:
    parts = [f"{_trades(h.trades)} and {h.pnl_usd:+,.0f} USD up to {h.market_to[:10]}" for h in found]
    return "By date: " + ", ".join(parts) + ". Nothing was fitted to either part."


def _costs(cases: list[Case]) -> str:
    triple = next((c for c in cases if c.spread_multiple > 1.0 and c.delay_bars == 0), None)
    if triple is None:
        return ""
    return f"At {triple.spread_multiple:g} times the spreads and slippage: {_outcome_of(triple)}."


def _delay(cases: list[Case]) -> str:
    late = [c for c in cases if c.spread_multiple == 1.0 and c.delay_bars > 0]
    said = "; ".join(f"{c.delay_bars} {'bar' if c.delay_bars == 1 else 'bars'} late, {_outcome_of(c)}" for c in late)
    if not said:
        return ""
    if cases[0].trades_usd <= 0.0 or all(c.trades_usd > 0.0 for c in late):
        return f"Filled later: {said}."
    if all(c.trades_usd <= 0.0 for c in late):
        return f"Filled later: {said}. The profit does not survive a delay: it is in how soon the fill comes."
    return f"Filled later: {said}. Gain at one delay and loss at another is what chance looks like."


def _outcome_of(case: Case) -> str:
    return f"{_trades(case.trades)}, {case.trades_usd:+,.0f} USD" if case.trades else "no trade"
