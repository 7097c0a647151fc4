"""Orders in a storm of faults: whatever the wire did, afterwards the adapter has told what the exchange knows, each thing once."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from functools import partial

import pytest
from ib_rig import MBT, START, Rig, S, play, until

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.faults import Fault, FaultKind

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")

K = FaultKind
KINDS = (
    K.DROP, K.MUTE, K.HALF_OPEN, K.RESTART, K.BAD_LENGTH, K.BAD_FRAME, K.CONNECTIVITY, K.FARM_BLIP, K.DATA_TYPE, K.COMPETING_SESSION,
    K.CANCEL_REFUSED, K.FILL_AFTER_CANCEL, K.RESET, K.LOST_REQUEST, K.LOST_ACK, K.LOST_FILL, K.LATE_FILL, K.DUPLICATE, K.REORDER, K.REJECT,
    K.PARTIAL_FILL, K.CANCEL_RACE, K.OUTAGE, K.OVERFILL,
)  # fmt: skip
STORM_S, CALM_S = 36.0, 50.0
QUOTES = tuple((0.5 * n, 70_000.0 + 5 * (n % 7), 70_010.0 + 5 * (n % 7), 8.0) for n in range(200))


def faults(draw: random.Random) -> tuple[Fault, ...]:
    """Return twelve faults within the storm."""
    return tuple(
        Fault(at_ns=START + int(draw.uniform(3.0, STORM_S - 3.0) * S), venue="cme", kind=draw.choice(KINDS), for_ns=int(draw.uniform(1.0, 3.0) * S))
        for _ in range(12)
    )


async def trade(rig: Rig, draw: random.Random) -> list[str]:
    """Send orders and cancels until the storm is over; return the ids of what was not held back."""
    sent: list[str] = []
    while rig.desk.at < STORM_S:
        name, at = f"P00001L{len(sent):08d}", rig.desk.at
        rig.submit(
            name, draw.choice((Side.BUY, Side.SELL)), draw.randint(1, 5), draw.choice((69_980, 70_005, 70_020, 70_045)),
            tif=draw.choice((TimeInForce.DAY, TimeInForce.IOC)), opening=False,
        )  # fmt: skip
        sent.append(name)
        if draw.random() < 0.5:
            rig.cancel(draw.choice(sent))
        if draw.random() < 0.3:
            rig.query(draw.choice(sent))
        pause = draw.uniform(0.3, 1.0)
        await until(lambda at=at, pause=pause: rig.desk.at >= at + pause)  # type: ignore[misc]
    blocked = {b.client_id for b in rig.of(ev.SendBlocked)}
    return [name for name in sent if name not in blocked]


async def cleared_up(rig: Rig, name: str) -> None:
    """Ask as the engine does, cancelling what still works, until the order is known to have ended or not to exist."""

    missed = len(rig.of(ev.OrderNotFound))

    def known() -> bool:
        return any(e.client_id == name for e in (*rig.of(ev.OrderEnded), *rig.of(ev.OrderNotFound)[missed:]))

    def answered(since: int) -> bool:
        return known() or any(isinstance(e, ev.QueryFailed) or getattr(e, "client_id", "") == name for e in rig.heard[since:])

    def waited(since: float) -> bool:
        return known() or rig.desk.at > since + 1.0

    while not known():
        await until(lambda: rig.up)
        seen = len(rig.heard)
        rig.query(name)
        await until(partial(answered, seen))
        if not known():
            rig.cancel(name)
            await until(partial(waited, rig.desk.at))


async def stated(rig: Rig) -> None:
    """Ask what is held until the answer is whole: a fault may still wait for a message to hurt."""
    while not rig.of(ev.VenueSnapshot):
        failed = len(rig.of(ev.QueryFailed))
        await until(lambda: rig.up)
        rig.query_venue()
        await until(lambda failed=failed: rig.of(ev.VenueSnapshot) or len(rig.of(ev.QueryFailed)) > failed)  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(2))
def test_after_a_storm_both_sides_agree(seed: int) -> None:
    draw = random.Random(seed)
    planned = faults(draw)

    async def body(rig: Rig) -> None:
        await rig.quoted()
        sent = await trade(rig, draw)
        await until(lambda: rig.desk.at > CALM_S and rig.up)
        for name in sent:
            await cleared_up(rig, name)
        await stated(rig)
        exchange, why = rig.desk.exchange, f"seed {seed}, faults {[f.kind.value for f in planned]}"
        real = {f.exec_id: f for f in exchange.account.history if isinstance(f, ev.OrderFilled)}
        told = Counter(f.exec_id for f in rig.fills())
        assert told == Counter(list(real)), why
        for fill in rig.fills():
            same = real[fill.exec_id]
            assert (fill.client_id, fill.side, fill.qty, fill.price, fill.fee) == (same.client_id, same.side, same.qty, same.price, same.fee), why
        assert not rig.of(ev.CashBooked), why
        assert rig.of(ev.VenueSnapshot)[-1].positions.get(MBT.id, Decimal(0)) == exchange.positions().get(MBT.id, Decimal(0)), why
        assert rig.of(ev.VenueSnapshot)[-1].cash["USD"] == pytest.approx(exchange.account.cash["USD"]), why
        ended = {e.client_id: e for e in rig.of(ev.OrderEnded)}
        lost = {e.client_id for e in rig.of(ev.OrderNotFound)}
        assert set(exchange.orders) <= set(sent), why
        for name in sent:
            ticket = exchange.orders.get(name)
            if ticket is None:  # the gateway had it, the exchange did not
                assert name not in ended or (ended[name].cum_qty == 0 and ended[name].outcome is not Outcome.FILLED), (why, name)
            elif name not in ended:  # its end was not told to the gateway either, so that nobody there knows it
                assert ticket.outcome is not None and name in lost, (why, name)
                assert ticket.filled == sum(f.qty for f in real.values() if f.client_id == name), (why, name)
            else:
                assert ticket.outcome is not None and ended[name].outcome is not Outcome.DENIED, (why, name)
                assert ticket.filled == sum(f.qty for f in real.values() if f.client_id == name) >= ended[name].cum_qty, (why, name)

    play(body, speed=30.0, quotes=QUOTES, faults=planned, cash="60000000")
