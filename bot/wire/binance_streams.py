"""The streams of a Binance USD-M server: who is connected, what they subscribed to, and the user streams behind listen keys."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from bot.wire.binance_errors import Refused

KEY_NS = 3_600_000_000_000
"""How long a listen key lives without being kept alive (exchange's page, read 2026-11)."""
DAY_NS = 86_400_000_000_000
"""How long a connection lives (same source)."""
BACKLOG = 10_000
"""Messages that may wait for a slow reader; one that has more is cut off."""
MOST_STREAMS = 1_024
STREAM = re.compile(r"^(!?[a-z0-9_]*)@([A-Za-z]+)(\d*)(?:_(\w+))?(?:@(?:\d+ms|1s|3s))?$")
CHANNELS = {"depth", "depth5", "depth10", "depth20", "bookTicker", "markPrice", "kline_1m", "miniTicker"}


class Stream:
    """One connection. names: stream by (symbol, channel). combined: whether messages are wrapped. keys: its listen keys. until: its end, UTC ns."""

    def __init__(self, socket: web.WebSocketResponse, combined: bool, until: int) -> None:
        self.socket = socket
        self.until = until
        self.combined = combined
        self.names: dict[tuple[str, str], str] = {}
        self.keys: set[str] = set()
        self.transport: asyncio.Transport | None = None
        self._queue: asyncio.Queue[str] = asyncio.Queue(BACKLOG)

    def send(self, name: str, message: Any) -> None:
        """Send a message of a stream, in the order of calls."""
        wrapped = {"stream": name, "data": message} if self.combined and name else message
        try:
            self._queue.put_nowait(json.dumps(wrapped, separators=(",", ":")))
        except asyncio.QueueFull:
            self.abort()

    def abort(self) -> None:
        """Reset the connection."""
        if self.transport is not None:
            self.transport.abort()

    async def write(self) -> None:
        """Send what is queued until cancelled or the connection ends."""
        while not self.socket.closed:
            text = await self._queue.get()
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):
                return


class Hub:
    """All streams. clock: UTC ns. silent: whether streams say nothing now. aborts: whether their connections break now."""

    def __init__(self, clock: Callable[[], int], now_ms: Callable[[], int], silent: Callable[[], bool], aborts: Callable[[], bool]) -> None:
        self.streams: set[Stream] = set()
        self._clock = clock
        self._now_ms = now_ms
        self._silent = silent
        self._aborts = aborts
        self._keys: dict[str, tuple[str, int]] = {}
        self._made = 0

    # Sending.

    def publish(self, symbol: str, channel: str, message: dict[str, Any]) -> None:
        """Send market data to its subscribers."""
        key = (symbol, channel)
        readers = [s for s in self.streams if key in s.names]
        if readers and not self._hindered():
            for s in readers:
                s.send(s.names[key], message)

    def wanted(self, symbol: str, channel: str) -> bool:
        """Return whether anybody reads a stream."""
        return any((symbol, channel) in s.names for s in self.streams)

    def push(self, message: dict[str, Any]) -> None:
        """Send an event to every user stream."""
        readers = [(s, key) for s in self.streams for key in s.keys if key in self._keys]
        if readers and not self._hindered():
            for s, key in readers:
                s.send(key, message)

    def _hindered(self) -> bool:
        if self._silent():
            return True
        if self._aborts():
            self.cut()
            return True
        return False

    def cut(self) -> None:
        """Reset every connection."""
        for s in list(self.streams):
            s.abort()

    # Listen keys.

    def key_for(self, api_key: str) -> str:
        """Return the listen key of an API key, a new one when it has none, good for another hour."""
        for key, (owner, _) in self._keys.items():
            if owner == api_key:
                self._keys[key] = (api_key, self._clock() + KEY_NS)
                return key
        self._made += 1
        key = f"{self._made:04d}".join(("pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s", "61cv6a81va65sdf19v8a"))
        self._keys[key] = (api_key, self._clock() + KEY_NS)
        return key

    def keep(self, api_key: str) -> str:
        """Let a listen key live another hour. Raises Refused when there is none."""
        if all(owner != api_key for owner, _ in self._keys.values()):
            raise Refused(-1125)
        return self.key_for(api_key)

    def drop(self, api_key: str) -> None:
        """End the listen key of an API key."""
        for key in [key for key, (owner, _) in self._keys.items() if owner == api_key]:
            del self._keys[key]

    def expire(self, all_of_them: bool) -> bool:
        """End the keys whose hour is over, or all; tell their streams; return whether there was one."""
        now = self._clock()
        over = [key for key, (_, until) in self._keys.items() if all_of_them or until <= now]
        for key in over:
            for s in self.streams:
                if key in s.keys:
                    s.send(key, {"e": "listenKeyExpired", "E": self._now_ms(), "listenKey": key})
            del self._keys[key]
        return bool(over)

    def retire(self) -> None:
        """End connections whose day is over."""
        now = self._clock()
        for s in list(self.streams):
            if s.until <= now:
                s.abort()

    @property
    def listened(self) -> bool:
        """Return whether a user stream is open."""
        return any(s.keys & self._keys.keys() for s in self.streams)

    # Connections.

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """Serve one connection: streams named in its address, then whatever it asks for."""
        socket = web.WebSocketResponse(heartbeat=180.0)
        await socket.prepare(request)
        stream = Stream(socket, combined=request.path.rstrip("/").endswith("stream"), until=self._clock() + DAY_NS)
        stream.transport = request.transport
        named = _named(request.path) + request.query.get("streams", "").split("/")
        for name in [*named, request.query.get("listenKey", "")]:
            self._subscribe(stream, name)
        self.streams.add(stream)
        writer = asyncio.ensure_future(stream.write())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._asked(stream, message.data)
        finally:
            self.streams.discard(stream)
            writer.cancel()
        return socket

    def _asked(self, stream: Stream, text: str) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""
        if self._silent():
            return
        try:
            asked = json.loads(text)
            method, names, number = asked["method"], asked.get("params") or [], asked.get("id")
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("params")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            stream.send("", {"error": {"code": 2, "msg": "Invalid request: request must be an object with a method and params"}})
            return
        if method == "SUBSCRIBE" and len(stream.names) + len(names) <= MOST_STREAMS:
            for name in names:
                self._subscribe(stream, name)
            stream.send("", {"result": None, "id": number})
        elif method == "UNSUBSCRIBE":
            for name in names:
                stream.names = {key: known for key, known in stream.names.items() if known != name}
                stream.keys.discard(name)
            stream.send("", {"result": None, "id": number})
        elif method == "LIST_SUBSCRIPTIONS":
            stream.send("", {"result": [*stream.names.values(), *sorted(stream.keys)], "id": number})
        else:
            stream.send("", {"error": {"code": 2, "msg": f"Invalid request: unknown variant `{str(method)[:40]}`"}, "id": number})

    def _subscribe(self, stream: Stream, name: str) -> None:
        """Add a stream by its name; what names none is a listen key if it is known, and otherwise nothing."""
        found = STREAM.match(name)
        if found is None:
            if name in self._keys:
                stream.keys.add(name)
            return
        symbol, channel, count, more = found.groups()
        channel = channel + (count or "") + (f"_{more}" if more else "")
        if channel in CHANNELS:
            stream.names[symbol.upper(), channel] = name


def _named(path: str) -> list[str]:
    """Return the streams that an address names: everything behind its /ws."""
    parts = path.strip("/").split("/")
    return parts[parts.index("ws") + 1 :] if "ws" in parts else []
