"""Contracts of a Binance USD-M exchange as its clients see them: symbols, filters, brackets, and how numbers are written.

Only linear perpetuals are listed; a symbol is the instrument's id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from bot.model.instrument import Instrument, Kind
from bot.sim.exchange import Exchange
from bot.sim.listing import Listing
from bot.wire.binance_errors import Refused

NEVER_DELIVERED = 4_133_404_800_000
"""Delivery date of what has none, ms."""
WEIGHT_1M, ORDERS_10S, ORDERS_1M = 2_400, 300, 1_200
"""Limits of request weight a minute, and of new orders in ten seconds and a minute (recorded exchange information, 2021-22)."""
MAX_QTY = Decimal(1000)
MAX_MARKET_QTY = Decimal(120)
"""Largest quantities of an order (BTCUSDT as remembered, no source, 2026-11)."""
TAKE_BOUND = Decimal("0.05")
"""How far from the mark a market order may trade, where the exchange core sets no limit of its own (same)."""
ORDER_TYPES = ("LIMIT", "MARKET")
TIMES = ("GTC", "IOC", "FOK", "GTX")


def digits(step: Decimal) -> int:
    """Return how many decimals a grid has."""
    return max(0, -int(step.normalize().as_tuple().exponent))


def price_text(instrument: Instrument, price: Decimal | float) -> str:
    """Return a price with the decimals of its grid; what is no number stays none."""
    return f"{price:.{digits(instrument.tick)}f}"


def qty_text(instrument: Instrument, qty: Decimal | float) -> str:
    """Return a quantity with the decimals of its lot."""
    return f"{qty:.{digits(instrument.lot)}f}"


def money_text(amount: Decimal | float) -> str:
    """Return an amount of money with eight decimals, never minus zero."""
    return f"{amount if amount else 0:.8f}"


class Symbols:
    """The listings that are served, by symbol."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.by_name: dict[str, Listing] = {i: x for i, x in exchange.listings.items() if x.instrument.kind is Kind.PERP and not x.instrument.inverse}

    def get(self, symbol: str) -> Listing:
        """Return a listing. Raises Refused for an unknown symbol."""
        if symbol not in self.by_name:
            raise Refused(-1121)
        return self.by_name[symbol]

    def chosen(self, symbol: str) -> Sequence[Listing]:
        """Return one listing, or all for an empty symbol."""
        return [self.get(symbol)] if symbol else list(self.by_name.values())

    @property
    def assets(self) -> list[str]:
        """Return the currencies that contracts settle in."""
        return list(dict.fromkeys(x.instrument.settle for x in self.by_name.values()))

    def band(self, x: Listing) -> Decimal:
        """Return the fraction of the mark beyond which nothing trades."""
        share = self.exchange.rules.limit_share
        return Decimal(repr(share)) if share > 0.0 else TAKE_BOUND

    def exchange_info(self, now_ms: int) -> dict[str, Any]:
        """Return the answer to exchangeInfo."""
        limits = [("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_1M), ("ORDERS", "MINUTE", 1, ORDERS_1M), ("ORDERS", "SECOND", 10, ORDERS_10S)]
        return {
            "timezone": "UTC", "serverTime": now_ms, "futuresType": "U_MARGINED",
            "rateLimits": [{"rateLimitType": kind, "interval": unit, "intervalNum": n, "limit": limit} for kind, unit, n, limit in limits],
            "exchangeFilters": [],
            "assets": [{"asset": a, "marginAvailable": True, "autoAssetExchange": "-10000"} for a in self.assets],
            "symbols": [self._symbol(x) for x in self.by_name.values()],
        }  # fmt: skip

    def _symbol(self, x: Listing) -> dict[str, Any]:
        i = x.instrument
        maintenance = i.tiers[0].maintenance_rate * 100 if i.tiers else Decimal(0)
        initial = i.tiers[0].initial_rate * 100 if i.tiers else Decimal(0)
        band = self.band(x)
        return {
            "symbol": i.id, "pair": i.id, "contractType": "PERPETUAL", "deliveryDate": NEVER_DELIVERED, "onboardDate": 1_569_398_400_000,
            "status": "TRADING", "maintMarginPercent": f"{maintenance:.4f}", "requiredMarginPercent": f"{initial:.4f}",
            "baseAsset": i.base, "quoteAsset": i.index_quote, "marginAsset": i.settle, "pricePrecision": digits(i.tick),
            "quantityPrecision": digits(i.lot), "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": ["PoW"],
            "settlePlan": 0, "triggerProtect": "0.0500", "liquidationFee": f"{self.exchange.rules.liquidation_rate:.6f}", "marketTakeBound": f"{band:.2f}",
            "maxMoveOrderLimit": 10_000, "filters": self._filters(i, band), "orderTypes": list(ORDER_TYPES), "timeInForce": list(TIMES),
            "permissionSets": ["COPY"],
        }  # fmt: skip

    def _filters(self, i: Instrument, band: Decimal) -> list[dict[str, Any]]:
        lot = {"minQty": qty_text(i, i.lot), "stepSize": qty_text(i, i.lot)}
        return [
            {"filterType": "PRICE_FILTER", "minPrice": price_text(i, i.tick), "maxPrice": "4529764", "tickSize": price_text(i, i.tick)},
            {"filterType": "LOT_SIZE", "maxQty": qty_text(i, MAX_QTY), **lot},
            {"filterType": "MARKET_LOT_SIZE", "maxQty": qty_text(i, MAX_MARKET_QTY), **lot},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": format(i.min_notional, "f")},
            {"filterType": "PERCENT_PRICE", "multiplierUp": f"{1 + band:.4f}", "multiplierDown": f"{1 - band:.4f}", "multiplierDecimal": "4"},
        ]  # fmt: skip


def brackets(x: Listing) -> dict[str, Any]:
    """Return the leverage brackets of a listing, the first the smallest; the rates are those asked for at the moment."""
    tiers = x.instrument.tiers
    rows = []
    for n, tier in enumerate(tiers, 1):
        cap = int(tiers[n].notional_floor) if n < len(tiers) else 9_223_372_036
        rows.append({
            "bracket": n, "initialLeverage": leverage_of(tier.initial_rate, x.rates), "notionalCap": cap, "notionalFloor": int(tier.notional_floor),
            "maintMarginRatio": float(tier.maintenance_rate) * x.rates, "cum": float(tier.cum) * x.rates,
        })  # fmt: skip
    return {"symbol": x.instrument.id, "notionalCoef": 1.0, "brackets": rows}


def leverage_of(initial_rate: Decimal, multiple: float = 1.0) -> int:
    """Return the whole leverage that an initial rate allows, at least 1."""
    rate = float(initial_rate) * multiple
    return max(1, math.floor(1.0 / rate + 1e-9)) if rate > 0.0 else 125
