"""One connection to the TWS server: greeting, versions, client id, then requests handed to whoever answers them.

A peer that loses its place in the stream is cut off; a request that cannot be read is answered with error 320, as TWS does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol, cast

from bot.wire.tws_codec import MAX_VERSION, MIN_VERSION, Fields, Frames, ProtocolError, frame

MESSAGES_S = 50
"""Requests a second that TWS takes of one client; what is beyond is answered with error 100 (broker's page, read 2026-11)."""
TOO_OFTEN = 3
"""Times the limit may be broken before the client is cut off (same source)."""
_S = 1_000_000_000


class Owner(Protocol):
    """The server as its connections see it."""

    clock: Callable[[], int]

    def sent(self, message: bytes) -> bytes: ...
    def admit(self, client: Client, number: int) -> bool: ...
    def lost(self, client: Client) -> None: ...
    def handlers(self) -> Mapping[int, tuple[int, Handler]]: ...


class Client(asyncio.Protocol):
    """One client of the server. number: its client id, -1 until it has said so. version: what both sides speak."""

    def __init__(self, owner: Owner) -> None:
        self.number = -1
        self.version = 0
        self._owner = owner
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._recent: deque[int] = deque()
        self._broken = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._transport = None
        self._owner.lost(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; nothing a peer sends raises out of here."""
        try:
            if not self.version:
                data = self._greet(data)
            for fields in self._frames.feed(data) if self.version else []:
                if self._transport is not None:
                    self._serve(fields)
        except ProtocolError:
            self.cut()

    # What the desks call.

    def send(self, fields: Iterable[object]) -> None:
        """Send one message."""
        if self._transport is not None:
            message = frame(fields)
            self._transport.write(self._owner.sent(message) if self.number >= 0 else message)

    def error(self, req_id: int, code: int, told: str) -> None:
        """Send an error or a notice; req_id: request or order it is about, -1 for none."""
        self.send([4, 2, req_id, code, told, *([""] if self.version >= 166 else [])])

    def cut(self, *, hard: bool = False) -> None:
        """Close the connection: after what was sent, or at once with a reset."""
        if self._transport is None:
            return
        if hard:
            self._transport.abort()
        else:
            self._transport.close()

    @staticmethod
    def time_of_day(now_ns: int) -> str:
        """Return HH:MM, as account updates carry it."""
        return f"{datetime.fromtimestamp(now_ns // _S, UTC):%H:%M}"

    # Inside.

    def _greet(self, data: bytes) -> bytes:
        """Agree on a version; return what came behind the greeting."""
        spoken = self._frames.handshake(data)
        if spoken is None:
            return b""
        low, high = spoken
        self.version = min(MAX_VERSION, high)
        if self.version < max(low, MIN_VERSION):
            raise ProtocolError(f"versions {low} to {high} are not served")
        stamp = datetime.fromtimestamp(self._owner.clock() // _S, UTC)
        self.send([self.version, f"{stamp:%Y%m%d %H:%M:%S} UTC"])
        return b""

    def _serve(self, fields: list[str]) -> None:
        try:
            kind = int(fields[0]) if fields else 0
            if self.number < 0:
                if kind == 71:
                    self._start(Fields(fields[2:]))
                return
            found = self._owner.handlers().get(kind)
            if found is None:
                self.error(-1, 320, f"Server error when reading an API client request. Unknown message {kind}")
                return
            if not self._paced():
                return
            skipped, handler = found
            handler(self, Fields(fields[1 + skipped :]))
        except (ProtocolError, ValueError) as error:
            self.error(-1, 320, f"Server error when reading an API client request. {error}")

    def _start(self, fields: Fields) -> None:
        """startApi: the client says who it is."""
        number = fields.whole()
        if not self._owner.admit(self, number):
            self.error(-1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id.")
            self.cut()

    def _paced(self) -> bool:
        """Count a request; refuse those beyond the limit, cut off who goes on."""
        now = self._owner.clock()
        while self._recent and self._recent[0] <= now - _S:
            self._recent.popleft()
        if len(self._recent) < MESSAGES_S:
            self._recent.append(now)
            return True
        self.error(-1, 100, "Max rate of messages per second has been exceeded: max=50 rec=51 (1)")
        self._broken += 1
        if self._broken > TOO_OFTEN:
            self.cut()
        return False


Handler = Callable[[Client, Fields], None]
