"""Being connected: the streams, the order socket and the checks of one exchange, kept up until somebody stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from bot.model import event as ev
from bot.venues import perp_checks
from bot.venues.perp_account import Fills
from bot.venues.perp_endpoint import PerpEndpoint
from bot.venues.perp_line import Line, failures
from bot.venues.perp_snapshot import Snapshots
from bot.venues.perp_streams import AccountStreams, Market, close_where, is_private, order_url

ATTACH_S = 10.0
"""How long the account's stream may take to connect."""
RETRY_S = (0.3, 10.0)
MIND_S = 30.0
"""How often clock, key and deleveraging rank are looked at."""
LOOK_S = 0.02
WARNINGS = frozenset({"clock", "margin brackets"})
"""Findings that a person must see and that do not stop orders: the clock is corrected for, brackets only warn."""
SOCKET_S = 1.0


class Session:
    """Everything that runs while a venue is started."""

    def __init__(self, line: Line, fills: Fills, snapshots: Snapshots, endpoint: PerpEndpoint) -> None:
        self._line = line
        self._fills = fills
        self._snapshots = snapshots
        self._endpoint = endpoint
        self._up = False
        self._started = False
        self._said = ""
        self._unarmed = ""
        self._asked: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until cancelled, or until something that nobody foresaw ends it: then the venue is down and says so."""
        loops: list[Awaitable[None]] = [*Market(self._line, self._endpoint.depth_rows).loops(), self._mind()]
        if self._endpoint.keyed:
            loops.append(self._account())
            if self._endpoint.order_socket and order_url(self._line):
                loops.append(self._order_socket())
        else:
            self._line.blocked = "no key: data only"
            self._status(True, "data only")
        tasks = [asyncio.ensure_future(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for task in done if not task.cancelled() and (error := task.exception()) is not None]
            self._line.blocked = "stopped by an error"
            if errors:
                raise errors[0]
        finally:
            for task in (*tasks, *self._asked):
                task.cancel()
            await asyncio.gather(*tasks, *self._asked, return_exceptions=True)

    def _status(self, up: bool, reason: str) -> None:
        """Tell whether the venue can be used, when that changes."""
        if up is self._up and self._started:
            return
        self._started, self._up = True, up
        self._line.emit(ev.VenueStatus(ts=self._line.clock(), venue=self._line.venue, up=up, reason=reason))

    # The account.

    async def _account(self) -> None:
        """Keep the account's streams up; while they are not, the venue is down."""
        line, wait = self._line, RETRY_S[0]
        while True:
            try:
                await self._vetted()
                await self._attended()
                why = "the account's stream ended"
            except failures() as error:
                why = line.judge(error).text
            if self._up:
                wait = RETRY_S[0]
            line.blocked = line.blocked or why
            self._status(False, why)
            line.log("account_down", {"text": why})
            self._forget_listen_key()
            close_where(line, lambda url: is_private(line, url))
            await asyncio.sleep(wait)
            wait = min(2.0 * wait, RETRY_S[1])

    async def _vetted(self) -> None:
        """Raise PermissionError unless clock, key and mode are as they must be."""
        line = self._line
        line.key_refused.clear()
        if line.quirks.warm:
            await line.read(getattr(line.client, line.quirks.warm))
        findings = await perp_checks.examine(line, self._endpoint.leverage, True)
        bad = [f for f in findings if not f.ok and f.name not in WARNINGS]
        for f in findings:
            if not bad and not f.ok:
                line.alert(ev.Severity.WARN, "perp.account", f"{line.venue}: {f.name}: {f.found}; {f.fix}")
        if bad:
            text = "; ".join(f"{f.name}: {f.found}; {f.fix}" for f in bad)
            if text != self._said:
                line.alert(ev.Severity.CRIT, "perp.account", f"{line.venue}: {text}")
                self._said = text
            raise PermissionError(text)
        self._said = ""
        await self._arm()

    async def _attended(self) -> None:
        """Run the streams until one ends; the venue is up from when they are connected."""
        line = self._line
        self._fills.missed.clear()
        streams = AccountStreams(line, self._fills, self._ask)
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(loop) for loop in streams.loops()]
        try:
            async with asyncio.timeout(ATTACH_S):
                while not self._connected():
                    for task in tasks:
                        if task.done():
                            task.result()
                    await asyncio.sleep(LOOK_S)
            line.blocked = "" if line.quirks.live else f"orders to {self._endpoint.exchange} are not supported: {line.quirks.why_not}"
            self._fills.attached_ns = line.clock()
            self._status(True, "connected")
            tasks += [asyncio.ensure_future(flag.wait()) for flag in (self._fills.missed, line.key_refused)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            line.blocked = "the account's stream is down"
            for task in done:
                task.result()
            if line.key_refused.is_set():
                raise PermissionError("the exchange refuses the key")
        finally:
            self._fills.attached_ns = 0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self) -> bool:
        clients = (self._line.client.clients or {}).items()
        return any(is_private(self._line, url) and c.isConnected and not c.closed() for url, c in clients)

    def _forget_listen_key(self) -> None:
        """Make ccxt ask for a listen key again: the old one may have expired with the stream.

        Streams that begin together wait for the one that asks first. Were that one cancelled meanwhile, ccxt would let all later
        ones wait for it for ever, so what it keeps of such a request is dropped too.
        """
        (self._line.client.clients or {}).pop("authenticationFlights", None)
        option = self._line.client.options.get(self._line.quirks.error_map)
        if isinstance(option, dict) and "listenKey" in option:
            self._line.client.options[self._line.quirks.error_map] = {**option, "listenKey": None, "lastAuthenticatedTime": 0}

    def _ask(self) -> None:
        """Ask for the latest fills because a message did not say enough."""
        task = asyncio.get_running_loop().create_task(self._snapshots.catch_up())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    # The order socket.

    async def _order_socket(self) -> None:
        """Keep the order socket dialled, so that no order waits for it; drop what ccxt keeps of answered requests."""
        line = self._line
        url = order_url(line)
        while True:
            try:
                connection = line.client.client(url)
                if not connection.isConnected or connection.closed():
                    await self._dial(url, connection)
                for key in [k for k in connection.subscriptions if str(k).isdigit() and k not in connection.futures]:
                    del connection.subscriptions[key]
            except failures() as error:
                line.log("order_socket", {"text": line.judge(error).text})
            await asyncio.sleep(SOCKET_S)

    async def _dial(self, url: str, connection: Any) -> None:
        line = self._line
        if line.quirks.order_login:
            async with asyncio.timeout(ATTACH_S):
                await (line.client.authenticate(url) if line.client.id == "bybit" else line.client.authenticate())
            return
        await asyncio.wait({connection.connect(line.client.session, line.client.ws_dial_delay(url))}, timeout=ATTACH_S)

    # Clock, key, rank.

    async def _mind(self) -> None:
        """Look at clock, key and rank now and then; at the clock also when a request was refused for its time."""
        line, ranks = self._line, dict[str, int]()
        while True:
            try:
                async with asyncio.timeout(MIND_S):
                    await line.clock_doubted.wait()
            except TimeoutError:
                pass
            line.clock_doubted.clear()
            try:
                off = await perp_checks.sync_clock(line)
                line.log("clock", {"offset_ms": off})
                if self._endpoint.keyed and self._up:
                    await self._arm()
                    await self._mind_key()
                    ranks = self._mind_ranks(ranks, await perp_checks.adl_ranks(line))
            except failures() as error:
                line.log("mind_error", {"text": line.judge(error).text})
                await asyncio.sleep(RETRY_S[0])

    async def _arm(self) -> None:
        """Renew the dead man's switch; say once when it cannot be set."""
        try:
            await perp_checks.arm(self._line)
            self._unarmed = ""
        except failures() as error:
            text = self._line.judge(error).text
            if not self._unarmed:
                self._line.alert(ev.Severity.WARN, "perp.dead_man", f"{self._line.venue}: the dead man's switch is not set: {text}")
            self._unarmed = text

    async def _mind_key(self) -> None:
        """Stop openings while the key may withdraw; what reduces goes on."""
        line = self._line
        found = await perp_checks.key_finding(line)
        why = "" if found.ok else f"{found.found}; {found.fix}"
        if why and not line.no_openings:
            line.alert(ev.Severity.CRIT, "perp.account", f"{line.venue}: {why}; openings are denied")
        line.no_openings = why

    def _mind_ranks(self, before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
        """Warn once when a position comes first in the queue for deleveraging."""
        for instrument, rank in now.items():
            if rank >= perp_checks.ADL_FIRST > before.get(instrument, 0):
                self._line.alert(ev.Severity.WARN, "perp.adl_rank", f"{self._line.venue}: {instrument} is first in the queue for deleveraging (rank {rank})")
        return now
