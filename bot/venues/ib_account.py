"""The account at the broker: the full answer to "what do we hold there", and what an order would cost in margin."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from bot.model import event as ev
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import to_decimal
from bot.venues.budget import Priority
from bot.venues.ib_contracts import Contracts, Found
from bot.venues.ib_executions import whole
from bot.venues.ib_line import Line, LineError
from bot.venues.ib_orders import ALIVE, Orders, Picture, picture

TAGS = (
    "NetLiquidation", "TotalCashValue", "InitMarginReq", "MaintMarginReq", "AvailableFunds", "ExcessLiquidity", "Cushion",
    "LookAheadInitMarginReq", "LookAheadMaintMarginReq", "LookAheadAvailableFunds", "LookAheadExcessLiquidity", "LookAheadNextChange",
)  # fmt: skip
CURRENCY = "USD"


class Margins(msgspec.Struct, frozen=True):
    """What an order would change, USD: initial and maintenance margin, and its commission."""

    initial: float
    maintenance: float
    commission: float


class Holdings(msgspec.Struct, frozen=True):
    """What the account holds. foreign: contracts that are not the desk's. values: the account's values by tag."""

    positions: dict[InstrumentId, Decimal]
    foreign: tuple[str, ...]
    values: dict[str, float]


async def look(line: Line) -> Picture:
    """Ask for all orders: open ones before completed ones before executions, so that none falls between two answers.

    Executions come as they do when they happen, through the line's hearer. TWS keeps executions and completed orders of the
    present day only: of an order that ended before, nothing is found. Raises LineError, RequestFailed, TimeoutError.
    """
    client = line.client
    opened = await line.ask("open", client.reqAllOpenOrders)
    completed = await line.ask("completed", lambda: client.reqCompletedOrders(False))
    number = line.next_number()
    await line.ask(number, lambda: client.reqExecutions(number, line.lib.ExecutionFilter(acctCode=line.endpoint.account)))
    return picture(opened, completed)


async def holdings(line: Line, contracts: Contracts) -> Holdings:
    """Ask for positions and account values. Raises as `look`, and LineError for an answer that is not whole."""
    account, client = account_of(line), line.client
    rows = await line.ask("positions", client.reqPositions)
    line.tell(Priority.QUERY, client.cancelPositions)
    positions: dict[InstrumentId, Decimal] = {}
    foreign = []
    for owner, contract, size in rows:
        if owner != account:
            continue
        instrument = contracts.by_number(contract.conId)
        if instrument is not None:
            positions[instrument.id] = whole(size)
        elif size:
            foreign.append(f"{contract.localSymbol or contract.symbol} {whole(size)}")
    return Holdings(positions, tuple(foreign), await values(line))


async def values(line: Line) -> dict[str, float]:
    """Ask for the account's values by tag. Raises as `holdings`."""
    account, number = account_of(line), line.next_number()
    rows = await line.ask(number, lambda: line.client.reqAccountSummary(number, "All", ",".join(TAGS)))
    line.tell(Priority.QUERY, lambda: line.client.cancelAccountSummary(number))
    told = {tag: value for owner, tag, value, currency in rows if owner == account and currency in ("", CURRENCY)}
    missing = [tag for tag in TAGS if tag not in told]
    if missing:
        raise LineError(f"the account's values lack {missing[0]}")
    try:
        return {tag: float(told[tag]) for tag in TAGS}
    except ValueError as error:
        raise LineError(f"the account's values are not numbers: {error}") from error


def account_of(line: Line) -> str:
    """Return the account that is traded. Raises LineError when the login has another, or several and none is named."""
    if not line.alive:
        raise LineError(line.why or "not connected")
    accounts = [str(a) for a in line.client.getAccounts()]
    wanted = line.endpoint.account
    if not all(a.isalnum() for a in accounts):
        raise LineError("the names of the accounts could not be read")
    if wanted in accounts:
        return wanted
    if not wanted and len(accounts) == 1:
        return accounts[0]
    raise LineError(f"the login has {len(accounts)} accounts, {'not the configured one' if wanted else 'and none is configured'}")


def snapshot(venue: VenueId, now_ns: int, seen: Picture, held: Holdings, orders: Orders) -> ev.VenueSnapshot:
    """Return the full answer. Maintenance is the larger of now and after the next scheduled change, because it is known to come."""
    shown = {name: orders.shown_open(name, seen) for name in seen.open}
    working = tuple(
        ev.WorkingOrder(client_id=name, venue_order_id=str(perm_id), filled=orders.tickets[name].filled if name in orders.tickets else Decimal(0))
        for name, (status, perm_id) in shown.items() if status in ALIVE
    )  # fmt: skip
    maintenance = max(held.values["MaintMarginReq"], held.values["LookAheadMaintMarginReq"])
    return ev.VenueSnapshot(
        ts=now_ns, venue=venue, positions=held.positions, working=working, cash={CURRENCY: to_decimal(held.values["TotalCashValue"])},
        maintenance={CURRENCY: maintenance},
    )  # fmt: skip


async def what_if(line: Line, found: Found, buy: bool, qty: Decimal, limit: Decimal) -> Margins:
    """Ask what an order would cost, placing none. Raises as `look`."""
    number = line.next_number()
    order = line.lib.Order(
        action="BUY" if buy else "SELL", totalQuantity=int(qty), orderType="LMT", lmtPrice=float(limit), tif="DAY", whatIf=True, account=account_of(line),
    )  # fmt: skip
    rows: list[Any] = await line.ask(number, lambda: line.client.placeOrder(number, found.contract, order))
    state = rows[0]
    return Margins(float(state.initMarginChange), float(state.maintMarginChange), float(state.commission))
