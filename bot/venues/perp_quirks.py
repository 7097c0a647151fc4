"""What differs between exchanges of perpetuals, as data: everything the unified interface of ccxt leaves to its callers.

Read from ccxt 4.5.90 (2026-11) unless another source is named. An exchange that is not listed cannot be traded or watched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bot.model.errors import ConfigError
from bot.venues.budget import Allowance

_S = 1_000_000_000
_MINUTE = 60 * _S

Held = dict[str, Decimal]


class Account(msgspec.Struct, frozen=True):
    """What an account endpoint says: wallet by currency, maintenance margin by currency, net position by market id.

    positions is None where the endpoint does not list them; in_use (margin held by positions) then tells flat from held.
    """

    cash: Held
    maintenance: dict[str, float]
    positions: Held | None
    in_use: Decimal | None


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange.

    live: orders may be sent, because client ids, a sandbox and a safety net exist; why_not says what is missing.
    client_id: parameter of create_order that carries our id. cancel_by, query_by: parameter of cancel_order and of the query.
    query: "order" (fetch_order) or "lists" (open orders, then closed ones). trade_ids: keys in a trade's raw message that
    may hold our id. trades_by: parameter that asks for one order's trades, "" when there is none. more_trades:
    parameters of further questions for trades, of kinds that the first leaves out. stream_fee_sign: -1 where the stream's fee is
    negative when charged. page: trades in one answer at most. error_map: which market's map of
    ccxt's exceptions applies to every URL, "" for the default.
    duplicate: codes that mean that the client id exists. ambiguous: codes of a failure inside the exchange, after which an order
    may exist. order_url: URL of the order socket, None for REST. private_mark: pattern
    of the URL of the account's stream, "" when every stream shares one connection. lists: path endings whose answer is
    a JSON list; envelope: keys every other answer has. sandbox: "demo", "test", or "" for none; same_host: a sandbox that
    only a header or a path tells from the real one. withdraws: whether a key may withdraw, from the raw answer of
    `permissions` (implicit method), None where it cannot be asked. multi_assets: implicit method that tells
    multiAssetsMargin. account: reads the raw answer of fetch_balance. warm: a method that reads what the first order would
    otherwise wait for. positions_by_settle: one list per settle currency.
    funding_kind: how the ledger calls a funding payment, "" where the history of payments is asked instead (ccxt gives Bybit's
    with the sign of a cost). cash_kinds: ledger entries that are booked as cash, None for all that no fill explains.
    ledger_page: entries in one answer at most, ledger_until: parameter that ends the span. dead_man: what cancels our orders when
    the desk is gone. arm: sets it anew (client, market id, ms), for each market where arm_each, else once for all.
    """

    live: bool
    why_not: str = ""
    client_id: str = "clientOrderId"
    cancel_by: str = "clientOrderId"
    query_by: str = "clientOrderId"
    query: str = "order"
    trade_ids: tuple[str, ...] = ()
    trades_by: str = ""
    more_trades: tuple[Mapping[str, Any], ...] = ()
    stream_fee_sign: int = 1
    page: int = 500
    error_map: str = ""
    duplicate: frozenset[str] = frozenset()
    ambiguous: frozenset[str] = frozenset()
    order_url: Callable[[Any], str] | None = None
    order_login: bool = False
    private_mark: str = ""
    lists: tuple[str, ...] = ()
    envelope: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    params: Mapping[str, Any] = {}
    recv_window: bool = False
    allowances: tuple[Allowance, ...] = ()
    sandbox: str = ""
    same_host: bool = False
    permissions: str = ""
    withdraws: Callable[[Any], bool | None] | None = None
    account: Callable[[Any], Account] | None = None
    multi_assets: str = ""
    warm: str = ""
    positions_by_settle: bool = False
    funding_field: str = "fundingRate"
    funding_interval_s: int = 28_800
    funding_source: str = "rate"
    funding_kind: str = ""
    cash_kinds: frozenset[str] | None = frozenset({"transfer", "deposit", "withdrawal", "interest"})
    ledger_page: int = 100
    ledger_until: str = "until"
    dead_man: str = ""
    arm: Callable[[Any, str, int], Awaitable[Any]] | None = None
    arm_each: bool = False
    adl_rank: bool = False


