"""The in-process venue: its wire, its faults, its own log, and the short road of a quiet quote."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
from venue_rig import MS, PERP, START, D, Hours, Rig, S, in_process, of

from bot.model import event as ev
from bot.model.command import Cancel, QueryVenue, Submit
from bot.model.errors import DataError
from bot.model.order import Outcome, Side, TimeInForce
from bot.sim.exchange import Exchange
from bot.sim.faults import Fault, FaultKind, FaultPlan
from bot.sim.wire import Delays
from bot.venues.sim import SimVenue
from bot.venues.simlog import VenueLog, read_positions, read_records, read_working

BUY, SELL, DAY = Side.BUY, Side.SELL, TimeInForce.DAY
K = FaultKind
INSTANT = in_process(Delays())
SLOW_WIRE = in_process(Delays(request_ns=40 * MS, reply_ns=30 * MS, feed_ns=20 * MS))


def faulty(kind: FaultKind, count: int = 1, at_s: float = 0.0, for_s: float = 0.0, **args: float) -> Fault:
    """Return one fault of the perp venue, seconds from the start."""
    return Fault(at_ns=START + int(at_s * S), venue="perp", kind=kind, count=count, for_ns=int(for_s * S), args=args)


def rig(*faults: Fault, build: object = INSTANT, **more: object) -> Rig:
    """Return a perp rig with a book and these faults."""
    made: Rig = build(faults=faults, **more)  # type: ignore[operator]
    made.quote(70_000.0, 70_000.1)
    return made


def test_without_latency_everything_happens_in_the_call() -> None:
    """Answers come before send returns and the quote is seen as the same object; nothing is queued."""
    r = rig()
    assert [type(e) for e in r.send(Submit(r.spec(BUY, "1", "70010.0")), settle=False)] == [ev.OrderAccepted, ev.OrderFilled, ev.OrderEnded]
    q = ev.Quote(r.now, "BTCUSDT", 70_000.0, 70_000.1, 1.0, 1.0, r.now)
    assert r.venue.observe(q) is q
    assert r.venue.due_ns == ev.NEVER


def test_latency_is_paid_on_each_way() -> None:
    """A request arrives 40 ms later and meets the market of then; its answer is known 30 ms after that."""
    r = rig(build=SLOW_WIRE)
    r.settle()
    t0 = r.now
    r.send(Submit(r.spec(BUY, "1", "70010.0")), settle=False)
    r.now = t0 + 10 * MS
    r.quote(70_005.0, 70_005.1)
    r.settle()
    accepted, fill, _ = [e for e in r.said if e.ts > t0]
    assert fill.price == D("70005.1") and fill.ts == accepted.ts == t0 + 70 * MS  # type: ignore[union-attr]
    assert [q.ts - q.venue_ts for q in r.seen] == [20 * MS, 20 * MS]


def test_what_a_quote_causes_is_emitted_before_it_and_reschedules() -> None:
    """A quote that fills a resting order is not returned but emitted behind the fill, so that the loop looks at due_ns again."""
    r = rig()
    r.order(BUY, "1", "69990.0", tif=DAY)
    heard: list[object] = []
    r.venue._emit = heard.append  # type: ignore[attr-defined]
    q = ev.Quote(r.now, "BTCUSDT", 69_980.0, 69_980.1, 5.0, 5.0, r.now)
    assert r.venue.observe(q) is None
    assert [type(e) for e in heard] == [ev.OrderFilled, ev.OrderEnded, ev.Quote]


def test_unseen_moves_the_exchange_only() -> None:
    """The desk gets nothing, the next order meets the new price."""
    r = rig()
    q = ev.Quote(r.now, "BTCUSDT", 71_000.0, 71_000.1, 5.0, 5.0, r.now)
    assert r.venue.observe(ev.Unseen(r.now, q)) is None and r.seen[-1].bid == 70_000.0
    assert of(ev.OrderFilled, r.order(BUY, "1", "71000.1"))[0].price == D("71000.1")


def test_arrival_holds_orders_until_the_next_obtainable_price() -> None:
    """An order held back is known when asked for, executes at its arrival, and a cancel cannot overtake it."""
    r = rig(arrival=lambda now: START + 60 * S)
    order = r.spec(BUY, "1", "70500.0")
    assert r.send(Submit(order)) == []
    assert [type(e) for e in r.query(order.client_id)] == [ev.OrderAccepted]
    r.venue.send(Cancel("perp", "BTCUSDT", order.client_id), r.now)
    r.to(59.9)
    r.quote(70_300.0, 70_300.1)
    r.to(60.0)
    assert of(ev.OrderFilled, r.said)[0].price == D("70300.1")
    assert {e.outcome for e in of(ev.OrderEnded, r.said)} == {Outcome.FILLED}


def test_a_lost_request_never_arrives() -> None:
    """Nothing is said and the venue does not know the id."""
    r = rig(faulty(K.LOST_REQUEST))
    order = r.spec(BUY, "1", "70010.0")
    assert r.send(Submit(order)) == []
    assert [type(e) for e in r.query(order.client_id)] == [ev.OrderNotFound]


def test_a_lost_acknowledgement_leaves_the_order_alive() -> None:
    """Silence, but the order was executed: a query tells everything."""
    r = rig(faulty(K.LOST_ACK))
    order = r.spec(BUY, "1", "70010.0")
    assert r.send(Submit(order)) == []
    assert [type(e) for e in r.query(order.client_id)] == [ev.OrderAccepted, ev.OrderFilled, ev.OrderEnded]


def test_a_lost_fill_is_found_by_query_and_by_snapshot() -> None:
    """The end counts what was filled; the fill itself comes only when asked for."""
    r = rig(faulty(K.LOST_FILL))
    answers = r.order(BUY, "1", "70010.0")
    assert [type(e) for e in answers] == [ev.OrderAccepted, ev.OrderEnded] and answers[1].cum_qty == 1  # type: ignore[union-attr]
    assert of(ev.OrderFilled, r.query(answers[0].client_id))  # type: ignore[union-attr]
    mark = len(r.said)
    r.snapshot()
    assert of(ev.OrderFilled, r.said[mark:])


def test_a_late_fill_comes_after_its_end() -> None:
    """The fill is delivered when the delay has passed, with the time it was learnt."""
    r = rig(faulty(K.LATE_FILL, delay_s=600.0))
    assert [type(e) for e in r.order(BUY, "1", "70010.0")] == [ev.OrderAccepted, ev.OrderEnded]
    r.to(602)
    assert of(ev.OrderFilled, r.said)[0].ts >= START + 600 * S


def test_duplicates_and_reordering() -> None:
    """A fill reported twice has one exec id; reordered answers arrive last first."""
    r = rig(faulty(K.DUPLICATE), faulty(K.REORDER, at_s=10))
    twice = of(ev.OrderFilled, r.order(BUY, "1", "70010.0"))
    assert len(twice) == 2 and twice[0].exec_id == twice[1].exec_id
    r.to(11)
    assert [type(e) for e in r.order(BUY, "1", "70010.0")] == [ev.OrderEnded, ev.OrderFilled, ev.OrderAccepted]


def test_a_scripted_reject_is_a_real_one() -> None:
    """The order is refused for ever: asked again, the venue says the same."""
    r = rig(faulty(K.REJECT))
    (ended,) = r.order(BUY, "1", "70010.0")
    assert (ended.outcome, ended.reason) == (Outcome.REJECTED, "system busy")  # type: ignore[union-attr]
    assert of(ev.OrderEnded, r.query(ended.client_id))[0].outcome is Outcome.REJECTED  # type: ignore[union-attr]
    assert of(ev.OrderFilled, r.order(BUY, "1", "70010.0"))


def test_a_partial_fill_leaves_the_rest() -> None:
    """Only the share can be had although more is displayed; an IOC ends short."""
    r = rig(faulty(K.PARTIAL_FILL, share=0.3))
    answers = r.order(BUY, "2", "70010.0")
    assert of(ev.OrderFilled, answers)[0].qty == D("0.6")
    assert (answers[-1].outcome, answers[-1].cum_qty) == (Outcome.CANCELLED, D("0.6"))  # type: ignore[union-attr]


def test_an_outage_is_silence_and_the_market_goes_on() -> None:
    """Down is reported, sends and quotes are lost, a resting order fills unseen; after recovery the snapshot tells."""
    r = rig(faulty(K.OUTAGE, at_s=10, for_s=60))
    r.order(BUY, "1", "69990.0", tif=DAY)
    r.to(20)
    mark, seen = len(r.said), len(r.seen)
    assert [(e.up, e.reason) for e in of(ev.VenueStatus, r.said)[1:]] == [(False, "outage")]
    assert r.order(BUY, "1", "70010.0") == [] and r.send(QueryVenue("perp")) == []
    r.quote(69_980.0, 69_980.1)
    assert len(r.said) == mark and len(r.seen) == seen
    r.to(71)
    assert of(ev.VenueStatus, r.said[mark:])[0].up
    assert r.snapshot().positions == {"BTCUSDT": D(1)}
    assert of(ev.OrderFilled, r.said[mark:])[0].price == D("69990.0")


def test_answers_on_the_wire_are_lost_in_an_outage() -> None:
    """A reply that was under way when the line broke never arrives."""
    r = rig(faulty(K.OUTAGE, at_s=5.05, for_s=1), build=SLOW_WIRE)
    r.to(5)
    assert r.order(BUY, "1", "70010.0")[-1] == ev.VenueStatus(ts=START + int(5.05 * S), venue="perp", up=False, reason="outage")
    r.to(10)
    assert r.snapshot().positions == {"BTCUSDT": D(1)}


def test_a_venue_that_starts_in_an_outage_reports_down() -> None:
    """The first word is not `up`."""
    r = rig(faulty(K.OUTAGE, for_s=60))
    assert [e.up for e in of(ev.VenueStatus, r.said)] == [False]


def test_a_slow_venue_answers_late() -> None:
    """Request and reply are each delayed while it lasts."""
    r = rig(faulty(K.SLOW, for_s=5, delay_s=1.0))
    r.send(Submit(r.spec(BUY, "1", "70010.0")), settle=False)
    assert not of(ev.OrderFilled, r.said)
    r.to(3)
    assert of(ev.OrderFilled, r.said)[0].ts == START + 2 * S


def test_silent_and_stale_feeds() -> None:
    """Silent: nothing is seen. Stale: frames come with the old content and the old venue time; the exchange moves on."""
    r = rig(faulty(K.SILENT, at_s=10, for_s=5), faulty(K.STALE_QUOTES, at_s=20, for_s=10))
    r.to(11)
    assert r.quote(70_100.0, 70_100.1) is None
    r.to(21)
    first = r.quote(70_200.0, 70_200.1)
    r.to(25)
    second = r.quote(70_300.0, 70_300.1)
    assert (second.bid, second.venue_ts, second.ts) == (first.bid, first.venue_ts, START + 25 * S)
    assert of(ev.OrderFilled, r.order(BUY, "1", "70310.0"))[0].price == D("70300.1")
    r.to(31)
    assert r.quote(70_400.0, 70_400.1).bid == 70_400.0


def test_spoilt_quotes_reach_the_desk_only() -> None:
    """Crossed, absurd and one-sided tops of book are what the desk sees; orders still meet the real one."""
    r = rig(faulty(K.CROSSED_QUOTE, at_s=1), faulty(K.BAD_QUOTE, at_s=2, count=6), faulty(K.ONE_SIDED, at_s=10))
    r.to(1.5)
    crossed = r.quote(70_000.0, 70_000.1)
    assert crossed.bid > crossed.ask
    r.to(3)
    bad = [r.quote(70_000.0, 70_000.1) for _ in range(6)]
    assert not any(69_000.0 < q.bid <= q.ask < 71_000.0 for q in bad) and len({repr(q.bid) for q in bad}) >= 5
    r.to(11)
    assert r.quote(70_000.0, 70_000.1).ask_size == 0.0
    assert of(ev.OrderFilled, r.order(BUY, "1", "70010.0"))[0].price == D("70000.1")


def test_a_thin_book_is_thin_for_everyone() -> None:
    """Depth collapses in the desk's view and at the exchange alike, never below a lot."""
    r = rig(faulty(K.THIN_BOOK, at_s=1, for_s=10, share=0.01))
    r.to(2)
    assert r.quote(70_000.0, 70_000.1).ask_size == pytest.approx(0.5)
    assert of(ev.OrderFilled, r.order(BUY, "2", "70010.0"))[0].qty == D("0.5")


