"""What goes wrong on the wire of a Binance USD-M server, as its venue's fault plan scripts it.

What happens to an order is part of each fault: a page of HTML comes from a gateway that never passed the order on; a lost, late,
senseless or unknown reply is to one that was carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from bot.sim.budget import Window
from bot.sim.faults import FaultKind, FaultPlan
from bot.sim.wire import Delays
from bot.wire.binance_errors import Refused

K = FaultKind
MS = 1_000_000
_S = 1_000_000_000
PATIENCE_S = 120.0
"""How long a connection whose answer is lost stays open, wall time; any client has given up by then."""
FIRST_429 = 3
"""Requests answered with 429 before a ban says 418 (an assumption)."""
ORDER_PATHS = ("/order", "/batchOrders", "/allOpenOrders")
HTML_502 = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
GARBAGE = '{"orderId":40000000\x00\x1f<'


class Spoilt(Exception):
    """An answer is replaced by this text."""

    def __init__(self, status: int, text: str, content_type: str) -> None:
        super().__init__(status)
        self.status, self.text, self.content_type = status, text, content_type


class Lost(Exception):
    """An answer never comes. reset: its connection is reset at once."""

    def __init__(self, reset: bool) -> None:
        super().__init__(reset)
        self.reset = reset


class Faults:
    """The venue's plan as the front reads it. delays: of the venue, which questions take too."""

    def __init__(self, plan: FaultPlan, clock: Callable[[], int], delays: Delays) -> None:
        self.plan = plan
        self.clock = clock
        self.closing = asyncio.Event()
        self._delays = delays
        self._banned = 0
        self._questions: Window | None = None

    def now_ms(self) -> int:
        """Return the server's clock, which may be ahead."""
        now = self.clock()
        skew = self.plan.on(K.CLOCK_SKEW, now)
        if skew is None:
            return now // MS
        if not self.plan.hits.get(K.CLOCK_SKEW):
            self.plan.hit(K.CLOCK_SKEW)
        return now // MS + int(skew.arg("ms"))

    def struck(self, kind: FaultKind) -> bool:
        """Return whether a fault hurts what is at hand."""
        return self.plan.strike(kind, self.clock()) is not None

    def ban(self) -> None:
        """Raise Refused while the address is banned."""
        fault = self.plan.strike(K.RATE_BAN, self.clock())
        if fault is None:
            self._banned = 0
            return
        self._banned += 1
        left = max(1, -(-(fault.until_ns - self.clock()) // _S))
        raise Refused(-1003, 2_400, status=429 if self._banned <= FIRST_429 else 418, retry_s=left)

    def revoked(self) -> None:
        """Raise Refused while the key is revoked."""
        if self.struck(K.KEY_REVOKED):
            raise Refused(-2015)

    async def spoil(self, method: str, path: str, signed: bool, act: Coroutine[Any, Any, Any]) -> Any:
        """Carry out a request and answer it as the faults let it. Raises Refused, Spoilt or Lost."""
        try:
            if not signed:
                return await act
            if method == "GET":
                return await self._asked(act)
            return await (self._ordered(act) if path.endswith(ORDER_PATHS) else act)
        finally:
            act.close()

    async def _asked(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Answer a question about the account."""
        slow = self.plan.strike(K.SLOW, self.clock())
        pause = (self._delays.request_ns + self._delays.reply_ns) / 1e9 + (slow.arg("delay_s") if slow is not None else 0.0)
        if pause > 0.0:
            await asyncio.sleep(pause)
        self._throttle()
        if self.struck(K.SNAPSHOT_FAIL):
            raise Refused(-1001)
        if self.struck(K.HTML_5XX):
            raise Spoilt(502, HTML_502, "text/html")
        found = await act
        self._senseless(found)
        return found

    def _throttle(self) -> None:
        """Raise Refused for a question beyond what a throttled venue takes; orders and cancels are counted by the venue itself."""
        now = self.clock()
        fault = self.plan.on(K.THROTTLED, now)
        if fault is None:
            self._questions = None
            return
        per_s = fault.arg("per_s")
        if self._questions is None:
            most = max(1, int(per_s))
            self._questions = Window(most, int(most / per_s * _S))
        if self._questions.full(now):
            self.plan.hit(K.THROTTLED)
            raise Refused(-1003, int(per_s * 60), retry_s=int(1 / per_s) + 1)
        self._questions.take(now)

    async def _ordered(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Answer an order or a cancel."""
        if self.struck(K.HTML_5XX):
            raise Spoilt(502, HTML_502, "text/html")
        reset = self.plan.strike(K.RESET, self.clock())
        if reset is not None and not reset.arg("after"):
            raise Lost(reset=True)
        found = await act
        if reset is not None:
            raise Lost(reset=True)
        if self.struck(K.LOST_REPLY):
            raise Lost(reset=False)
        late = self.plan.strike(K.LATE_REPLY, self.clock())
        if late is not None:
            await asyncio.sleep(late.arg("delay_s"))
        if self.struck(K.UNKNOWN_503):
            raise Refused(-1000, status=503, told="Unknown error, please check your request or try again later.")
        self._senseless(found)
        return found

    def _senseless(self, found: Any) -> None:
        """Raise Spoilt when an answer is replaced by nothing or by what has no sense."""
        if self.struck(K.GARBAGE_200):
            raise Spoilt(200, GARBAGE, "application/json")
        if self.struck(K.EMPTY_200):
            raise Spoilt(200, "[]" if isinstance(found, list) else "", "application/json")

    async def swallow(self, transport: asyncio.BaseTransport | None, lost: Lost) -> None:
        """Let a client wait for an answer that never comes, or reset its connection."""
        if not lost.reset:
            try:
                await asyncio.wait_for(self.closing.wait(), PATIENCE_S)
            except TimeoutError:
                pass
        self.reset(transport)

    @staticmethod
    def reset(transport: asyncio.BaseTransport | None) -> None:
        """Reset a connection."""
        if transport is not None:
            cast(asyncio.Transport, transport).abort()
