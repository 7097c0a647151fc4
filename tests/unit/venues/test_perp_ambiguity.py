"""Hundreds of orders over a line that loses, delays and garbles: none twice, none forgotten, each fill told once and whole.

The exchange is a few lines in memory behind ccxt's own request, signature and parsing; time is virtual. The supervision is the
engine's: silence is asked after, and an order is absent after three such answers over five seconds, never earlier.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed here")

import ccxt  # noqa: E402
from exchanges import instrument, market  # noqa: E402

from bot.model import event as ev  # noqa: E402
from bot.model.command import QueryOrder, Submit  # noqa: E402
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce  # noqa: E402
from bot.venues import perp_line  # noqa: E402
from bot.venues.perp_account import Fills  # noqa: E402
from bot.venues.perp_client import build  # noqa: E402
from bot.venues.perp_endpoint import PerpEndpoint  # noqa: E402
from bot.venues.perp_line import Line, silent  # noqa: E402
from bot.venues.perp_orders import Orders  # noqa: E402
from bot.venues.perp_parse import Symbols  # noqa: E402
from bot.venues.perp_quirks import QUIRKS  # noqa: E402

S = 1_000_000_000
D = Decimal
ORDERS = 400
ABSENT_ANSWERS, GRACE_NS, QUERY_NS = 3, 5 * S, S
"""execution.absent_answers, absent_grace_s and query_every_s of config/defaults.toml."""
FATES = ("fine", "fine", "lost request", "lost reply", "late request", "reset after", "reset before", "garbage", "empty", "html", "refused")


class Memory:
    """An exchange in memory: orders by client id, each sent request counted; fate decides what the line does to it."""

    def __init__(self, seed: int) -> None:
        self.now = 1_793_716_200 * S
        self.draw = Random(seed).random
        self.orders: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []
        self.sent: dict[str, int] = {}
        self.late: list[tuple[int, dict[str, str]]] = []

    def pass_time(self, ns: int) -> None:
        """Let time pass; what was stuck on the way arrives, unless it is too old by then."""
        self.now += ns
        for at, p in [row for row in self.late if row[0] <= self.now]:
            self.late.remove((at, p))
            if at - int(p["timestamp"]) * 1_000_000 <= int(p["recvWindow"]) * 1_000_000:
                self.place(p)

    def place(self, p: dict[str, str]) -> dict[str, Any]:
        """Take an order; it fills whole, in part or not at all, in one or two executions."""
        cid = p["newClientOrderId"]
        assert cid not in self.orders, f"{cid} arrived twice"
        qty = D(p["quantity"])
        filled = (qty, D(0), qty - D("0.001"))[int(self.draw() * 3)]
        order = {"symbol": p["symbol"], "orderId": len(self.orders) + 1, "clientOrderId": cid, "price": p["price"], "origQty": p["quantity"], "side": p["side"],
                 "executedQty": str(filled), "status": "FILLED" if filled == qty else "EXPIRED", "timeInForce": p["timeInForce"], "type": "LIMIT",
                 "time": self.now // 1_000_000, "updateTime": self.now // 1_000_000, "avgPrice": p["price"], "reduceOnly": False}  # fmt: skip
        self.orders[cid] = order
        for part in (D("0.001"), filled - D("0.001")) if filled else ():
            self.trades.append({"symbol": p["symbol"], "id": len(self.trades) + 1, "orderId": order["orderId"], "side": p["side"], "price": p["price"],
                                "qty": str(part), "commission": str(part * 35), "commissionAsset": "USDT", "time": self.now // 1_000_000, "maker": False,
                                "buyer": p["side"] == "BUY", "quoteQty": "0", "realizedPnl": "0", "positionSide": "BOTH"})  # fmt: skip
        return order

    def request(self, client: Any, url: str, method: str, body: str | None) -> Any:
        """Answer one request of ccxt, or do to it what lines do."""
        p = dict(parse_qsl(urlsplit(url).query) + parse_qsl(body or ""))
        path = urlsplit(url).path
        if method == "POST" and path.endswith("/order"):
            return self._order(client, p)
        if self.draw() < 0.15:
            raise (ccxt.RequestTimeout("lost"), ccxt.ExchangeNotAvailable("reset"))[int(self.draw() * 2)]
        if self.draw() < 0.05:
            return "<html>"
        if path.endswith("/userTrades"):
            return [t for t in self.trades if str(t["orderId"]) == p["orderId"]]
        assert path.endswith("/order") and method == "GET"
        found = self.orders.get(p["origClientOrderId"])
        return found if found is not None else self._refuse(client, url, '{"code":-2013,"msg":"Order does not exist."}')

    def _order(self, client: Any, p: dict[str, str]) -> Any:
        cid = p["newClientOrderId"]
        self.sent[cid] = self.sent.get(cid, 0) + 1
        fate = FATES[int(self.draw() * len(FATES))]
        if fate == "refused":
            return self._refuse(client, "", '{"code":-2019,"msg":"Margin is insufficient."}')
        if fate == "late request":
            self.late.append((self.now + int(self.draw() * 20 * S), p))
            raise ccxt.RequestTimeout("stuck")
        if fate in ("lost request", "reset before", "html"):
            raise ccxt.RequestTimeout("lost") if fate == "lost request" else ccxt.ExchangeNotAvailable(fate)
        order = self.place(p)
        if fate in ("lost reply", "reset after"):
            raise ccxt.RequestTimeout("lost") if fate == "lost reply" else ccxt.ExchangeNotAvailable(fate)
        return {"garbage": "<html>", "empty": ""}.get(fate, order)

    @staticmethod
    def _refuse(client: Any, url: str, body: str) -> Any:
        client.handle_errors(400, "", url, "", {}, body, client.parse_json(body), {}, {})


class Desk:
    """What the desk knows of one order."""

    def __init__(self, heard: list[ev.Event], client_id: str) -> None:
        self.heard, self.client_id = heard, client_id
        self.first_not_found = self.not_found = 0

    def judge(self) -> str:
        """Return "ended", "absent" or "" while it is not known, as the engine does."""
        fills = {e.exec_id: e.qty for e in self.heard if isinstance(e, ev.OrderFilled) and e.client_id == self.client_id}
        for e in self.heard:
            if isinstance(e, ev.OrderEnded) and e.client_id == self.client_id and sum(fills.values(), D(0)) >= e.cum_qty:
                return "denied" if e.outcome in (Outcome.REJECTED, Outcome.DENIED) else "ended"
        missing = [e.ts for e in self.heard if isinstance(e, ev.OrderNotFound) and e.client_id == self.client_id]
        return "absent" if len(missing) >= ABSENT_ANSWERS and missing[-1] - missing[0] >= GRACE_NS else ""


@pytest.mark.parametrize("seed", [1, 2])
def test_no_order_is_doubled_and_none_is_forgotten(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(seed)
    told = asyncio.run(_session(memory, monkeypatch))
    for cid, (how, qty) in told.items():
        order = memory.orders.get(cid)
        where = f"seed {seed}: {cid} {how}"
        assert memory.sent[cid] == 1, f"{where}: sent {memory.sent[cid]} times"
        assert (order is None) is (how in ("absent", "denied")), where
        assert qty == (D(order["executedQty"]) if order else D(0)), where
    assert set(memory.orders) <= set(told), f"seed {seed}: orders that nobody knows of"
    assert len(told) == ORDERS and len({how for how, _ in told.values()}) == 3


async def _session(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, Decimal]]:
    """Send every order and supervise it until it is known what became of it; return that, and the quantity told as filled."""
    client = build(PerpEndpoint(exchange="binanceusdm", key="k", secret="s", base_url="http://127.0.0.1:9"), lambda: memory.now)
    session = client.session

    async def fetch(self: Any, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        return memory.request(client, url, method, body)

    monkeypatch.setattr(perp_line, "AGAIN_S", 0.0)
    monkeypatch.setattr(type(client).__bases__[0], "fetch", fetch)
    x = instrument("binanceusdm")
    symbols = Symbols({x.id: x}, "perp")
    client.set_markets([market(client, x)], {})
    symbols.resolve(client.markets)
    line = Line("perp", client, QUIRKS["binanceusdm"], symbols, lambda: memory.now, silent)
    line.blocked = ""
    line.budget._allowances, line.budget._sent = (), ()
    orders = Orders(line, Fills(line), socket=False)
    out = {}
    try:
        for n in range(ORDERS):
            cid = f"P00001H{n:08d}"
            heard: list[ev.Event] = []
            line.emit = heard.append
            spec = OrderSpec(client_id=cid, pair="p", venue="perp", instrument=x.id, side=Side.SELL, qty=D("0.005"), limit=D("70000.1"),
                             tif=TimeInForce.IOC, purpose=Purpose.HEDGE)  # fmt: skip
            await orders.submit(Submit(spec, opening=True))
            desk = Desk(heard, cid)
            while not (how := desk.judge()):
                memory.pass_time(QUERY_NS)
                await orders.query(QueryOrder("perp", x.id, cid))
            memory.pass_time(10 * S)
            fills = {e.exec_id: e.qty for e in heard if isinstance(e, ev.OrderFilled)}
            out[cid] = (how, sum(fills.values(), D(0)))
    finally:
        client.session = None
        await session.close()
    return out