@pytest.mark.parametrize(("kind", "reason"), [(K.ADL, "adl"), (K.LIQUIDATION, "liquidation")])
def test_the_account_can_be_hit(kind: FaultKind, reason: str) -> None:
    """A forced fill without a client id; it waits until something is held, once, and not beyond its window."""
    r = rig(faulty(kind, at_s=1, share=0.5), faulty(kind, at_s=2, for_s=30))
    r.to(50)
    assert not r.venue.plan.hits  # type: ignore[attr-defined]
    r.order(SELL, "2", "69990.0")
    r.to(500)
    fills = of(ev.OrderFilled, r.said)[1:]
    assert [(f.client_id, f.reason, f.qty, f.side) for f in fills] == [("", reason, D(1), BUY)]
    assert r.venue.plan.hits == {kind: 1}  # type: ignore[attr-defined]


# The log.


def logged(path: Path, *faults: Fault, now: int = START, cash: str = "400000") -> tuple[Rig, SimVenue]:
    """Return a rig on a venue with a log at `path`."""
    hours = Hours()
    venue = SimVenue(Exchange("perp", (PERP,), {"USDT": D(cash)}, hours, now_ns=now), plan=FaultPlan("perp", faults), log=VenueLog(path), now_ns=now)
    made = Rig(venue, (PERP,), hours)
    made.now = now
    return made, venue


def test_the_log_is_written_before_the_answer(tmp_path: Path) -> None:
    """When an answer is heard its record can already be read from the file, in the same call."""
    r, venue = logged(tmp_path / "venue-perp.log")
    r.quote(70_000.0, 70_000.1)
    found: list[Decimal] = []
    hear = venue._emit

    def listen(event: ev.Event) -> None:
        if isinstance(event, ev.OrderFilled):
            found.append(read_positions(tmp_path / "venue-perp.log")["BTCUSDT"])
        hear(event)

    venue._emit = listen
    r.order(SELL, "2", "69990.0")
    assert found == [D(-2)]


def test_a_killed_process_finds_its_positions_and_orders(tmp_path: Path) -> None:
    """A second process on the same log holds the same, answers for the old orders and mints ids that are free."""
    path = tmp_path / "venue-perp.log"
    r, _ = logged(path)
    r.quote(70_000.0, 70_000.1)
    first = r.order(SELL, "2", "69990.0")
    resting = r.order(BUY, "1", "69000.0", tif=DAY)[0].client_id  # type: ignore[union-attr]
    assert read_working(path) == [resting] and read_positions(path) == {"BTCUSDT": D(-2)}
    r2, venue = logged(path, now=START + 100 * S)
    snap = r2.snapshot()
    assert snap.positions == {"BTCUSDT": D(-2)} and [w.client_id for w in snap.working] == [resting]
    assert snap.cash == r.snapshot().cash
    assert of(ev.OrderFilled, r2.said), "the first answer repeats what the desk may have missed"
    again = of(ev.OrderFilled, r2.query(first[0].client_id))[0]  # type: ignore[union-attr]
    assert (again.exec_id, again.price, again.fee) == (first[1].exec_id, first[1].price, first[1].fee)  # type: ignore[union-attr]
    r2.quote(68_000.0, 68_000.1)
    fills = of(ev.OrderFilled, r2.said[-3:])
    assert fills[0].client_id == resting and fills[0].exec_id != first[1].exec_id  # type: ignore[union-attr]
    assert read_positions(path) == {"BTCUSDT": D(-1)} and venue.exchange.account.positions() == {"BTCUSDT": D(-1)}


