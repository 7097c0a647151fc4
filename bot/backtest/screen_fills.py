"""The fills of a screen, and the trades they make: booked into the desk's record by the same fold, valued by themselves.

What a fill, its fee or a funding stamp does to cash is worth what the currency is worth at that moment; a trade has made
the sum of that, and what is still open at mid.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec

from bot.backtest.play import PAIR
from bot.backtest.screen_signals import Strip
from bot.backtest.trades import whole_second
from bot.engine import assess
from bot.engine.fold import apply
from bot.engine.obligations import ZERO, Obligations
from bot.engine.observations import Window
from bot.model import event as ev
from bot.model.order import OrderSpec, Side
from bot.model.position import pnl_est
from bot.sim.account import fee_for, funding_amount
from bot.sim.book import fill_price
from bot.sim.listing import Listing


class ScreenTrade(msgspec.Struct, frozen=True, kw_only=True):
    """One trade, times UTC ns in whole seconds. exited_ns: None when the data ended first (then marked at mid)."""

    contract: str
    direction: int
    decided_ns: int
    entered_ns: int
    exited_ns: int | None
    lots: int
    pnl_usd: float
    result_bp: float
    exit_reason: str


class Followed(msgspec.Struct, kw_only=True):
    """What a trial has made so far. curve: USD that the trades have made, open ones at mid, seen at trade dates."""

    trades: list[ScreenTrade] = []
    curve: list[float] = []
    fees_usd: float = 0.0
    funding_usd: float = 0.0
    made_usd: float = 0.0
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    over_hurdle: int = 0
    start_usd: float = 0.0
    end_usd: float = 0.0


def offered(met: Listing, side: Side, wanted: Decimal, now: int) -> Decimal:
    """Return what the open still offers a taker on `side`, whole lots, at most `wanted`."""
    levels = met.levels(side, now)
    return min(wanted, levels[0][1]) if levels else ZERO


class Fills:
    """Books fills and funding of one contract and keeps the trade that is on. decided_ns: of the latest opening."""

    def __init__(self, one: Strip, ob: Obligations, window: Window, desk: assess.Desk, found: Followed) -> None:
        self.one, self.ob, self.window, self.desk, self.found = one, ob, window, desk, found
        self.state = ob.pairs[PAIR]
        self.decided_ns = 0
        self.trade: dict[str, Any] | None = None

    def leave(self, reason: str) -> None:
        """Note why the trade that is on is left."""
        if self.trade is not None:
            self.trade["exit_reason"] = reason

    def intend(self, now: int, spec: OrderSpec) -> None:
        """Fold the intent of an order, with the mids of its decision."""
        w = self.window
        apply(
            self.ob, self.one.terms,
            ev.OrderIntended(ts=now, order=spec, lead_mid=w.lead.mid, hedge_mid=w.hedge.mid, stable=w.stable_usd, index_usd=w.index_usd),
        )  # fmt: skip

    def fill(self, met: Listing, spec: OrderSpec, qty: Decimal, now: int) -> None:
        """Book a fill at what the open shows, and what it did to our cash."""
        terms = met.instrument
        price = fill_price(terms, met.best(spec.side, now), spec.side)
        fee = fee_for(terms, qty, price, False)
        met.take(spec.side, qty, now)
        if self.trade is None:
            self._begin(spec, now)
        cash = self.ob.silos[terms.venue].cash
        before = cash.get(terms.settle, ZERO)
        fill = ev.OrderFilled(
            ts=now, venue=terms.venue, client_id=spec.client_id, instrument=terms.id, exec_id=spec.client_id, side=spec.side, qty=qty,
            price=price, fee=fee, fee_currency=terms.settle,
        )  # fmt: skip
        apply(self.ob, self.one.terms, fill)
        usd = self.desk.usd(terms.settle)
        self.found.fees_usd -= float(fee) * usd
        self._earn(float(cash[terms.settle] - before) * usd)
        if terms.id == self.one.legs.lead.id and self.trade is not None and spec.side.sign == self.trade["direction"]:
            self.trade["lots"] += int(qty)

    def fund(self, rate: ev.FundingRate) -> None:
        """Book what a stamp pays to the hedge that is held."""
        terms, qty = self.one.legs.hedge, self.state.hedge.qty
        mark = assess.price_of(self.window.hedge)
        amount = funding_amount(terms, qty, rate.rate, mark)
        paid = ev.FundingPaid(
            ts=rate.stamp_ns, venue=terms.venue, instrument=terms.id, stamp_ns=rate.stamp_ns, rate=rate.rate, mark=mark, qty=qty, amount=amount,
            currency=terms.settle,
        )  # fmt: skip
        apply(self.ob, self.one.terms, paid)
        usd = float(amount) * self.desk.usd(terms.settle)
        self.found.funding_usd += usd
        self._earn(usd)

    def _begin(self, spec: OrderSpec, now: int) -> None:
        index = self.window.index_usd or self.window.hedge.mid * self.window.stable_usd
        self.trade = {
            "contract": self.one.track.contract, "direction": spec.side.sign, "decided_ns": whole_second(self.decided_ns),
            "entered_ns": whole_second(now), "lots": 0, "pnl_usd": 0.0, "exit_reason": "data ended", "index_usd": index,
        }  # fmt: skip

    def _earn(self, usd: float) -> None:
        if self.trade is not None:
            self.trade["pnl_usd"] += usd

    def open_usd(self) -> float:
        """Return what the trade that is on has made, at mid."""
        if self.trade is None:
            return 0.0
        w, s = self.window, self.state
        lead = pnl_est(w.lead_terms, s.lead, w.lead.mid, w.lead_unit)
        hedge = pnl_est(w.hedge_terms, s.hedge, w.hedge.mid, w.hedge_unit) * w.stable_usd
        return float(self.trade["pnl_usd"]) + lead + hedge

    def close(self, now: int | None) -> None:
        """Note the trade that is over, if there is one; now: None when the data left it open."""
        if self.trade is None:
            return
        pnl, index = self.open_usd(), self.trade.pop("index_usd")
        self.trade["pnl_usd"] = pnl
        coins = self.trade["lots"] * self.window.lead_unit
        bp = pnl / (coins * index) * 1e4 if coins and index else 0.0
        self.found.trades.append(ScreenTrade(**self.trade, result_bp=bp, exited_ns=None if now is None else whole_second(now)))
        self.found.made_usd += pnl
        self.trade = None
