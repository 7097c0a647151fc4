"""The account as TWS reports it: values, portfolio, positions and what-if margins, read from the exchange's own account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from bot.model.event import OrderFilled
from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, initial_margin, maintenance_margin, notional
from bot.model.order import Side
from bot.model.position import Position, apply_fill, pnl_est
from bot.sim.account import fee_for
from bot.sim.exchange import Exchange
from bot.sim.listing import Listing
from bot.wire.tws_codec import Fields
from bot.wire.tws_contracts import Row, short
from bot.wire.tws_layouts import ZERO, Margins
from bot.wire.tws_session import Client

ACCOUNT = "DU7654321"
CURRENCY = "USD"
SUMMARY_TAGS = (
    "NetLiquidation", "TotalCashValue", "InitMarginReq", "MaintMarginReq", "AvailableFunds", "ExcessLiquidity", "Cushion",
    "FullInitMarginReq", "FullMaintMarginReq", "FullAvailableFunds", "FullExcessLiquidity", "LookAheadInitMarginReq",
    "LookAheadMaintMarginReq", "LookAheadAvailableFunds", "LookAheadExcessLiquidity", "LookAheadNextChange", "GrossPositionValue",
)  # fmt: skip


class Realised:
    """Profit of what each execution closed, its fee taken off, as the broker reports it; folded from the account's history."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._read = 0
        self._positions: dict[InstrumentId, Position] = {}
        self._of: dict[str, Decimal | None] = {}
        self.total = ZERO

    def of(self, exec_id: str) -> Decimal | None:
        """Return the profit an execution realised, None when it closed nothing."""
        self.fold()
        return self._of.get(exec_id)

    def traded(self, instrument: InstrumentId) -> bool:
        """Return whether the account has ever traded an instrument."""
        self.fold()
        return instrument in self._positions

    def fold(self) -> None:
        """Take in what the account has booked since the last look."""
        history = self._exchange.account.history
        while self._read < len(history):
            entry = history[self._read]
            self._read += 1
            if not isinstance(entry, OrderFilled):
                continue
            position = self._positions.setdefault(entry.instrument, Position())
            signed = entry.qty * entry.side.sign
            closes = position.qty * signed < 0
            gained = apply_fill(self._exchange.listings[entry.instrument].instrument, position, signed, entry.price) - entry.fee
            self._of[entry.exec_id] = gained if closes else None
            self.total += gained


def required(exchange: Exchange, rule: Callable[[Instrument, float], float], more: Mapping[InstrumentId, Decimal] | None = None) -> float:
    """Return the margin by `rule` of everything held and of signed contracts `more` beside it, USD at mark."""
    needed = 0.0
    for i, x in exchange.listings.items():
        qty = abs(x.position.qty + (more or {}).get(i, ZERO))
        if qty and x.instrument.settle == CURRENCY:
            needed += x.rates * rule(x.instrument, float(notional(x.instrument, qty, Decimal(1))) * x.price())
    return needed


def what_if(exchange: Exchange, instrument: Instrument, side: Side, qty: Decimal, price: Decimal) -> Margins:
    """Return what an order would do to the account if it filled at once, at `price`."""
    more = {instrument.id: qty * side.sign}
    equity, fee = exchange.account.equity(CURRENCY), fee_for(instrument, qty, price, maker=False)
    return Margins(
        before=(required(exchange, initial_margin), required(exchange, maintenance_margin), equity),
        after=(required(exchange, initial_margin, more), required(exchange, maintenance_margin, more), equity - float(fee)),
        commission=fee, currency=CURRENCY,
    )  # fmt: skip


def values(exchange: Exchange, realised: Decimal) -> list[tuple[str, str, str]]:
    """Return (tag, value, currency) of the account. Look-ahead values equal the present ones: no change is scheduled."""
    account = exchange.account
    equity, cash = account.equity(CURRENCY), account.cash.get(CURRENCY, ZERO)
    init, maint = required(exchange, initial_margin), account.maintenance(CURRENCY)
    gross = sum(abs(float(notional(x.instrument, x.position.qty, Decimal(1))) * x.price()) for x in exchange.listings.values())
    unrealised = equity - float(cash)
    excess, available = equity - maint, equity - init
    money = {
        "NetLiquidation": equity, "TotalCashValue": float(cash), "InitMarginReq": init, "MaintMarginReq": maint, "AvailableFunds": available,
        "ExcessLiquidity": excess, "GrossPositionValue": gross, "UnrealizedPnL": unrealised, "RealizedPnL": float(realised),
    }  # fmt: skip
    for prefix in ("Full", "LookAhead"):
        money |= {f"{prefix}InitMarginReq": init, f"{prefix}MaintMarginReq": maint}
        money |= {f"{prefix}AvailableFunds": available, f"{prefix}ExcessLiquidity": excess}
    rows = [(tag, f"{value:.2f}", CURRENCY) for tag, value in money.items()]
    return [*rows, ("Cushion", f"{excess / equity:.6f}" if equity > 0.0 else "0", ""), ("LookAheadNextChange", "0", "")]


