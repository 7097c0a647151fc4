"""What the broker's wire can suffer, and what the adapter makes of it: real client library, real sockets, one fault each."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from ib_rig import MBT, PACE, QUOTES, START, Rig, S, adapter, play, until

from bot.model import event as ev
from bot.model.order import Outcome, Side
from bot.sim.faults import Fault, FaultKind

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")

K = FaultKind
FIRST = "P00001L00000001"


def fault(kind: FaultKind, at_s: float = 4.5, for_s: float = 6.0, **args: float) -> dict[str, Any]:
    """Return a rig's arguments: a quote every second and one fault."""
    return {"quotes": QUOTES, "faults": (Fault(at_ns=START + int(at_s * S), venue="cme", kind=kind, for_ns=int(for_s * S), args=args),)}


async def after(rig: Rig, seconds: float) -> None:
    """Wait for a time of the market."""
    await until(lambda: rig.desk.at >= seconds)


def told(rig: Rig) -> list[bool]:
    """Return what was said of the venue, in order, repetitions left out."""
    return [up for up, _ in groupby(s.up for s in rig.of(ev.VenueStatus))]


@pytest.mark.parametrize("kind", [K.DROP, K.MUTE, K.HALF_OPEN, K.BAD_LENGTH, K.RESTART, K.OUTAGE])
def test_a_session_that_breaks_is_built_anew_and_knows_the_order(kind: FaultKind) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        await until(lambda: told(rig)[:3] == [True, False, True])
        seen = len(rig.of(ev.Quote))
        await until(lambda: len(rig.of(ev.Quote)) > seen)
        rig.cancel(FIRST)
        await until(lambda: rig.of(ev.OrderEnded))
        assert [(e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)] == [(Outcome.CANCELLED, 0)]
        assert rig.desk.exchange.orders[FIRST].outcome is Outcome.CANCELLED

    play(body, **fault(kind))


@pytest.mark.parametrize("code", [1101, 1102])
def test_the_broker_out_of_reach_is_down_and_then_everything_is_asked(code: int) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 1, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        await until(lambda: told(rig) == [True, False])
        rig.submit("P00001L00000002", Side.BUY, 1, 70_500)
        assert [(b.client_id, b.reason) for b in rig.of(ev.SendBlocked)] == [("P00001L00000002", "not connected")]
        rig.desk.exchange.fill_resting(FIRST, rig.desk.world.clock())
        await until(lambda: told(rig) == [True, False, True])
        kinds = [type(e) for e in rig.heard]
        assert [(f.client_id, f.qty) for f in rig.fills()] == [(FIRST, 1)]
        assert kinds.index(ev.OrderFilled) < len(kinds) - 1 - kinds[::-1].index(ev.VenueStatus)
        seen = len(rig.of(ev.Quote))
        await until(lambda: len(rig.of(ev.Quote)) > seen + 2)
        assert [(e.client_id, e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)] == [(FIRST, Outcome.FILLED, 1)]

    patient = msgspec.structs.replace(PACE, stale=1_000.0)  # so that only the code can have renewed the prices
    play(body, pace=patient, **fault(K.CONNECTIVITY, code=float(code)))


@pytest.mark.parametrize("kind", [K.DATA_TYPE, K.COMPETING_SESSION, K.FARM_BLIP])
def test_prices_that_are_not_live_are_not_passed_on_and_open_nothing(kind: FaultKind) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await until(lambda: rig.alerts("ib.market_data"))
        seen, last = len(rig.of(ev.Quote)), rig.of(ev.Quote)[-1]
        await after(rig, 10.0)
        assert len(rig.of(ev.Quote)) == seen
        rig.submit(FIRST, Side.BUY, 1, 69_000)
        assert [b.client_id for b in rig.of(ev.SendBlocked)] == [FIRST]
        rig.submit("P00001U00000002", Side.BUY, 1, 69_000, opening=False)
        await until(lambda: rig.of(ev.OrderAccepted))
        await until(lambda: len(rig.of(ev.Quote)) > seen)
        assert rig.of(ev.Quote)[seen].bid > last.bid + 40
        assert [a.severity for a in rig.alerts("ib.market_data")] == [ev.Severity.CRIT, ev.Severity.INFO]
        assert told(rig) == [True]

    play(body, **fault(kind))


