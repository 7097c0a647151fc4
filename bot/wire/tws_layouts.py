"""Messages about orders and executions, field by field, as the public client libraries parse them (versions 157 to 178)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from bot.model.event import OrderFilled
from bot.model.ids import ClientId
from bot.model.order import Side
from bot.wire.tws_codec import UNSET, OrderFields
from bot.wire.tws_contracts import Row, short

ZERO = Decimal(0)


class Held(msgspec.Struct, kw_only=True):
    """An order of a client as the server keeps it. client_id: its name at the exchange. price: 0 for a market order as asked.

    sent_ns: when it was handed on. told: executions the client was told of, by id. ended: the last status told that ends it, "" while it lives.
    """

    client: int
    order_id: int
    perm_id: int
    asked: OrderFields
    row: Row
    qty: Decimal
    price: Decimal
    client_id: ClientId = ""
    sent_ns: int = 0
    told: dict[str, OrderFilled] = {}
    ended: str = ""
    cancelling: bool = False
    completed: str = ""
    completed_ns: int = 0

    @property
    def filled(self) -> Decimal:
        """Contracts in the executions told."""
        return sum((f.qty for f in self.told.values()), ZERO)


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would do to the account, USD; the strings of an order state."""

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    commission: Decimal
    currency: str


def moment(ts_ns: int) -> str:
    """Return an instant as TWS writes it, with its zone."""
    return f"{datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC):%Y%m%d %H:%M:%S} UTC"


def _order(held: Held, account: str) -> list[object]:
    a = held.asked
    return [
        *short(held.row), a.action, held.qty, a.order_type, held.price, "0.0", a.tif or "DAY", "", account, "", 0, a.order_ref,
    ]  # fmt: skip


def _scale_and_rest(opt_out: bool) -> list[object]:
    """Return the fields from scaleInitLevelSize to algoStrategy, none of them in use."""
    return ["", "", "", "", *([0] if opt_out else []), "", "IB", 0, 0, ""]


def open_order(held: Held, account: str, status: str, version: int, margins: Margins | None = None) -> list[object]:
    """Return an openOrder message; `margins` answers a what-if order."""
    out: list[object] = [5, held.order_id, *_order(held, account), held.client, held.perm_id, held.asked.outside_rth, 0, 0, ""]
    out += [f"{held.perm_id}.0/{account}/100", "", "", ""]
    out += [""] if version < 177 else []  # faProfile
    out += ["", "", "", "", "", 0, "", -1, 0, "", "", "", "", "", "2147483647", 0, 0, 0, "", 3, 0, 0, "", 0, 0, "", 0]
    out += ["None", "", 0, "", "", "", "?", 0, 0, ""]  # delta-neutral, with the eight fields that "None" brings
    out += [0, 0, "", "", "", "", "", 0, 0, 0, *_scale_and_rest(opt_out=True)]
    out += [0, margins is not None, status, *_state(margins), "", 0, 0, 0]
    out += ["None", UNSET, UNSET, UNSET, UNSET, UNSET, UNSET, 0, "", "", "", 0, 0, 0, 0, 0]
    out += [""] if version >= 159 else []  # duration
    out += [""] if version >= 160 else []  # postToAts
    out += [0] if version >= 162 else []  # autoCancelParent
    out += ["", "", "", "", ""] if version >= 170 else []  # minTradeQty .. midOffsetAtHalf
    return out


def _state(margins: Margins | None) -> list[object]:
    """Return initMarginBefore .. commissionCurrency: three times initial, maintenance and equity, then commissions."""
    if margins is None:
        return [*[UNSET] * 9, "", "", "", ""]
    change = tuple(after - before for before, after in zip(margins.before, margins.after, strict=True))
    money: list[object] = [f"{value:.2f}" for value in (*margins.before, *change, *margins.after)]
    return [*money, margins.commission, "", "", margins.currency]


def completed_order(held: Held, account: str, filled: Decimal, version: int) -> list[object]:
    """Return a completedOrder message."""
    status = held.ended
    out: list[object] = [101, *_order(held, account), held.perm_id, held.asked.outside_rth, 0, 0, "", "", "", ""]
    out += [""] if version < 177 else []  # faProfile
    out += ["", "", "", "", "", 0, "", -1, "", "", "", "", "", "2147483647", 0, 0, "", 3, 0, "", 0]
    out += ["None", "", 0, 0, 0, ""]  # delta-neutral, with the four fields that "None" brings
    out += [0, 0, "", "", "", 0, 0, 0, *_scale_and_rest(opt_out=False)]
    out += [0, status, 0, 0, 0]
    out += [UNSET, UNSET, 0, 0, 0, "", filled, 0, 0, "", 0, 0, 0, moment(held.completed_ns), held.completed]
    out += ["", "", "", "", ""] if version >= 170 else []
    return out


def order_status(held: Held, status: str, filled: Decimal, fills: list[OrderFilled]) -> list[object]:
    """Return an orderStatus message. fills: those counted in `filled`, in order, for the average and last price."""
    worth, count = sum((f.qty * f.price for f in fills), ZERO), sum((f.qty for f in fills), ZERO)
    average = float(worth / count) if count else 0.0
    last = fills[-1].price if fills else 0
    remaining = max(ZERO, held.qty - filled)
    return [3, held.order_id, status, filled, remaining, average, held.perm_id, 0, last, held.client, "", 0]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Where an execution stands in its order: contracts so far and their average price; whose order it is."""

    order_id: int
    client: int
    perm_id: int
    order_ref: str
    cum: Decimal
    average: float


def exec_details(fill: OrderFilled, row: Row, told: Told, req_id: int, account: str, version: int) -> list[object]:
    """Return an execDetails message. req_id -1: nobody asked. liquidation: 1 when the broker closed the position itself."""
    out: list[object] = [11, req_id, told.order_id, *short(row), fill.exec_id, moment(fill.ts), account, row.exchange]
    out += ["BOT" if fill.side is Side.BUY else "SLD", fill.qty, fill.price, told.perm_id, told.client]
    out += [int(fill.reason == "liquidation"), told.cum, told.average, told.order_ref, "", "", "", 1 if fill.maker else 2]
    out += [0] if version >= 178 else []  # pendingPriceRevision
    return out


def commission(fill: OrderFilled, realised: Decimal | None) -> list[object]:
    """Return a commissionReport; realised: profit of what the execution closed, None when it closed nothing."""
    return [59, 1, fill.exec_id, fill.fee, fill.fee_currency, UNSET if realised is None else realised, UNSET, ""]
