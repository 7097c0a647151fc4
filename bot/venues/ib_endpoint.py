"""Where TWS or Gateway listens, who we are there, and how patient we are with it."""

from __future__ import annotations

import msgspec


class IbEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Ports by the broker's default: 7496 and 7497 TWS live and paper, 4001 and 4002 Gateway live and paper.

    client_id: of our own, never 0 (which would take over orders entered by hand). account: the one traded; "" only where the
    login has a single one. pins: per instrument the fingerprint of contract terms that was confirmed, see ib_contracts.
    depth_rows: of the book on each side, 0 where the login has no subscription to depth.
    """

    host: str
    port: int
    client_id: int
    account: str = ""
    pins: dict[str, str] = {}
    depth_rows: int = 0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of wall time. connect: a login may take. answer: a question may take. probe: between two proofs of life.

    stale: a market data stream may be silent while its market is open. retry, retry_max: first and longest pause before the
    next connection, each drawn between half and the whole of it. queued: an order may wait for room in the message budget.
    fresh: before a look is repeated that failed or showed an order neither alive nor gone. relink: the gateway may be without
    the broker before a new session is tried, in case word of the link's return was lost; as often a missing contract is asked for.
    """

    connect: float = 15.0
    answer: float = 10.0
    probe: float = 5.0
    stale: float = 30.0
    retry: float = 1.0
    retry_max: float = 30.0
    queued: float = 0.5
    fresh: float = 1.0
    relink: float = 300.0
