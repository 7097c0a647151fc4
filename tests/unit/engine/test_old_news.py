"""What a venue says late, twice, takes back or refuses to hear: old pictures move nothing, what is undone leaves nothing, a cancel is asked for again."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from table import MBT, NOW, PERP, S, Table

from bot.engine.obligations import fresh
from bot.engine.observations import REPLAY_NS
from bot.engine.unasked import adopt
from bot.model import event as ev
from bot.model.command import Cancel, Command, QueryOrder, Submit
from bot.model.intent import PairIntent
from bot.model.order import OrderSpec, OrderStatus, Outcome, Side, TimeInForce

sys.path.insert(0, str(Path(__file__).parents[2] / "simulation"))
from loopback import PAIR, World

D = Decimal


def quote(world: World, bid: float, venue_ts: int, size: float = 50.0) -> None:
    """Show the perp's book at the world's time, as of `venue_ts`."""
    world.process(ev.Quote(world.now, "BTCUSDT", bid, bid + 1.0, size, size, venue_ts))


def test_an_older_picture_moves_nothing() -> None:
    """F10: a replayed or reordered quote leaves price, sizes and age of the book as they were."""
    world = World()
    world.run(5)
    book = world.engine.books["BTCUSDT"]
    quote(world, 70_500.0, world.now)
    quote(world, 69_000.0, world.now - S)
    assert (book.bid, book.venue_ts) == (70_500.0, world.now)
    quote(world, 70_600.0, world.now)
    assert book.bid == 70_600.0, "two changes within one tick of the venue's clock are both real"


@pytest.mark.parametrize(("ahead_ns", "later_ns"), [(0, REPLAY_NS), (30 * S, 0)])
def test_a_clock_that_stepped_is_believed_again(ahead_ns: int, later_ns: int) -> None:
    """A book that has become old, or that came from the future, does not lock out what the venue says now."""
    world = World()
    world.run(5)
    first = world.now + ahead_ns
    quote(world, 70_500.0, first)
    world.now += later_ns
    quote(world, 69_000.0, first - S)
    assert world.engine.books["BTCUSDT"].bid == 69_000.0


def test_one_quote_many_times_is_one_sample() -> None:
    """F15: a burst of copies of a wide quote does not confirm a spread stop; three different ones do."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.run(5)
    assert world.pair.lead.qty == 10
    world.wish.target = None
    for _ in range(20):
        quote(world, 71_500.0, world.now)
    assert not any(isinstance(e, ev.StopTripped) for e in world.journal)
    for n in range(3):
        quote(world, 71_500.0 + n, world.now)
    assert any(isinstance(e, ev.StopTripped) for e in world.journal)


def test_a_manual_trade_that_is_given_back_leaves_nothing_unallocated() -> None:
    """F48: what somebody traded by hand and traded back no longer keeps the venue from being reconciled."""
    t = Table()
    for n, side in enumerate((Side.BUY, Side.SELL)):
        t.tell(ev.OrderFilled(ts=NOW, venue="cme", client_id="", instrument=MBT.id, exec_id=f"m{n}", side=side, qty=D(3), price=D(70_000), fee=D(9),
                              fee_currency="USD", reason="manual"))  # fmt: skip
        assert t.ob.silos["cme"].unallocated == ({MBT.id: D(3)} if side is Side.BUY else {})
    assert t.ob.silos["cme"].positions[MBT.id].qty == 0


def taken(world: World, instrument: str, side: Side, qty: str, reason: str, n: int = 1) -> None:
    """Let the venue of an instrument trade in the account unasked."""
    venue = world.terms[instrument].venue
    world.held[instrument] = world.held.get(instrument, D(0)) + D(qty) * side.sign
    world.process(ev.OrderFilled(ts=world.now, venue=venue, client_id="", instrument=instrument, exec_id=f"{reason}{n}", side=side, qty=D(qty), price=D(70_000),
                                 fee=D(0), fee_currency=world.terms[instrument].settle, reason=reason))  # fmt: skip


