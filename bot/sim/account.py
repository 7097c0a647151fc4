"""The account as the venue keeps it: cash, positions, fees, funding and margin, with every booking in order.

Margin is per silo and currency: what settles in one currency is backed by that currency's cash and by nothing
else. Cash and fills are Decimal; equity and margin are floats because they are marked values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from bot.market.funding import payment
from bot.model.event import CashBooked, Event, FundingPaid, OrderFilled
from bot.model.ids import ClientId, InstrumentId, VenueId
from bot.model.instrument import Instrument, coins, initial_margin, maintenance_margin, notional, to_decimal
from bot.model.order import Side
from bot.model.position import BOOKED, apply_fill, pnl_est
from bot.sim.book import ZERO
from bot.sim.listing import Listing

Booking = OrderFilled | FundingPaid | CashBooked


def fee_for(instrument: Instrument, qty: Decimal, price: Decimal, maker: bool) -> Decimal:
    """Return the fee of `qty` (> 0) contracts at `price`, > 0 is a cost, in settle currency, not rounded.

    Contract fees and notional are in quote currency; an inverse contract charges their worth in coin.
    """
    schedule = instrument.fees
    rate = schedule.maker_rate if maker else schedule.taker_rate
    fee = schedule.per_contract * qty + rate * notional(instrument, qty, price)
    return (fee / price).quantize(BOOKED) if instrument.inverse else fee


def funding_amount(instrument: Instrument, qty: Decimal, rate: float, mark: float) -> Decimal:
    """Return what one stamp pays to `qty` signed contracts, > 0 received, in settle currency.

    A rate > 0 means longs pay, so a short receives (worked case G3); an inverse contract pays in coin.
    """
    price, exact = to_decimal(mark), to_decimal(rate)
    size = coins(instrument, qty, price)
    return (-size * exact).quantize(BOOKED) if instrument.inverse else payment(size, price, exact)


class Account:
    """One venue's statement. `reports` and `records` receive every booking as it happens; `history` keeps all of them."""

    def __init__(
        self,
        venue: VenueId,
        listings: Mapping[InstrumentId, Listing],
        cash: Mapping[str, Decimal],
        reports: list[Event],
        records: list[Any],
        fee_rounding: Decimal | None,
    ) -> None:
        self.venue = venue
        self.cash = dict(cash)
        self.history: list[Booking] = []
        self._listings = listings
        self._reports = reports
        self._records = records
        self._fee_rounding = fee_rounding
        self._execs = 0
        self._pools: dict[str, list[Listing]] = {}
        for listing in listings.values():
            self._pools.setdefault(listing.instrument.settle, []).append(listing)

    def execute(
        self,
        listing: Listing,
        client_id: ClientId,
        side: Side,
        qty: Decimal,
        price: Decimal,
        now_ns: int,
        *,
        maker: bool = False,
        reason: str = "",
        surcharge: Decimal = ZERO,
        free: bool = False,
    ) -> OrderFilled:
        """Book one execution of `qty` (> 0) contracts with its fee and report it. client_id "": nobody asked for it.

        surcharge: fraction of notional on top of the schedule (a liquidation's). free: no fee at all (ADL).
        """
        instrument = listing.instrument
        worth = coins(instrument, qty, price) * (1 if instrument.inverse else price)
        fee = ZERO if free else fee_for(instrument, qty, price, maker) + surcharge * worth
        if self._fee_rounding is not None:
            fee = fee.quantize(self._fee_rounding, rounding=ROUND_HALF_UP)
        fill = OrderFilled(
            ts=now_ns, venue=self.venue, client_id=client_id, instrument=instrument.id,
            exec_id=f"{self.venue}-{self._execs + 1}", side=side, qty=qty, price=price, fee=fee,
            fee_currency=instrument.settle, maker=maker, reason=reason,
        )  # fmt: skip
        self._publish(fill)
        return fill

    def reverse(self, fill: OrderFilled, exec_id: str, reason: str, now_ns: int) -> None:
        """Book the opposite of an execution at its price, give its fee back and report that as nobody's."""
        side = Side.SELL if fill.side is Side.BUY else Side.BUY
        self._publish(msgspec.structs.replace(fill, ts=now_ns, client_id="", exec_id=exec_id, side=side, fee=-fill.fee, reason=reason))

    def pay_funding(self, listing: Listing, stamp_ns: int) -> None:
        """Book one funding stamp on the position held, at the last mark; nothing without a position.

        A stamp whose rate was never announced is not paid: another stamp's rate is not its rate.
        """
        funding, qty = listing.funding, listing.position.qty
        if funding is None or funding.stamp_ns != stamp_ns or qty == 0:
            return
        mark = listing.price()
        paid = FundingPaid(
            ts=stamp_ns, venue=self.venue, instrument=listing.instrument.id, stamp_ns=stamp_ns, rate=funding.rate,
            mark=mark, qty=qty, amount=funding_amount(listing.instrument, qty, funding.rate, mark),
            currency=listing.instrument.settle,
        )  # fmt: skip
        self._publish(paid)

    def book_cash(self, kind: str, amount: Decimal, currency: str, ref: str, now_ns: int) -> None:
        """Book and report a cash movement: amount > 0 is received; `ref` is unique on this venue."""
        booked = CashBooked(ts=now_ns, venue=self.venue, kind=kind, amount=amount, currency=currency, ref=ref)
        self._publish(booked)

    def _publish(self, entry: Booking) -> None:
        self.book(entry)
        self._reports.append(entry)
        self._records.append(entry)

    def book(self, entry: Booking) -> None:
        """Apply one booking to cash and positions without reporting it; a replay of the venue's log uses it too."""
        self.history.append(entry)
        if isinstance(entry, OrderFilled):
            self._execs += 1
            listing = self._listings[entry.instrument]
            instrument = listing.instrument
            realised = apply_fill(instrument, listing.position, entry.qty * entry.side.sign, entry.price)
            self._add(instrument.settle, realised)
            self._add(entry.fee_currency, -entry.fee)
            if listing.quote is None:
                listing.last_mid = float(entry.price)  # a position always has some price to be marked at
        else:
            self._add(entry.currency, entry.amount)
        self.watch(entry.fee_currency if isinstance(entry, OrderFilled) else entry.currency)

    def equity(self, currency: str) -> float:
        """Return cash plus unrealised profit at mark, in `currency`."""
        marked = sum(
            pnl_est(x.instrument, x.position, x.price(), x.unit)
            for x in self._pools.get(currency, ())
            if x.position.qty_f
        )
        return float(self.cash.get(currency, ZERO)) + marked

    def maintenance(self, currency: str) -> float:
        """Return the maintenance margin of everything held that settles in `currency`."""
        return sum(held_maintenance(x) for x in self._pools.get(currency, ()) if x.position.qty_f)

    def affords(self, listing: Listing, side: Side, qty: Decimal, limit: Decimal) -> bool:
        """Return whether equity covers initial margin, worst case of positions and working orders with this order."""
        currency, needed = listing.instrument.settle, 0.0
        for x in self._pools[currency]:
            buys, sells = x.working(Side.BUY), x.working(Side.SELL)
            if x is listing:
                buys, sells = (buys + qty, sells) if side is Side.BUY else (buys, sells + qty)
            worst = max(abs(x.position.qty + buys), abs(x.position.qty - sells))
            if worst:
                price = x.price() or float(limit)
                needed += x.rates * _in_settle(x.instrument, initial_margin(x.instrument, _notional(x, worst, price)), price)
        return self.equity(currency) >= needed

    def watch(self, currency: str) -> float:
        """Set the trip prices of `currency` anew and return equity minus maintenance (inf when nothing is held).

        Negative: the venue may liquidate. Each position gets an equal part of the slack: while none has crossed its trip, the sum of losses
        cannot have used it up.
        """
        held = []
        for x in self._pools.get(currency, ()):
            if x.position.qty_f:
                held.append(x)
            else:
                x.clear_trip()
        if not held:
            return math.inf
        slack = self.equity(currency) - self.maintenance(currency)
        for x in held:
            x.set_trip(slack / len(held))
        return slack

    def positions(self) -> dict[InstrumentId, Decimal]:
        """Return signed contracts of everything held."""
        return {i: x.position.qty for i, x in self._listings.items() if x.position.qty}

    def pool(self, currency: str) -> list[Listing]:
        """Return what settles in `currency`."""
        return self._pools.get(currency, [])

    def _add(self, currency: str, amount: Decimal) -> None:
        self.cash[currency] = self.cash.get(currency, ZERO) + amount


