"""What follows for an order from what TWS says of it, message by message, without a socket."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from bot.market.expiry import expiry_ns
from bot.model import event as ev
from bot.model.instrument import FeeSchedule, Instrument, Kind
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.venues.ib_contracts import Contracts, Found
from bot.venues.ib_orders import Orders, Picture, Sent

MBT = Instrument(id="MBTX26", venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
                 settle="USD", fees=FeeSchedule(per_contract=Decimal("2.5")), product="MBT", expiry_ns=expiry_ns(2026, 11))  # fmt: skip
CONTRACT = SimpleNamespace(conId=99, localSymbol="MBTX6")
REF = "P00001L00000001"
NONE = Picture(open={}, completed={})


class Bench:
    """Orders of client 7 with one order sent under order id 5; heard: what was emitted, looks: how often a look was asked for."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.looks = 0
        contracts = Contracts({MBT.id: MBT}, {})
        contracts.found[MBT.id] = Found(MBT, 99, "99:x", CONTRACT)
        self.orders = Orders("cme", 7, contracts, lambda: 1_000, lambda event, **more: None, self._look)
        self.orders.emit = self.heard.append
        spec = OrderSpec(
            client_id=REF, pair="p", venue="cme", instrument=MBT.id, side=Side.BUY, qty=Decimal(4), limit=Decimal(70_000), tif=TimeInForce.DAY,
            purpose=Purpose.LEAD,
        )  # fmt: skip
        self.ticket = self.orders.sending(spec, MBT, 5)
        self.ticket.sent = Sent.GONE

    def _look(self) -> None:
        self.looks += 1

    def look(self, seen: Picture = NONE) -> None:
        """Let a look pass whose result is `seen`."""
        self.orders.settle(self.orders.unsettled(), seen)

    def status(self, status: str, filled: float = 0.0) -> None:
        self.orders.order_status(5, 7, 1_234, status, filled)

    def execute(self, exec_id: str = "0000e1.01.01.01", qty: float = 1.0, price: float = 70_000.0, ref: str = REF, liquidation: int = 0) -> None:
        self.orders.execution(CONTRACT, SimpleNamespace(
            execId=exec_id, shares=qty, price=price, side="BOT", orderRef=ref, permId=1_234, liquidation=liquidation, lastLiquidity=2,
        ))  # fmt: skip

    def charge(self, exec_id: str, amount: float, currency: str = "USD") -> None:
        self.orders.commission(SimpleNamespace(execId=exec_id, commission=amount, currency=currency))

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.heard if isinstance(e, kind)]


@pytest.mark.parametrize("code", [161, 10147, 10148, 10349, 100, 321, 103])
def test_no_code_ends_an_order_that_is_open(code: int) -> None:
    bench = Bench()
    bench.status("Submitted")
    bench.orders.hint(5, code, "told", refused=True)
    assert bench.looks == 1
    bench.look(Picture(open={REF: ("Submitted", 1_234)}, completed={}))
    bench.look()
    assert not bench.of(ev.OrderEnded) and not bench.ticket.ended


def test_a_cancel_is_emitted_when_a_later_look_agrees_with_all_that_filled() -> None:
    bench = Bench()
    bench.status("Submitted")
    bench.status("Cancelled", 1.0)
    assert not bench.of(ev.OrderEnded) and bench.looks == 1
    bench.execute("0000e1.01.01.01")
    bench.execute("0000e2.01.01.01")
    bench.look()
    (ended,) = bench.of(ev.OrderEnded)
    assert (ended.outcome, ended.cum_qty) == (Outcome.CANCELLED, 2)


def test_a_cancel_that_a_look_refutes_is_forgotten() -> None:
    bench = Bench()
    bench.status("Submitted")
    bench.status("Cancelled")
    dormant = bench.orders.settle(bench.orders.unsettled(), Picture(open={REF: ("Submitted", 1_234)}, completed={}))
    bench.look()
    assert dormant == [] and not bench.of(ev.OrderEnded)


def test_a_cancel_told_during_a_look_waits_for_the_next() -> None:
    bench = Bench()
    bench.status("Submitted")
    before = bench.orders.unsettled()
    bench.status("Cancelled")
    bench.orders.settle(before, Picture(open={REF: ("Submitted", 1_234)}, completed={}))
    assert not bench.of(ev.OrderEnded) and bench.ticket.claim == "Cancelled"
    bench.look()
    assert [e.outcome for e in bench.of(ev.OrderEnded)] == [Outcome.CANCELLED]


def test_a_look_that_failed_confirms_nothing_and_forgets_nothing() -> None:
    bench = Bench()
    bench.status("Cancelled")
    bench.orders.unsure(bench.orders.unsettled())
    assert not bench.of(ev.OrderEnded)
    bench.look()
    assert [e.outcome for e in bench.of(ev.OrderEnded)] == [Outcome.CANCELLED]


