"""One TCP connection of a Binance USD-M server, with the faults that bytes can suffer between two hosts.

It stands between the socket and the HTTP server: while a line is mute or half open nothing passes in either direction and no
connection ends; on a thin line bytes leave at so many a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from bot.sim.faults import FaultKind
from bot.wire.binance_faults import Faults
from bot.wire.world import World

K = FaultKind
PIECE_S = 0.05
"""How often a thin line lets bytes out."""


class Owner(Protocol):
    """The server as its lines see it."""

    world: World
    faults: Faults
    lines: set[Line]

    @property
    def refuses(self) -> bool: ...


class Line(asyncio.Protocol):
    """A connection. inner: the HTTP protocol that speaks on it."""

    def __init__(self, owner: Owner, inner: asyncio.Protocol) -> None:
        self._owner = owner
        self._inner = inner
        self._out: Outgoing | None = None
        self._since_ns = 0
        self.torn = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless the line is down."""
        assert isinstance(transport, asyncio.Transport)
        if self._owner.refuses:
            transport.abort()
            return
        self._since_ns = self._owner.world.clock()
        self._out = Outgoing(self, transport)
        self._owner.lines.add(self)
        self._inner.connection_made(self._out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._owner.lines.discard(self)
        if self._out is not None:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._out is not None and not self.vanishes():
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Take the peer's end."""
        return self._inner.eof_received() if self._out is not None else None

    def pause_writing(self) -> None:
        """Tell the inner protocol to wait."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the inner protocol to go on."""
        self._inner.resume_writing()

    def vanishes(self) -> bool:
        """Return whether bytes are lost now: on a mute server all, on a half-open line those of connections from before it broke."""
        now, plan = self._owner.world.clock(), self._owner.faults.plan
        half = plan.on(K.HALF_OPEN, now)
        kind = K.MUTE if plan.on(K.MUTE, now) is not None else K.HALF_OPEN if half is not None and self._since_ns < half.at_ns else None
        if kind is None:
            return False
        plan.hit(kind)
        self.torn = True
        return True

    def bytes_s(self) -> float:
        """Return how many bytes a second may leave, 0.0 for no limit."""
        fault = self._owner.faults.plan.strike(K.BANDWIDTH, self._owner.world.clock())
        return fault.arg("per_s") if fault is not None else 0.0

    def mind(self, now_ns: int) -> None:
        """Reset a connection that lost bytes once the line is whole again: its stream has a hole."""
        plan = self._owner.faults.plan
        if self.torn and plan.on(K.MUTE, now_ns) is None and plan.on(K.HALF_OPEN, now_ns) is None:
            self.cut()

    def cut(self) -> None:
        """Reset the connection."""
        if self._out is not None:
            self._out.abort()


class Outgoing(asyncio.Transport):
    """What the HTTP protocol writes to: the real transport, behind the faults of the line."""

    def __init__(self, line: Line, real: asyncio.Transport) -> None:
        super().__init__()
        self._line = line
        self._real = real
        self._waiting: deque[bytes] = deque()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes, later or never as the line has it."""
        if self._line.vanishes():
            return
        if self._waiting or self._line.bytes_s():
            self._waiting.append(bytes(data))
            if len(self._waiting) == 1:
                self._drip()
        else:
            self._real.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send pieces."""
        self.write(b"".join(list_of_data))

    def _drip(self) -> None:
        """Let out what a thin line lets out now, and the rest later."""
        rate = self._line.bytes_s()
        room = max(1, int(rate * PIECE_S)) if rate else sum(map(len, self._waiting))
        while self._waiting and room > 0:
            piece = self._waiting.popleft()
            self._real.write(piece[:room])
            if len(piece) > room:
                self._waiting.appendleft(piece[room:])
            room -= len(piece)
        if self._real.is_closing():
            self._waiting.clear()
        elif self._waiting:
            asyncio.get_running_loop().call_later(PIECE_S, self._drip)
        elif self._closing:
            self._real.close()

    def close(self) -> None:
        """Close once everything has left."""
        self._closing = True
        if not self._waiting:
            self._real.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._waiting.clear()
        self._real.abort()

    def is_closing(self) -> bool:
        """Return whether it is closing."""
        return self._closing or self._real.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the real transport knows."""
        return self._real.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self._real.get_write_buffer_size() + sum(map(len, self._waiting))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the inner protocol has to wait."""
        self._real.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """Stop reading."""
        self._real.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._real.resume_reading()

    def is_reading(self) -> bool:
        """Return whether it reads."""
        return self._real.is_reading()

    def can_write_eof(self) -> bool:
        """Return whether one direction can be closed alone: not here."""
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Refuse: the protocol of a line is given once."""
        raise NotImplementedError

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol behind the line."""
        return self._real.get_protocol()
