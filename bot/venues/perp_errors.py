"""What an error of ccxt says about the request that met it: whether an order may exist is all that matters.

The classes alone do not say it: everything above InvalidOrder descends from OperationFailed, a rate limit is a network error
and a reply that cannot be read is not, so the table is in the order of its rows.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from bot.venues.egress import EgressRefused
from bot.venues.perp_quirks import Quirks


class Meaning(StrEnum):
    """What is known after an error."""

    NOT_SENT = "not sent"
    REFUSED = "refused"
    THROTTLED = "throttled"
    CLOCK = "clock"
    KEY = "key"
    NOT_FOUND = "not found"
    UNKNOWN = "unknown"


class Verdict(msgspec.Struct, frozen=True):
    """Meaning of an error and its words, without credentials. exists: the client id is taken, by this very order if sent before."""

    meaning: Meaning
    text: str
    exists: bool = False

    @property
    def no_order(self) -> bool:
        """Return whether it proves that this request made no order."""
        return self.meaning is not Meaning.UNKNOWN and not self.exists


SHAPE_ERRORS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What parsing a reply of an unexpected shape raises: it was sent, and its answer says nothing."""

_CODE = re.compile(r'"(?:code|retCode|sCode|ret_code)"\s*:\s*"?(-?\d+)')
_SECRETS = re.compile(r"(?i)((?:signature|apikey|api_key|listenkey|sign)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+")
_TEXT_MAX = 300


def codes_in(text: str) -> tuple[str, ...]:
    """Return the exchange's own error codes in an error's text, success codes left out."""
    return tuple(c for c in _CODE.findall(text) if c not in ("0", "1", "200"))


def told(error: BaseException) -> str:
    """Return an error as one line without signatures and keys."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return _SECRETS.sub(r"\1***", text)[:_TEXT_MAX]


def verdict(error: BaseException, quirks: Quirks) -> Verdict:
    """Return what an error says about the request that met it."""
    text, raw = told(error), str(error)
    codes = codes_in(raw)
    if isinstance(error, EgressRefused):
        return Verdict(Meaning.NOT_SENT, text)
    if quirks.duplicate.intersection(codes):
        return Verdict(Meaning.REFUSED, text, exists=True)
    if quirks.ambiguous.intersection(codes):
        return Verdict(Meaning.UNKNOWN, text)
    return _by_class(error, text, codes)


def _by_class(error: BaseException, text: str, codes: tuple[str, ...]) -> Verdict:
    import aiohttp
    import ccxt

    if not isinstance(error, ccxt.BaseError):
        return Verdict(Meaning.UNKNOWN, text)
    if isinstance(error, ccxt.DuplicateOrderId):
        return Verdict(Meaning.REFUSED, text, exists=True)
    rows: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Meaning], ...] = (
        ((ccxt.DDoSProtection, ccxt.RateLimitExceeded), Meaning.THROTTLED),
        (ccxt.ChecksumError, Meaning.UNKNOWN),
        (ccxt.InvalidNonce, Meaning.CLOCK),
        (ccxt.RequestTimeout, Meaning.UNKNOWN),
        (ccxt.ExchangeClosedByUser, Meaning.NOT_SENT),
    )
    for classes, meaning in rows:
        if isinstance(error, classes):
            return Verdict(meaning, text)
    refused_connect = isinstance(error.__cause__, aiohttp.ClientConnectorError)
    if isinstance(error, ccxt.ExchangeNotAvailable) and refused_connect:
        return Verdict(Meaning.NOT_SENT, text)
    if isinstance(error, ccxt.OperationFailed):
        return Verdict(Meaning.UNKNOWN, text)
    if isinstance(error, ccxt.AuthenticationError) and not isinstance(error, ccxt.PermissionDenied):  # that is about one request
        return Verdict(Meaning.KEY, text)
    if isinstance(error, ccxt.OrderNotFound):
        return Verdict(Meaning.NOT_FOUND, text)
    if type(error) is ccxt.ExchangeError and not codes:  # a broken reply, or one whose code nobody knows
        return Verdict(Meaning.UNKNOWN, text)
    return Verdict(Meaning.REFUSED, text)
