"""Frames and fields of the TWS socket protocol: four length bytes, then fields ended by NUL, all text.

The layouts are those that the public client libraries parse and write (server versions 157 to 178); every field that
appears only from some version on is written here once. Nothing here knows a market.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from decimal import Decimal

import msgspec

MIN_VERSION = 157
MAX_VERSION = 178
"""Text protocol only; newer versions frame protocol buffers (client sources, read 2026-11)."""
FRAME_MAX = 1 << 20
"""A request longer than this is no request: the peer has lost its place in the stream."""
UNSET = "1.7976931348623157E308"
"""What TWS sends for a float that has no value; a what-if order counts as answered only when its margins are not this."""


class ProtocolError(Exception):
    """Bytes that no client would send; the connection cannot go on."""


def frame(fields: Iterable[object]) -> bytes:
    """Return one message: length, then each field and a NUL."""
    body = "".join(f"{text(value)}\0" for value in fields).encode()
    return struct.pack(">I", len(body)) + body


def text(value: object) -> str:
    """Return a field as TWS writes it: empty for None, 1 and 0 for booleans, no exponent for numbers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value else "0"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


class Frames:
    """Cuts a byte stream into messages. feed raises ProtocolError for a length no request can have."""

    def __init__(self) -> None:
        self._data = b""

    def handshake(self, data: bytes) -> tuple[int, int] | None:
        """Take bytes until the greeting is whole; return the versions the client speaks, from and to."""
        self._data += data
        if not b"API\0".startswith(self._data[:4]) and self._data[:4] != b"API\0":
            raise ProtocolError("no API greeting")
        if len(self._data) < 8:
            return None
        (length,) = struct.unpack(">I", self._data[4:8])
        if length > 256:
            raise ProtocolError(f"a greeting of {length} bytes")
        if len(self._data) < 8 + length:
            return None
        spoken = self._data[8 : 8 + length].split(b" ")[0].decode(errors="replace")
        self._data = self._data[8 + length :]
        low, _, high = spoken.removeprefix("v").partition("..")
        try:
            return int(low), int(high or low)
        except ValueError:
            raise ProtocolError(f"versions {spoken!r}") from None

    def feed(self, data: bytes) -> list[list[str]]:
        """Take bytes; return the messages they complete, each as its fields."""
        self._data += data
        out = []
        while len(self._data) >= 4:
            (length,) = struct.unpack(">I", self._data[:4])
            if length > FRAME_MAX:
                raise ProtocolError(f"a message of {length} bytes")
            if len(self._data) < 4 + length:
                break
            out.append(self._data[4 : 4 + length].decode(errors="replace").split("\0")[:-1])
            self._data = self._data[4 + length :]
        return out


class Fields:
    """Reads the fields of one request in order. Every reader raises ProtocolError at the end of the message."""

    def __init__(self, fields: list[str]) -> None:
        self._fields = fields
        self._at = 0

    def text(self) -> str:
        """Return the next field."""
        if self._at >= len(self._fields):
            raise ProtocolError("a message ends too early")
        self._at += 1
        return self._fields[self._at - 1]

    def whole(self, default: int = 0) -> int:
        """Return the next field as a whole number; `default` when it is empty."""
        value = self.text()
        try:
            return int(float(value)) if value else default
        except (ValueError, OverflowError):
            raise ProtocolError(f"{value!r} is not a whole number") from None

    def number(self, default: float = 0.0) -> float:
        """Return the next field as a number; `default` when it is empty."""
        value = self.text()
        try:
            return float(value) if value else default
        except ValueError:
            raise ProtocolError(f"{value!r} is not a number") from None

    def truth(self) -> bool:
        """Return the next field as a truth value."""
        return self.text().lower() in ("1", "true")

    def skip(self, count: int) -> None:
        """Pass over fields."""
        for _ in range(count):
            self.text()

    @property
    def left(self) -> int:
        """Return how many fields follow."""
        return len(self._fields) - self._at


class ContractFields(msgspec.Struct, frozen=True, kw_only=True):
    """A contract as a request names it; empty means any."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    expiry: str = ""
    strike: str = ""
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""


def read_contract(fields: Fields, *, primary: bool = True) -> ContractFields:
    """Read the contract of a request. primary: whether the layout carries the primary exchange."""
    return ContractFields(
        con_id=fields.whole(), symbol=fields.text(), sec_type=fields.text(), expiry=fields.text(), strike=fields.text(), right=fields.text(),
        multiplier=fields.text(), exchange=fields.text(), primary_exchange=fields.text() if primary else "", currency=fields.text(),
        local_symbol=fields.text(), trading_class=fields.text(),
    )  # fmt: skip


class OrderFields(msgspec.Struct, frozen=True, kw_only=True):
    """What a placeOrder asks for, as far as a future's limit or market order goes."""

    order_id: int
    contract: ContractFields
    action: str
    qty: str
    order_type: str
    limit: float
    tif: str
    account: str
    order_ref: str
    transmit: bool
    outside_rth: bool
    what_if: bool


def read_order(fields: Fields, version: int) -> OrderFields:
    """Read a placeOrder (message 3, without its number). Raises ProtocolError for combinations: they are not futures."""
    order_id, contract = fields.whole(), read_contract(fields)
    fields.skip(2)  # secIdType, secId
    action, qty, order_type = fields.text(), fields.text(), fields.text()
    limit = fields.number()
    fields.skip(1)  # auxPrice
    tif = fields.text()
    fields.skip(1)  # ocaGroup
    account = fields.text()
    fields.skip(2)  # openClose, origin
    order_ref, transmit = fields.text(), fields.text() != "0"
    fields.skip(5)  # parentId, blockOrder, sweepToFill, displaySize, triggerMethod
    outside_rth = fields.truth()
    fields.skip(1)  # hidden
    if contract.sec_type == "BAG":
        raise ProtocolError("combinations are not served")
    fields.skip(30 if version < 177 else 29)  # sharesAllocation .. volatilityType, until 176 with faProfile
    if fields.text():  # deltaNeutralOrderType: a value inserts eight fields behind deltaNeutralAuxPrice
        fields.skip(9)
    else:
        fields.skip(1)
    fields.skip(6)  # continuousUpdate .. scaleSubsLevelSize
    if 0.0 < fields.number() < 1e300:  # scalePriceIncrement
        fields.skip(7)
    fields.skip(3)  # scaleTable, activeStartTime, activeStopTime
    if fields.text():  # hedgeType
        fields.skip(1)
    fields.skip(4)  # optOutSmartRouting, clearingAccount, clearingIntent, notHeld
    if fields.truth():  # deltaNeutralContract
        fields.skip(3)
    if fields.text():  # algoStrategy
        fields.skip(2 * fields.whole())
    fields.skip(1)  # algoId
    what_if = fields.truth()
    return OrderFields(
        order_id=order_id, contract=contract, action=action, qty=qty, order_type=order_type, limit=limit, tif=tif, account=account,
        order_ref=order_ref, transmit=transmit, outside_rth=outside_rth, what_if=what_if,
    )  # fmt: skip
