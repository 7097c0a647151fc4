"""An opening that every rule accepts, both directions, to be spoiled by one field at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from bot.model.instrument import Instrument, Kind, MarginTier
from bot.model.intent import PairIntent
from risk.limits import Limits
from risk.request import DeskState, Exposure, LegState, Opening, SiloState, StableState

S = 1_000_000_000
NOW = 1_790_000_000 * S
LIMITS = Limits()
IB = MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.30"), initial_rate=Decimal("0.40"))
BRACKETS = (
    MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.004"), initial_rate=Decimal("0.01")),
    MarginTier(notional_floor=Decimal(50_000), maintenance_rate=Decimal("0.005"), initial_rate=Decimal("0.01"), cum=Decimal(50)),
    MarginTier(notional_floor=Decimal(600_000), maintenance_rate=Decimal("0.0065"), initial_rate=Decimal("0.02"), cum=Decimal(950)),
)
MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1),
                 index_quote="USD", settle="USD", tiers=(IB,), expiry_ns=NOW + 20 * 86_400 * S)  # fmt: skip
PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"),
                  index_quote="USDT", settle="USDT", tiers=BRACKETS)  # fmt: skip
USD_PERP = msgspec.structs.replace(PERP, id="BTCUSD-L", index_quote="USD", settle="USD")
INVERSE = Instrument(id="BTCUSD", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(100), tick=Decimal("0.1"), lot=Decimal(1), index_quote="USD",
                     settle="BTC", inverse=True, tiers=(MarginTier(notional_floor=Decimal(0), maintenance_rate=Decimal("0.01"),
                                                                   initial_rate=Decimal("0.02")),))  # fmt: skip


def leg(terms: Instrument, mid: float, half: float, size: float) -> LegState:
    """Return a fresh, flat leg with the touch alone."""
    bid, ask = mid - half, mid + half
    return LegState(
        terms=terms, bid=bid, ask=ask, bids=((bid, size),), asks=((ask, size),), ts=NOW, venue_ts=NOW, mark=mid, mark_ts=NOW, pair_qty=0.0,
        pair_coins=0.0, net_qty=0.0, worst_qty=0.0, venue_up=True, session_open=True, closes_ns=0, index=70_000.0, funding_rate=0.0001,
        funding_interval_s=28_800, funding_stamp_ns=NOW + 4 * 3_600 * S, funding_cap=0.003, funding_ts=NOW,
    )  # fmt: skip


def desk(**changes: Any) -> DeskState:
    """Return a desk in good order with 1,000,000 USD."""
    base = DeskState(
        now=NOW, nav_usd=1e6, day_start_usd=1e6, peak_usd=1e6, ready=True, halted=False, pair_frozen=False, orders_last_minute=0,
        openings_last_minute=0, edge_shortfall_bp=0.0, edge_pairs=0, stable_exposure_usd=400_000.0, aggregate_coins=0.0,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def intent(direction: int = 1, lots: int = 20, **changes: Any) -> PairIntent:
    """Return the intent of a trade with 30 bp of edge over two days."""
    base = PairIntent(pair="conv", target_lead=Decimal(direction * lots), reason="test", excess_bp=direction * 60.0, edge_bp=30.0, mean_bp=0.0,
                      sigma_bp=20.0, horizon_days=2.0)  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def opening(direction: int = 1, lots: int = 20, **changes: Any) -> Opening:
    """Return an opening of 2 BTC at 70,000 with a premium of +-420 USD; `changes` replace fields, `a__b` fields of fields."""
    base = Opening(
        pair="conv", direction=direction, lots=lots, held_lots=0, intent=intent(direction, lots), lead=leg(MBT, 70_000.0, 2.5, 100.0),
        hedge=leg(PERP, 70_000.0 + direction * 420.0, 0.5, 20.0), stable=StableState(usd=1.0, ts=NOW), index_usd=70_000.0,
        lead_silo=SiloState(venue="cme", currency="USD", equity=600_000.0, usd=1.0),
        hedge_silo=SiloState(venue="perp", currency="USDT", equity=400_000.0, usd=1.0), desk=desk(),
    )  # fmt: skip
    return changed(base, **changes)


def inverse(direction: int = 1, lots: int = 20, **changes: Any) -> Opening:
    """Return the same opening hedged with an inverse perpetual, margined with 6 BTC."""
    base = opening(direction, lots)
    base = msgspec.structs.replace(
        base, hedge=leg(INVERSE, 70_000.0 + direction * 420.0, 0.5, 20_000.0),
        hedge_silo=SiloState(venue="perp", currency="BTC", equity=6.0, usd=70_000.0), desk=desk(stable_exposure_usd=0.0),
    )  # fmt: skip
    return changed(base, **changes)


def exposure(direction: int = 1, lots: int = 20, **changes: Any) -> Exposure:
    """Return the same trade an hour after it was opened and hedged, in good order."""
    x = opening(direction, lots)
    coins = direction * lots * 0.1
    lead = msgspec.structs.replace(x.lead, pair_qty=direction * float(lots), net_qty=direction * float(lots), pair_coins=coins)
    hedge = msgspec.structs.replace(x.hedge, pair_qty=-coins, net_qty=-coins, pair_coins=-coins)
    base = Exposure(
        pair="conv", now=NOW, direction=direction, entered_ns=NOW - 3_600 * S, expiry_ns=MBT.expiry_ns or 0, lead=lead, hedge=hedge, stable=x.stable,
        index_usd=70_000.0, lead_silo=x.lead_silo, hedge_silo=x.hedge_silo, desk=x.desk, pnl_usd=0.0, best_pnl_usd=0.0, entry_premium_usd=420.0,
        entry_excess_bp=direction * 60.0, intent=x.intent, funding_spent_usd=0.0, unhedged_coins=0.0, unhedged_since_ns=0, unhedged_usd_s=0.0,
    )  # fmt: skip
    return changed(base, **changes)


def changed(value: Any, **changes: Any) -> Any:
    """Return `value` with fields replaced; `lead__bid=1.0` replaces field bid of field lead."""
    for path, new in changes.items():
        head, _, rest = path.partition("__")
        value = msgspec.structs.replace(value, **{head: changed(getattr(value, head), **{rest: new}) if rest else new})
    return value
