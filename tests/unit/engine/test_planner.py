"""The pair planner: what it asks for in every state that matters, both directions."""

from __future__ import annotations

from decimal import Decimal

import pytest
from table import INVERSE, MBT, NOW, PERP, S, Table, X, signed, tuned

from bot.engine.pair import crossing_limit, hedge_gap, unhedged_coins
from bot.model import event as ev
from bot.model.event import KillLevel
from bot.model.order import Outcome, Purpose, Side, TimeInForce

D = Decimal


@pytest.mark.parametrize(
    ("lead", "hedge", "ratio", "gap"),
    [
        ("41", "0", "1", "-4.1"), ("53", "-4.1", "1", "-1.2"), ("-41", "0", "1", "4.1"), ("41", "-4.2", "1", "0.1"), ("0", "-4.1", "1", "4.1"),
        ("40", "0", "0.5", "-2"), ("40", "-4", "0", "4"), ("10", "-1", "1", "0"), ("3", "0.3", "1", "-0.6"),
    ],
)  # fmt: skip
def test_hedge_follows_fills(lead: str, hedge: str, ratio: str, gap: str) -> None:
    """The hedge is what the fills so far leave open, whatever was intended (G7: 41 lots, then 12 more)."""
    t = Table()
    t.hold(lead, hedge)
    t.want(73, ratio=ratio)
    t.pair.target = t.pair.lead.qty
    assert signed(t.ask("hedge")) == D(gap)
    ask = t.ask("hedge")
    assert ask is None or (ask.tif is TimeInForce.IOC and ask.purpose is Purpose.HEDGE and not ask.opening)


def test_hedge_is_recomputed_not_repeated() -> None:
    """Planned twice before anything happened it is the same order, and none once it is in flight or done."""
    t = Table()
    t.hold("10", "0")
    t.want(10)
    assert t.plan() == t.plan()
    sent = t.send(PERP, Side.SELL, "1", "70040")
    assert t.plan() == []
    t.tell(ev.OrderFilled(ts=NOW, venue="perp", client_id=sent, instrument=PERP.id, exec_id="e1", side=Side.SELL, qty=D("0.4"), price=D(70_050),
                          fee=D(0), fee_currency="USDT"))  # fmt: skip
    assert t.plan() == []
    t.tell(ev.OrderEnded(ts=NOW, client_id=sent, outcome=Outcome.EXPIRED, cum_qty=D("0.4")))
    assert signed(t.ask("hedge")) == D("-0.6")


def test_every_live_order_of_a_leg_is_waited_for() -> None:
    """Intents kept beside a failed journal come back several at once: the leg is free when the last of them is resolved."""
    t = Table()
    t.hold("10", "0")
    t.want(10)
    sent = [t.send(PERP, Side.SELL, "1", "70040") for _ in range(3)]
    for client_id in (sent[2], sent[0], sent[1]):
        assert t.plan() == [] and t.pair.hedge_order in t.ob.live
        t.tell(ev.OrderEnded(ts=NOW - 60 * S, client_id=client_id, outcome=Outcome.CANCELLED, cum_qty=D(0)))
    t.ob.now = NOW + 60 * S
    t.show(PERP.id, 70_060.0, 70_061.0, 50.0)
    assert t.pair.hedge_order is None and signed(t.ask("hedge")) == D(-1)


@pytest.mark.parametrize("status", ["sent", "working", "unknown", "closing"])
def test_a_hedge_in_any_live_state_blocks_hedge_clip_and_unwind(status: str) -> None:
    """While a hedge may still fill nothing else is sent: no second hedge, no next clip, no unwind against it."""
    for unwind in (False, True):
        t = Table()
        t.hold("10", "0")
        t.want(30)
        t.pair.unwind = unwind
        sent = t.send(PERP, Side.SELL, "1", "70040")
        if status == "working":
            t.acked(sent)
        elif status == "unknown":
            t.tell(ev.NoAnswer(ts=NOW, client_id=sent, reason="test"))
        elif status == "closing":
            t.tell(ev.OrderEnded(ts=NOW, client_id=sent, outcome=Outcome.CANCELLED, cum_qty=D("0.5")))
        assert t.ob.orders[sent].status == status
        assert t.plan() == []