@pytest.mark.parametrize("code", [161, 10148])
def test_a_refused_cancel_ends_nothing(code: int) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        if code == 10148:
            rig.desk.site.plan.hit(K.CANCEL_REFUSED)  # the codes take turns
        await after(rig, 5.0)
        rig.cancel(FIRST)
        await until(lambda: rig.of(ev.OrderEnded))
        assert [(e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)] == [(Outcome.FILLED, 2)]
        assert [f.qty for f in rig.fills()] == [2]

    play(body, **fault(K.CANCEL_REFUSED))


def test_a_fill_after_the_cancel_is_emitted() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        await after(rig, 5.0)
        rig.cancel(FIRST)
        await until(lambda: rig.of(ev.OrderFilled))
        assert [f.qty for f in rig.fills()] == [2]
        assert [(e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)][:1] in ([(Outcome.CANCELLED, 0)], [(Outcome.FILLED, 2)])

    play(body, **fault(K.FILL_AFTER_CANCEL))


@pytest.mark.parametrize("after_order", [0.0, 1.0])
def test_a_reset_at_an_order_is_cleared_up_by_a_query(after_order: float) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await after(rig, 5.0)
        rig.submit(FIRST, Side.BUY, 2, 70_800)
        await until(lambda: told(rig) == [True, False, True])
        rig.query(FIRST)
        if after_order:
            await until(lambda: rig.of(ev.OrderEnded))
            assert [(e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)][0] == (Outcome.FILLED, 2)
            assert sum(f.qty for f in rig.fills()) == 2
        else:
            await until(lambda: rig.of(ev.OrderNotFound))
            assert not rig.of(ev.OrderEnded) and not rig.of(ev.OrderFilled)

    play(body, **fault(K.RESET, after=after_order))


@pytest.mark.parametrize("kind", [K.LOST_FILL, K.LATE_FILL, K.DUPLICATE, K.REORDER, K.LOST_ACK])
def test_a_fill_is_emitted_once_whatever_happens_to_its_message(kind: FaultKind) -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await after(rig, 5.0)
        rig.submit(FIRST, Side.BUY, 2, 70_800)
        await until(lambda: rig.desk.exchange.positions())
        rig.query(FIRST)
        await until(lambda: rig.of(ev.OrderEnded) and rig.of(ev.OrderFilled))
        await after(rig, 14.0 if kind is K.LATE_FILL else 7.0)
        rig.query_venue()
        await until(lambda: rig.of(ev.VenueSnapshot))
        fills = rig.fills()
        assert [(f.client_id, f.qty, f.fee) for f in fills] == [(FIRST, 2, Decimal(5))]
        assert {(e.outcome, e.cum_qty) for e in rig.of(ev.OrderEnded)} == {(Outcome.FILLED, Decimal(2))}
        assert rig.of(ev.VenueSnapshot)[0].positions == {MBT.id: 2}
        assert not rig.of(ev.CashBooked)

    play(body, **fault(kind))


def test_an_order_that_never_arrived_is_not_found() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await after(rig, 5.0)
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.desk.site.plan.hits.get(K.LOST_REQUEST))
        rig.query(FIRST)
        await until(lambda: rig.of(ev.OrderNotFound) or rig.of(ev.OrderAccepted))  # the gateway may believe that it works
        await after(rig, 18.0)
        rig.query(FIRST)
        await until(lambda: rig.of(ev.OrderNotFound) or rig.of(ev.OrderEnded))
        assert not rig.of(ev.OrderFilled) and not [e for e in rig.of(ev.OrderEnded) if e.cum_qty or e.outcome is Outcome.FILLED]

    play(body, **fault(K.LOST_REQUEST))


