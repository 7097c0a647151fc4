"""Capability cards: what each exchange of perpetuals can do through ccxt, what is missing, and what that costs us.

Generated from ccxt and from bot.venues.perp_quirks, and kept as JSON beside this module, so that showing them does not import
ccxt. `python -m bot.venues.perp_card` writes them anew; a test holds them against the ccxt that is installed.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from typing import Any

from bot.venues.perp_quirks import QUIRKS, Quirks

FILE = "perp_cards.json"
STREAMS = {
    "best prices": "watchBidsAsks", "order book": "watchOrderBook", "mark price": "watchMarkPrice", "funding rate": "watchFundingRate",
    "orders": "watchOrders", "own trades": "watchMyTrades", "positions": "watchPositions",
}  # fmt: skip
LOSSES = (
    ("client ids", lambda c: c["orders"]["why_not"], "live orders: market data and paper only"),
    ("order socket", lambda c: not c["orders"]["socket"], "orders go over REST, at a multiple of the delay"),
    ("request expiry", lambda c: not c["orders"]["request_expiry_ms"], "an order stuck on the way may still arrive after it was taken for absent"),
    ("mark price stream", lambda c: not c["streams"]["mark price"], "marks are polled every 5 s"),
    ("paid funding history", lambda c: not c["funding"]["paid_history"], "funding paid is not booked by itself; it shows as a break in the daily tie-out"),
    ("margin brackets", lambda c: c["margin_brackets"] == "none", "brackets of the configuration are not checked against the exchange"),
    ("dead-man timer", lambda c: c["dead_man_timer"] in ("", "in ccxt, not used"), "orders stay working when the desk dies"),
    ("deleveraging rank", lambda c: not c["deleveraging_rank"], "no warning before a position is deleveraged"),
    ("key permissions", lambda c: not c["key_permissions"], "a key that may withdraw is not found out"),
    ("sandbox", lambda c: c["sandbox"] == "none", "nothing can be tried without money"),
)
"""(what is missing, whether it is, which of our features that disables)."""


def cards() -> list[dict[str, Any]]:
    """Return the card of every known exchange, generated from the ccxt that is installed (seconds: it is imported)."""
    import ccxt.pro

    return [card(getattr(ccxt.pro, exchange)(), quirks, ccxt.__version__) for exchange, quirks in sorted(QUIRKS.items())]


def card(client: Any, quirks: Quirks, version: str) -> dict[str, Any]:
    """Return one exchange's card."""
    has = {name: client.has.get(name) for name in client.has}
    types = ((client.features.get("swap") or {}).get("linear") or {}).get("createOrder") or {}
    made: dict[str, Any] = {
        "exchange": client.id,
        "name": client.name,
        "ccxt": version,
        "orders": {
            "live": quirks.live, "why_not": quirks.why_not, "types": ["limit", "market"] if has.get("createMarketOrder") else ["limit"],
            "time_in_force": sorted(k for k, v in (types.get("timeInForce") or {}).items() if v), "reduce_only": bool(has.get("createReduceOnlyOrder")),
            "socket": bool(quirks.order_url) and bool(has.get("createOrderWs")),
            "client_id": {"create": quirks.client_id, "cancel": quirks.cancel_by, "query": f"{quirks.query_by} ({quirks.query})"},
            "request_expiry_ms": _window(quirks), "cancel_all": bool(has.get("cancelAllOrders")),
        },
        "streams": {words: bool(has.get(name)) for words, name in STREAMS.items()},
        "funding": {
            "rate": "mark price stream" if quirks.funding_source == "mark" else "polled", "interval": _interval(has, quirks),
            "default_interval_s": quirks.funding_interval_s, "paid_history": bool(has.get("fetchFundingHistory")),
        },
        "contracts": _contracts(client),
        "margin_brackets": "all markets" if has.get("fetchLeverageTiers") is True else "one market" if has.get("fetchMarketLeverageTiers") is True else "none",
        "dead_man_timer": quirks.dead_man or ("in ccxt, not used" if has.get("cancelAllOrdersAfter") else ""),
        "deleveraging_rank": quirks.adl_rank,
        "key_permissions": bool(quirks.permissions),
        "sandbox": {"demo": "demo account", "test": "test network", "": "none"}[quirks.sandbox] + (", on the live host" if quirks.same_host else ""),
    }  # fmt: skip
    lost = [(what, costs) for what, missing, costs in LOSSES if missing(made)]
    made["missing"] = [what for what, _ in lost]
    made["disables"] = [costs for _, costs in lost]
    return made


def _contracts(client: Any) -> list[str]:
    """Return which kinds of contract a client trades; Binance's two clients share one description and differ in what they load."""
    kinds = {k for k in (client.features.get("swap") or {}) if k in ("linear", "inverse")}
    loaded = set((client.options.get("fetchMarkets") or {}).get("types") or ())
    return sorted(kinds & loaded or kinds)


def _window(quirks: Quirks) -> int | None:
    from bot.venues.perp_quirks import RECV_WINDOW_MS

    return RECV_WINDOW_MS if quirks.recv_window else None


def _interval(has: dict[str, Any], quirks: Quirks) -> str:
    """Return where the length of a funding interval comes from."""
    if has.get("fetchFundingIntervals") is True:
        return "asked for every market; those not listed have the default"
    return "told with the rate, else the default"


def committed() -> list[dict[str, Any]]:
    """Return the cards as they were generated last, without ccxt."""
    found: list[dict[str, Any]] = json.loads(files("bot.venues").joinpath(FILE).read_text(encoding="utf-8"))
    return found


def text_of(made: dict[str, Any]) -> list[str]:
    """Return a card as lines for people."""
    orders, streams = made["orders"], [words for words, there in made["streams"].items() if there]
    lines = [
        f"{made['exchange']} ({made['name']}, ccxt {made['ccxt']})",
        f"  orders     {'live' if orders['live'] else 'no: ' + orders['why_not']}",
        f"             {', '.join(orders['time_in_force'])}; reduce-only {_yes(orders['reduce_only'])}; socket {_yes(orders['socket'])}",
        f"  client id  create {orders['client_id']['create']}, cancel {orders['client_id']['cancel']}, query {orders['client_id']['query']}",
        f"  streams    {', '.join(streams)}",
        f"  funding    {made['funding']['rate']}; interval {made['funding']['interval']}",
        f"  contracts  {', '.join(made['contracts'])}; margin brackets {made['margin_brackets']}; sandbox {made['sandbox']}",
        f"  dead man   {made['dead_man_timer'] or 'none'}; deleveraging rank {_yes(made['deleveraging_rank'])}",
    ]
    return lines + [f"  without    {what}: {costs}" for what, costs in zip(made["missing"], made["disables"], strict=True)]


def _yes(there: bool) -> str:
    return "yes" if there else "no"


def main() -> None:
    """Write the cards to standard output."""
    json.dump(cards(), sys.stdout, indent=1, sort_keys=True, ensure_ascii=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