def test_absence_must_be_proven_before_the_hedge_is_sent_again() -> None:
    """A timeout is not a reject: the hedge comes back only when the unknown one is proven absent, after its pause."""
    t = Table()
    t.hold("10", "0")
    t.want(10)
    sent = t.send(PERP, Side.SELL, "1", "70040")
    for _ in range(5):
        t.tell(ev.NoAnswer(ts=NOW, client_id=sent, reason="test"))
        assert t.plan() == []
    t.tell(ev.AbsenceProven(ts=NOW, client_id=sent))
    assert t.plan() == []
    t.ob.now += S
    assert signed(t.ask("hedge")) == D("-1")


def test_late_overfill_is_hedged() -> None:
    """A lead fill after the end is covered from totals (F-41, F-46), and the surplus lots are brought back to the target."""
    t = Table()
    t.hold("10", "-1")
    t.want(10)
    t.hold("2", "0")
    assert signed(t.ask("hedge")) == D("-0.2") and t.ask("lead") is None
    t.hold("0", "-0.2")
    assert signed(t.ask("lead")) == D("-2")


def test_one_clip_after_the_other() -> None:
    """The next clip waits until the last is hedged, within tolerance once hedging is being retried; size is capped in lots and by depth on both books."""
    t = Table()
    t.want(25)
    assert signed(t.ask("lead")) == 10
    t.hold("10", "0")
    assert t.ask("lead") is None
    t.hold("0", "-0.949")
    assert t.ask("lead") is None
    t.hold("0", "-0.001")
    assert t.ask("lead") is None and signed(t.ask("hedge")) == D("-0.05"), "a hedge that leaves now would race the next clip"
    t.pair.hedge_retry_ns = t.ob.now + S
    assert signed(t.ask("lead")) == 10
    t.hold("10", "-1")
    assert signed(t.ask("lead")) == 5
    for instrument, size, lots in ((MBT.id, 20.0, 5), (PERP.id, 1.6, 4), (MBT.id, 0.5, 0)):
        t = Table()
        t.want(25)
        book = t.books[instrument]
        t.show(instrument, book.bid, book.ask, size)
        assert signed(t.ask("lead")) == lots


@pytest.mark.parametrize("direction", [1, -1])
def test_one_live_order_per_leg(direction: int) -> None:
    """With the lead's clip in flight nothing more of the lead is sent; its fills are hedged meanwhile."""
    t = Table()
    t.want(25 * direction)
    side = Side.BUY if direction > 0 else Side.SELL
    t.send(MBT, side, "10", "70015")
    assert t.plan() == []
    t.hold(str(4 * direction), "0")
    assert signed(t.ask("hedge")) == D("-0.4") * direction and t.ask("lead") is None


def test_reduce_only_only_when_it_is_safe() -> None:
    """Set when the venue net has the opposite sign and is large enough, never because the pair's own leg shrinks."""
    t = Table()
    t.hold("0", "-1")
    ask = t.ask("hedge")
    assert ask is not None and ask.reduce_only
    t.ob.silos["perp"].positions[PERP.id].qty = D("-0.4")  # another pair is long there
    ask = t.ask("hedge")
    assert ask is not None and signed(ask) == 1 and not ask.reduce_only
    t.ob.silos["perp"].positions[PERP.id].qty = D("0.2")
    ask = t.ask("hedge")
    assert ask is not None and not ask.reduce_only
    opening = Table()
    opening.hold("10", "0")
    ask = opening.ask("hedge")
    assert ask is not None and not ask.reduce_only


def test_rest_below_the_venues_minimum_is_left_alone() -> None:
    """0.001 coins are 70 USD and refused by the venue: not a gap, so an unwind can end; closing all is sent at any size."""
    t = Table()
    t.hold("10", "-0.999")
    assert hedge_gap(t.pair, t.window) == 0 and t.ask("hedge") is None
    t = Table()
    t.hold("10", "-0.998")
    assert signed(t.ask("hedge")) == D("-0.002")
    t = Table()
    t.hold("0", "-0.001")
    assert signed(t.ask("hedge")) == D("0.001")


