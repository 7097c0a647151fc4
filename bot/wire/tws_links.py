"""What lies behind the gateway and what it tells of it: its line to the broker, the data farm, who has the market data, its nightly restart.

Driven by the venue's fault plan; clients hear the broker's codes and nothing else. Damage to single frames is here too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.wire.tws_market import Data, MarketDesk

K = FaultKind
LOST, BACK_BARE, BACK = 1100, 1101, 1102
FARM_BROKEN, FARM_OK = 2103, 2104
DATA = {K.COMPETING_SESSION: Data.TAKEN, K.DATA_TYPE: Data.DELAYED}
"""What becomes of market data, the worse first."""
ENDLESS = 0x40000000
"""Added to a frame's length: more than any client will ever have got, so that it waits for the rest for good."""


class Links:
    """The gateway's own state. notify: tells every client a notice. heard: whether what the broker says reaches the gateway."""

    def __init__(self, plan: FaultPlan, notify: Callable[[int], None], market: MarketDesk) -> None:
        self._plan = plan
        self._notify = notify
        self._market = market
        self._lost: Fault | None = None
        self._blip: Fault | None = None
        self._restarting = False
        self._up = True

    @property
    def heard(self) -> bool:
        """Return whether the broker is reached and heard."""
        return self._lost is None and self._up

    def look(self, now_ns: int) -> None:
        """Let faults begin and end, and tell of it."""
        self._connectivity(self._plan.on(K.CONNECTIVITY, now_ns))
        self._farm(self._plan.on(K.FARM_BLIP, now_ns))
        self._restart(self._plan.on(K.RESTART, now_ns))
        kind = next((kind for kind in DATA if self._plan.on(kind, now_ns)), None)
        data = Data.LIVE if kind is None else DATA[kind]
        if data is not self._market.data:
            if kind is not None:
                self._plan.hit(kind)
            self._market.turn(data)
        self._market.held = not self.heard or self._blip is not None

    def venue(self, up: bool) -> None:
        """Take in that the venue's line broke or is back (a fault of every venue); subscriptions are kept."""
        if up is not self._up:
            self._up = up
            self._notify(BACK if up else LOST)

    def sent(self, message: bytes) -> bytes:
        """Return a frame as it leaves: whole, or with a length that lies, or with fields that mean nothing."""
        now = self._market.clock()
        if self._plan.strike(K.BAD_LENGTH, now):
            (length,) = struct.unpack(">I", message[:4])
            return struct.pack(">I", length + ENDLESS) + message[4:]
        if self._plan.strike(K.BAD_FRAME, now):
            kind, *rest = message[4:].split(b"\0")[:-1]
            body = b"".join(field + b"\0" for field in (kind, *[b"?"] * len(rest)))
            return struct.pack(">I", len(body)) + body
        return message

    def _connectivity(self, fault: Fault | None) -> None:
        if fault is self._lost:
            return
        if self._lost is not None:
            code = int(self._lost.arg("code"))
            if code == BACK_BARE:
                self._market.kill()
            self._notify(code)
        if fault is not None:
            self._plan.hit(K.CONNECTIVITY)
            self._notify(LOST)
        self._lost = fault

    def _restart(self, fault: Fault | None) -> None:
        """Give notice before a restart; the connections then end (bot.wire.lines)."""
        if fault is not None and not self._restarting:
            self._notify(LOST)
        self._restarting = fault is not None

    def _farm(self, fault: Fault | None) -> None:
        if fault is self._blip:
            return
        if self._blip is not None:
            self._notify(FARM_OK)
        if fault is not None:
            self._plan.hit(K.FARM_BLIP)
            self._market.kill()
            self._notify(FARM_BROKEN)
        self._blip = fault
