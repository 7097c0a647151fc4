"""The ccxt.pro client of one exchange as this desk uses it: no throttle and no retries of its own, every URL known, every
reply checked for its shape, its clock ours, the right table of error codes.

ccxt is imported when a client is built and not before: it takes seconds.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bot.model.errors import ConfigError
from bot.venues.egress import guarded_session, hosts_in, moved
from bot.venues.perp_endpoint import PerpEndpoint, plain
from bot.venues.perp_quirks import RECV_WINDOW_MS, Quirks, quirks_of

TIMEOUT_MS = 10_000
PING_MS = 5_000
"""WebSockets are pinged this often; two missed answers end the connection."""
BAN_S = 10.0
"""How long nothing is sent after a 418 or 429 that does not say for how long."""


def build(endpoint: PerpEndpoint, clock: Callable[[], int]) -> Any:
    """Return a client, not yet connected. clock: UTC ns, the desk's. Needs a running event loop.

    Raises ConfigError for an exchange or a sandbox that is not known, or a sandbox that did not take.
    """
    quirks = quirks_of(endpoint.exchange)
    import ccxt.pro

    client = _adapted(getattr(ccxt.pro, endpoint.exchange), quirks, clock)({
        "apiKey": plain(endpoint.key), "secret": plain(endpoint.secret), "password": plain(endpoint.password), "enableRateLimit": False, "timeout": TIMEOUT_MS,
        "streaming": {"keepAlive": PING_MS},
        "options": {**quirks.options, "adjustForTimeDifference": False, "maxRetriesOnFailure": 0, "hasAlreadyAuthenticatedSuccessfully": False,
                    "ws": {"compress": 0}, "watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False}},
    })  # fmt: skip
    if quirks.recv_window:
        client.options["recvWindow"] = RECV_WINDOW_MS
    client.has["fetchCurrencies"] = False  # it would ask hosts that have nothing to do with perpetuals
    _place(client, endpoint, quirks)
    verify = True if endpoint.base_url else ssl.create_default_context(cafile=client.cafile)
    client.session = guarded_session(_hosts(client), verify)
    client.own_session = False
    return client


def _hosts(client: Any) -> frozenset[str]:
    """Return the hosts of the client's URLs, some of which ccxt completes with its host name only when it uses them."""

    def whole(urls: Any) -> Any:
        if isinstance(urls, str):
            return client.implode_hostname(urls) if client.hostname else urls
        if isinstance(urls, dict):
            return {k: whole(v) for k, v in urls.items()}
        return urls

    return hosts_in(whole(client.urls["api"]))


def _place(client: Any, endpoint: PerpEndpoint, quirks: Quirks) -> None:
    """Point the client at a loopback server, at the exchange's sandbox, or leave it at the exchange."""
    if endpoint.base_url:
        host = urlsplit(endpoint.base_url).hostname
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(f"base_url {endpoint.base_url}: a server of our own runs on loopback only")
        client.urls = {**client.urls, "api": moved(client.urls["api"], endpoint.base_url)}
        client.urls.pop("test", None)
        return
    if not endpoint.sandbox:
        return
    if quirks.sandbox == "demo":
        client.enable_demo_trading(True)
    elif quirks.sandbox == "test":
        client.set_sandbox_mode(True)
    else:
        raise ConfigError(f"{endpoint.exchange} has no sandbox")
    if quirks.same_host and not sandboxed(client):
        raise ConfigError(f"{endpoint.exchange}: its sandbox is on the live host and the mark that tells them apart is missing")


def sandboxed(client: Any) -> bool:
    """Return whether a client of a same-host sandbox carries the mark of the sandbox."""
    if client.id == "okx":
        return bool(client.headers.get("x-simulated-trading") == "1")
    return bool(client.options.get("sandboxMode"))


def _adapted(base: Any, quirks: Quirks, clock: Callable[[], int]) -> Any:
    """Return the exchange's class with our clock, error table and checks of replies."""
    import ccxt

    class Adapted(base):  # type: ignore[misc]
        offset_ms = 0
        banned_s = 0.0

        def milliseconds(self) -> int:
            return clock() // 1_000_000 + self.offset_ms

        def get_exceptions_by_url(self, url: str, kind: str) -> Any:
            if quirks.error_map:
                return self.exceptions[quirks.error_map].get(kind, {})
            return super().get_exceptions_by_url(url, kind)

        def on_rest_response(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any) -> str:
            if code in (418, 429):
                self.banned_s = max(self.banned_s, _seconds(headers.get("Retry-After")))
            if code == 403:
                raise ccxt.PermissionDenied(f"{self.id} {method} 403: refused before it reached the exchange")
            return str(super().on_rest_response(code, reason, url, method, headers, body, *rest))

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            reply = await super().fetch(url, method, headers, body)
            why = misshapen(reply, urlsplit(url).path, quirks)
            if why:
                raise ccxt.BadResponse(f"{self.id} {method} {urlsplit(url).path}: {why}")
            return reply

        def handle_message(self, client: Any, message: Any) -> None:
            if isinstance(message, dict) and message.get("e") == "listenKeyExpired":  # ccxt would go on listening to nothing
                client.reject(ccxt.NetworkError(f"{self.id}: the listen key of the account's stream expired"))
                return
            super().handle_message(client, message)

    Adapted.__name__ = base.__name__
    return Adapted


def misshapen(reply: Any, path: str, quirks: Quirks) -> str:
    """Return what is wrong with the shape of a successful reply, "" when nothing is.

    HTTP 200 with a page, an empty body or somebody else's JSON raises nothing in ccxt and reads as "no positions".
    """
    if not isinstance(reply, dict | list):
        return "no JSON in the answer"
    if any(path.endswith(end) for end in quirks.lists) and not isinstance(reply, list):
        return "not the list it should be"
    if quirks.envelope and (not isinstance(reply, dict) or any(key not in reply for key in quirks.envelope)):
        return "not in the exchange's envelope"
    return ""


def _seconds(value: Any) -> float:
    """Return the seconds of a Retry-After header; one that is absent or no number is a ban of BAN_S."""
    try:
        return max(1.0, float(value))
    except (TypeError, ValueError):
        return BAN_S
