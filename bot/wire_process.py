"""The wire's servers as seen from a desk: started in a process of their own, or found running on given ports."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from bot.clock import now_ns
from bot.model.errors import VenueError
from bot.wire.ready import HOST, Ready

READY_S = 60.0
"""Seconds until the servers must say that they listen: they make the market's history first."""
END_S = 10.0
MS = 1_000_000


@asynccontextmanager
async def servers(options: Sequence[str], log: Path, verb: Sequence[str] = ("wire", "--attached")) -> AsyncIterator[Ready]:
    """Run `wire` with these options for the length of a block. log: takes what it has to say besides. verb: another one that serves.

    It ends with us, however we end, because it reads our end of a pipe; a signal to our terminal does not reach it, so that a
    desk that is told to stop can still settle. Raises VenueError with its last words when it does not begin.
    """
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    with log.open("ab") as said:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", *verb, *options, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=said,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
    try:
        yield await _ready(child, log)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), END_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _ready(child: asyncio.subprocess.Process, log: Path) -> Ready:
    """Return the ready line of the servers."""
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), READY_S)
        return msgspec.json.decode(line, type=Ready)
    except (TimeoutError, msgspec.MsgspecError) as error:
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [str(error)]
        raise VenueError(f"the wire's servers did not start: {words[-1]}") from error


async def found(ports: Sequence[int]) -> Ready:
    """Return servers that run already on ports of broker, exchange and reference price; the market's time is asked of the exchange.

    Raises VenueError when it does not answer.
    """
    import aiohttp

    tws_port, perp_port, reference_port = ports
    before = now_ns()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=END_S)) as session,
            session.get(f"http://{HOST}:{perp_port}/fapi/v1/time") as reply,
        ):
            told = int((await reply.json(content_type=None))["serverTime"]) * MS
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise VenueError(f"no exchange answers on port {perp_port}: {type(error).__name__} {error}".strip()) from error
    offset = told - (before + now_ns()) // 2
    return Ready(pid=0, seed=0, tws_port=tws_port, perp_port=perp_port, reference_port=reference_port, account="", key="", secret="",
                 market_now="", offset_ns=offset)  # fmt: skip
