"""The order socket of one exchange, written to in the very call that sends: an order waits for no turn of the event loop.

ccxt's create_order_ws builds every request anew and writes it two turns later, behind whatever else is due by then. Here the
request that ccxt makes is kept for each kind of order, and only size, price, id, time and signature are new; the answer takes
ccxt's own road back. Exchanges without `order_method` in their quirks go through create_order_ws as before.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import msgspec

from bot.model.ids import InstrumentId
from bot.model.order import OrderSpec, Side, TimeInForce
from bot.venues.perp_line import Line

TIF = {TimeInForce.IOC: "IOC", TimeInForce.DAY: "GTC"}
"""Exchanges of perpetuals have no day: the desk cancels what it left working."""

Kind = tuple[InstrumentId, Side, TimeInForce, bool]


class Form(msgspec.Struct, frozen=True):
    """The request of one kind of order. fields: what is signed, sorted by name, with its text; None for what each order fills in."""

    request: dict[str, Any]
    fields: tuple[tuple[str, str | None], ...]


class OrderSocket:
    """The order socket of one line. wanted: orders may go over it."""

    def __init__(self, line: Line, wanted: bool) -> None:
        self._line = line
        self._wanted = wanted and line.quirks.order_url is not None
        self._forms: dict[Kind, Form] = {}

    @property
    def up(self) -> bool:
        """Return whether it is open right now; an order never waits for it to be dialled."""
        connection = self._connection()
        return connection is not None and bool(connection.isConnected) and not connection.closed()

    @property
    def direct(self) -> bool:
        """Return whether `place` can be used now."""
        return bool(self._line.quirks.order_method) and self.up

    def place(self, spec: OrderSpec) -> asyncio.Future[Any]:
        """Write an order and return the future of ccxt's order. What it raises was raised before anything was written."""
        client, connection = self._line.client, self._connection()
        number = str(client.request_id(connection.url))
        message = {"id": number, "method": self._line.quirks.order_method, "params": self._signed(spec)}
        sending = connection.connection.send_str(json.dumps(message, separators=(",", ":")))
        answer: asyncio.Future[Any] = connection.future(number)
        connection.subscriptions[number] = {"method": client.handle_order_ws}
        try:
            _begin(sending)
        except (OSError, RuntimeError) as error:
            connection.futures.pop(number, None)
            answer.set_exception(error)
        return answer

    def arguments(self, spec: OrderSpec) -> tuple[Any, ...]:
        """Return what create_order and create_order_ws of ccxt take for an order."""
        quirks = self._line.quirks
        params = {**quirks.params, quirks.client_id: spec.client_id, "timeInForce": TIF[spec.tif]}
        if spec.reduce_only:
            params["reduceOnly"] = True
        return self._line.symbols.symbol[spec.instrument], "limit", spec.side.value, float(spec.qty), float(spec.limit), params

    def _connection(self) -> Any:
        client = self._line.client
        return (client.clients or {}).get(self._line.quirks.order_url(client)) if self._wanted and self._line.quirks.order_url is not None else None

    def _signed(self, spec: OrderSpec) -> dict[str, Any]:
        """Return the parameters of an order as ccxt makes them, and signs them with an HMAC key."""
        client, kind = self._line.client, (spec.instrument, spec.side, spec.tif, spec.reduce_only)
        form = self._forms.get(kind)
        if form is None:
            form = self._forms[kind] = self._form(spec)
        fresh: dict[str, Any] = {
            "quantity": plain(spec.qty), "price": plain(spec.limit), "newClientOrderId": spec.client_id, self._line.quirks.client_id: spec.client_id,
            "timestamp": client.nonce(),
        }  # fmt: skip
        if "PRIVATE KEY" in client.secret:
            return dict(client.sign_params({**form.request, **fresh}))
        query = "&".join([f"{name}={fresh[name] if text is None else text}" for name, text in form.fields])
        signature = hmac.digest(client.secret.encode(), query.encode(), "sha256").hex()
        return {**form.request, **fresh, "signature": signature}

    def _form(self, spec: OrderSpec) -> Form:
        """Let ccxt make and sign an order of this kind, and keep what the next one has in common with it."""
        client = self._line.client
        *what, params = self.arguments(spec)
        made = client.create_order_request(*what, params)
        request = client.sign_params({**made, "returnRateLimits": False, **params})
        del request["signature"]
        own = {"quantity", "price", "newClientOrderId", self._line.quirks.client_id, "timestamp"}
        fields = tuple((name, None if name in own else client.rawencode({name: request[name]}).partition("=")[2]) for name in sorted(request))
        return Form(request, fields)


def plain(value: Decimal) -> str:
    """Return a number without exponent and without zeros at its end.

    >>> plain(Decimal("70000.10")), plain(Decimal("7E+4")), plain(Decimal("0.100"))
    ('70000.1', '70000', '0.1')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _begin(sending: Coroutine[Any, Any, None]) -> None:
    """Let aiohttp write a frame now. When it waits, for room in a full buffer, the frame is in that buffer already."""
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
