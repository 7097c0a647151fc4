"""The line by which servers of the wire say where they are, and what their simulated exchange signs with."""

from __future__ import annotations

import msgspec

HOST = "127.0.0.1"
KEY, SECRET = "wire-key", "wire-secret"
"""What the simulated exchange signs with unless told otherwise: of this market alone, so no secret."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers listen. account: the broker's; key, secret: what the exchange signs with, "" when it was told others.

    market_now: the market's time when the line was made. offset_ns: market time minus UTC.
    """

    event: str = "ready"
    pid: int
    seed: int
    tws_port: int
    perp_port: int
    reference_port: int
    account: str
    key: str
    secret: str
    market_now: str
    offset_ns: int