@pytest.mark.parametrize("direction", [1, -1])
def test_unwind_brings_the_lead_back_to_what_is_hedged(direction: int) -> None:
    """Unwinding closes the naked lots, lets nothing grow, and keeps what has a hedge."""
    t = Table()
    t.hold(str(10 * direction), str(D("-0.4") * direction))
    t.want(10 * direction)
    t.pair.unwind = True
    lead = t.ask("lead")
    assert signed(lead) == -6 * direction and lead is not None and lead.purpose is Purpose.UNWIND and not lead.opening
    assert t.ask("hedge") is None
    t.hours.shut.add(MBT.id)
    assert t.ask("lead") is None and signed(t.ask("hedge")) == D("-0.6") * direction


@pytest.mark.parametrize(("lead", "hedge", "asked"), [("20", "-1.4", "-0.6"), ("14", "-2.0", "0.6")])
def test_g12_kill_while_cme_is_shut(lead: str, hedge: str, asked: str) -> None:
    """FLATTEN with CME shut: the perp covers the naked delta or gives back the excess, then the pair is held, lead untouched."""
    t = Table()
    t.hold(lead, hedge)
    t.want(int(lead))
    t.ob.kill_level = KillLevel.FLATTEN
    t.hours.shut.add(MBT.id)
    assert signed(t.ask("hedge")) == D(asked) and t.ask("lead") is None
    t.hold("0", asked)
    assert t.plan() == []
    t.hours.shut.clear()
    assert signed(t.ask("lead")) == -10


@pytest.mark.parametrize("direction", [1, -1])
def test_flatten_closes_in_matched_clips(direction: int) -> None:
    """Lead clip, its hedge, the next clip: the net never leaves a clip, and no close crosses zero (I20)."""
    t = Table()
    t.hold(str(23 * direction), str(D("-2.3") * direction))
    t.want(23 * direction)
    t.ob.kill_level = KillLevel.FLATTEN
    steps = []
    for _ in range(12):
        actions = [a for a in t.plan()]
        if not actions:
            break
        assert len(actions) == 1
        ask = actions[0]
        steps.append((ask.leg, signed(ask) * direction))  # type: ignore[union-attr]
        t.hold(*((str(signed(ask)), "0") if ask.leg == "lead" else ("0", str(signed(ask)))))  # type: ignore[union-attr,arg-type]
        assert abs(unhedged_coins(t.pair, t.window)) <= 1
    assert steps == [("lead", -10), ("hedge", 1), ("lead", -10), ("hedge", 1), ("lead", -3), ("hedge", D("0.3"))]
    assert t.pair.flat


@pytest.mark.parametrize("gone", ["down", "shut", "one-sided"])
def test_a_hedged_pair_is_not_taken_apart(gone: str) -> None:
    """While the hedge cannot trade a close waits, except for the lots that are naked anyway; openings wait altogether."""
    for lead, closed in (("20", 0), ("26", -6)):
        t = Table()
        t.hold(lead, "-2")
        t.want(0)
        lose(t, gone)
        assert signed(t.ask("lead")) == closed and t.ask("hedge") is None
    t = Table()
    t.want(10)
    lose(t, gone)
    assert t.plan() == []


def lose(t: Table, how: str) -> None:
    """Take the hedge's market away."""
    if how == "down":
        t.ob.silos["perp"].up = False
    elif how == "shut":
        t.hours.shut.add(t.hedge.id)
    else:
        t.books[t.hedge.id].ask_size = 0.0


