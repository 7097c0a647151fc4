"""The shell on the wall clock: trades on adapters that answer from tasks, obeys latch and stop, drains, and passes on failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from live_rig import CASH, Desk

from bot.clock import Steady
from bot.kill.control import ask
from bot.model import event as ev
from bot.model.command import Command, QueryVenue, Submit
from bot.model.errors import VenueError
from bot.model.event import KillLevel
from bot.model.order import OrderStatus

LOTS = Decimal(10)


def lived(desk: Desk, act: Callable[[], Awaitable[None]]) -> None:
    """Run a desk, and `act` beside it; then stop it."""

    async def live() -> None:
        async with asyncio.timeout(20):
            await desk.start()
            running = asyncio.create_task(desk.shell.run())
            try:
                await act()
                desk.shell.stop("test")
                await running
            finally:
                running.cancel()
                await desk.end()

    asyncio.run(live())


def test_it_trades_a_hedged_pair_on_adapters_that_answer_later(tmp_path: Path) -> None:
    """Both legs fill by actual fills, nothing is left in flight, and time never goes back in the journal."""
    desk = Desk(tmp_path)

    async def act() -> None:
        await desk.until(lambda: desk.engine.ob.ready)
        desk.wish.target = LOTS
        await desk.until(lambda: desk.pair.lead.qty == LOTS and desk.pair.hedge.qty == -LOTS * Decimal("0.1"))

    lived(desk, act)
    assert not desk.engine.ob.live and all(a.stopped for a in desk.adapters.values())
    times = [e.ts for _, _, e in desk.journal.read()]
    assert times == sorted(times)


def test_what_was_said_before_the_start_arrives_with_it(tmp_path: Path) -> None:
    """Status and the latest quotes are there at once, stamped at the start; older quotes are not."""
    desk = Desk(tmp_path)

    async def act() -> None:
        seen = desk.engine.books["MBTX26"]
        assert seen.ts and desk.engine.ob.silos["cme"].up and len(desk.events(ev.VenueStatus)) == 2

    lived(desk, act)


def test_a_latch_written_by_another_process_is_taken_within_its_poll(tmp_path: Path) -> None:
    """No socket is needed: the files are enough, and the desk flattens."""
    desk = Desk(tmp_path)

    async def act() -> None:
        await desk.until(lambda: desk.engine.ob.ready)
        desk.wish.target = LOTS
        await desk.until(lambda: desk.pair.lead.qty == LOTS and not desk.engine.ob.live)
        desk.latch.raise_to(KillLevel.FLATTEN, reason="test", who="op", channel="cli", now_ns=desk.clock())
        await desk.until(lambda: desk.engine.ob.kill_level is KillLevel.FLATTEN)
        await desk.until(lambda: desk.pair.lead.qty == 0 == desk.pair.hedge.qty)

    lived(desk, act)


def test_the_control_socket_is_answered_between_events(tmp_path: Path) -> None:
    """A question from another thread is answered while quotes rush in."""
    desk = Desk(tmp_path)
    desk.shell.serve({"who": lambda request: {"seq": desk.runtime.seq}})

    async def act() -> None:
        await desk.until(lambda: desk.engine.ob.ready)
        answer = await asyncio.to_thread(ask, tmp_path, {"op": "who"}, 5.0)
        assert answer["seq"] > 0

    lived(desk, act)
    assert desk.shell.control is not None
    desk.shell.control.close()


def test_silence_becomes_unknown_by_the_clock_and_the_stop_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """A deaf venue's order is declared unknown by the timer; once it hears again the drain settles it before the end."""
    desk = Desk(tmp_path)

    async def act() -> None:
        await desk.until(lambda: desk.engine.ob.ready)
        desk.adapters["cme"].deaf = True
        desk.wish.target = LOTS
        await desk.until(lambda: any(o.status is OrderStatus.UNKNOWN for o in desk.engine.ob.orders.values()))
        assert desk.pair.lead.qty == 0
        desk.adapters["cme"].deaf = False

    lived(desk, act)
    assert not desk.engine.ob.live and desk.events(ev.AbsenceProven)


def test_it_ends_by_itself_and_opens_nothing_while_it_drains(tmp_path: Path) -> None:
    """The end of `--for` blocks openings at the send gate."""
    desk = Desk(tmp_path, for_s=0.2)

    async def live() -> None:
        async with asyncio.timeout(20):
            await desk.start()
            await desk.shell.run()
            desk.wish.target = LOTS
            desk.runtime.beat(desk.clock())
            for adapter in desk.adapters.values():
                for terms in adapter.shown:
                    adapter._show(terms, desk.clock())
            desk.runtime.beat(desk.clock())
            await desk.end()

    asyncio.run(live())
    assert not [c for a in desk.adapters.values() for c in a.sent if isinstance(c, Submit)]
    assert desk.events(ev.SendBlocked)


