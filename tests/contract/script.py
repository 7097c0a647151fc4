"""Small scripts of a market, orders and faults, played on any rig of the contract; and what came of them, in terms that any venue has.

A line is one instant: `at` seconds from the start, then any of quote [bid, ask, size], mark, rate [rate, stamp], fault with args, an
order by its number, or the cancel of one. The first line names the venue. After the last line every order is asked about until
the venue has told how it stands, and the account is asked for.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from venue_rig import START, Build, D, Rig, S, fills, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.faults import Fault, FaultKind

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.jsonl"))
ASKS, ASK_S = 4, 12.0
"""How often an order is asked about at the end and how far apart, in seconds of the market: beyond what a request may be under way."""
NEVER_WAS = "never was"
PLACES = 6
"""Decimals of money that are compared: the exchange's own statements have eight, whatever the core computes."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One instant of a script."""

    at: float = 0.0
    venue: str = ""
    about: str = ""
    cash: dict[str, str] = {}
    quote: tuple[float, float, float] | None = None
    mark: float | None = None
    rate: tuple[float, float] | None = None
    fault: FaultKind | None = None
    args: dict[str, float] = {}
    order: int = 0
    side: Side = Side.BUY
    qty: str = ""
    limit: str = ""
    tif: TimeInForce = TimeInForce.IOC
    reduce_only: bool = False
    cancel: int = 0


class End(msgspec.Struct, frozen=True):
    """What came of a script. orders: by client id, how each ended and every execution: side, quantity, price, fee, whether as maker.

    unasked: executions that no order explains, with their reason. trades: numbers of the executions at the venue. paid: funding and
    other bookings told. cash: what the account's statement has more than at the beginning.
    """

    orders: dict[str, tuple[str, Decimal, list[tuple[Any, ...]]]]
    unasked: list[tuple[Any, ...]]
    trades: list[int]
    paid: list[tuple[Any, ...]]
    positions: dict[str, Decimal]
    working: list[str]
    cash: dict[str, Decimal]
    hits: dict[str, int]


def read(path: Path) -> list[Line]:
    """Return the lines of a script."""
    return [msgspec.convert(json.loads(text), Line, strict=False) for text in path.read_text().splitlines()]


def name(number: int) -> str:
    """Return the client id of an order of a script."""
    return f"S00001L{number:08d}"


def play(build: Build, lines: list[Line]) -> End:
    """Play a script on a rig of its own and return what came of it."""
    head = lines[0]
    faults = tuple(
        Fault(at_ns=START + int(n.at * S), venue=head.venue, kind=n.fault, args=n.args) for n in lines if n.fault is not None
    )  # fmt: skip
    rig = build(head.venue, cash=head.cash or None, faults=faults)
    opening = rig.snapshot().cash
    for line in lines[1:]:
        _do(rig, line)
    names = [name(line.order) for line in lines if line.order]
    for _ in range(ASKS):
        rig.to((rig.now - START) / S + ASK_S)
        for client_id in names:
            rig.query(client_id)
    end = rig.snapshot()
    plan = rig.venue.plan if rig.in_process else rig.world.sites[head.venue].plan  # type: ignore[attr-defined]
    told = fills(rig.said)
    paid = [(type(e).__name__, round(e.amount, PLACES), e.currency) for kind in (ev.FundingPaid, ev.CashBooked) for e in rig.booked(kind)]
    return End(
        orders={c: _end(rig, c, told) for c in names},
        unasked=sorted((f.side, f.qty, f.price, round(f.fee, PLACES), f.reason) for f in told if not f.client_id),
        trades=sorted(int(re.findall(r"\d+", f.exec_id)[-1]) for f in told),
        paid=paid, positions={i: q for i, q in end.positions.items() if q}, working=sorted(w.client_id for w in end.working),
        cash={c: round(x - opening.get(c, D(0)), PLACES) for c, x in end.cash.items() if x != opening.get(c, D(0))},
        hits={k.value: n for k, n in plan.hits.items()},
    )  # fmt: skip


def _do(rig: Rig, line: Line) -> None:
    """Let one instant happen."""
    rig.to(line.at)
    if line.rate is not None and line.mark is not None:
        rig.mark(line.mark)
        rig.rate(*line.rate)
    elif line.mark is not None:
        if line.quote is not None:
            rig.quote(*line.quote)
        rig.mark(line.mark)
    if line.quote is not None:
        rig.quote(*line.quote)
    if line.order:
        rig.order(line.side, line.qty, line.limit, tif=line.tif, reduce_only=line.reduce_only, client_id=name(line.order))
    if line.cancel:
        rig.cancel(name(line.cancel))


def _end(rig: Rig, client_id: str, told: list[Any]) -> tuple[str, Decimal, list[tuple[Any, ...]]]:
    """Return how an order ended, as far as it was told: a refusal here and one there are both proof that it never was."""
    about = [e for e in rig.said if getattr(e, "client_id", None) == client_id]
    mine = [(f.side, f.qty, f.price, round(f.fee, PLACES), f.fee_currency, f.maker) for f in told if f.client_id == client_id]
    outcomes = {e.outcome for e in of(ev.OrderEnded, about)}
    if not mine and (outcomes <= {Outcome.REJECTED, Outcome.DENIED}) and not of(ev.OrderAccepted, about[-1:]):
        return NEVER_WAS, D(0), []
    assert len(outcomes) <= 1, (client_id, about)
    return next(iter(outcomes)).value if outcomes else "working", sum((m[1] for m in mine), D(0)), mine
