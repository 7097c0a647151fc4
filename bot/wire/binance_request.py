"""What a client asks of a Binance USD-M server: parameters, its key, its signature and its idea of the time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl, quote, urlencode

from bot.wire.binance_errors import Refused

RECV_WINDOW_MS = 5_000
"""How old a request may be when it does not say itself."""
LONGEST_WINDOW_MS = 60_000
AHEAD_MS = 1_000
"""How far ahead of the server's clock a timestamp may be."""


class Params(dict[str, str]):
    """Parameters of a request, all text."""

    def need(self, name: str) -> str:
        """Return a parameter. Raises Refused when it is missing or empty."""
        value = self.get(name, "")
        if not value:
            raise Refused(-1102, name)
        return value

    def number(self, name: str) -> Decimal | None:
        """Return a decimal number, None when it is not given. Raises Refused for anything else."""
        value = self.get(name, "")
        if not value:
            return None
        try:
            found = Decimal(value)
        except InvalidOperation:
            raise Refused(-1100) from None
        if not found.is_finite() or abs(found) > 10**15 or not -16 <= int(found.as_tuple().exponent) <= 15:
            raise Refused(-1100)
        return found

    def whole(self, name: str, otherwise: int) -> int:
        """Return a whole number. Raises Refused for anything else."""
        value = self.get(name, "")
        if not value:
            return otherwise
        if not value.lstrip("-").isascii() or not value.lstrip("-").isdigit() or len(value) > 18:
            raise Refused(-1102, name)
        return int(value)

    def truth(self, name: str) -> bool:
        """Return a yes or no, no when not given."""
        value = self.get(name, "").lower()
        if value not in ("", "true", "false"):
            raise Refused(-1130, name)
        return value == "true"


def parsed(*parts: str) -> Params:
    """Return the parameters of query string and body; the later wins."""
    out = Params()
    for part in parts:
        out.update(parse_qsl(part, keep_blank_values=True, errors="replace"))
    return out


def sign(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of a payload, in hex."""
    return hmac.new(secret.encode(), payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def unsigned(part: str) -> str:
    """Return a query string or form without its signature."""
    return "&".join(pair for pair in part.split("&") if pair and not pair.startswith("signature="))


def check_key(key: str, keys: Mapping[str, str]) -> str:
    """Return the secret of an API key. Raises Refused."""
    if not key:
        raise Refused(-2014)
    if key not in keys:
        raise Refused(-2015)
    return keys[key]


def check_time(params: Params, now_ms: int) -> None:
    """Raise Refused unless the request is fresh by the server's clock."""
    if not params.get("timestamp"):
        raise Refused(-1102, "timestamp")
    stamp = params.whole("timestamp", 0)
    window = params.whole("recvWindow", RECV_WINDOW_MS)
    if not 0 < window <= LONGEST_WINDOW_MS:
        raise Refused(-1130, "recvWindow")
    if stamp >= now_ms + AHEAD_MS:
        raise Refused(-1021, told=f"Timestamp for this request was {AHEAD_MS}ms ahead of the server's time.")
    if now_ms - stamp > window:
        raise Refused(-1021)


def check_rest(params: Params, query: str, body: str, key: str, keys: Mapping[str, str], now_ms: int) -> None:
    """Check key, time and signature of a REST request: the signature is over query string and body as they were sent."""
    secret = check_key(key, keys)
    check_time(params, now_ms)
    given = params.get("signature", "")
    if not given:
        raise Refused(-1102, "signature")
    _compare(given, sign(secret, unsigned(query) + unsigned(body)))


def check_socket(params: Params, keys: Mapping[str, str], now_ms: int) -> None:
    """Check a request of the order socket: the signature is over its parameters in the order of their names."""
    secret = check_key(params.get("apiKey", ""), keys)
    check_time(params, now_ms)
    pairs = sorted((name, value) for name, value in params.items() if name != "signature")
    given = params.get("signature", "")
    plain = sign(secret, "&".join(f"{name}={value}" for name, value in pairs))
    if hmac.compare_digest(given.encode("utf-8", "replace"), plain.encode()):
        return
    _compare(given, sign(secret, urlencode(pairs, quote_via=quote)))


def _compare(given: str, right: str) -> None:
    if not hmac.compare_digest(given.encode("utf-8", "replace"), right.encode()):
        raise Refused(-1022)