def test_a_bug_in_a_step_ends_the_run_loudly_and_not_inside_an_adapter(tmp_path: Path) -> None:
    """Adapter libraries swallow what their handlers raise, so no step may run inside one."""
    desk = Desk(tmp_path)

    async def live() -> None:
        async with asyncio.timeout(20):
            await desk.start()
            desk.engine.step = lambda event: 1 / 0  # type: ignore[assignment,return-value]
            with pytest.raises(ZeroDivisionError):
                await desk.shell.run()
            await desk.end()

    asyncio.run(live())


def test_a_venue_that_does_not_come_up_is_a_venue_error(tmp_path: Path) -> None:
    """With the reason it gave last."""
    desk = Desk(tmp_path)

    async def live() -> None:
        desk.connect()
        line = desk.lines["cme"]
        line.adapter.stop()
        with pytest.raises(VenueError, match="not connected yet"):
            await line.ready(0.05)
        await desk.end()

    asyncio.run(live())


def test_what_the_account_booked_before_a_new_run_never_reaches_it(tmp_path: Path) -> None:
    """A new run begins with the statement; the fills behind it are repeated by venues and count for nothing."""
    desk = Desk(tmp_path)
    old = ev.CashBooked(ts=1, venue="cme", kind="interest", amount=Decimal(5), currency="USD", ref="r1")

    async def act() -> None:
        line, adapter = desk.lines["cme"], desk.adapters["cme"]
        assert not desk.events(ev.CashBooked)
        adapter.say(ev.CashBooked(ts=2, venue="cme", kind="interest", amount=Decimal(7), currency="USD", ref="r2"))
        adapter.say(old)
        await desk.until(lambda: desk.events(ev.CashBooked))
        await desk.until(lambda: isinstance(line.statement, ev.VenueSnapshot) and any(isinstance(c, QueryVenue) for c in adapter.sent))

    async def live() -> None:
        async with asyncio.timeout(20):
            desk.connect()
            for line in desk.lines.values():
                await line.ready(5.0)
            desk.adapters["cme"].say(old)
            statement = await desk.lines["cme"].stated(5.0)
            assert statement.cash == CASH["cme"]
            desk.runtime.start(ev.RunStarted(ts=desk.clock(), run=1, mode="P", cash=CASH))
            running = asyncio.create_task(desk.shell.run())
            await act()
            desk.shell.stop("test")
            await running
            await desk.end()

    asyncio.run(live())
    booked = desk.events(ev.CashBooked)
    assert [e.ref for e in booked] == ["r2"] and booked[0].ts >= desk.shell.start_ns, "time is when it passes the line, whatever the adapter stamped"


def test_the_steady_clock_never_goes_back() -> None:
    """A wall clock that is set back stands still; one that is set forward is followed; the offset is kept."""
    read = iter([100, 105, 90, 104, 106, 900])
    clock = Steady(1_000, lambda: next(read))
    assert [clock() for _ in range(6)] == [1_100, 1_105, 1_105, 1_105, 1_106, 1_900]


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_a_statement_that_fails_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: int) -> None:
    """One broken answer at the start is no reason not to start; that nothing but broken ones came is said with the last."""
    monkeypatch.setattr("bot.venues.line.AGAIN_S", 0.0)
    desk = Desk(tmp_path)
    adapter = desk.adapters["cme"]
    answer = adapter.send

    def send(command: Command, now_ns: int) -> None:
        if len(adapter.sent) < fails:
            adapter.sent.append(command)
            adapter.say(ev.QueryFailed(ts=now_ns, venue="cme", reason="garbage"))
        else:
            answer(command, now_ns)

    async def live() -> None:
        desk.connect()
        await desk.lines["cme"].ready(5.0)
        monkeypatch.setattr(adapter, "send", send)
        assert (await desk.lines["cme"].stated(5.0)).cash == CASH["cme"]
        assert len(adapter.sent) == fails + 1
        adapter.sent.clear()
        monkeypatch.setattr(adapter, "send", lambda command, now_ns: adapter.say(ev.QueryFailed(ts=now_ns, venue="cme", reason="garbage")))
        with pytest.raises(VenueError, match="no complete statement of the account within 0.01 s: garbage"):
            await desk.lines["cme"].stated(0.01)
        await desk.end()

    asyncio.run(live())