def test_a_log_cut_anywhere_restores_a_prefix(tmp_path: Path) -> None:
    """Killed at any byte: what is restored is the state after some whole number of records, and it can be continued."""
    path = tmp_path / "whole.log"
    r, _ = logged(path)
    rng = Random(7)
    for k in range(12):
        r.to(10 * k)
        r.quote(70_000.0 - 10 * k, 70_000.1 - 10 * k, 1.5)
        r.order(BUY if rng.random() < 0.4 else SELL, "2", "70000.0", tif=DAY if rng.random() < 0.5 else TimeInForce.IOC)
    raw = path.read_bytes()
    states = []
    for n in range(raw.count(b"\n") + 1):
        whole = b"\n".join(raw.split(b"\n")[:n]) + (b"\n" if n else b"")
        part = tmp_path / "prefix.log"
        part.write_bytes(whole)
        states.append(read_positions(part))
    for cut in range(0, len(raw) + 1, 7):
        torn = tmp_path / "torn.log"
        torn.write_bytes(raw[:cut])
        _, venue = logged(torn, now=START + 500 * S)
        assert venue.exchange.account.positions() == states[raw[:cut].count(b"\n")], f"cut at byte {cut}"
        again = [type(x).__name__ for x in read_records(torn)]
        assert torn.read_bytes().endswith(b"\n") or not again, "the torn tail is gone before anything is appended"
        assert not [t for t in venue.exchange.orders.values() if t.outcome is None and t.spec.tif is TimeInForce.IOC]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """A whole line that is no record is an error with its number, never skipped."""
    path = tmp_path / "venue-perp.log"
    r, _ = logged(path)
    r.quote(70_000.0, 70_000.1)
    r.order(SELL, "2", "69990.0")
    raw = path.read_bytes().split(b"\n")
    raw[1] = raw[1][:-20]
    path.write_bytes(b"\n".join(raw))
    for act in (read_positions, VenueLog):
        with pytest.raises(DataError, match="line 2"):
            act(path)


def test_reading_a_log_that_is_not_there(tmp_path: Path) -> None:
    """No log is an error of the caller's path, not a flat venue."""
    with pytest.raises(OSError):
        read_positions(tmp_path / "none.log")


def test_a_primed_venue_pays_the_stamp_it_would_have_paid(tmp_path: Path) -> None:
    """After a restart the last announced rate and mark are shown to the venue again; the stamp is paid by them."""
    path = tmp_path / "venue-perp.log"
    r, _ = logged(path)
    r.quote(70_000.0, 70_000.1)
    r.order(SELL, "2", "69990.0")
    r2, venue = logged(path, now=START + 100 * S)
    venue.prime(ev.MarkPrice(START, "BTCUSDT", 71_000.0, 71_000.0))
    venue.prime(ev.FundingRate(START, "BTCUSDT", 0.0005, 28_800, START + 200 * S, 0.003))
    venue.prime(ev.Quote(START, "BTCUSDT", 70_000.0, 70_000.1, 5.0, 5.0, START))
    venue.prime(ev.MarkPrice(START, "ELSE", 1.0, 1.0))
    r2.to(300)
    assert [p.amount for p in of(ev.FundingPaid, r2.said)] == [D(71)]