def test_a_target_beyond_zero_closes_first() -> None:
    """Asked to turn around, the lead closes to zero and no further in one order."""
    t = Table()
    t.hold("4", "-0.4")
    t.want(-20)
    assert signed(t.ask("lead")) == -4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: setattr(t.ob, "ready", False), lambda t: setattr(t.ob, "halted", "x"), lambda t: setattr(t.pair, "frozen", "x"),
        lambda t: setattr(t.pair, "armed", False), lambda t: setattr(t.ob, "kill_level", KillLevel.PAUSE),
        lambda t: setattr(t.ob, "kill_level", KillLevel.FREEZE), lambda t: t.hours.shut.add(MBT.id), lambda t: setattr(t.ob.silos["cme"], "up", False),
        lambda t: setattr(t.books[PERP.id], "venue_ts", NOW - 46 * S), lambda t: setattr(t.books[MBT.id], "bid_size", 0.0),
    ],
)  # fmt: skip
def test_what_stops_openings_stops_no_hedge(spoil: object) -> None:
    """Each of these keeps the next clip back, and the hedge of what has filled still goes (rule 7)."""
    t = Table()
    t.hold("10", "-1")
    t.want(20)
    assert signed(t.ask("lead")) == 10
    spoil(t)  # type: ignore[operator]
    assert t.ask("lead") is None
    t.hold("1", "0")
    assert signed(t.ask("hedge")) == D("-0.1")


@pytest.mark.parametrize(("direction", "bid", "ask"), [(1, 70_060.0, 70_061.0), (-1, 69_944.0, 69_945.0)])
def test_clips_go_while_the_premium_pays(direction: int, bid: float, ask: float) -> None:
    """The executable premium of the direction decides on every clip; unknown stablecoin or index holds it back."""
    t = Table()
    t.show(PERP.id, bid, ask, 50.0)
    t.show("USDT/USD", 0.99999999, 1.00000001, 1e6)
    executable = 55.0 / 7.0
    t.want(10 * direction, floor_bp=executable - 0.001)
    assert signed(t.ask("lead")) == 10 * direction
    t.want(10 * direction, floor_bp=executable + 0.001)
    assert t.ask("lead") is None
    for instrument, field in (("USDT/USD", "mid"), (PERP.id, "index")):
        t = Table()
        t.want(10 * direction, floor_bp=-1_000.0)
        setattr(t.books[instrument], field, 0.0)
        assert t.ask("lead") is None


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda t: None, ""),
        (lambda t: t.show(MBT.id, 70_005.0, 70_010.0, 500.0), "repriced"),
        (lambda t: t.show(MBT.id, 69_995.0, 70_000.0, 500.0), ""),
        (lambda t: t.show(PERP.id, 70_010.0, 70_011.0, 50.0), "edge gone"),
        (lambda t: t.want(0), "target changed"),
        (lambda t: setattr(t.pair, "frozen", "x"), "openings stopped"),
        (lambda t: setattr(t.ob, "kill_level", KillLevel.CANCEL), "openings stopped"),
        (lambda t: setattr(t.ob, "kill_level", KillLevel.FLATTEN), "target changed"),
        (lambda t: setattr(t.ob, "now", NOW + 20 * S), "rested too long"),
    ],
)  # fmt: skip
def test_a_resting_lead_is_watched(happens: object, why: str) -> None:
    """At its touch it rests; re-priced, unwanted, unpaid or too old it is withdrawn, once."""
    t = Table()
    t.want(10, floor_bp=5.0, passive=True)
    ask = t.ask("lead")
    assert ask is not None and ask.limit == 70_000 and ask.tif is TimeInForce.DAY
    sent = t.send(MBT, Side.BUY, "10", "70000", TimeInForce.DAY)
    t.acked(sent)
    happens(t)  # type: ignore[operator]
    assert t.withdrawn() == why
    if why:
        t.tell(ev.CancelIntended(ts=t.ob.now, client_id=sent, reason=why))
        assert t.plan() == []


def test_a_lost_cancel_is_asked_again() -> None:
    """A resting order found working after a cancel that nobody answered is withdrawn anew (F-42)."""
    t = Table()
    t.want(10, passive=True)
    sent = t.send(MBT, Side.BUY, "10", "70000", TimeInForce.DAY)
    t.acked(sent)
    t.want(0)
    t.tell(ev.CancelIntended(ts=NOW, client_id=sent, reason="target changed"))
    t.tell(ev.NoAnswer(ts=NOW + 2 * S, client_id=sent, reason="test"))
    t.acked(sent)
    assert t.withdrawn() == "target changed"


