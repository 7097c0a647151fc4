"""Seeded lives of a deep book, and what holds in all of them: money, sizes, priority, refill, determinism, restart."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random

import msgspec
import pytest
from exchange_rig import DEPTH, deep, drained, exchange, quote, spec, wander
from venue_rig import INVERSE, PERP, START, D, S, of

from bot.model import event as ev
from bot.model.order import Outcome, Side, TimeInForce
from bot.model.position import pnl
from bot.sim.book import Depth
from bot.sim.exchange import Exchange, Rules

FULL = Rules(insured=True, depth=DEPTH, breaker_share=0.05, breaker_window_s=3_600.0, breaker_halt_s=120.0, limit_share=0.04)
SEEDS = range(40)
SIDES = (Side.BUY, Side.SELL)


def ladder(q: ev.Quote, side: Side, depth: Depth = DEPTH) -> list[tuple[Decimal, int]]:
    """Return price and lots of each level a quote stands for, by the words of the page: this test's own arithmetic."""
    first = math.floor((q.ask_size if side is Side.BUY else q.bid_size) * 1000 + 1e-6)
    sizes, size = [first], first * depth.behind
    while len(sizes) < depth.levels:
        sizes.append(math.floor(size))
        size *= depth.growth
    at = D(repr(q.ask if side is Side.BUY else q.bid))
    return [(at + side.sign * k * depth.spacing_ticks * PERP.tick, lots) for k, lots in enumerate(sizes)]


def drawn_depth(rng: Random) -> Depth:
    """Return a seeded shape of a book."""
    return Depth(levels=1 + int(6 * rng.random()), spacing_ticks=1 + int(5 * rng.random()), behind=0.1 + rng.random(),
                 growth=0.6 + rng.random(), refill_half_life_s=0.5 + 20 * rng.random(), turnover=rng.random())  # fmt: skip


def drawn_quote(rng: Random, ts: int) -> ev.Quote:
    """Return a seeded top of book near 70,000."""
    bid = round(70_000.0 + int(40 * rng.random()) / 10, 1)
    return quote(bid, round(bid + (1 + int(8 * rng.random())) / 10, 1), ts, round(0.5 + 8 * rng.random(), 3), ask_size=round(0.5 + 8 * rng.random(), 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_takers_of_one_instant_share_what_is_displayed(seed: int) -> None:
    """Of every level no more than it has, over all orders; never worse than the limit; no price jumped over; worst last."""
    rng = Random(seed)
    depth = drawn_depth(rng)
    x = deep("900000000", depth)
    q = drawn_quote(rng, START)
    x.quote(q)
    got: dict[tuple[Side, Decimal], Decimal] = {}
    for n in range(30):
        side = SIDES[int(2 * rng.random())]
        limit = D(repr(q.ask if side is Side.BUY else q.bid)) + side.sign * PERP.tick * int(30 * rng.random())
        qty = D(1 + int(6_000 * rng.random())) / 1_000
        left = sum((D(lots) / 1_000 - got.get((side, at), D(0)) for at, lots in ladder(q, side, depth) if (at - limit) * side.sign <= 0), D(0))
        x.submit(spec(n, side, qty, limit), START)
        fills = of(ev.OrderFilled, drained(x))
        prices = [f.price * side.sign for f in fills]
        assert prices == sorted(set(prices)) and all(p <= limit * side.sign for p in prices), f"seed {seed} order {n}"
        assert sum((f.qty for f in fills), D(0)) == min(qty, left), f"seed {seed} order {n}"
        for f in fills:
            got[side, f.price] = got.get((side, f.price), D(0)) + f.qty
    for side in SIDES:
        has = {at: D(lots) / 1_000 for at, lots in ladder(q, side, depth)}
        for (s, at), qty in got.items():
            assert s is not side or qty <= has[at], f"seed {seed} {side} {at}"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_shown_is_what_can_be_had(seed: int) -> None:
    """At any time the displayed touch is the price and the size a taker gets first; looking changes nothing."""
    rng = Random(seed)
    depth = drawn_depth(rng)
    x, blind = deep("900000000", depth), deep("900000000", depth)
    now = START
    for n in range(60):
        now += int(5 * rng.random() * S)
        q = drawn_quote(rng, now)
        for y in (x, blind):
            y.quote(q)
        side = SIDES[int(2 * rng.random())]
        seen = x.shown(q)
        price, size = (seen.ask, seen.ask_size) if side is Side.BUY else (seen.bid, seen.bid_size)
        qty = D(1 + int(4_000 * rng.random())) / 1_000
        order = spec(n, side, qty, D("72000.0") if side is Side.BUY else D("68000.0"))
        for y in (x, blind):
            y.submit(order, now)
        fills = of(ev.OrderFilled, drained(x))
        assert fills == of(ev.OrderFilled, drained(blind)), f"seed {seed} step {n}"
        if fills:
            assert (float(fills[0].price), fills[0].qty) == (price, min(qty, D(repr(size)))), f"seed {seed} step {n}"
        else:
            assert size == 0.0, f"seed {seed} step {n}"
        assert (x.shown(q) is q) is not (x.listings[PERP.id].book.missing(Side.BUY, now) or x.listings[PERP.id].book.missing(Side.SELL, now)) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_taken_comes_back_by_half_lives_and_never_more(seed: int) -> None:
    """Missing lots fall with time alone, to half in a half-life, whatever the quotes do meanwhile; then nothing is missing."""
    rng = Random(seed)
    depth = drawn_depth(rng)
    x = deep("900000000", depth)
    x.quote(drawn_quote(rng, START))
    x.submit(spec(1, Side.BUY, "3", "72000.0"), START)
    book = x.listings[PERP.id].book
    taken = int(x.orders["T1"].filled * 1_000)
    last = book.missing(Side.BUY, START)
    assert last == taken and book.missing(Side.SELL, START) == 0
    for k in range(1, 200):
        at = START + int(k * 0.1 * depth.refill_half_life_s * S)
        if rng.random() < 0.5:
            x.quote(drawn_quote(rng, at))
        left = book.missing(Side.BUY, at)
        assert left <= last and abs(left - taken * 0.5 ** (0.1 * k)) <= 0.51, f"seed {seed} after {k / 10} half-lives"
        last = left
    assert last == 0, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shrinks", [False, True])
def test_no_order_fills_before_its_turn(seed: int, shrinks: bool) -> None:
    """While the market has not come to its price: what has traded there less what it joined behind, to the lot.

    With displays that shrink it may be sooner, by the cancels in front, but never more than has traded.
    """
    rng = Random(seed)
    depth = drawn_depth(rng)
    x = deep("900000000", depth)
    now, size, joined_behind, traded, at_touch = START, 4.0, 4.0, 0.0, True
    x.quote(quote(70_000.0, 70_001.0, now, size))
    x.submit(spec(1, Side.BUY, "2", "70000.0", TimeInForce.DAY), now)
    for step in range(200):
        later = now + int(3 * rng.random() * S)
        traded += depth.turnover * size * (later - now) / S if at_touch else 0.0
        now, at_touch = later, rng.random() < 0.7
        if at_touch:
            size = round(1.0 + 6 * rng.random(), 3) if shrinks else round(size + rng.random(), 3)
        bid = 70_000.0 if at_touch else 70_000.4
        x.quote(quote(bid, bid + 1.0, now, size))
        filled, turn = float(x.orders["T1"].filled), min(2.0, max(0.0, traded - joined_behind))
        if shrinks:
            assert turn - 0.0011 <= filled <= traded + 1e-6, f"seed {seed} step {step}"
        else:
            assert turn - 0.0011 <= filled <= turn + 1e-6, f"seed {seed} step {step}: {filled} filled, {turn} have had their turn"


@pytest.mark.parametrize("seed", SEEDS)
def test_better_prices_and_older_orders_come_first(seed: int) -> None:
    """Of two orders of one size and side, the older one at a price at least as good never has filled less."""
    rng = Random(seed)
    x = deep("900000000", drawn_depth(rng))
    now, n, compared = START, 0, 0
    x.quote(drawn_quote(rng, now))
    rested: list[tuple[str, Side, Decimal]] = []
    for step in range(150):
        now += int(2 * rng.random() * S)
        if rng.random() < 0.2:
            n += 1
            side = SIDES[int(2 * rng.random())]
            limit = (D("69999.0") if side is Side.BUY else D("70005.0")) + PERP.tick * int(30 * rng.random()) * side.sign
            x.submit(spec(n, side, "1", limit, TimeInForce.DAY), now)
            if x.orders[f"T{n}"].filled == 0:
                rested.append((f"T{n}", side, limit))
        else:
            x.quote(drawn_quote(rng, now))
        for i, (older, side, limit) in enumerate(rested):
            for younger, its_side, its_limit in rested[i + 1 :]:
                if side is its_side and (limit - its_limit) * side.sign >= 0:
                    a, b = x.orders[older].filled, x.orders[younger].filled
                    compared += b > 0
                    assert a >= b, f"seed {seed} step {step}: {older} has {a}, {younger} has {b}"
    assert compared > 0, f"seed {seed}: nothing to compare"


@pytest.mark.parametrize("seed", SEEDS)
def test_money_adds_up_whatever_the_venue_does(seed: int) -> None:
    """Cash is opening + realised profit - fees + funding + insurance, recomputed from the reports, with busts and all the rest."""
    x, said = wander(seed, rules=FULL)
    booked = {e.exec_id: e for e in of(ev.OrderFilled, said)}
    cash = {"USDT": D(30_000), "BTC": D(1)}
    for terms in (PERP, INVERSE):
        flows = [f for f in booked.values() if f.instrument == terms.id]
        last = flows[-1].price if flows else D(1)
        total = sum((pnl(terms, f.qty * f.side.sign, f.price, last) for f in flows), D(0))
        position = x.listings[terms.id].position
        assert position.qty == sum((f.qty * f.side.sign for f in flows), D(0)), f"seed {seed}"
        cash[terms.settle] += total - (pnl(terms, position.qty, position.avg, last) if position.qty else D(0)) - sum((f.fee for f in flows), D(0))
    for e in said:
        if isinstance(e, ev.FundingPaid | ev.CashBooked):
            cash[e.currency] += e.amount
    for currency, expected in cash.items():
        assert abs(x.account.cash[currency] - expected) < D("1e-12"), f"seed {seed} {currency}"


@pytest.mark.parametrize("seed", SEEDS)
def test_orders_end_once_and_only_an_overfill_goes_beyond(seed: int) -> None:
    """One end at most; fills sum to what the venue says; beyond its size only an order that filled."""
    x, said = wander(seed, rules=FULL)
    for cid, ticket in x.orders.items():
        mine = {f.exec_id: f.qty for f in of(ev.OrderFilled, said) if f.client_id == cid}
        assert sum(mine.values(), D(0)) == ticket.filled, f"seed {seed} {cid}"
        ends = {e.outcome for e in of(ev.OrderEnded, said) if e.client_id == cid}
        assert ends == ({ticket.outcome} if ticket.outcome else set()), f"seed {seed} {cid}"
        assert ticket.filled <= ticket.spec.qty or ticket.outcome is Outcome.FILLED, f"seed {seed} {cid}"


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_trips_are_never_late_in_a_deep_book(seed: int) -> None:
    """After every quote, mark, order and hike: equity covers maintenance, or the instrument is halted or the book used up."""
    rng = Random(seed)
    x = exchange({"USDT": D(20_000)}, Rules(depth=DEPTH))
    price, now, marks = 70_000.0, START, rng.random() < 0.5
    for n in range(150):
        now += 5 * S
        price *= 1.0 + 0.008 * (rng.random() - 0.5)
        bid = round(price, 1)
        x.quote(quote(bid, round(bid + 0.1, 1), now, 4.0))
        if marks:
            x.mark(ev.MarkPrice(now, PERP.id, bid, bid))
        u = rng.random()
        if u < 0.1:
            side = SIDES[int(2 * rng.random())]
            x.submit(spec(n, side, D(1 + int(9 * rng.random())), D(repr(round(price * (1 + 0.001 * side.sign), 1)))), now)
        elif u < 0.15:
            x.hike(0.5 + 3 * rng.random(), now)
        elif u < 0.18:
            x.halt(PERP.id, now, now + int(30 * rng.random() * S))
        listing = x.listings[PERP.id]
        if listing.position.qty and not listing.halted_until:
            covered = x.account.equity("USDT") >= x.account.maintenance("USDT") - 1e-9
            assert covered or not listing.levels(Side.SELL if listing.position.qty > 0 else Side.BUY, now), f"seed {seed} step {n}"
        drained(x)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_finds_everything_but_the_place_in_the_queue(seed: int) -> None:
    """A fresh exchange fed the records: account, orders, rates, halts and books are the same, and its new ids are free."""
    x, _ = wander(seed, rules=FULL)
    y = exchange({"USDT": D(30_000), "BTC": D(1)}, FULL)
    y.restore(x.records, x.now)
    assert (y.account.cash, y.positions()) == (x.account.cash, x.positions()), f"seed {seed}"
    assert [(t.spec, t.filled, t.outcome) for t in y.orders.values()] == [(t.spec, t.filled, t.outcome) for t in x.orders.values()]
    for name, was in x.listings.items():
        now = y.listings[name]
        assert (now.rates, now.halted_until, list(now.resting)) == (was.rates, was.halted_until, list(was.resting)), f"seed {seed} {name}"
        assert all(t.place is None for t in now.resting.values())
    y.quote(quote(70_000.0, 70_000.1, x.now + 9_000 * S))
    y.submit(spec(10**6, Side.BUY, "0.01", "70100.0"), x.now + 9_000 * S)
    old = {e.exec_id for e in x.account.history if isinstance(e, ev.OrderFilled)}
    assert not old & {e.exec_id for e in of(ev.OrderFilled, drained(y))}, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_finds_the_takers_mark_on_the_book(seed: int) -> None:
    """Nothing that was taken is back for having been forgotten."""
    rng = Random(seed)
    depth = drawn_depth(rng)
    x = deep("900000000", depth)
    now = START
    for n in range(20):
        now += int(4 * rng.random() * S)
        x.quote(drawn_quote(rng, now))
        side = SIDES[int(2 * rng.random())]
        x.submit(spec(n, side, D(1 + int(4_000 * rng.random())) / 1_000, D("72000.0") if side is Side.BUY else D("68000.0")), now)
    y = deep("900000000", depth)
    y.restore(x.records, now)
    q = drawn_quote(rng, now + S)
    for z in (x, y):
        z.quote(q)
    assert y.shown(q) == x.shown(q), f"seed {seed}"
    for side in SIDES:
        assert y.listings[PERP.id].levels(side, now + S) == x.listings[PERP.id].levels(side, now + S), f"seed {seed} {side}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_is_the_same_life(seed: int) -> None:
    """Every report and every record, twice."""

    def life(of_seed: int) -> tuple[list[bytes], list[bytes]]:
        x: Exchange
        x, said = wander(of_seed, rules=FULL)
        return [msgspec.json.encode(e) for e in said], [msgspec.json.encode(r) for r in x.records]

    assert life(seed) == life(seed), f"seed {seed}"


def test_the_lives_do_reach_what_they_are_about() -> None:
    """Somewhere in them every act of the venue happens, orders walk levels, and queues fill in pieces."""
    reasons: set[str] = set()
    walked = pieces = 0
    kinds: set[type] = set()
    refusals: set[str] = set()
    for seed in SEEDS:
        x, said = wander(seed, rules=FULL)
        reasons |= {f.reason for f in of(ev.OrderFilled, said)}
        kinds |= {type(r) for r in x.records}
        refusals |= {t.reason.split(":")[0] for t in x.orders.values() if t.outcome is Outcome.REJECTED}
        walked += sum(len({f.price for f in t.fills}) > 1 for t in x.orders.values())
        pieces += sum(sum(f.maker for f in t.fills) > 1 for t in x.orders.values())
    assert reasons == {"", "bust", "manual", "adl", "liquidation"} and walked > 20 and pieces > 5
    assert {k.__name__ for k in kinds} >= {"Halted", "RatesSet", "OrderFilled", "OrderEnded", "OrderReceived", "FundingPaid"}
    assert refusals >= {"trading halted", "price beyond limit"}
