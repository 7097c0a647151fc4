"""What a message that could not be read makes the session do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.venues.ib_contracts import Contracts
from bot.venues.ib_endpoint import IbEndpoint, Pace
from bot.venues.ib_session import Session


@pytest.mark.parametrize(("codes", "ended"), [((), False), ((1100,), True), ((2103,), True), ((1100, 1102), False), ((2103, 2104), False)])
def test_what_may_have_been_word_of_an_end_ends_the_session(codes: tuple[int, ...], ended: bool) -> None:
    heard: list[Any] = []
    endpoint = IbEndpoint(host="", port=1, client_id=7)
    session = Session("cme", Contracts({}, {}), endpoint, DeskSessions({}), clock=lambda: 1_000, log=lambda event, **more: None, pace=Pace())
    session.listen(heard.append)
    session.up = True
    closed: list[str] = []
    session.line = SimpleNamespace(close=closed.append, failed=lambda *told: False)  # type: ignore[assignment]
    session._spawn = lambda work: work.close()  # type: ignore[method-assign]
    for code in codes:
        session.message(-1, code, "told:usfuture")
    session.garbled("?")
    assert bool(closed) is ended
    assert [a.code for a in heard if isinstance(a, ev.Alert)] == ["ib.unreadable"]
