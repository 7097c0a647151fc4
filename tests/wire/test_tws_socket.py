"""The TWS server on a bare socket: the greeting, the order of messages byte by byte, what ends a connection, and random requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from test_tws_codec import HEAD, NAMED, PLAIN, wire
from tws_rig import MBT, START, Desk, S, running

from bot.sim.exchange import Rules
from bot.wire.tws_contracts import con_id

LIMIT_S = 20.0
NUMBER = con_id(MBT.id)
HEAD = HEAD.replace("708015661", str(NUMBER))
NAMED = NAMED.replace("708015661", str(NUMBER))
SEEDS = range(8)
ROUNDS = 500


class Peer:
    """One bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, fields: str) -> None:
        """Send a message."""
        self.writer.write(wire(fields))

    async def hear(self) -> str:
        """Return the next message."""
        length = int.from_bytes(await self.reader.readexactly(4), "big")
        return (await self.reader.readexactly(length)).decode()[:-1].replace("\0", "|")

    async def heard(self, count: int) -> list[str]:
        """Return the next messages."""
        return [await self.hear() for _ in range(count)]

    async def ended(self) -> bool:
        """Return whether the server has ended the connection, what it still said aside."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass
        return True


async def peer(desk: Desk, greeting: bytes = b"") -> Peer:
    """Return a connection that has said `greeting`."""
    made = Peer(*await asyncio.open_connection("127.0.0.1", desk.server.port))
    made.writer.write(greeting)
    return made


def greeting(version: int) -> bytes:
    """Return what a client of versions 157 to `version` says first."""
    spoken = f"v157..{version}".encode()
    return b"API\0" + len(spoken).to_bytes(4, "big") + spoken


async def started(desk: Desk, number: int = 3, version: int = 178) -> Peer:
    """Return a connection that has its client id and has heard the greeting."""
    made = await peer(desk, greeting(version))
    assert await made.hear() == f"{version}|20261103 14:30:00 UTC"
    made.say(f"71|2|{number}|")
    told = await made.heard(5)
    tail = "|" if version >= 166 else ""
    assert told[:2] == ["15|1|DU7654321", "9|1|1"]
    assert [m.split("|")[:4] for m in told[2:]] == [["4", "2", "-1", code] for code in ("2104", "2106", "2158")]
    assert all(m.endswith(f"OK:{farm}{tail}") for m, farm in zip(told[2:], ("usfuture", "ushmds", "secdefil"), strict=True))
    return made


def run(body: Callable[[Desk], Awaitable[None]], **more: Any) -> None:
    """Let a body have a server; nothing may have been raised inside the loop."""

    async def whole() -> None:
        raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
        async with asyncio.timeout(LIMIT_S), running(**more) as desk:
            await body(desk)
        assert not raised, raised

    asyncio.run(whole())


def order(order_id: int, qty: str = "3", limit: str = "70010.0", ref: str = "P00001L00000001", version: int = 178) -> str:
    """Return a placeOrder."""
    told = PLAIN[version].format(what_if=0).replace("708015661", str(NUMBER))
    head, tail = told.split("|BUY|3|LMT|70010.0|")
    return f"3|{order_id}{head[1:]}|BUY|{qty}|LMT|{limit}|{tail}".replace("P00001L00000001", ref)


@pytest.mark.parametrize("version", [157, 176, 178])
def test_an_order_that_fills_comes_in_the_order_of_the_broker(version: int) -> None:
    async def body(desk: Desk) -> None:
        client = await started(desk, version=version)
        client.say(order(1, version=version))
        told = await client.heard(9)
        opened = [m for m in told if m.startswith("5|")]
        rest = [m for m in told if not m.startswith("5|")]
        perm = "1100000001"
        assert rest == [
            f"3|1|PreSubmitted|0|3|0|{perm}|0|0|3||0",
            f"3|1|Submitted|0|3|0|{perm}|0|0|3||0",
            f"11|-1|1|{NAMED}|cme-1|20261103 14:30:00 UTC|DU7654321|CME|BOT|3|70010|{perm}|3|0|3|70010|P00001L00000001||||2{'|0' if version == 178 else ''}",
            f"3|1|Filled|3|0|70010|{perm}|0|70010|3||0",
            "59|1|cme-1|7.5|USD|1.7976931348623157E308|1.7976931348623157E308|",
            f"3|1|Filled|3|0|70010|{perm}|0|70010|3||0",
        ]
        assert [m.split("|")[0] for m in told] == ["5", "3", "5", "3", "11", "5", "3", "59", "3"]
        assert all(m.startswith(f"5|1|{NAMED}|BUY|3|LMT|70010|0.0|DAY||DU7654321||0|P00001L00000001|3|{perm}|") for m in opened)

    run(body)


@pytest.mark.parametrize(("change", "why"), [({"qty": "400"}, "insufficient margin"), ({"limit": "x"}, None)])
def test_a_rejection_is_201_then_open_order_then_order_status(change: dict[str, str], why: str | None) -> None:
    async def body(desk: Desk) -> None:
        client = await started(desk)
        client.say(order(1, **change))
        if why is None:
            assert (await client.hear()).startswith("4|2|-1|320|Server error when reading an API client request.")
            return
        assert [m.split("|")[0] for m in await client.heard(2)] == ["5", "3"]  # PreSubmitted, as the gateway passes it on
        refused, opened, status = await client.heard(3)
        assert refused == f"4|2|1|201|Order rejected - reason:{why}|"
        assert opened.startswith("5|1|") and "|Inactive|" in opened
        assert status.startswith("3|1|Inactive|0|400|")

    run(body)


def test_a_contract_that_is_only_defined_is_rejected_in_the_same_sequence() -> None:
    async def body(desk: Desk) -> None:
        client = await started(desk)
        client.say(order(1).replace(f"|{NUMBER}|", f"|{con_id('MBTZ26')}|"))
        refused, opened, status = await client.heard(3)
        assert refused == "4|2|1|201|Order rejected - reason:No trading permissions.|"
        assert opened.startswith("5|1|") and status.startswith("3|1|Inactive|0|3|")
        client.say("99|0")
        assert "|Inactive|" in await client.hear() and await client.hear() == "102"

    run(body)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"API\0\0\0\0\7v10..20", b"API\0\xff\xff\xff\xff", b"\0" * 64])
def test_who_speaks_another_protocol_is_cut_off(first: bytes) -> None:
    async def body(desk: Desk) -> None:
        assert await (await peer(desk, first)).ended()
        assert await started(desk)

    run(body)


def test_a_client_id_is_taken_once_and_an_impossible_length_ends_the_connection() -> None:
    async def body(desk: Desk) -> None:
        mine = await started(desk)
        other = await peer(desk, greeting(178))
        await other.hear()
        other.say("71|2|3|")
        assert (await other.hear()).startswith("4|2|-1|326|") and await other.ended()
        mine.writer.write(b"\xff\xff\xff\xff")
        assert await mine.ended()
        assert await started(desk)  # the number is free again

    run(body)


def test_an_unknown_message_is_error_320_and_too_many_are_error_100() -> None:
    async def body(desk: Desk) -> None:
        client = await started(desk)
        client.say("4711|1")
        assert (await client.hear()).startswith("4|2|-1|320|")
        for _ in range(54):
            client.say("49|1")
        told = await client.heard(53)
        assert told[:50] == [f"49|1|{START // S}"] * 50
        assert all(m.startswith("4|2|-1|100|") for m in told[50:]) and await client.ended()

    run(body)


# Requests at random.

REQUESTS = (
    f"1|11|12|{HEAD}|0||0|0|", "2|1|12", order(7), "4|1|7|", "5|1", "6|2|1|DU7654321", "7|3|13|0||||||", "8|1|1", f"9|8|11|{HEAD}|0|||",
    f"10|5|14|{HEAD}|5|0|", "11|1|14|0", "14|1|5", "15|1|1", "16|1", "17|1", f"20|10|{HEAD}|0|20261103 14:30:00 UTC|1 min|600 S|0|MIDPOINT|2|0|",
    "25|1|10", "49|1", "58|1", "59|1|1", "61|1", "62|1|15|All|NetLiquidation,Cushion", "63|1|15", "64|1", "71|2|3|", "76|1|16|DU7654321||1", "77|1|16",
    "91|26", "92|17|DU7654321|", "93|17", "99|0",
)  # fmt: skip
ODD = (
    "",
    "-1",
    "0",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "9" * 40,
    "1e308",
    "é\u2028",
    "BAG",
    "x" * 500,
    "20261103",
    "2147483648",
    "0.1",
    "US/../x",
    "%s{0}",
    "\x01",
    "1_0",
)


def spoilt(rng: Random, fields: list[str]) -> list[str]:
    """Return a request with odd, missing, surplus or moved fields."""
    fields = list(fields)
    for _ in range(1 + int(rng.random() * 4)):
        at = int((rng.random() if rng.random() < 0.05 else 1.0 - 0.95 * rng.random() ** 2) * (len(fields) - 1) + 0.5)
        what = rng.random()
        if what < 0.6:
            fields[at] = ODD[int(rng.random() * len(ODD))]
        elif what < 0.75:
            del fields[at:]
        elif what < 0.9:
            fields.insert(at, ODD[int(rng.random() * len(ODD))])
        else:
            fields[at : at + 2] = reversed(fields[at : at + 2])
        if not fields:
            return ["3"]
    return fields


@pytest.mark.parametrize("seed", SEEDS)
def test_random_requests_are_answered_refused_or_ignored_and_hurt_nobody_else(seed: int) -> None:
    async def body(desk: Desk) -> None:
        rng = Random(seed)
        witness, client = await started(desk, 1), await started(desk, 2)
        gone = asyncio.ensure_future(client.ended())
        served = 0
        for n in range(1, ROUNDS + 1):
            if rng.random() < 0.02:
                client.writer.write(bytes(int(rng.random() * 256) for _ in range(1 + int(rng.random() * 40))))
                client.writer.close()
            else:
                request = REQUESTS[int(rng.random() * len(REQUESTS))].split("|")
                if request[0] == "3":
                    request[1] = str(n)
                client.say("|".join(spoilt(rng, request) if rng.random() < 0.8 else request))
            desk.at += 0.05
            witness.say("49|1")
            while not (await witness.hear()).startswith("49|1|"):
                pass
            served += not gone.done()
            if gone.done() or client.writer.is_closing():
                await gone
                client = await connected_again(desk)
                gone = asyncio.ensure_future(client.ended())
        client.writer.close()
        await gone
        assert served > 0.9 * ROUNDS, f"seed {seed}"
        told = [t for t in desk.exchange.orders.values() if t.spec.qty != t.spec.qty.to_integral_value() or t.spec.limit % MBT.tick]
        assert told == [], f"seed {seed}"

    run(body, rules=Rules(), cash="60000000", history_min=31)


async def connected_again(desk: Desk) -> Peer:
    """Return a new connection of client 2."""
    made = await peer(desk, greeting(178))
    await made.hear()
    made.say("71|2|2|")
    await made.hear()
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_random_bytes_instead_of_a_greeting_hurt_nobody(seed: int) -> None:
    async def body(desk: Desk) -> None:
        rng = Random(seed)
        for _ in range(20):
            made = await peer(desk, (b"API\0" if rng.random() < 0.5 else b"") + bytes(int(rng.random() * 256) for _ in range(int(rng.random() * 300))))
            made.writer.write_eof()
            assert await made.ended(), f"seed {seed}"
        assert await started(desk)

    run(body)
