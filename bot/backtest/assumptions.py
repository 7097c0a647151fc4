"""What a backtest rests on that its files do not say, each with where it comes from, and what a round trip costs.

A reader who does not share an assumption must be able to find it; a cost that is not seen cannot be argued with.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.backtest.formats import SeriesKind
from bot.backtest.play import Study, funding_interval_s
from bot.backtest.result import Assumption, BreakEven
from bot.config import Settings
from bot.market.edge import break_even_bp

DROPPED = {
    "mixed_contracts": "a Chicago day on which two contracts interleave: its prices are of neither",
    "between_mixed_days": "a day between two mixed ones: which contract it shows cannot be told",
    "stray_contract": "single prints at another contract's level on a clean day",
    "splice_day": "the row or day in which the file passes to the next contract",
    "contract_unknown": "the file begins inside a roll: its first rows may be of either month",
    "holiday_merged": "a session over a holiday: its close is the settlement of a later day (its open was used to fill)",
    "no_settlement": "a day whose settlement instant is not known",
    "no_perp_bar": "a settlement at which no perp bar ends: before, after or in a hole of the perp file",
    "stable_unknown": "a signal without a stablecoin close of the last 48 h",
    "outside_from_to": "a signal outside --from and --to",
}
"""What each reason in rows_rejected means."""
CONFIGURED = "configuration, printed by `config show`"


def break_even(settings: Settings, prices: Sequence[float]) -> list[BreakEven]:
    """Return the cost of a round trip for every future and perp of the lead's coin, at each price, taking and resting.

    Resting pays the maker fee and no half-spread on the perp; the CME leg crosses in either case.
    """
    base = settings.catalogue.named(settings.market.lead).base
    costs = settings.costs
    rows = []
    for root, future in settings.futures.items():
        for code, perp in settings.perps.items():
            if future.base != base or perp.base != base or perp.inverse:
                continue
            if future.unit is None or future.tick is None or future.fee_per_lot is None:
                continue  # not tradable: a term of it is not known
            for price in dict.fromkeys(prices):
                tick = float(future.tick) * costs.spread_multiple
                half, slippage = costs.lead_half_spread_ticks * tick, 2.0 * costs.lead_slippage_ticks * tick / price * 1e4
                for fill, rate, half_bp in (
                    ("taker", perp.taker_rate, costs.hedge_half_spread_bp * costs.spread_multiple),
                    ("maker", perp.maker_rate, 0.0),
                ):
                    cost = break_even_bp(price, float(future.unit), float(future.fee_per_lot), half, float(rate), half_bp)
                    rows.append(
                        BreakEven(lead=root, venue=f"{perp.venue} {code}", fill=fill, price_usd=price, cost_bp=cost, slippage_bp=slippage)
                    )
    return rows


def assumptions(study: Study, kind: SeriesKind, stable_fixed: float | None, has_marks: bool) -> list[Assumption]:
    """Return every assumption of this study."""
    s, costs = study.settings, study.settings.costs
    lead, hedge = s.futures[s.catalogue.named(s.market.lead).product], s.perps[s.market.hedge]
    found = [
        _stable(stable_fixed, s.market.stable),
        Assumption("index", *_index(study)),
        Assumption("carry", f"{s.strategy.carry_source}: implied by the CME close over the index, per contract", CONFIGURED),
        Assumption("CME fee", f"{lead.fee_per_lot} USD per lot and side", lead.source),
        Assumption("perp fee", f"{hedge.maker_rate} maker, {hedge.taker_rate} taker, of notional", hedge.source),
        Assumption(
            "spreads", f"CME half-spread {costs.lead_half_spread_ticks:g} tick + {costs.lead_slippage_ticks:g} tick slippage; perp half-spread"
            f" {costs.hedge_half_spread_bp:g} bp; results also at three times that", f"{CONFIGURED}; the files hold trades, not books",
        ),
        Assumption("depth", f"{costs.depth_share:.0%} of the bar's volume at the touch, nothing behind it", CONFIGURED),
        Assumption("fills", _fills(kind), "a close that made the signal cannot be traded at; no market impact beyond the slippage"),
        Assumption(
            "funding estimate", f"the last print, every {(funding_interval_s(study.funding) or 0) // 3600} h: the files hold what was paid",
            "the venue's own running estimate is not in the files",
        ),
        Assumption("mark", "open of the mark bar at the stamp" if has_marks else "close of the perp bar: no --perp-mark given", "files"),
        Assumption("margin", f"CME {lead.initial_rate} initial, {lead.maintenance_rate} maintenance; exchange brackets", lead.source),
        Assumption("financing", f"{s.strategy.financing_rate:.1%} a year in the edge; no interest is booked", CONFIGURED),
        Assumption("end of a contract", "leaves before its data end; the desk knows the date its contract is no longer the front", "exchange rule; files"),
        Assumption("sample", "nothing is fitted here: parameters are those of the configuration", CONFIGURED),
    ]  # fmt: skip
    return found


def _stable(fixed: float | None, code: str) -> Assumption:
    if fixed is None:
        return Assumption("stablecoin", f"{code} daily close, from the next 00:00Z for 48 h", "file")
    return Assumption("stablecoin", f"{code} fixed at {fixed:g} USD; see the cases at -10 and +10 bp", "--stable-fixed: not measured")


def _index(study: Study) -> tuple[str, str]:
    if not study.known.has_spot:
        return "the perp's own mark: no --spot given, so the perp's premium over its index is not seen", "files"
    ages = sorted((x.signal_ns - x.index_ns) / 60e9 for x in study.samples if x.index_ns is not None)
    age = f"{ages[len(ages) // 2]:.0f} min old at the median signal, {ages[-1]:.0f} min at most" if ages else "not known yet"
    return f"latest known spot close of one exchange, {age}", "file; the settlement index (BRR) is a mean of several exchanges"


def _fills(kind: SeriesKind) -> str:
    if kind is SeriesKind.CME_DAILY:
        return "signal at the settlement (15:00 Chicago, or the early close), fill at the open of the next session and the perp bar that opens then"
    return "signal where a CME minute and a perp bar end together, fill at the opens of the bars that begin there"
