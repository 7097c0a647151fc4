"""The lines between a server and its clients, and what they suffer: cut, mute, half open, slow. Any asyncio protocol can stand behind one.

A line stands between a socket and the protocol that serves it: the protocol sees a transport, the socket sees a protocol,
and what passes is held back, kept or lost as the venue's fault plan says. Faults begin and end when `look` is called.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from bot.sim.faults import FaultKind, FaultPlan

_S = 1_000_000_000
K = FaultKind


class Lines:
    """The door of one server and every line through it. make: a protocol for each new connection. shuts: kinds that cut all and refuse new ones.

    plan: whose faults strike. clock: UTC ns.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], plan: FaultPlan, clock: Callable[[], int], shuts: tuple[FaultKind, ...] = (K.DROP,)) -> None:
        self.plan = plan
        self.clock = clock
        self.host, self.port = "", 0
        self._make = make
        self._shuts = shuts
        self._lines: set[Line] = set()
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._budget = 0.0
        self._looked = clock()

    async def open(self, host: str, port: int) -> None:
        """Listen on host and port; port 0 lets the system choose."""
        self._socket = _bound(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        await self._listen()

    async def close(self) -> None:
        """Stop listening and cut every line."""
        if self._opening is not None:
            await self._opening
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.cut()
        if server is not None:
            await server.wait_closed()

    def cut(self) -> None:
        """Cut every line with a reset."""
        for line in list(self._lines):
            line.abort()

    def look(self, now_ns: int) -> None:
        """Let faults begin and end, and let out what a slow line may carry by now."""
        shut = next((kind for kind in self._shuts if self.plan.on(kind, now_ns)), None)
        if shut is not None and self._server is not None:
            self.plan.hit(shut)
            self._shut(reset=shut is K.DROP)
        elif shut is None and self._server is None and self._socket is not None and self._opening is None:
            self._socket.listen()  # whoever calls from now on waits until the loop comes round to it
            self._opening = asyncio.get_running_loop().create_task(self._listen())
        for line in list(self._lines):
            line.look(now_ns)
        slow = self.plan.on(K.BANDWIDTH, now_ns)
        if slow is not None:
            self._budget = min(self._budget + slow.arg("per_s") * (now_ns - self._looked) / _S, slow.arg("per_s"))
        for line in list(self._lines):
            self._budget -= line.let_out(None if slow is None else int(self._budget))
        self._looked = now_ns
        if slow is None:
            self._budget = 0.0

    # What lines ask of it.

    def joined(self, line: Line) -> None:
        """Take note of a line."""
        self._lines.add(line)

    def left(self, line: Line) -> None:
        """Forget a line."""
        self._lines.discard(line)

    def loses(self, made_ns: int) -> FaultKind | None:
        """Return the kind by which what is being said on a line of that age is lost, None when it arrives."""
        now = self.clock()
        if self.plan.strike(K.MUTE, now):
            return K.MUTE
        half = self.plan.on(K.HALF_OPEN, now)
        if half is not None and made_ns < half.at_ns:
            self.plan.hit(K.HALF_OPEN)
            return K.HALF_OPEN
        return None

    @property
    def slow(self) -> bool:
        """Return whether so many bytes a second are let out only."""
        return self.plan.on(K.BANDWIDTH, self.clock()) is not None

    # Inside.

    def _shut(self, reset: bool) -> None:
        """End all lines and refuse new ones, keeping the port: a socket that is bound and does not listen."""
        assert self._server is not None
        self._server.close()
        self._server = None
        for line in list(self._lines):
            line.abort() if reset else line.close()
        self._socket = _bound(self.host, self.port)

    async def _listen(self) -> None:
        assert self._socket is not None
        self._server = await asyncio.get_running_loop().create_server(lambda: Line(self._make(), self), sock=self._socket)
        self._opening = None


class Line(asyncio.Protocol):
    """One connection: the socket's protocol outside, the protocol's transport inside.

    Mute hurts every line, half open those from before. A line on which something was lost never recovers, because no stream
    survives a hole: it stays open without a word and is reset when the fault ends. Of a client that leaves a half-open
    line the server knows nothing until then.
    """

    def __init__(self, inner: asyncio.Protocol, lines: Lines) -> None:
        self._inner = inner
        self._lines = lines
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._waiting = bytearray()
        self._ends = False
        self._hurt: FaultKind | None = None
        self._left = False
        self._made_ns = lines.clock()

    # The socket's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._lines.joined(self)
        self._inner.connection_made(cast(asyncio.Transport, self))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol, unless it cannot know."""
        if not self._ends and self._loses() and self._hurt is K.HALF_OPEN:
            self._left = True
            return
        self._lines.left(self)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let bytes of the client through, or not."""
        if not self._loses():
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Tell the protocol that the client says no more."""
        return None if self._loses() else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass the socket's wish on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass the socket's wish on."""
        self._inner.resume_writing()

    # The protocol's side: what is not here is the socket's own transport.

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes: at once, bit by bit, or into the void."""
        if self._loses():
            return
        if self._waiting or self._lines.slow:
            self._waiting += data
        else:
            self._transport.write(data)

    def writelines(self, parts: Any) -> None:
        """Send bytes in parts."""
        self.write(b"".join(parts))

    def close(self) -> None:
        """Close when everything is out."""
        self._ends = True
        if self._left:
            self.abort()
        elif not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Reset the connection: the peer is told of an error, not of an end."""
        self._waiting.clear()
        self._ends = True
        if self._left:
            self._left = False
            self.connection_lost(None)
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the end has been asked for."""
        return self._ends or self._transport.is_closing()

    def look(self, now_ns: int) -> None:
        """Reset a line that was hurt when what hurt it is over."""
        if self._hurt is not None and not self._ends and self._lines.plan.on(self._hurt, now_ns) is None:
            self.abort()

    def let_out(self, most: int | None) -> int:
        """Send at most so many waiting bytes (None: all); return how many."""
        part = self._waiting[:most]
        if part:
            if most is not None:
                self._lines.plan.hit(K.BANDWIDTH)
            del self._waiting[: len(part)]
            self._transport.write(bytes(part))
        if self._ends and not self._waiting and not self._transport.is_closing():
            self._transport.close()
        return len(part)

    def _loses(self) -> bool:
        """Return whether what is being said is lost; a line that lost something goes on losing."""
        if self._hurt is None:
            self._hurt = self._lines.loses(self._made_ns)
        return self._hurt is not None


_RESET = b"\1\0\0\0\0\0\0\0"
"""struct linger: on, no seconds."""


def _bound(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to host and port."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # the protocol named: asyncio turns Nagle off for no other
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock
