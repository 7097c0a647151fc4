"""Ladders of depth from rows: what is kept, what is told, and when a ladder is asked for anew."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from test_ib_quotes import MBT

from bot.market.calendar import DeskSessions
from bot.model import event as ev
from bot.venues.ib_contracts import Contracts, Found
from bot.venues.ib_depth import DELETE, INSERT, UPDATE, Ladders
from bot.venues.ib_endpoint import IbEndpoint, Pace
from bot.venues.ib_quotes import Quotes
from bot.venues.ib_session import Session

S = 1_000_000_000
FOUND = Found(MBT, 99, "99:x", None)  # type: ignore[arg-type]


class Told:
    """A line that counts its numbers up and keeps what was asked for. now: the clock."""

    def __init__(self) -> None:
        self.now = S
        self.number = 4
        self.asked: list[tuple[str, int]] = []
        self.client = SimpleNamespace(
            reqMktDepth=lambda n, *more: self.asked.append(("ask", n)), cancelMktDepth=lambda n, *more: self.asked.append(("end", n)),
            reqMktData=lambda *more: None, cancelMktData=lambda *more: None,
        )  # fmt: skip

    def next_number(self) -> int:
        """Return the next number."""
        self.number += 1
        return self.number

    def tell(self, priority: Any, act: Any) -> None:
        """Send at once."""
        act()


def ladders(rows: int = 3) -> tuple[Ladders, Any]:
    """Return ladders of one contract under number 5, and their line."""
    line: Any = Told()
    made = Ladders(lambda: line.now, rows)
    made.subscribe(line, FOUND)
    return made, line


def filled() -> tuple[Ladders, Any]:
    """Return ladders with two rows on each side."""
    made, line = ladders()
    for at, (bid, ask) in enumerate(((70_000.0, 70_005.0), (69_995.0, 70_010.0))):
        made.row(5, at, INSERT, True, bid, 2.0)
        made.row(5, at, INSERT, False, ask, 3.0)
    return made, line


def told(made: Ladders) -> list[ev.BookDepth]:
    """Return what is told now."""
    return list(made.told())


def test_rows_become_a_book_that_is_told_once() -> None:
    made, _ = filled()
    (depth,) = told(made)
    assert (depth.instrument, depth.bids, depth.asks) == (MBT.id, ((70_000.0, 2.0), (69_995.0, 2.0)), ((70_005.0, 3.0), (70_010.0, 3.0)))
    assert told(made) == []
    made.row(5, 1, UPDATE, False, 70_015.0, 4.0)
    made.row(5, 0, DELETE, True, 0.0, 0.0)
    (depth,) = told(made)
    assert (depth.bids, depth.asks) == (((69_995.0, 2.0),), ((70_005.0, 3.0), (70_015.0, 4.0)))


def test_what_is_pushed_out_at_the_end_is_forgotten() -> None:
    made, line = filled()
    made.row(5, 0, INSERT, False, 70_004.0, 1.0)
    made.row(5, 0, INSERT, False, 70_003.0, 1.0)
    made.row(5, 3, DELETE, False, 0.0, 0.0)
    assert [price for price, _ in told(made)[0].asks] == [70_003.0, 70_004.0, 70_005.0]
    line.now += 60 * S
    assert made.worn(lambda i: S, S) == []


def test_a_book_between_two_rows_that_belong_together_is_not_told() -> None:
    made, _ = filled()
    told(made)
    made.row(5, 0, UPDATE, False, 70_010.0, 3.0)
    assert told(made) == []
    made.row(5, 1, UPDATE, False, 70_015.0, 3.0)
    assert [price for price, _ in told(made)[0].asks] == [70_010.0, 70_015.0]


@pytest.mark.parametrize(("at", "operation"), [(3, INSERT), (2, UPDATE), (-1, UPDATE), (0, 7)])
def test_a_row_that_does_not_fit_ends_the_ladder(at: int, operation: int) -> None:
    made, line = filled()
    made.row(5, at, operation, True, 69_990.0, 1.0)
    assert made.worn(lambda i: S, 60 * S) == [MBT.id]
    made.subscribe(line, FOUND)
    assert line.asked == [("ask", 5), ("end", 5), ("ask", 6)]
    assert made.worn(lambda i: S, 60 * S) == [] and told(made) == []
    made.row(5, 0, UPDATE, True, 1.0, 1.0)  # of the old one, still on its way
    assert told(made) == []


def test_a_ladder_that_is_silent_while_prices_speak_is_asked_for_anew() -> None:
    made, line = filled()
    line.now += 60 * S
    assert made.worn(lambda i: S + 29 * S, 30 * S) == []
    assert made.worn(lambda i: S + 30 * S, 30 * S) == [MBT.id]


def test_a_ladder_that_is_denied_is_not_asked_for_again() -> None:
    made, line = filled()
    assert made.denied(77) is None and made.denied(5) == MBT.id
    made.subscribe(line, FOUND)
    assert line.asked == [("ask", 5)] and made.worn(lambda i: 10**18, S) == []
    made.forget()  # a new connection tries once more
    made.subscribe(line, FOUND)
    assert line.asked == [("ask", 5), ("ask", 6)]


def test_a_reset_empties_and_a_halt_ends() -> None:
    made, _ = filled()
    made.cleared(5)
    assert told(made)[0].asks == ()
    assert made.worn(lambda i: S, 60 * S) == []
    made.halted(5)
    assert made.worn(lambda i: S, 60 * S) == [MBT.id]


@pytest.mark.parametrize(("code", "asked_anew"), [(317, []), (316, [MBT.id])])
def test_the_brokers_codes_reach_the_ladder(code: int, asked_anew: list[str]) -> None:
    """317: the book begins anew from nothing. 316: it moves no more until it is asked for again (broker's page of codes, read 2026-11)."""
    session = Session("cme", Contracts({}, {}), IbEndpoint(host="", port=1, client_id=7, depth_rows=3), DeskSessions({}), clock=lambda: S,
                      log=lambda event, **more: None, pace=Pace())  # fmt: skip
    made = session.quotes.ladders
    made.subscribe(Told(), FOUND)  # type: ignore[arg-type]
    made.row(5, 0, INSERT, True, 70_000.0, 2.0)
    session.message(5, code, "told")
    assert [d.bids for d in told(made)] == [()] and made.worn(lambda i: S, 60 * S) == asked_anew


def test_a_book_that_crosses_is_not_told() -> None:
    made, _ = filled()
    told(made)
    made.row(5, 0, UPDATE, True, 70_005.0, 2.0)
    assert told(made) == []


def test_without_rows_nothing_is_asked_for() -> None:
    _, line = ladders(0)
    assert line.asked == []


def test_a_denied_depth_is_said_and_prices_go_on() -> None:
    line: Any = Told()
    heard: list[Any] = []
    quotes = Quotes(DeskSessions({MBT.id: MBT}), lambda: S, 3)
    quotes.emit = heard.append
    quotes.subscribe(line, FOUND)
    quotes.data_type(5, 1)
    heard.clear()
    assert quotes.denied(6, "354 Requested market data is not subscribed.")
    assert [a.code for a in heard] == ["ib.depth"] and quotes.live(MBT.id) == ""


@pytest.mark.parametrize("seed", range(30))
def test_any_sequence_of_changes_gives_the_book_it_describes(seed: int) -> None:
    """Against a plain list: rows of a book that changes at random, as a server would tell them."""
    rng = random.Random(seed)
    made, _ = ladders(5)
    have: list[tuple[float, float]] = []
    for _ in range(200):
        want = sorted({round(rng.uniform(1, 40)) * 5.0 for _ in range(rng.randrange(6))})
        rows = [(price, float(rng.randrange(1, 9))) for price in want]
        for at, row in enumerate(rows):
            if at >= len(have):
                made.row(5, at, INSERT, False, *row)
            elif have[at] != row:
                made.row(5, at, UPDATE, False, *row)
        for at in range(len(have) - 1, len(rows) - 1, -1):
            made.row(5, at, DELETE, False, 0.0, 0.0)
        changed, have = have != rows, rows
        heard = told(made)
        assert [h.asks for h in heard] == ([tuple(rows)] if changed else []), f"seed {seed}"