def test_cancel_withdraws_and_flatten_lets_its_own_closes_work() -> None:
    """CANCEL takes back every working lead order; under FLATTEN one that closes is what we want."""
    for level, side, why in ((KillLevel.CANCEL, Side.SELL, "kill"), (KillLevel.FLATTEN, Side.SELL, ""), (KillLevel.FLATTEN, Side.BUY, "kill")):
        t = Table()
        t.hold("10", "-1")
        t.want(10)
        t.acked(t.send(MBT, side, "5", "70000"))
        t.ob.kill_level = level
        assert t.withdrawn() == why


@pytest.mark.parametrize("side", list(Side))
def test_ladder_stays_inside_the_collar(side: Side) -> None:
    """Each fruitless attempt goes one step deeper, never beyond the collar around the mid, however wide the book."""
    book = Table().books[PERP.id]
    limits = [crossing_limit(PERP, book, side, X, k) for k in range(9)]
    assert [side.sign * x for x in limits] == sorted(side.sign * x for x in limits)
    wide = Table()
    wide.show(PERP.id, 69_800.0, 70_200.0, 5.0)
    for shown in (book, wide.books[PERP.id]):
        for k in range(9):
            through = (float(crossing_limit(PERP, shown, side, X, k)) / shown.mid - 1.0) * 1e4 * side.sign
            assert through <= X.collar_bp + 0.02
    assert crossing_limit(PERP, book, Side.BUY, tuned(cross_bp=0.0), 0) == D("70061.0")


def test_retry_waits_and_then_goes_deeper() -> None:
    """A fruitless hedge pauses, and the next one is priced through the touch by one step more."""
    t = Table()
    t.hold("10", "0")
    t.want(10)
    first = t.ask("hedge")
    sent = t.send(PERP, Side.SELL, "1", "70046")
    t.tell(ev.OrderEnded(ts=NOW, client_id=sent, outcome=Outcome.REJECTED, cum_qty=D(0)))
    assert t.plan() == []
    t.ob.now += S // 2
    second = t.ask("hedge")
    assert first is not None and second is not None and second.limit < first.limit


def test_inverse_hedge_is_sized_at_the_price_and_left_alone_after() -> None:
    """5,212 contracts hedge 7.3 coins at 71,400 (G7); wherever the price goes the gap stays zero (G5); a close closes all."""
    t = Table(INVERSE)
    t.show(INVERSE.id, 71_399.5, 71_400.5, 1e5)
    t.hold("73", "0", "71400")
    t.want(73)
    assert signed(t.ask("hedge")) == -5_212
    t.hold("0", "-5212", "71400")
    assert float(unhedged_coins(t.pair, t.window)) == pytest.approx(0.00028011, abs=1e-8)
    for mid in (40_000.0, 57_120.0, 90_000.0, 160_000.0):
        t.show(INVERSE.id, mid - 0.5, mid + 0.5, 1e5)
        assert hedge_gap(t.pair, t.window) == 0 and t.plan() == []
    t.show(INVERSE.id, 79_999.5, 80_000.5, 1e5)
    t.hold("-40", "0", "80000")
    assert hedge_gap(t.pair, t.window) == 2_856  # 4 of 7.3 coins at their entry of 71,400
    t.hold("-33", "0", "80000")
    assert hedge_gap(t.pair, t.window) == 5_212


def test_inverse_hedge_grows_at_the_present_price_and_crosses_at_both() -> None:
    """New lots are hedged at today's price; a lead that turned around closes the old hedge at entry and opens at today's."""
    t = Table(INVERSE)
    t.hold("10", "-700")
    t.show(INVERSE.id, 79_999.5, 80_000.5, 1e5)
    t.hold("10", "0", "80000")
    assert hedge_gap(t.pair, t.window) == -800
    t.hold("-30", "0", "80000")
    assert hedge_gap(t.pair, t.window) == 700 + 800


def test_inverse_unwind_keeps_what_is_hedged() -> None:
    """Half of the lead is hedged: the other half is unwound, whatever the price is now."""
    t = Table(INVERSE)
    t.hold("10", "-350")
    t.want(10)
    t.pair.unwind = True
    t.show(INVERSE.id, 99_999.5, 100_000.5, 1e5)
    assert signed(t.ask("lead")) == -5
