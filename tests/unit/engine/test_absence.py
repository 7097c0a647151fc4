"""When an order that nobody answered for may be taken for absent: on answers over the whole grace, never on silence."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bot.engine import fold, supervise
from bot.engine.obligations import PairTerms, fresh
from bot.engine.pair import Execution
from bot.model import event as ev
from bot.model.instrument import Instrument, Kind
from bot.model.order import OrderSpec, Purpose, Side, TimeInForce

S = 1_000_000_000
LEAD, HEDGE = (
    Instrument(id=i, venue="v", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal(1), lot=Decimal(1), index_quote="USD", settle="USD")
    for i in ("L", "H")
)
SPEC = OrderSpec(client_id="A", pair="p", venue="v", instrument="L", side=Side.BUY, qty=Decimal(1), limit=Decimal(1), tif=TimeInForce.IOC, purpose=Purpose.LEAD)


@pytest.mark.parametrize(("answers", "proven"), [
    ((3, 4, 5, 6, 7, 8), 8),  # each second: the sixth is five seconds after the first
    ((3, 4, 5), None),  # three at once, then silence: what was late on its way may have arrived since
    ((3, 4, 5, 20), 20),
    ((3, 9), None),  # two are not three
])  # fmt: skip
def test_absence_is_proven_by_answers_that_span_the_grace(answers: tuple[int, ...], proven: int | None) -> None:
    ob = fresh(1, "paper", (PairTerms(id="p", strategy="s", lead="L", hedge="H"),), ("v",))
    terms = {LEAD.id: LEAD, HEDGE.id: HEDGE}
    told: list[Any] = []

    def take(event: ev.Event) -> None:
        fold.apply(ob, terms, event)
        told.append(event)

    take(ev.RunStarted(ts=0, run=1, mode="paper", cash={"v": {}}))
    take(ev.VenueStatus(ts=0, venue="v", up=True, reason=""))
    take(ev.OrderIntended(ts=S, order=SPEC, lead_mid=1.0, hedge_mid=1.0, stable=1.0, index_usd=1.0))
    for second in range(2, 60):
        ob.now = second * S
        supervise.orders(ob, Execution(), take, [])
        if second in answers:
            take(ev.OrderNotFound(ts=second * S, client_id="A"))
            supervise.orders(ob, Execution(), take, [])
    assert [e.ts // S for e in told if isinstance(e, ev.AbsenceProven)] == ([] if proven is None else [proven])
