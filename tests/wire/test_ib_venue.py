"""The adapter of Interactive Brokers, with the real client library, against the TWS server: from connecting to a cut line."""

from __future__ import annotations

from decimal import Decimal

import pytest
from ib_rig import MBT, Rig, play, until

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce

pytest.importorskip("ib_insync", reason="ib_insync is not installed here")

FIRST = "P00001L00000001"


def test_it_connects_finds_its_contract_and_quotes() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        assert [(s.up, s.reason) for s in rig.of(ev.VenueStatus)] == [(True, "connected")]
        quote = rig.of(ev.Quote)[-1]
        assert (quote.instrument, quote.bid, quote.ask, quote.bid_size, quote.ask_size) == (MBT.id, 70_000.0, 70_010.0, 8.0, 8.0)
        assert rig.of(ev.Alert) == []

    play(body)


def test_an_order_fills_once_with_its_fee() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 3, 70_010)
        await until(lambda: rig.of(ev.OrderEnded))
        ended = rig.of(ev.OrderEnded)[0]
        assert (ended.client_id, ended.outcome, ended.cum_qty) == (FIRST, Outcome.FILLED, 3)
        fills = rig.of(ev.OrderFilled)
        assert [(f.client_id, f.instrument, f.side, f.qty, f.price, f.fee, f.fee_currency) for f in fills] == [
            (FIRST, MBT.id, Side.BUY, Decimal(3), Decimal(70_010), Decimal("7.5"), "USD")
        ]  # fmt: skip
        assert [f.exec_id for f in fills] == [f.exec_id for f in rig.desk.exchange.account.history if isinstance(f, ev.OrderFilled)]
        assert not rig.of(ev.CashBooked) and rig.desk.exchange.positions() == {MBT.id: 3}

    play(body)


def test_a_snapshot_has_positions_working_orders_cash_and_margin() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 3, 70_010)
        rig.submit("P00001L00000002", Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderEnded) and len(rig.of(ev.OrderAccepted)) >= 1)
        rig.query_venue()
        await until(lambda: rig.of(ev.VenueSnapshot))
        snapshot = rig.of(ev.VenueSnapshot)[0]
        assert snapshot.positions == {MBT.id: 3}
        assert [(w.client_id, w.filled) for w in snapshot.working] == [("P00001L00000002", 0)]
        assert snapshot.working[0].venue_order_id == rig.of(ev.OrderAccepted)[-1].venue_order_id != ""
        assert snapshot.cash == {"USD": Decimal(600_000) - Decimal("7.5")}
        assert snapshot.maintenance["USD"] == pytest.approx(rig.desk.exchange.account.maintenance("USD"), abs=0.01)

    play(body)


def test_after_a_cut_it_comes_back_with_what_happened_meanwhile() -> None:
    async def body(rig: Rig) -> None:
        await rig.quoted()
        rig.submit(FIRST, Side.BUY, 2, 69_000)
        await until(lambda: rig.of(ev.OrderAccepted))
        for client in list(rig.desk.server.clients.values()):
            client.cut(hard=True)
        await until(lambda: not rig.up)
        rig.desk.world.sites["cme"].observe(ev.Quote(rig.desk.world.clock(), MBT.id, 68_990.0, 68_995.0, 5.0, 5.0, rig.desk.world.clock()))
        await until(lambda: rig.up)
        fills = rig.of(ev.OrderFilled)
        assert [(f.client_id, f.qty) for f in fills] == [(FIRST, 2)]
        rig.query(FIRST)
        await until(lambda: rig.of(ev.OrderEnded))
        assert rig.of(ev.OrderEnded)[0].outcome is Outcome.FILLED
        rig.submit("P00001L00000003", Side.SELL, 2, 68_990, tif=TimeInForce.IOC, opening=False)
        await until(lambda: len(rig.of(ev.OrderFilled)) == 2)
        assert rig.desk.exchange.positions() == {}

    play(body)
