"""How to reach one exchange of perpetuals."""

from __future__ import annotations

import msgspec

from bot.venues.secret import Secret


class PerpEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """exchange: ccxt id, e.g. binanceusdm. sandbox: the exchange's own test environment.

    base_url: "http://127.0.0.1:PORT" of a loopback server; it replaces scheme and host of every URL. order_socket: orders go
    over the WebSocket order API where the exchange has one (REST is the fallback while it is down). leverage: what every
    symbol must be set to at the venue, 0 to leave it alone. depth_rows: of the book on each side, 0 for the touch alone.
    """

    exchange: str
    key: Secret | str = Secret()
    secret: Secret | str = Secret()
    password: Secret | str = Secret()
    sandbox: bool = True
    base_url: str = ""
    order_socket: bool = True
    leverage: int = 0
    depth_rows: int = 0

    def __post_init__(self) -> None:
        for name in ("key", "secret", "password"):
            value = getattr(self, name)
            if isinstance(value, str):
                msgspec.structs.force_setattr(self, name, Secret(value))

    @property
    def keyed(self) -> bool:
        """Return whether there are credentials: without, only public data can be had."""
        return bool(self.key) and bool(self.secret)


def plain(value: Secret | str) -> str:
    """Return a credential itself, for the library that signs."""
    return value.reveal() if isinstance(value, Secret) else value
