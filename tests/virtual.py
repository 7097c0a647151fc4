"""Event loops whose clock moves only when nothing is left to do, so that seconds of patience cost nothing.

`VirtualLoop` works on real sockets; `MemoryLoop` also carries connections to 127.0.0.1 itself, from one protocol's write to the
other's `data_received`, without a socket and without a byte of a system call. Protocols, libraries and servers notice neither.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

GRACE_S = 0.001
"""Wall time that loopback may take to hand over what was sent, before silence counts as silence."""
OTHERS_S = 0.05
"""Wall time to wait for threads when nothing at all is scheduled."""
FIRST_PORT = 50_000


class _Patience(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Reports what is ready; when nothing is, moves its loop's clock to the next timer instead of waiting."""

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self.grace_s = grace_s
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return super().select(OTHERS_S)
        if self.grace_s and (ready := super().select(min(timeout, self.grace_s))):
            return ready
        self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time on real sockets."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._patience = _Patience(grace_s)
        super().__init__(self._patience)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._patience.now


class _Side(asyncio.Transport):
    """One end of a connection in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, port: int) -> None:
        super().__init__({"peername": ("127.0.0.1", port), "sockname": ("127.0.0.1", port)})
        self._loop = loop
        self._protocol: Any = protocol
        self._closing = False
        self.peer: _Side = self

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self.peer.hear, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def hear(self, data: bytes) -> None:
        """Take what the other end wrote."""
        if not self._closing:
            self._protocol.data_received(data)

    def close(self) -> None:
        """End the connection behind what was written."""
        self._end(None)

    def abort(self) -> None:
        """Reset the connection."""
        self._end(ConnectionResetError("reset in memory"))

    def _end(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self.peer._ended, error)

    def _ended(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            if error is None:
                self._protocol.eof_received()
            self._protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def pause_reading(self) -> None:
        """Nothing is ever held back: what is written is read before virtual time goes on."""

    def resume_reading(self) -> None:
        """See pause_reading."""

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        """Say that nothing more will be written: nobody here waits for that."""


class _Door:
    """A server in memory, as far as asyncio.Server is used."""

    def __init__(self, doors: dict[int, Callable[[], Any]], port: int) -> None:
        self._doors = doors
        self._port = port
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def close(self) -> None:
        self._doors.pop(self._port, None)

    async def wait_closed(self) -> None:
        """Closed at once."""


class MemoryLoop(VirtualLoop):
    """A loop in virtual time that carries its own connections."""

    def __init__(self) -> None:
        super().__init__(grace_s=0.0)
        self._doors: dict[int, Callable[[], Any]] = {}
        self._meant: dict[int, int] = {}
        self._opened = 0

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:  # type: ignore[override]
        sock = more.get("sock")
        number = sock.getsockname()[1] if sock is not None else port or FIRST_PORT + self._opened
        self._opened += 1
        self._doors[number] = protocol_factory
        return _Door(self._doors, number)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Remember where a socket is meant to go: `create_connection` gets it next and lets nothing out through it."""
        if address[1] not in self._doors:
            raise ConnectionRefusedError(f"nobody listens on {address[1]}")
        self._meant[sock.fileno()] = address[1]

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:  # type: ignore[override]
        sock = more.get("sock")
        number = port if sock is None else self._meant.pop(sock.fileno())
        if sock is not None:
            sock.close()
        if number not in self._doors:
            raise ConnectionRefusedError(f"nobody listens on {number}")
        here, there = _Side(self, protocol_factory(), number), _Side(self, self._doors[number](), number)
        here.peer, there.peer = there, here
        there.get_protocol().connection_made(there)
        here.get_protocol().connection_made(here)
        await asyncio.sleep(0)
        return here, here.get_protocol()