def test_a_message_without_sense_is_alerted_to_and_followed_by_a_look() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await until(lambda: rig.alerts("ib.unreadable"))
        rig.query_venue()
        await until(lambda: rig.of(ev.VenueSnapshot))

    play(body, **fault(K.BAD_FRAME))


def test_a_rejected_order_is_rejected_once_the_broker_agrees() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 400, 70_010)
        await until(lambda: rig.of(ev.OrderEnded))
        (ended,) = rig.of(ev.OrderEnded)
        assert (ended.outcome, ended.cum_qty) == (Outcome.REJECTED, 0) and ended.reason.startswith("201: Order rejected")

    play(body)


def test_what_the_gateway_itself_refuses_is_rejected() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 1, 70_011)
        await until(lambda: rig.of(ev.OrderEnded))
        (ended,) = rig.of(ev.OrderEnded)
        assert (ended.outcome, ended.cum_qty) == (Outcome.REJECTED, 0) and ended.reason.startswith("110: ")
        assert not rig.desk.exchange.orders and not rig.of(ev.OrderAccepted)

    play(body)


def test_a_client_id_in_use_is_told_and_tried_again() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        async with adapter(rig.desk) as second:
            await until(lambda: second.alerts("ib.session"))
            assert "client id 7 is in use" in second.alerts("ib.session")[0].text
            rig.venue.stop()
            await second.quoted()

    play(body)


def test_a_gateway_that_is_not_there_is_tried_again() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        async with adapter(rig.desk, port=1) as second:
            await until(lambda: second.alerts("ib.session"))
            await asyncio.sleep(0.3)
            assert len(second.alerts("ib.session")) == 1 and not second.up

    play(body)


def test_a_silent_stream_is_renewed_and_what_it_repeats_is_not_fresh() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        await after(rig, 6.0)
        seen = len(rig.of(ev.Quote))
        renewed = rig.venue.session.quotes.streams[MBT.id].req_id
        await until(lambda: rig.venue.session.quotes.streams[MBT.id].req_id > renewed)
        await after(rig, 18.0)
        assert len(rig.of(ev.Quote)) == seen
        await until(lambda: len(rig.of(ev.Quote)) > seen)
        assert rig.of(ev.Quote)[seen].bid >= 70_200.0 and told(rig) == [True]

    play(body, **fault(K.SILENT, for_s=16.0))


def ahead(when: str) -> int:
    """Return how far a clock in New York that shows `when` is ahead of the market's start, ns."""
    return int(datetime.fromisoformat(when).replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) * S - START


def test_nothing_is_opened_while_the_broker_is_away_and_anything_is_closed() -> None:
    async def body(rig: Rig) -> None:
        async with adapter(rig.desk, client_id=8, ahead_ns=ahead("2026-11-06 23:30:00")) as late:
            await until(lambda: late.up)
            late.submit(FIRST, Side.BUY, 1, 69_000)
            assert [b.reason for b in late.of(ev.SendBlocked)] == ["broker's weekend maintenance"]
            late.submit("P00001U00000002", Side.BUY, 1, 69_000, opening=False)
            await until(lambda: late.of(ev.OrderAccepted))
            assert late.alerts("ib.clock")

    play(body)


def test_an_interruption_is_told_with_the_window_it_falls_into() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        for when, severity, part in (
            ("2026-11-08 02:30:00", ev.Severity.CRIT, "(login expired, somebody has to log in)"), ("2026-11-04 00:30:00", ev.Severity.INFO, "(daily reset)"),
        ):  # fmt: skip
            async with adapter(rig.desk, port=1, ahead_ns=ahead(when)) as away:
                await until(lambda rig=away: rig.alerts("ib.session"))
                alert = away.alerts("ib.session")[0]
                assert alert.severity is severity and alert.text.endswith(part)
                assert not away.up and away.of(ev.VenueStatus)[0].reason.endswith(part)

    play(body)