RECV_WINDOW_MS = 2_500
"""A request older than this on arrival is refused by the exchange: shorter than the desk waits before it declares an order
absent (execution.absent_grace_s), so that one that was stuck on the way cannot come to life afterwards."""


def number(value: Any) -> Decimal:
    """Return a number of a raw message, "" and None as 0. Raises ArithmeticError or ValueError for anything else."""
    found = Decimal(0) if value in (None, "") else Decimal(str(value))
    if not found.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return found


def _binance_account(info: Any) -> Account:
    """GET /fapi/v3/account and /dapi/v1/account: walletBalance is without unrealised profit, `total` of ccxt is not."""
    assets = info["assets"]
    held: Held = {}
    for p in info["positions"]:
        held[p["symbol"]] = held.get(p["symbol"], Decimal(0)) + number(p["positionAmt"])
    return Account(
        cash={a["asset"]: number(a["walletBalance"]) for a in assets},
        maintenance={a["asset"]: float(number(a["maintMargin"])) for a in assets},
        positions={s: q for s, q in held.items() if q},
        in_use=None,
    )


def _bybit_account(info: Any) -> Account:
    """GET /v5/account/wallet-balance, unified account."""
    (account,) = info["result"]["list"]
    coins = account["coin"]
    return Account(
        cash={c["coin"]: number(c["walletBalance"]) for c in coins},
        maintenance={c["coin"]: float(number(c.get("totalPositionMM"))) for c in coins},
        positions=None,
        in_use=sum((number(c.get("totalPositionIM")) for c in coins), Decimal(0)),
    )


def _okx_account(info: Any) -> Account:
    """GET /api/v5/account/balance."""
    (account,) = info["data"]
    details = account["details"]
    return Account(
        cash={d["ccy"]: number(d["cashBal"]) for d in details},
        maintenance={d["ccy"]: float(number(d.get("mmr"))) for d in details},
        positions=None,
        in_use=number(account.get("notionalUsd")) if account.get("notionalUsd") not in (None, "") else number(account.get("imr")),
    )


def _bybit_withdraws(info: Any) -> bool | None:
    """GET /v5/user/query-api: permissions by group."""
    return any("withdraw" in str(p).lower() for group in info["result"]["permissions"].values() for p in group)


def _okx_withdraws(info: Any) -> bool | None:
    """GET /api/v5/account/config: perm is a comma list."""
    return "withdraw" in str(info["data"][0]["perm"]).lower()


_BINANCE = Quirks(
    live=True, query_by="origClientOrderId", trade_ids=("c", "clientOrderId"), trades_by="orderId", duplicate=frozenset({"-4116"}),
    lists=("/positionRisk", "/openOrders", "/userTrades", "/income", "/leverageBracket", "/fundingInfo", "/fundingRate", "/allOrders"),
    private_mark="listenKey=", recv_window=True, sandbox="demo", adl_rank=True, dead_man="countdown of each market", arm_each=True,
    permissions="sapiGetAccountApiRestrictions", withdraws=lambda info: bool(info["enableWithdrawals"]), account=_binance_account,
    # 300 orders in 10 s, 1,200 a minute; of 2,400 weight a minute a query takes 5 at most times (Binance USD-M limits, read 2026-11).
    allowances=(Allowance(limit=280, span_ns=10 * _S, reserve=60), Allowance(limit=420, span_ns=_MINUTE, reserve=120)),
    funding_source="mark", funding_kind="funding_fee", cash_kinds=None, ledger_page=1_000, options={"warnOnFetchOpenOrdersWithoutSymbol": False},
)  # fmt: skip

