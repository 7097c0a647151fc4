"""Lines in front of any protocol: what a server says before it closes arrives whole on a slow one, and a shut door keeps its port."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest

from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.wire.lines import Lines

S = 1_000_000_000
K = FaultKind


class Answer(asyncio.Protocol):
    """Answers the first word with 1,000 bytes and closes, as an HTTP server does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.writelines([b"x" * 400, b"y" * 600])
        self.transport.close()
        assert self.transport.is_closing()


class Clock:
    """A clock that a test turns, and lines that look at it."""

    def __init__(self, *faults: Fault) -> None:
        self.now = 0
        self.lines = Lines(Answer, FaultPlan("v", faults), lambda: self.now)

    def to(self, seconds: float) -> None:
        self.now = int(seconds * S)
        self.lines.look(self.now)


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection that has asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"?")
    return reader, writer


def test_what_was_said_before_closing_trickles_out_and_then_the_line_closes() -> None:
    async def body() -> None:
        clock = Clock(Fault(at_ns=S, venue="v", kind=K.BANDWIDTH, for_ns=60 * S, args={"per_s": 100.0}))
        await clock.lines.open("127.0.0.1", 0)
        clock.to(1.0)
        reader, writer = await ask(clock.lines.port)
        whole = asyncio.ensure_future(reader.read())
        while not whole.done():
            clock.to(clock.now / S + 0.1)
            await asyncio.sleep(0)
        assert whole.result() == b"x" * 400 + b"y" * 600
        assert 10 * S <= clock.now < 61 * S, "a hundred a second, and not only when the fault ended"
        writer.close()
        await clock.lines.close()

    asyncio.run(asyncio.wait_for(body(), 5))


def test_a_shut_door_keeps_its_port_and_opens_again_at_once() -> None:
    async def body() -> None:
        clock = Clock(Fault(at_ns=S, venue="v", kind=K.DROP, for_ns=5 * S))
        await clock.lines.open("127.0.0.1", 0)
        port = clock.lines.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        clock.to(1.0)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        clock.to(6.0)
        reader, writer = await ask(port)
        assert len(await reader.read()) == 1_000
        writer.close()
        await clock.lines.close()
        assert clock.lines.plan.hits == {K.DROP: 1}

    asyncio.run(asyncio.wait_for(body(), 5))


def test_closing_while_the_door_is_shut_leaves_nothing_behind() -> None:
    async def body() -> None:
        clock = Clock(Fault(at_ns=S, venue="v", kind=K.DROP, for_ns=5 * S))
        await clock.lines.open("127.0.0.1", 0)
        clock.to(1.0)
        await clock.lines.close()
        clock.to(7.0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", clock.lines.port)

    asyncio.run(asyncio.wait_for(body(), 5))


@pytest.mark.parametrize("end", [2.0, 9.0])
def test_a_client_that_leaves_a_half_open_line_is_missed_when_the_fault_or_the_server_ends(end: float) -> None:
    gone: list[Exception | None] = []

    class Silent(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            gone.append(exc)

    async def body() -> None:
        clock = Clock(Fault(at_ns=S, venue="v", kind=K.HALF_OPEN, for_ns=5 * S))
        clock.lines = lines = Lines(Silent, clock.lines.plan, lambda: clock.now)
        await lines.open("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", lines.port)
        clock.to(1.5)
        writer.close()
        await writer.wait_closed()
        while not lines.plan.hits:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert gone == []
        clock.to(end)
        await lines.close()
        while not gone:
            await asyncio.sleep(0)
        assert gone == [None] and lines.plan.hits == {K.HALF_OPEN: 1}

    asyncio.run(asyncio.wait_for(body(), 5))


def test_small_messages_are_not_held_back_for_an_acknowledgement() -> None:
    async def body() -> None:
        clock = Clock()
        seen: list[int] = []

        class Looks(Answer):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        lines = Lines(Looks, clock.lines.plan, lambda: 0)
        await lines.open("127.0.0.1", 0)
        reader, writer = await ask(lines.port)
        await reader.read()
        writer.close()
        await lines.close()
        assert seen and all(seen)

    asyncio.run(asyncio.wait_for(body(), 5))
