"""Where the benchmark looks: stamps at the sockets of one event loop and between the parts of the desk, read afterwards.

The loop hands every connection a transport and a protocol that note what passes, with the monotonic clock, and pass it on; the
libraries above do not know. Nothing is interpreted while the desk runs.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from bot.engine.step import Engine, Step
from bot.journal.store import MemoryJournal, SqliteJournal
from bot.model import event as ev
from bot.model.command import Command, Submit
from bot.model.order import Purpose
from bot.runtime import Runtime
from bot.venues.line import Line

now: Callable[[], int] = time.perf_counter_ns
PATIENCE_S = 10.0


class Mark(NamedTuple):
    """Something happened. what: in, write, out, emit, step, commit, committed or send; of: bytes, event, order or seq; line: which connection."""

    ns: int
    what: str
    of: Any
    line: int = 0


Tape = list[Mark]
"""Marks in order of time."""


class Tap(asyncio.Protocol):
    """One connection: the socket's protocol outside, the transport of the library's protocol inside.

    A read is stamped before the library sees it, a write after the socket has taken it.
    """

    def __init__(self, inner: asyncio.Protocol, tape: Tape, number: int) -> None:
        self.inner = inner
        self._tape = tape
        self._number = number
        self._transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self.inner.connection_made(cast(asyncio.Transport, self))

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on."""
        self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stamp bytes as they come in."""
        self._tape.append(Mark(now(), "in", data, self._number))
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """Pass on."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self.inner.resume_writing()

    # The library's side: what is not here is the socket's own transport.

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, with a stamp before and after."""
        self._tape.append(Mark(now(), "write", None, self._number))
        self._transport.write(data)
        self._tape.append(Mark(now(), "out", bytes(data), self._number))

    def writelines(self, parts: Any) -> None:
        """Send bytes in parts."""
        self.write(b"".join(parts))


class TappedLoop(asyncio.SelectorEventLoop):
    """The standard loop, with a Tap on every outgoing connection."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape
        self._lines = 0

    async def create_connection(self, protocol_factory: Any, *args: Any, **more: Any) -> Any:
        """Connect, with a tap in between."""
        self._lines += 1
        number = self._lines
        tap, _ = await super().create_connection(lambda: Tap(protocol_factory(), self._tape, number), *args, **more)
        protocol = cast(Tap, tap.get_protocol())
        return protocol, protocol.inner


class TimedEngine(Engine):
    """The engine, with a mark when it is given an event."""

    tape: Tape

    def step(self, event: ev.Event) -> Step:
        """Step one event."""
        self.tape.append(Mark(now(), "step", event))
        return super().step(event)


class TimedRuntime(Runtime):
    """The runtime, with a mark when it is handed an event."""

    def emit(self, event: ev.Event) -> None:
        """Hand in an event."""
        cast(TimedEngine, self.engine).tape.append(Mark(now(), "emit", event))
        super().emit(event)


class TimedLine(Line):
    """The line to an adapter, with a mark when an order is handed over."""

    tape: Tape

    def send(self, command: Command, now_ns: int) -> None:
        """Pass a command on."""
        if isinstance(command, Submit):
            self.tape.append(Mark(now(), "send", command.order))
        super().send(command, now_ns)


class DurableJournal(SqliteJournal):
    """The desk's journal, with marks around a commit. Patient: one that would halt the desk for being late is measured here."""

    def __init__(self, path: Path, tape: Tape) -> None:
        super().__init__(path, timeout_s=PATIENCE_S)
        self._tape = tape

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Make the events of one step durable."""
        self._tape.append(Mark(now(), "commit", seq))
        super().append(seq, events)
        self._tape.append(Mark(now(), "committed", seq))


class FleetingJournal(MemoryJournal):
    """The same encoding without the disk, with the same marks."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def append(self, seq: int, events: Sequence[ev.Event]) -> None:
        """Keep the events of one step."""
        self._tape.append(Mark(now(), "commit", seq))
        super().append(seq, events)
        self._tape.append(Mark(now(), "committed", seq))


class Way(NamedTuple):
    """One way from bytes received to order bytes sent: ns of every station. hedge: of the second leg. trigger: the event that the engine answered."""

    hedge: bool
    trigger: ev.Event
    received: int
    emitted: int
    stepped: int
    commit: int
    committed: int
    sent: int
    built: int
    written: int


def paths(tape: Tape) -> Iterator[tuple[str, Way]]:
    """Yield (client id, way) of every order whose bytes left, in order of leaving."""
    received = commit = committed = built = 0
    stepped: Mark | None = None
    emitted: dict[int, tuple[int, int]] = {}
    under_way: dict[str, tuple[bool, ev.Event, int, int, int, int, int, int]] = {}
    lines: defaultdict[int, Wording] = defaultdict(Wording)
    for mark in tape:
        what = mark.what
        if what == "in":
            received = mark.ns
        elif what == "emit":
            emitted[id(mark.of)] = received, mark.ns
        elif what == "step":
            stepped = mark
        elif what == "commit":
            commit = mark.ns
        elif what == "committed":
            committed = mark.ns
        elif what == "send" and stepped is not None and id(stepped.of) in emitted:
            came, told = emitted[id(stepped.of)]
            under_way[mark.of.client_id] = (mark.of.purpose is Purpose.HEDGE, stepped.of, came, told, stepped.ns, commit, committed, mark.ns)
        elif what == "write":
            built = mark.ns
        elif what == "out":
            text = lines[mark.line].clear(mark.of)
            for client_id in [c for c in under_way if c.encode() in text]:
                yield client_id, Way(*under_way.pop(client_id), built, mark.ns)


class Wording:
    """What one connection wrote, made readable again: masked and deflated WebSocket frames (RFC 6455, 7692), anything else as it is."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def clear(self, data: bytes) -> bytes:
        """Return the text of one write."""
        if len(data) < 8 or data[0] & 0x30 or data[0] & 0x0F not in (1, 2) or not data[1] & 0x80:
            return data
        at = 2 + {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
        key, body = data[at : at + 4], data[at + 4 :]
        pad = (key * (len(body) // 4 + 1))[: len(body)]
        text = (int.from_bytes(body, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(body), "big")
        return self._inflate.decompress(text + b"\0\0\xff\xff") if data[0] & 0x40 else text