def entered() -> World:
    """Return a world that is long 10 lots and hedged."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.run(10)
    assert world.held == {"MBTX26": D(10), "BTCUSDT": D("-1.000")}
    return world


def test_a_bust_is_the_pairs_and_is_hedged() -> None:
    """F47: the hedge fill is taken back, the pair is short of it, someone is told, and it is hedged anew."""
    world = entered()
    taken(world, "BTCUSDT", Side.BUY, "1", "bust")
    world.run(5)
    assert world.held == {"MBTX26": D(10), "BTCUSDT": D("-1.000")} and world.pair.hedge.qty == -1
    assert [e.code for e in world.journal if isinstance(e, ev.Alert)] == ["venue.bust"]
    assert world.engine.ob.silos["perp"].unallocated == {}


def test_what_somebody_traded_by_hand_stays_out_of_what_a_venue_takes() -> None:
    """F48 with F98: an ADL gives the pair what was taken and not the quarantined trade beside it; openings stay shut for that."""
    world = entered()
    taken(world, "BTCUSDT", Side.SELL, "0.3", "manual")
    taken(world, "BTCUSDT", Side.BUY, "0.5", "adl")
    allocated = [e.qty for e in world.journal if isinstance(e, ev.Allocated)]
    assert allocated == [D("0.5")] and world.engine.ob.silos["perp"].unallocated == {"BTCUSDT": D("-0.3")}
    world.run(40)
    assert world.pair.hedge.qty == -1 and not world.engine.ob.ready
    taken(world, "BTCUSDT", Side.BUY, "0.3", "manual", 2)
    world.run(40)
    assert world.engine.ob.ready and world.held["BTCUSDT"] == -1


def test_a_leg_that_came_from_outside_is_under_the_unhedged_budget() -> None:
    """A pair that never traded and is given a position has no entry to be judged by; the alert comes all the same."""
    world = World()
    world.run(5)
    world.lose_request.add("perp")
    taken(world, "BTCUSDT", Side.BUY, "0.5", "adl")
    world.run(7, every=0.25)
    assert any(isinstance(e, ev.Alert) and e.code == "pair.unhedged" for e in world.journal)


@pytest.mark.parametrize("hedge", ["-0.96", "-1.04"])
def test_an_unwind_ends_at_the_nearest_lot(hedge: str) -> None:
    """A rest smaller than a lot cannot be unwound: the pair is free again instead of waiting for ever with its target ignored."""
    world = entered()
    world.reject.add("perp")
    taken(world, "BTCUSDT", Side.BUY if hedge == "-0.96" else Side.SELL, "0.04", "adl")
    assert world.pair.hedge.qty == D(hedge)
    world.process(ev.UnwindSet(ts=world.now, pair=PAIR, on=True, reason="test"))
    world.run(5)
    assert not world.pair.unwind and world.pair.lead.qty == 10
    world.reject.clear()
    world.wish.target = D(0)
    world.run(30)
    assert world.held == {"MBTX26": D(0), "BTCUSDT": D(0)}


def test_too_much_hedge_is_not_unwound() -> None:
    """With the lead taken away and the hedge untradable there is nothing an unwind could do: the desk alarms and hedges when it can."""
    world = entered()
    world.process(ev.VenueStatus(ts=world.now, venue="perp", up=False, reason="test"))
    taken(world, "MBTX26", Side.SELL, "8", "liquidation")
    world.run(10)
    assert any(isinstance(e, ev.Alert) and e.code == "pair.unhedged" for e in world.journal)
    assert world.held == {"MBTX26": D(2), "BTCUSDT": D("-1.000")}
    world.process(ev.VenueStatus(ts=world.now, venue="perp", up=True, reason="test"))
    world.run(10)
    assert not any(isinstance(e, ev.UnwindSet) for e in world.journal)
    assert [(s.venue, s.side, s.qty) for s in world.sent[-3:]] == [("perp", Side.BUY, D("0.8")), ("cme", Side.BUY, D(8)), ("perp", Side.SELL, D("0.8"))]


def test_a_hedge_that_leaves_now_holds_back_the_lead() -> None:
    """I11: a correction and a clip sent together race; the clip waits, in either direction."""
    for held, target in ((10, 25), (20, 0)):
        t = Table()
        t.hold(str(held), str(-held // 10 - 0.04))
        t.want(target)
        ask = t.ask("hedge")
        assert ask is not None and (ask.side, ask.qty) == (Side.BUY, D("0.04")) and t.ask("lead") is None
        t.send(PERP, Side.BUY, "0.04", "71000")
        assert t.plan() == []


class Deaf(World):
    """Venues at which DAY orders rest, and which hear a cancel only the second time."""

    def __init__(self) -> None:
        self.cancels: list[str] = []
        super().__init__()

    def submit(self, spec: OrderSpec) -> None:
        """Let a DAY order rest."""
        if spec.tif is not TimeInForce.DAY:
            super().submit(spec)
            return
        self.sent.append(spec)
        self.orders[spec.client_id] = [ev.OrderAccepted(ts=self.now, client_id=spec.client_id, venue_order_id="v")]
        self.inbox.extend(self.orders[spec.client_id])

    def carry_out(self, command: Command) -> None:
        """Refuse the first cancel as one message too many."""
        if isinstance(command, Cancel):
            self.cancels.append(command.client_id)
            if len(self.cancels) == 1:
                self.inbox.append(ev.QueryFailed(ts=self.now, venue=command.venue, reason="too many requests"))
                return
        assert isinstance(command, Submit | Cancel | QueryOrder) or command.venue
        super().carry_out(command)


def test_a_refused_cancel_is_asked_for_again() -> None:
    """F20: the order stays live until the venue says otherwise; found working, it is cancelled a second time."""
    world = Deaf()
    world.run(5)
    wish = PairIntent(pair=PAIR, target_lead=D(10), reason="test", edge_bp=50.0, excess_bp=60.0, sigma_bp=20.0, passive=True)
    world.wish.on_event = lambda memory, view, event: wish  # type: ignore[assignment,method-assign]
    world.engine._of = {i: (b, tuple((x, world.wish.on_event, m, w, k) for x, _, m, w, k in rows)) for i, (b, rows) in world.engine._of.items()}
    world.run(2)
    (cid,) = [s.client_id for s in world.sent]
    order = world.engine.ob.orders[cid]
    assert order.status is OrderStatus.WORKING
    world.run(25)
    assert world.cancels[:2] == [cid, cid] and order.outcome is Outcome.CANCELLED
    between = [e for e in world.journal if getattr(e, "client_id", "") == cid]
    assert [type(e).__name__ for e in between][-5:] == ["CancelIntended", "NoAnswer", "OrderAccepted", "CancelIntended", "OrderEnded"]


def test_an_overfill_is_hedged_and_stops_openings_until_a_resume() -> None:
    """F46: more than was asked is booked and brought back to the target; nothing opens before a person has given a reason."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.run(1)
    lead = next(s for s in world.sent if s.instrument == "MBTX26")
    world.held["MBTX26"] = world.held.get("MBTX26", D(0)) + 2
    world.process(ev.OrderFilled(ts=world.now, venue="cme", client_id=lead.client_id, instrument="MBTX26", exec_id="more", side=Side.BUY, qty=D(2),
                                 price=D(70_000), fee=D(6), fee_currency="USD"))  # fmt: skip
    assert [e.code for e in world.journal if isinstance(e, ev.Alert)] == ["order.overfill"]
    assert lead.client_id in world.engine.ob.halted and "filled 12 of 10" in world.engine.ob.halted
    world.run(10)
    assert world.held == {"MBTX26": D(10), "BTCUSDT": D("-1.000")}, "the surplus is brought back while nothing may open"
    world.wish.target = D(20)
    world.run(10)
    assert world.held["MBTX26"] == 10, "openings wait"
    world.process(ev.KillSet(ts=world.now, level=ev.KillLevel.NONE, kill_id="k", reason="looked at"))
    world.wish.target = D(21)
    world.run(40)
    assert not world.engine.ob.halted and world.held["MBTX26"] > 10