QUIRKS: dict[str, Quirks] = {
    "binanceusdm": msgspec.structs.replace(
        _BINANCE, error_map="linear", arm=lambda x, market, ms: x.fapiPrivatePostCountdownCancelAll({"symbol": market, "countdownTime": ms}),
        order_url=lambda x: str(x.urls["api"]["ws"]["ws-api"]["linear"]), multi_assets="fapiPrivateGetMultiAssetsMargin",
    ),
    "binancecoinm": msgspec.structs.replace(
        _BINANCE, error_map="inverse", arm=lambda x, market, ms: x.dapiPrivatePostCountdownCancelAll({"symbol": market, "countdownTime": ms}),
        private_mark=r"/ws/\w{32,}$", order_url=lambda x: str(x.urls["api"]["ws"]["ws-api"]["inverse"]),
        funding_source="rate",
    ),
    "bybit": Quirks(
        live=True, client_id="orderLinkId", cancel_by="orderLinkId", query_by="orderLinkId", query="lists", trade_ids=("orderLinkId",), trades_by="orderId",
        more_trades=({"execType": "AdlTrade"}, {"execType": "BustTrade"}), page=100,
        duplicate=frozenset({"110072"}), ambiguous=frozenset({"10000", "10016"}), envelope=("retCode", "result"), private_mark="/private",
        recv_window=True, sandbox="test",
        order_url=lambda x: str(x.implode_hostname(x.urls["api"]["ws"]["private"]["trade"])), order_login=True,
        funding_kind="settlement", cash_kinds=frozenset({"transfer_in", "transfer_out", "interest", "bonus", "fee_refund"}),
        ledger_page=50, ledger_until="endTime",
        warm="is_unified_enabled", positions_by_settle=True, permissions="privateGetV5UserQueryApi",
        withdraws=_bybit_withdraws, account=_bybit_account, adl_rank=True,
        dead_man="when the account's stream is cut, if the account has it", arm=lambda x, market, ms: x.cancel_all_orders_after(ms),
        options={"defaultType": "swap"},
        allowances=(Allowance(limit=20, span_ns=_S, reserve=8), Allowance(limit=300, span_ns=5 * _S, reserve=60)),
    ),
    "okx": Quirks(
        live=True, trade_ids=("clOrdId",), trades_by="ordId", stream_fee_sign=-1, page=100,
        duplicate=frozenset({"51016"}), envelope=("code", "data"), private_mark="/private",
        sandbox="test", same_host=True,
        order_url=lambda x: str(x.get_url("private", "private")), order_login=True,
        permissions="privateGetAccountConfig", withdraws=_okx_withdraws, account=_okx_account, dead_man="countdown of the account",
        arm=lambda x, market, ms: x.cancel_all_orders_after(ms),
        options={"defaultType": "swap"}, params={"tdMode": "cross"},
        allowances=(Allowance(limit=50, span_ns=2 * _S, reserve=15),),
    ),
    "deribit": Quirks(
        live=False, why_not="an order is found by its label only among recent ones, and cancel on disconnect is bound to one connection",
        client_id="label", cancel_by="label", query_by="label", sandbox="test", options={"defaultType": "swap"},
        allowances=(Allowance(limit=15, span_ns=_S, reserve=5),),
    ),
    "hyperliquid": Quirks(
        live=False, why_not="client ids are 128-bit hexadecimal numbers, and the scheduled cancel needs a million USD of volume",
        client_id="clientOrderId", sandbox="test", funding_interval_s=3_600, options={"defaultType": "swap"},
        allowances=(Allowance(limit=400, span_ns=_MINUTE, reserve=100),),
    ),
    "bingx": Quirks(
        live=False, why_not="no order socket, no query of the account's permissions, untested here",
        client_id="clientOrderId", sandbox="test", options={"defaultType": "swap"}, allowances=(Allowance(limit=8, span_ns=_S, reserve=3),),
    ),
    "mexc": Quirks(
        live=False, why_not="no sandbox and no dead-man timer", client_id="externalOid", options={"defaultType": "swap"},
        allowances=(Allowance(limit=15, span_ns=2 * _S, reserve=5),),
    ),
    "weex": Quirks(
        live=False, why_not="its sandbox is a path on the live host without cancels, and there is no dead-man timer",
        sandbox="test", same_host=True, funding_field="nextFundingRate", options={"defaultType": "swap"},
        allowances=(Allowance(limit=15, span_ns=2 * _S, reserve=5),),
    ),
}  # fmt: skip
"""By ccxt id. Message limits other than Binance's are below the documented ones, to be on the safe side."""


def quirks_of(exchange: str) -> Quirks:
    """Return what is known of an exchange. Raises ConfigError naming the known ones."""
    if exchange not in QUIRKS:
        raise ConfigError(f"exchange {exchange!r}: known are {', '.join(sorted(QUIRKS))}")
    return QUIRKS[exchange]
