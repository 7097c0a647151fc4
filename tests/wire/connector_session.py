"""One session of an exchange's own Python client (binance-futures-connector 4.2.0), run in an environment of its own: port on the
command line, JSON out.

Asks for the market and the account, watches the book, the touch and its own orders, buys at the touch, lets an order rest, finds
and cancels it, is refused once. Needs nothing of this project.
"""

import json
import os
import queue
import sys
import traceback
from typing import Any

from binance.error import ClientError
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

SYMBOL = "BTCUSDT"


class Ear:
    """Keeps what a socket says."""

    def __init__(self) -> None:
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()

    def take(self, _: Any, message: str) -> None:
        self.heard.put(json.loads(message))

    def wait(self, fits: Any) -> dict[str, Any]:
        """Return the next message that fits; queue.Empty after five seconds of silence."""
        while True:
            message = self.heard.get(timeout=5)
            if fits(message):
                return message


def main() -> None:
    """Trade."""
    host = f"127.0.0.1:{sys.argv[1]}"
    rest = UMFutures(key="k" * 64, secret="s" * 64, base_url=f"http://{host}", timeout=5, show_limit_usage=True)
    told: dict[str, Any] = {"symbol": rest.exchange_info()["data"]["symbols"][0]["symbol"], "time": rest.time()["data"]["serverTime"]}
    told["weight"] = sorted(rest.ping()["limit_usage"])
    key = rest.new_listen_key()["data"]["listenKey"]
    market, user = Ear(), Ear()
    public = UMFuturesWebsocketClient(f"ws://{host}", on_message=market.take)
    public.book_ticker(symbol=SYMBOL, id=1)
    public.diff_book_depth(symbol=SYMBOL, speed=100, id=2)
    private = UMFuturesWebsocketClient(f"ws://{host}", on_message=user.take)
    private.user_data(listen_key=key, id=3)
    for _ in range(2):
        market.wait(lambda m: "result" in m)
    user.wait(lambda m: "result" in m)
    print("ready", flush=True)
    diff = market.wait(lambda m: m.get("e") == "depthUpdate")
    touch = market.wait(lambda m: m.get("e") == "bookTicker")
    snapshot = rest.depth(SYMBOL, limit=5)["data"]
    told |= {"touch": [touch["b"], touch["a"]], "diff": [diff["U"], diff["u"], diff["pu"]], "snapshot": snapshot}
    made = rest.new_order(symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="IOC", quantity=0.5, price=70_010, newClientOrderId="P00001H00000001",
                          newOrderRespType="RESULT")["data"]  # fmt: skip
    trade = user.wait(lambda m: m.get("e") == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "TRADE")["o"]
    told |= {"made": [made["status"], made["executedQty"], made["avgPrice"]], "trade": [trade["c"], trade["l"], trade["L"], trade["n"], trade["X"]]}
    resting = rest.new_order(symbol=SYMBOL, side="SELL", type="LIMIT", timeInForce="GTC", quantity=0.1, price=71_000, newClientOrderId="mine-2")["data"]
    told["resting"] = [resting["status"], resting["clientOrderId"]]
    told["open"] = [o["clientOrderId"] for o in rest.get_orders(symbol=SYMBOL)["data"]]
    told["cancelled"] = rest.cancel_order(symbol=SYMBOL, origClientOrderId="mine-2")["data"]["status"]
    user.wait(lambda m: m.get("e") == "ORDER_TRADE_UPDATE" and m["o"]["X"] == "CANCELED")
    told["position"] = [[p["symbol"], p["positionAmt"]] for p in rest.get_position_risk(symbol=SYMBOL)["data"]]
    told["wallet"] = rest.account()["data"]["totalWalletBalance"]
    told["trades"] = [[t["qty"], t["price"], t["commission"]] for t in rest.get_account_trades(symbol=SYMBOL)["data"]]
    told["leverage"] = rest.change_leverage(symbol=SYMBOL, leverage=20)["data"]["leverage"]
    told["income"] = [row["incomeType"] for row in rest.get_income_history()["data"]]
    try:
        rest.new_order(symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=0.1, price=70_000.05)
    except ClientError as error:
        told["refused"] = [error.status_code, error.error_code]
    public.stop()
    private.stop()
    print(json.dumps(told), flush=True)


try:
    main()
except (ClientError, LookupError, queue.Empty, OSError):
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # the client's threads would keep the process alive