def test_a_reject_storm_stops_openings_until_a_resume() -> None:
    """F50: after ten rejections in a row nothing is opened before a person has looked; one order that is taken begins the count anew."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.reject = {"cme"}
    world.run(60)
    rejected = [s for s in world.sent if s.instrument == "MBTX26"]
    assert len(rejected) == 10 and "reject storm: 10 orders of conv" in world.engine.ob.halted
    assert [e.code for e in world.journal if isinstance(e, ev.Alert)] == ["order.reject_storm"]
    world.reject.clear()
    world.run(60)
    assert not world.held and len(world.sent) == 10
    world.process(ev.KillSet(ts=world.now, level=ev.KillLevel.NONE, kill_id="k", reason="looked at"))
    world.wish.target = D(11)
    world.run(40)
    assert not world.engine.ob.halted and world.held["MBTX26"] > 0 and world.engine.ob.pairs[PAIR].rejected_row == 0


def test_in_a_reject_storm_of_the_hedge_the_way_out_stays_open() -> None:
    """The lead is unwound after five fruitless tries; openings stop after ten rejections, hedges and unwinds never do."""
    world = World()
    world.run(5)
    world.wish.target = D(10)
    world.reject = {"perp"}
    world.run(1)
    world.reject = {"perp", "cme"}
    world.run(60)
    assert world.engine.ob.halted and world.held == {"MBTX26": D(10)}
    seen = len(world.sent)
    world.run(20)
    assert len(world.sent) > seen, "the venues are asked again and again"
    world.reject.clear()
    world.run(20)
    assert not any(world.held.values()) and world.engine.ob.halted


def test_a_bust_belongs_to_the_pair_whose_execution_it_takes_back() -> None:
    """F47 with two pairs on one perp: the order that was filled names the pair; what no order explains stays quarantined."""
    world = entered()
    other = msgspec.structs.replace(world.pairs[0], id="second")
    ob = world.engine.ob
    ob.pairs["second"] = fresh(1, "S", (other,), ("cme", "perp")).pairs["second"]
    hedge = next(s for s in world.sent if s.instrument == "BTCUSDT")
    fill = ev.OrderFilled(ts=world.now, venue="perp", client_id="", instrument="BTCUSDT", exec_id=f"{ob.orders[hedge.client_id].execs[0]}-bust", side=Side.BUY,
                          qty=D(1), price=D(70_000), fee=D(0), fee_currency="USDT", reason="bust")  # fmt: skip
    assert [e.pair for e in adopt(ob, fill) if isinstance(e, ev.Allocated)] == [PAIR]
    assert not list(adopt(ob, msgspec.structs.replace(fill, exec_id="unheard-of-bust")))
