"""Questions about a Binance USD-M account: money, positions, incomes, settings and what the key may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.wire.binance_errors import Refused
from bot.wire.binance_ledger import MOST_NOTIONAL, Ledger, sliced
from bot.wire.binance_orders import window
from bot.wire.binance_request import Params
from bot.wire.binance_terms import brackets

INCOMES = 100
"""Rows of income when no limit is given."""


class AccountDesk:
    """Answers questions about the account. withdraws: whether the key may withdraw, which a trading key must not."""

    def __init__(self, ledger: Ledger, now_ms: Callable[[], int], withdraws: Callable[[], bool]) -> None:
        self.ledger = ledger
        self.symbols = ledger.symbols
        self._now_ms = now_ms
        self._withdraws = withdraws

    def account(self, p: Params) -> dict[str, Any]:
        """Return the whole account."""
        return self.ledger.account(self._now_ms())

    def balance(self, p: Params) -> list[dict[str, Any]]:
        """Return the assets."""
        return [self.ledger.asset(c, self._now_ms()) for c in self.symbols.assets]

    def risk_all(self, p: Params) -> list[dict[str, Any]]:
        """Return positions of every symbol, flat ones too (version 2)."""
        return [self.ledger.position(x, self._now_ms()) for x in self.symbols.chosen(p.get("symbol", ""))]

    def risk(self, p: Params) -> list[dict[str, Any]]:
        """Return positions of symbols that are held or worked (version 3)."""
        chosen = self.symbols.chosen(p.get("symbol", ""))
        return [self.ledger.position(x, self._now_ms()) for x in chosen if x.position.qty or x.resting]

    def brackets(self, p: Params) -> Any:
        """Return the leverage brackets."""
        return [brackets(x) for x in self.symbols.chosen(p.get("symbol", ""))]

    def adl(self, p: Params) -> Any:
        """Return the place of each position in the queue for auto-deleveraging."""
        chosen = [x.instrument.id for x in self.symbols.chosen(p.get("symbol", "")) if x.position.qty]
        rows = [{"symbol": s, "adlQuantile": {"BOTH": self.ledger.exchange.adl_rank(s)}} for s in chosen]
        return rows[0] if p.get("symbol") and rows else rows

    def incomes(self, p: Params) -> list[dict[str, Any]]:
        """Return what was booked on the account's money."""
        self.ledger.fold()
        symbol, kind = p.get("symbol", ""), p.get("incomeType", "")
        rows = [row for row in self.ledger.incomes if symbol in ("", row["symbol"]) and kind in ("", row["incomeType"])]
        start, end, limit = window(p)
        return sliced(rows, start, end, limit if p.get("limit") else INCOMES, lambda row: row["time"])

    def commission(self, p: Params) -> dict[str, Any]:
        """Return the fee rates of a symbol."""
        i = self.symbols.get(p.need("symbol")).instrument
        return {"symbol": i.id, "makerCommissionRate": f"{i.fees.maker_rate:.6f}", "takerCommissionRate": f"{i.fees.taker_rate:.6f}"}

    def config(self, p: Params) -> dict[str, Any]:
        """Return the account's settings."""
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": False, "dualSidePosition": False, "updateTime": self._now_ms(),
            "multiAssetsMargin": False, "tradeGroupId": -1,
        }  # fmt: skip

    def symbol_config(self, p: Params) -> list[dict[str, Any]]:
        """Return margin type and leverage of symbols."""
        return [
            {"symbol": x.instrument.id, "marginType": "CROSSED", "isAutoAddMargin": False, "leverage": self.ledger.leverage_of(x),
             "maxNotionalValue": MOST_NOTIONAL}
            for x in self.symbols.chosen(p.get("symbol", ""))
        ]  # fmt: skip

    def permissions(self, p: Params) -> dict[str, Any]:
        """Return what the key may do (the spot host's apiRestrictions)."""
        return {
            "ipRestrict": True, "createTime": 1_700_000_000_000, "enableInternalTransfer": False, "enableFutures": True, "enablePortfolioMarginTrading": False,
            "enableVanillaOptions": False, "permitsUniversalTransfer": False, "enableReading": True, "enableFixApiTrade": False,
            "enableFixReadOnly": False, "enableSpotAndMarginTrading": False, "enableWithdrawals": self._withdraws(), "enableMargin": False,
        }  # fmt: skip

    # Settings: one-way, cross, single-asset accounts are all there is.

    def set_leverage(self, p: Params) -> dict[str, Any]:
        """Note a leverage. The exchange core asks for the margin of its tiers whatever was set."""
        x, wanted = self.symbols.get(p.need("symbol")), p.whole("leverage", 0)
        most = brackets(x)["brackets"][0]["initialLeverage"] if x.instrument.tiers else 125
        if not 1 <= wanted <= most:
            raise Refused(-4028, wanted)
        self.ledger.leverage[x.instrument.id] = wanted
        return {"symbol": x.instrument.id, "leverage": wanted, "maxNotionalValue": MOST_NOTIONAL}

    def set_margin_type(self, p: Params) -> dict[str, Any]:
        """Refuse isolated margin; cross is on already."""
        self.symbols.get(p.need("symbol"))
        raise Refused(-4046 if p.need("marginType") == "CROSSED" else -4084)

    def dual(self, p: Params) -> dict[str, Any]:
        """Return that positions are one-way."""
        return {"dualSidePosition": False}

    def set_dual(self, p: Params) -> dict[str, Any]:
        """Refuse hedge mode; one-way is on already."""
        p.need("dualSidePosition")
        raise Refused(-4084 if p.truth("dualSidePosition") else -4059)

    def multi(self, p: Params) -> dict[str, Any]:
        """Return that margin is of single assets."""
        return {"multiAssetsMargin": False}

    def set_multi(self, p: Params) -> dict[str, Any]:
        """Refuse multi-assets mode."""
        p.need("multiAssetsMargin")
        if p.truth("multiAssetsMargin"):
            raise Refused(-4084)
        return {"code": 200, "msg": "success"}
