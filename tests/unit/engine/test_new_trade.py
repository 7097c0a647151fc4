"""What a new target forgets of the trade before it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot import composition, config
from bot.engine import fold
from bot.model import event as ev
from bot.model.intent import PairIntent


@pytest.mark.parametrize(("held", "left"), [(Decimal(0), 0), (Decimal(10), 5)])
def test_hedges_that_failed_count_against_their_own_trade(held: Decimal, left: int) -> None:
    """A flat pair begins anew; one that holds something still has its fruitless hedges."""
    built = composition.desk(config.load("paper", environ={}).settings)
    ob = built.obligations(1, "P")
    pair = ob.pairs[composition.PAIR]
    pair.hedge_attempts, pair.lead.qty = 5, held
    intent = PairIntent(pair=composition.PAIR, target_lead=Decimal(10), reason="test")
    fold.apply(ob, built.terms, ev.TargetSet(ts=1, pair=composition.PAIR, target_lead=Decimal(10), intent=intent))
    assert pair.hedge_attempts == left