def held_maintenance(listing: Listing) -> float:
    """Return the maintenance margin of the position held in one listing, in its settle currency, at mark."""
    price = listing.price()
    required = maintenance_margin(listing.instrument, _notional(listing, abs(listing.position.qty), price))
    return listing.rates * _in_settle(listing.instrument, required, price)


def adl_score(listing: Listing, account: Account) -> float:
    """Return profit share x leverage of a position, by which venues choose whom to deleverage first; 0.0 flat or losing.

    Profit share: unrealised profit over the value at entry. Leverage: value at mark over the equity behind it (inf without).
    """
    position, price = listing.position, listing.price()
    if position.qty_f == 0.0 or price <= 0.0:
        return 0.0
    profit = pnl_est(listing.instrument, position, price, listing.unit)
    if profit <= 0.0:
        return 0.0
    size = abs(position.qty_f)
    share = profit / _in_settle(listing.instrument, _size(listing, size, position.avg_f), position.avg_f)
    equity = account.equity(listing.instrument.settle)
    value = _in_settle(listing.instrument, _size(listing, size, price), price)
    return share * value / equity if equity > 0.0 else math.inf


def _notional(listing: Listing, qty: Decimal, price: float) -> float:
    return _size(listing, float(qty), price)


def _size(listing: Listing, qty: float, price: float) -> float:
    size = qty * listing.unit
    return size if listing.instrument.inverse else size * price


def _in_settle(instrument: Instrument, amount: float, price: float) -> float:
    return amount / price if instrument.inverse else amount
