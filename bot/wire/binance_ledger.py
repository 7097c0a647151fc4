"""The account of a Binance USD-M exchange as numbers its clients know: trades, incomes, balances, positions, margins.

Everything is read from the exchange's own account; nothing is reckoned a second time but what a booking realised, which the
core does not keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from bot.model.event import CashBooked, FundingPaid, OrderFilled
from bot.model.ids import InstrumentId
from bot.model.instrument import initial_margin, notional, tier_for
from bot.model.order import Side
from bot.model.position import Position, apply_fill, pnl_est
from bot.sim.account import held_maintenance
from bot.sim.exchange import Exchange
from bot.sim.listing import Listing
from bot.wire.binance_terms import Symbols, leverage_of, money_text, price_text, qty_text

ZERO = Decimal(0)
MS = 1_000_000
MOST_NOTIONAL = "9223372036854775807"
INCOME_TYPES = {"insurance": "INSURANCE_CLEAR", "deposit": "TRANSFER", "withdrawal": "TRANSFER"}


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. number: its trade id. realised: profit of what it closed, fees left out. total: of the symbol so far."""

    number: int
    fill: OrderFilled
    realised: Decimal
    total: Decimal


class Ledger:
    """The account's history, numbered, and the account as it is."""

    def __init__(self, exchange: Exchange, symbols: Symbols) -> None:
        self.exchange = exchange
        self.symbols = symbols
        self.trades: list[Trade] = []
        self.incomes: list[dict[str, Any]] = []
        self.leverage: dict[str, int] = {}
        self._by_exec: dict[str, Trade] = {}
        self._read = 0
        self._positions: dict[InstrumentId, Position] = {}
        self._totals: dict[InstrumentId, Decimal] = {}

    def fold(self) -> None:
        """Take in what the account has booked since the last look."""
        history = self.exchange.account.history
        while self._read < len(history):
            entry = history[self._read]
            self._read += 1
            if isinstance(entry, OrderFilled):
                self._fold_fill(entry)
            elif isinstance(entry, FundingPaid):
                self._income(entry.instrument, "FUNDING_FEE", entry.amount, entry.currency, entry.ts, "")
            else:
                self._income("", INCOME_TYPES.get(entry.kind, "TRANSFER"), entry.amount, entry.currency, entry.ts, "")

    def _fold_fill(self, fill: OrderFilled) -> None:
        position = self._positions.setdefault(fill.instrument, Position())
        realised = apply_fill(self.exchange.listings[fill.instrument].instrument, position, fill.qty * fill.side.sign, fill.price)
        total = self._totals[fill.instrument] = self._totals.get(fill.instrument, ZERO) + realised
        trade = Trade(number=len(self.trades) + 1, fill=fill, realised=realised, total=total)
        self.trades.append(trade)
        self._by_exec[fill.exec_id] = trade
        if realised:
            self._income(fill.instrument, "REALIZED_PNL", realised, fill.fee_currency, fill.ts, str(trade.number))
        if fill.fee:
            self._income(fill.instrument, "COMMISSION", -fill.fee, fill.fee_currency, fill.ts, str(trade.number))

    def _income(self, symbol: str, kind: str, amount: Decimal, asset: str, ts: int, trade: str) -> None:
        self.incomes.append({
            "symbol": symbol, "incomeType": kind, "income": money_text(amount), "asset": asset, "info": trade or kind, "time": ts // MS,
            "tranId": 9_000_000_000 + len(self.incomes) + 1, "tradeId": trade,
        })  # fmt: skip

    def trade(self, exec_id: str) -> Trade | None:
        """Return an execution by the exchange's own id, None when it is not booked."""
        self.fold()
        return self._by_exec.get(exec_id)

    # What is held.

    def margins(self, currency: str) -> tuple[float, float]:
        """Return (initial margin of positions, of positions and working orders) in a settle currency, at mark."""
        held = worst = 0.0
        for x in self.exchange.account.pool(currency):
            held += self.initial(x, abs(x.position.qty))
            buys, sells = x.working(Side.BUY), x.working(Side.SELL)
            worst += self.initial(x, max(abs(x.position.qty + buys), abs(x.position.qty - sells)))
        return held, worst

    def initial(self, x: Listing, qty: Decimal) -> float:
        """Return the initial margin of `qty` (>= 0) contracts at mark, by the exchange's tiers."""
        return x.rates * initial_margin(x.instrument, _value(x, qty)) if qty else 0.0

    def unrealised(self, currency: str) -> float:
        """Return the unrealised profit of everything that settles in a currency."""
        return sum(pnl_est(x.instrument, x.position, x.price(), x.unit) for x in self.exchange.account.pool(currency))

    def leverage_of(self, x: Listing) -> int:
        """Return the leverage a client has set, else the highest. It never changes what the exchange asks for."""
        tiers = x.instrument.tiers
        return self.leverage.get(x.instrument.id) or (leverage_of(tiers[0].initial_rate) if tiers else 125)

    def liquidation_price(self, x: Listing) -> float:
        """Return the mark at which the account no longer covers its maintenance if nothing else moves, 0.0 for none."""
        currency, qty, price = x.instrument.settle, x.position.qty_f * x.unit, x.price()
        if not qty or not x.instrument.tiers:
            return 0.0
        account = self.exchange.account
        slack = account.equity(currency) - account.maintenance(currency)
        rate = x.rates * float(tier_for(x.instrument, abs(qty) * price).maintenance_rate)
        return max(0.0, price - slack / (qty - abs(qty) * rate))

    def position(self, x: Listing, now_ms: int) -> dict[str, Any]:
        """Return a row of positionRisk with the fields of versions 2 and 3."""
        i, p, price = x.instrument, x.position, x.price()
        buys, sells = x.working(Side.BUY), x.working(Side.SELL)
        open_margin = self.initial(x, max(abs(p.qty + buys), abs(p.qty - sells))) - self.initial(x, abs(p.qty))
        held = self.initial(x, abs(p.qty))
        fee = i.fees.taker_rate
        even = p.avg * (1 + fee) if p.qty > 0 else p.avg * (1 - fee)
        rank = self.exchange.adl_rank(i.id)
        return {
            "symbol": i.id, "positionSide": "BOTH", "positionAmt": qty_text(i, p.qty), "entryPrice": _price(p.avg), "breakEvenPrice": _price(even),
            "markPrice": money_text(price), "unRealizedProfit": money_text(pnl_est(i, p, price, x.unit)),
            "liquidationPrice": money_text(self.liquidation_price(x)) if p.qty else "0", "isolatedMargin": "0",
            "notional": money_text(p.qty_f * x.unit * price), "marginAsset": i.settle, "isolatedWallet": "0", "initialMargin": money_text(held + open_margin),
            "maintMargin": money_text(held_maintenance(x) if p.qty else 0), "positionInitialMargin": money_text(held),
            "openOrderInitialMargin": money_text(open_margin), "adl": rank, "bidNotional": money_text(_value(x, buys)),
            "askNotional": money_text(_value(x, sells)), "leverage": str(self.leverage_of(x)), "maxNotionalValue": MOST_NOTIONAL,
            "marginType": "cross", "isAutoAddMargin": "false",
            "adlQuantile": rank, "isolated": False, "unrealizedProfit": money_text(pnl_est(i, p, price, x.unit)), "updateTime": self.updated(i.id),
        }  # fmt: skip

    def updated(self, symbol: str) -> int:
        """Return when a position changed last, ms, 0 for never."""
        self.fold()
        return next((t.fill.ts // MS for t in reversed(self.trades) if t.fill.instrument == symbol), 0)

    def touched(self, symbol: str) -> bool:
        """Return whether the account holds, works or has ever traded a symbol."""
        x = self.symbols.by_name[symbol]
        return bool(x.resting) or self.updated(symbol) > 0

    def asset(self, currency: str, now_ms: int) -> dict[str, Any]:
        """Return an asset of the account with the fields of account and balance."""
        account = self.exchange.account
        cash, unrealised = account.cash.get(currency, ZERO), self.unrealised(currency)
        held, worst = self.margins(currency)
        available = money_text(max(0.0, float(cash) + unrealised - worst))
        return {
            "accountAlias": "SgsR", "asset": currency, "balance": money_text(cash), "walletBalance": money_text(cash),
            "unrealizedProfit": money_text(unrealised), "marginBalance": money_text(float(cash) + unrealised),
            "maintMargin": money_text(account.maintenance(currency)), "initialMargin": money_text(worst), "positionInitialMargin": money_text(held),
            "openOrderInitialMargin": money_text(worst - held), "crossWalletBalance": money_text(cash), "crossUnPnl": money_text(unrealised),
            "availableBalance": available, "maxWithdrawAmount": available, "marginAvailable": True, "updateTime": now_ms,
        }  # fmt: skip

    def account(self, now_ms: int) -> dict[str, Any]:
        """Return the answer to account, versions 2 and 3 in one; only symbols with something to say are listed."""
        assets = [self.asset(c, now_ms) for c in self.symbols.assets]
        totals = {
            f"total{name[0].upper()}{name[1:]}": money_text(sum((Decimal(a[name]) for a in assets), ZERO))
            for name in ("initialMargin", "maintMargin", "walletBalance", "unrealizedProfit", "marginBalance", "positionInitialMargin",
                         "openOrderInitialMargin", "crossWalletBalance", "crossUnPnl")
        }  # fmt: skip
        rows = [self.position(x, now_ms) for s, x in self.symbols.by_name.items() if self.touched(s)]
        return {
            "feeTier": 0, "feeBurn": False, "canTrade": True, "canDeposit": True, "canWithdraw": False, "updateTime": 0, "multiAssetsMargin": False,
            "tradeGroupId": -1, **totals, "availableBalance": money_text(sum((Decimal(a["availableBalance"]) for a in assets), ZERO)),
            "maxWithdrawAmount": money_text(sum((Decimal(a["maxWithdrawAmount"]) for a in assets), ZERO)), "assets": assets, "positions": rows,
        }  # fmt: skip

    def booked(self, entry: OrderFilled | FundingPaid | CashBooked, reason: str, now_ms: int) -> dict[str, Any]:
        """Return the ACCOUNT_UPDATE of a booking; funding and cash move the balance only."""
        fill = entry if isinstance(entry, OrderFilled) else None
        currency = fill.fee_currency if fill is not None else entry.currency  # type: ignore[union-attr]
        change = ZERO if fill is not None else entry.amount  # type: ignore[union-attr]
        cash = money_text(self.exchange.account.cash.get(currency, ZERO))
        return {
            "e": "ACCOUNT_UPDATE", "E": now_ms, "T": entry.ts // MS,
            "a": {
                "m": reason, "B": [{"a": currency, "wb": cash, "cw": cash, "bc": money_text(change)}],
                "P": [self._moved(self.exchange.listings[fill.instrument])] if fill is not None else [],
            },
        }  # fmt: skip

    def _moved(self, x: Listing) -> dict[str, Any]:
        i, p = x.instrument, x.position
        self.fold()
        return {
            "s": i.id, "pa": qty_text(i, p.qty), "ep": _price(p.avg), "bep": _price(p.avg), "cr": money_text(self._totals.get(i.id, ZERO)),
            "up": money_text(pnl_est(i, p, x.price(), x.unit)), "mt": "cross", "iw": "0", "ps": "BOTH", "ma": i.settle,
        }  # fmt: skip

    def margin_call(self, currency: str, now_ms: int) -> dict[str, Any]:
        """Return a MARGIN_CALL about everything held in a currency."""
        rows = [
            {"s": x.instrument.id, "ps": "BOTH", "pa": qty_text(x.instrument, x.position.qty), "mt": "CROSSED", "iw": "0", "mp": money_text(x.price()),
             "up": money_text(pnl_est(x.instrument, x.position, x.price(), x.unit)), "mm": money_text(held_maintenance(x))}
            for x in self.exchange.account.pool(currency) if x.position.qty
        ]  # fmt: skip
        return {"e": "MARGIN_CALL", "E": now_ms, "cw": money_text(self.exchange.account.cash.get(currency, ZERO)), "p": rows}


def user_trade(trade: Trade, order_id: int, x: Listing) -> dict[str, Any]:
    """Return a row of userTrades."""
    fill, i = trade.fill, x.instrument
    return {
        "symbol": i.id, "id": trade.number, "orderId": order_id, "side": fill.side.value.upper(), "price": price_text(i, fill.price),
        "qty": qty_text(i, fill.qty), "realizedPnl": money_text(trade.realised), "quoteQty": money_text(abs(notional(i, fill.qty, fill.price))),
        "commission": money_text(fill.fee), "commissionAsset": fill.fee_currency, "time": fill.ts // MS, "positionSide": "BOTH",
        "maker": fill.maker, "buyer": fill.side is Side.BUY,
    }  # fmt: skip


def sliced(rows: Iterable[Any], start: int, end: int, limit: int, at: Any) -> list[Any]:
    """Return at most `limit` rows of [start, end] ms in order of time: the first ones of a given start, else the last. at: time of a row."""
    found = [row for row in rows if start <= at(row) <= end]
    return found[:limit] if start else found[-limit:] if limit else []


def _value(x: Listing, qty: Decimal) -> float:
    return float(qty) * x.unit * x.price()


def _price(price: Decimal) -> str:
    return f"{price:.8f}".rstrip("0").rstrip(".") if price else "0.0"