def test_an_inactive_order_that_is_still_listed_is_dormant_and_not_over() -> None:
    bench = Bench()
    bench.status("Inactive")
    dormant = bench.orders.settle(bench.orders.unsettled(), Picture(open={REF: ("Inactive", 1_234)}, completed={}))
    assert dormant == [bench.ticket] and not bench.of(ev.OrderEnded)
    bench.look()
    assert [e.outcome for e in bench.of(ev.OrderEnded)] == [Outcome.REJECTED]


def test_a_refusal_is_a_rejection_only_of_an_order_that_never_appeared() -> None:
    bench = Bench()
    bench.orders.hint(5, 110, "tick", refused=True)
    bench.look()
    assert [(e.outcome, e.cum_qty, e.reason) for e in bench.of(ev.OrderEnded)] == [(Outcome.REJECTED, 0, "110: tick")]
    other = Bench()
    other.status("Submitted")
    other.orders.hint(5, 110, "tick", refused=True)
    other.look()
    assert not other.of(ev.OrderEnded)


def test_an_execution_told_twice_is_booked_once_with_its_scheduled_fee() -> None:
    bench = Bench()
    for _ in range(2):
        bench.execute(qty=2.0)
        bench.charge("0000e1.01.01.01", 5.0)
    assert [(f.qty, f.fee, f.client_id) for f in bench.of(ev.OrderFilled)] == [(2, Decimal(5), REF)]
    assert not bench.of(ev.CashBooked)


def test_another_commission_is_booked_as_the_difference() -> None:
    bench = Bench()
    bench.execute(qty=2.0)
    bench.charge("0000e1.01.01.01", 4.34)
    bench.charge("0000ff.01.01.01", 4.34)
    bench.charge("0000e1.01.01.01", 1.7976931348623157e308)
    (booked,) = bench.of(ev.CashBooked)
    assert (booked.amount, booked.currency, booked.kind, booked.ref) == (Decimal("0.66"), "USD", "commission", "commission:0000e1.01.01.01")


def test_a_corrected_execution_replaces_the_one_before() -> None:
    bench = Bench()
    bench.execute("0000e1.01.01.01", 2.0, 70_000.0)
    bench.execute("0000e1.01.01.02", 2.0, 70_005.0)
    bench.execute("0000e1.01.01.01", 2.0, 70_000.0)
    first, back, again = bench.of(ev.OrderFilled)
    assert (back.side, back.qty, back.price, back.fee, back.client_id, back.reason) == (Side.SELL, 2, first.price, -first.fee, "", "bust")
    assert (again.side, again.qty, again.price, again.client_id, again.reason) == (Side.BUY, 2, Decimal("70005.0"), "", "bust")
    assert sum(f.qty * f.side.sign for f in bench.of(ev.OrderFilled)) == 2 and sum(f.fee for f in bench.of(ev.OrderFilled)) == 5
    assert len({f.exec_id for f in bench.of(ev.OrderFilled)}) == 3 and bench.ticket.filled == 2


def test_ids_that_are_no_revisions_are_all_different() -> None:
    bench = Bench()
    for name in ("cme-1", "cme-2", "cme.1", "cme.2"):
        bench.execute(name)
    assert len(bench.of(ev.OrderFilled)) == 4


def test_a_fill_after_the_end_is_emitted() -> None:
    bench = Bench()
    bench.status("Cancelled")
    bench.look()
    bench.execute()
    assert [type(e) for e in bench.heard] == [ev.OrderEnded, ev.OrderFilled]


def test_executions_that_nobody_asked_for_carry_no_id() -> None:
    bench = Bench()
    bench.execute("0000a1.01.01.01", ref="")
    bench.execute("0000a2.01.01.01", ref="typed by hand", liquidation=1)
    assert [(f.client_id, f.reason) for f in bench.of(ev.OrderFilled)] == [("", ""), ("", "liquidation")]


def test_a_query_is_answered_from_a_look() -> None:
    bench = Bench()
    bench.orders.answer(REF, Picture(open={REF: ("PreSubmitted", 1_234)}, completed={}))
    bench.orders.answer("P00001L00000009", NONE)
    bench.orders.answer("P00001L00000008", Picture(open={}, completed={"P00001L00000008": ("Cancelled", Decimal(3), "by us")}))
    assert [type(e) for e in bench.heard] == [ev.OrderAccepted, ev.OrderNotFound, ev.OrderEnded]
    assert (bench.heard[-1].outcome, bench.heard[-1].cum_qty) == (Outcome.CANCELLED, 3)


def test_an_order_that_has_not_left_is_not_looked_for() -> None:
    bench = Bench()
    bench.ticket.sent = Sent.WAITING
    bench.orders.answer(REF, NONE)
    assert not bench.heard


def test_a_filled_order_with_executions_missing_is_looked_for() -> None:
    bench = Bench()
    bench.execute(qty=1.0)
    bench.status("Filled", 4.0)
    assert [(e.outcome, e.cum_qty) for e in bench.of(ev.OrderEnded)] == [(Outcome.FILLED, 4)] and bench.looks == 1
