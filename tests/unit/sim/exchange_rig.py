"""An exchange to test, the shortest way to write its quotes and orders, and seeded lives of it."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
from venue_rig import INVERSE, PERP, START, D, Hours, S

from bot.model import event as ev
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from bot.sim.book import Depth
from bot.sim.exchange import ADL, LIQUIDATION, Exchange, Rules

CASH = {"USDT": D(400_000), "BTC": D(10)}
DEPTH = Depth(levels=5, spacing_ticks=2, behind=0.5, growth=1.5, refill_half_life_s=10.0, turnover=0.1)
"""A touch of 10 has 5, 7.5, 11.25 and 16.875 behind it, two ticks apart."""


def exchange(cash: dict[str, Decimal] | None = None, rules: Rules | None = None, hours: Hours | None = None) -> Exchange:
    """Return a perp exchange at START."""
    return Exchange("perp", (PERP, INVERSE), cash or CASH, hours or Hours(), rules or Rules(), START)


def deep(cash: str = "4000000", depth: Depth = DEPTH, **rules: float) -> Exchange:
    """Return an exchange with depth and money enough."""
    return exchange({"USDT": D(cash), "BTC": D(10)}, Rules(depth=depth, **rules))  # type: ignore[arg-type]


def quote(bid: float, ask: float, ts: int = START, size: float = 50.0, instrument: str = "BTCUSDT", ask_size: float | None = None) -> ev.Quote:
    """Return a top of book."""
    return ev.Quote(ts, instrument, bid, ask, size, size if ask_size is None else ask_size, ts)


def spec(n: int, side: Side, qty: str | Decimal, limit: str | Decimal, tif: TimeInForce = TimeInForce.IOC, instrument: str = "BTCUSDT",
         reduce_only: bool = False) -> OrderSpec:  # fmt: skip
    """Return the n-th order."""
    return OrderSpec(client_id=f"T{n}", pair="p", venue="perp", instrument=instrument, side=side, qty=D(qty), limit=D(limit), tif=tif,
                     purpose=Purpose.LEAD, reduce_only=reduce_only)  # fmt: skip


def drained(x: Exchange) -> list[ev.Event]:
    """Return and forget what the exchange has to say."""
    out = list(x.reports)
    x.reports.clear()
    return out


def wander(seed: int, steps: int = 150, rules: Rules | None = None) -> tuple[Exchange, list[ev.Event]]:
    """Return an exchange after a seeded life of quotes, marks, rates, orders and cancels, and all it said."""
    rng = Random(seed)
    insured = Rules(insured=rng.random() < 0.5)
    x = exchange({"USDT": D(30_000), "BTC": D(1)}, rules or insured)
    said: list[ev.Event] = []
    price, now, n = 70_000.0, START, 0
    for _ in range(steps):
        now += int((1 + 600 * rng.random()) * S)
        u = rng.random()
        price *= 1.0 + 0.02 * (rng.random() - 0.5)
        name = "BTCUSDT" if rng.random() < 0.7 else "BTCUSD"
        bid = round(price, 1)
        if u < 0.45:
            x.quote(quote(bid, round(bid + 0.1, 1), now, round(1 + 900 * rng.random(), 3) if name == "BTCUSD" else 3.0, name))
        elif u < 0.55:
            x.mark(ev.MarkPrice(now, name, round(price, 2), price))
        elif u < 0.62:
            x.funding(ev.FundingRate(now, name, 0.002 * (rng.random() - 0.5), 28_800, now + int(900 * rng.random() * S), 0.003))
        elif u < 0.95:
            n += 1
            side = Side.BUY if rng.random() < 0.5 else Side.SELL
            away = 1.0 + side.sign * (0.001 if rng.random() < 0.6 else -0.002)
            qty = D(1 + int(900 * rng.random())) if name == "BTCUSD" else D(1 + int(1_500 * rng.random())) / 1_000
            tif = TimeInForce.IOC if rng.random() < 0.6 else TimeInForce.DAY
            x.submit(spec(n, side, qty, D(repr(round(price * away, 1))), tif, name), now)
        elif n:
            x.cancel(f"T{1 + int(n * rng.random())}", now)
        if rules is not None:
            meddle(x, rng, n, now)
        said += drained(x)
    return x, said


def meddle(x: Exchange, rng: Random, n: int, now: int) -> None:
    """Do to an account now and then what venues do unasked."""
    u, name, cid = rng.random(), "BTCUSDT" if rng.random() < 0.7 else "BTCUSD", f"T{1 + int(n * rng.random())}"
    lots = x.listings[name].instrument.lot * (1 + int(300 * rng.random()))
    if u < 0.05:
        x.halt(name, now, now + int(900 * rng.random() * S))
    elif u < 0.09:
        x.hike(1.0 + rng.random(), now)
    elif u < 0.14:
        fills = [f for f in x.account.history if isinstance(f, ev.OrderFilled)]
        x.bust(fills[int(len(fills) * rng.random())].exec_id if fills else "none", now)
    elif u < 0.20:
        x.trade_manually(name, Side.BUY if rng.random() < 0.5 else Side.SELL, lots, now)
    elif u < 0.25 and n and x.orders[cid].outcome is not Outcome.REJECTED:
        x.overfill(cid, x.listings[x.orders[cid].spec.instrument].instrument.lot, now)
    elif u < 0.27:
        x.seize(name, D("0.5"), ADL if rng.random() < 0.5 else LIQUIDATION, now)