Subscribed = dict[tuple[Client, int], tuple[str, ...]]


class AccountDesk:
    """Answers questions about the account, and tells subscribers of changes. rows: contracts by instrument, at the moment."""

    def __init__(self, exchange: Exchange, rows: Callable[[], Mapping[InstrumentId, Row]], clock: Callable[[], int]) -> None:
        self.exchange = exchange
        self.realised = Realised(exchange)
        self._rows = rows
        self._clock = clock
        self._summaries: Subscribed = {}
        self._updates: set[Client] = set()
        self._positions: set[Client] = set()

    def forget(self, client: Client) -> None:
        """Drop the subscriptions of a client that has gone."""
        self._updates.discard(client)
        self._positions.discard(client)
        self._summaries = {key: tags for key, tags in self._summaries.items() if key[0] is not client}

    def changed(self) -> None:
        """Tell subscribers: something was booked."""
        for client in list(self._positions):
            self._send_positions(client)
        for client in list(self._updates):
            self._send_updates(client)
        for (client, req_id), tags in list(self._summaries.items()):
            self._send_summary(client, req_id, tags)

    def positions(self, client: Client, fields: Fields) -> None:
        """reqPositions."""
        self._positions.add(client)
        self._send_positions(client)
        client.send([62, 1])

    def cancel_positions(self, client: Client, fields: Fields) -> None:
        """cancelPositions."""
        self._positions.discard(client)

    def updates(self, client: Client, fields: Fields) -> None:
        """reqAccountUpdates: subscribe or not, account."""
        if not fields.truth():
            self._updates.discard(client)
            return
        self._updates.add(client)
        self._send_updates(client)
        client.send([54, 1, ACCOUNT])

    def updates_multi(self, client: Client, fields: Fields) -> None:
        """reqAccountUpdatesMulti."""
        req_id = fields.whole()
        self.realised.fold()
        for tag, value, currency in values(self.exchange, self.realised.total):
            client.send([73, 1, req_id, ACCOUNT, "", tag, value, currency])
        client.send([74, 1, req_id])

    def summary(self, client: Client, fields: Fields) -> None:
        """reqAccountSummary: group and comma-separated tags."""
        req_id, _, asked = fields.whole(), fields.text(), fields.text()
        tags = tuple(tag.strip() for tag in asked.split(",") if tag.strip())
        unknown = [tag for tag in tags if tag not in SUMMARY_TAGS and not tag.startswith("$LEDGER") and tag != "AccountType"]
        if not tags or (unknown and len(unknown) == len(tags)):
            client.error(req_id, 321, "Error validating request.-'bP' : cause - The tags of an account summary are not known")
            return
        self._summaries[client, req_id] = tags
        self._send_summary(client, req_id, tags)
        client.send([64, 1, req_id])

    def cancel_summary(self, client: Client, fields: Fields) -> None:
        """cancelAccountSummary."""
        self._summaries.pop((client, fields.whole()), None)

    def pnl(self, client: Client, fields: Fields) -> None:
        """reqPnL: one answer; daily profit is told as the whole (the account began with this server)."""
        req_id = fields.whole()
        self.realised.fold()
        account = self.exchange.account
        unrealised = account.equity(CURRENCY) - float(account.cash.get(CURRENCY, ZERO))
        client.send([94, req_id, unrealised + float(self.realised.total), unrealised, self.realised.total])

    def _held(self) -> Iterable[tuple[Row, Listing]]:
        rows = self._rows()
        return [(rows[i], x) for i, x in self.exchange.listings.items() if x.position.qty and i in rows]

    def _send_positions(self, client: Client) -> None:
        """Send what is held; a contract that was held before and is flat comes with 0 once more."""
        rows = self._rows()
        for i, x in self.exchange.listings.items():
            if i in rows and self.realised.traded(i):
                client.send([61, 3, ACCOUNT, *short(rows[i]), x.position.qty, x.position.avg_f * x.unit])

    def _send_updates(self, client: Client) -> None:
        self.realised.fold()
        for tag, value, currency in values(self.exchange, self.realised.total):
            client.send([6, 2, tag, value, currency, ACCOUNT])
        for row, x in self._held():
            price, unit = x.price(), x.unit
            named = short(row)
            profit = pnl_est(x.instrument, x.position, price, unit)
            tail = [x.position.qty, price, x.position.qty_f * unit * price, x.position.avg_f * unit, profit, 0.0, ACCOUNT]
            client.send([7, 8, *named[:7], row.exchange, *named[8:], *tail])
        client.send([8, 1, client.time_of_day(self._clock())])

    def _send_summary(self, client: Client, req_id: int, tags: tuple[str, ...]) -> None:
        self.realised.fold()
        for tag, value, currency in values(self.exchange, self.realised.total):
            if tag in tags:
                client.send([63, 1, req_id, ACCOUNT, tag, value, currency])
        if "AccountType" in tags:
            client.send([63, 1, req_id, ACCOUNT, "AccountType", "INDIVIDUAL", ""])
