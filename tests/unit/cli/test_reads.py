"""The reading verbs: what a desk says it holds, owes, may do and sees, live and from its record."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from bot import config
from bot.desk import read, tables, usage, views
from bot.desk.card import json_line, plain
from bot.desk.gap_watch import GapWatch, watched
from bot.desk.runs import RunFolder
from bot.desk.traffic import Traffic
from bot.engine.obligations import encode
from bot.engine.observations import AlwaysOpen
from bot.engine.pair import Execution
from bot.engine.step import Engine, Step
from bot.kill.control import ControlServer
from bot.model import event as ev
from bot.model.command import Cancel, QueryOrder, QueryVenue, Submit
from bot.model.errors import BotError, DataError
from bot.model.notation import instant_ns
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce
from risk.limits import Limits
from tests.simulation.loopback import World, hedged

SCHEMAS = Path(__file__).parents[3] / "bot/schemas"
S = 1_000_000_000


@pytest.fixture
def world() -> World:
    """A desk that holds a hedged pair."""
    return hedged()


def unborn() -> Engine:
    """A desk that has been told nothing at all."""
    world = World()
    return Engine(world.new_obligations(), world.terms, AlwaysOpen(), {"wish": (world.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})


def remembered(world: World) -> Engine:
    """The same obligations without books, as a journal leaves them."""
    return Engine(world.refold(), world.terms, AlwaysOpen(), {"wish": (world.wish, None)}, Limits(), Execution(), {"USDT": "USDT/USD"})


def accepted(verb: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Hold an answer against its committed schema."""
    line: dict[str, Any] = json.loads(json_line(verb, answer))
    jsonschema.validate(line, json.loads((SCHEMAS / f"{verb}.json").read_text(encoding="utf-8")))
    return line


def limit(engine: Engine, name: str, scope: str = "") -> usage.LimitRow:
    """The row of one limit."""
    return next(row for row in usage.limits(engine) if row.name == name and row.scope.endswith(scope))


def test_positions_carry_both_legs_at_the_mark(world: World) -> None:
    """Quantities are signed, coins of both legs cancel, profit is in USD at the stablecoin's price."""
    lead, hedge = views.positions(world.engine)
    assert (lead.instrument, lead.qty, lead.coins, hedge.qty) == ("MBTX26", 20.0, 2.0, -2.0)
    assert lead.coins is not None and hedge.coins is not None and lead.coins + hedge.coins == 0.0
    assert hedge.avg is not None and hedge.mark == 70_000.0 and hedge.upnl == pytest.approx(-2.0 * (70_000.0 - hedge.avg))
    assert hedge.upnl_usd == pytest.approx(hedge.upnl) and hedge.notional_usd == pytest.approx(-140_000.0)


def test_what_no_pair_owns_is_listed(world: World) -> None:
    """Contracts that no order explains stand beside the pairs' legs."""
    world.process(ev.OrderFilled(ts=world.now, venue="perp", client_id="", instrument="BTCUSDT", exec_id="odd", side=Side.BUY, qty=Decimal(1),
                                 price=Decimal(70_000), fee=Decimal(0), fee_currency="USDT"))  # fmt: skip
    odd = views.positions(world.engine)[-1]
    assert (odd.leg, odd.pair, odd.qty, odd.upnl) == ("unallocated", "", 1.0, None)


def test_without_prices_nothing_is_valued(world: World) -> None:
    """From a record alone quantities are known and marks, profit, equity and buffers are not: unknown is not zero."""
    engine = remembered(world)
    lead, hedge = views.positions(engine)
    assert (lead.qty, hedge.qty) == (20.0, -2.0) and lead.mark is None and hedge.upnl is None and hedge.upnl_usd is None
    for row in views.venues(engine):
        assert row.up is None and row.reconciled is None and row.equity_usd is None and row.buffer is None and row.positions
    assert limit(engine, "money_stop_usd").used is None and limit(engine, "pair_lots_max").used == 20.0
    assert limit(engine, "perp_cap_share").used is None and limit(engine, "margin_buffer_share", "cme").headroom is None


@pytest.mark.parametrize("verb", read.VERBS)
def test_every_answer_fits_its_schema_and_the_page(world: World, verb: str) -> None:
    """A trading, a remembered and an unborn desk answer every verb; text is at most 80 columns and stale ones say so."""
    traffic = Traffic(world.engine)
    for engine, seen, stale in ((world.engine, traffic, False), (remembered(world), None, True), (unborn(), None, True)):
        rows = read.rows_of(engine, verb, seen, {"perp": {"lost_ack": 2}})
        answer = {"running": not stale, "stale": stale, "stale_s": 0.0, "run_id": "paper-00001", "at": "2026-11-03T15:45:00Z", verb: rows}
        accepted(verb, answer)
        text = list(tables.text_of(verb, plain(answer)))
        assert max(len(line) for line in text) <= 80
        assert text[0].startswith("STALE") is stale


@pytest.mark.parametrize("verb", read.VERBS)
def test_looking_changes_nothing(world: World, verb: str) -> None:
    """Obligations, order counters and monitors are the same after a look, also when old orders are due to be forgotten."""
    engine = world.engine
    engine.desk.sent[:] = [0, *engine.desk.sent]
    before = (encode(engine.ob), copy.copy(engine.desk.sent), copy.copy(engine.desk.openings), engine.due_ns, engine.look_ns)
    watch = [getattr(engine.loops[0].watch, name) for name in engine.loops[0].watch.__slots__ if name != "window"]
    read.rows_of(engine, verb, Traffic(engine), {})
    assert before == (encode(engine.ob), engine.desk.sent, engine.desk.openings, engine.due_ns, engine.look_ns)
    assert watch == [getattr(engine.loops[0].watch, name) for name in engine.loops[0].watch.__slots__ if name != "window"]


def test_every_limit_is_there_with_a_unit(world: World) -> None:
    """No limit of the risk rules is missing, each has a unit, and headroom is the way from use to limit."""
    rows = usage.limits(world.engine)
    assert {row.name for row in rows} == {*Limits.__struct_fields__, "funding_budget"}
    for row in rows:
        assert row.unit != "number", row.name
        if row.used is None:
            assert row.headroom is None
        else:
            assert row.headroom == pytest.approx(row.used - row.limit if row.bound == "min" else row.limit - row.used)


def test_usage_is_what_the_rules_measure(world: World) -> None:
    """Loss, lots, delta, ages and shares of NAV as the rules see them; a floor runs out downwards."""
    engine, limits = world.engine, world.engine.limits
    loop = engine.loops[0]
    pair, window = loop.state, loop.window
    lost = limit(engine, "money_stop_usd")
    from bot.engine import assess

    assert lost.used == pytest.approx(-assess.pair_pnl_usd(pair, window)) and lost.used is not None and lost.used > 0.0
    assert limit(engine, "pair_lots_max").headroom == limits.pair_lots_max - 20
    assert limit(engine, "unhedged_coins_max").used == 0.0 and limit(engine, "hedge_age_s_max").used == 0.0
    nav = assess.nav_usd(engine.ob, engine.desk)
    broker, perp = limit(engine, "broker_cap_share").used, limit(engine, "perp_cap_share").used
    assert broker is not None and perp is not None and broker + perp == pytest.approx(1.0, abs=1e-3) and broker == pytest.approx(600_000 / nav, abs=1e-3)
    buffer = limit(engine, "margin_buffer_share", "cme")
    assert buffer.bound == "min" and buffer.used == pytest.approx((600_000 - 0.3 * 140_005) / 140_005, rel=1e-2)
    world.price += 500.0
    world.quotes(premium=560.0)
    assert limit(engine, "spread_stop_bp").used == pytest.approx(500.0 / 70_500.0 * 1e4, rel=0.05), "a wider premium is a used stop"


def test_orders_show_what_may_still_fill() -> None:
    """An order whose answer was lost is listed with its leaves and status; a done one is not."""
    world = World()
    world.lose_request = {"cme"}
    world.wish.target = Decimal(5)
    world.run(1)
    (row,) = views.orders(world.engine)
    assert (row.instrument, row.side, row.purpose, row.status) == ("MBTX26", "buy", "lead", "sent") and row.leaves == row.qty and row.filled == 0.0
    world.lose_request = set()
    world.run(60)
    assert views.orders(world.engine) == [] and world.engine.ob.fills


def test_traffic_counts_by_venue() -> None:
    """Commands count where they go, reports where they come from, also when only the order says which venue that is."""
    world = World()
    traffic = Traffic(world.engine)
    spec = OrderSpec(client_id="c1", pair="conv", venue="cme", instrument="MBTX26", side=Side.BUY, qty=Decimal(1), limit=Decimal(70_000),
                     tif=TimeInForce.IOC, purpose=Purpose.LEAD)  # fmt: skip
    world.engine._emit(ev.OrderIntended(ts=world.now, order=spec, lead_mid=1.0, hedge_mid=1.0, stable=1.0, index_usd=1.0))
    commands = (Submit(spec, True), Cancel("cme", "MBTX26", "c1"), QueryOrder("cme", "MBTX26", "c1"), QueryVenue("perp"))
    traffic.stepped(ev.Timer(world.now), Step(commands=commands))
    traffic.stepped(ev.OrderEnded(ts=world.now, client_id="c1", outcome=Outcome.REJECTED, cum_qty=Decimal(0)), Step())
    traffic.stepped(ev.QueryFailed(ts=world.now, venue="perp", reason="x"), Step())
    traffic.stepped(ev.OrderNotFound(ts=world.now, client_id="nobody's"), Step())
    traffic.marked(world.now)
    cme, perp = traffic.of("cme"), traffic.of("perp")
    assert (cme.orders, cme.cancels, cme.order_queries, cme.ends, cme.venue_queries) == (1, 1, 1, 1, 0)
    assert (perp.venue_queries, perp.failed_queries, perp.orders, perp.not_found) == (1, 1, 0, 0)


@contextmanager
def serving(folder: Path, server: ControlServer) -> Iterator[None]:
    """Answer from a thread."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            server.poll(0.01)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def nothing(run: RunFolder) -> Engine:
    """A record that must not be asked for."""
    raise AssertionError("the running desk answered")


def gap_of(contract: str) -> GapWatch:
    """A watch that has seen one gap of 25 bp."""
    stop = instant_ns("2026-11-04T22:00Z")  # a daily one
    mids = ((stop - S, 80_000.0), (stop + 121 * S, 80_200.0))
    lead = config.load("paper", environ={}).settings.catalogue.named(contract)
    return watched(lead, [ev.Quote(at, contract, mid - 1.0, mid + 1.0, 9.0, 9.0, at) for at, mid in mids])


def test_a_running_desk_lists_its_gaps(world: World, tmp_path: Path) -> None:
    """The same rows as of a file, from the size asked for on; text fits the page."""
    server = ControlServer(tmp_path, read.handlers(world.engine, "paper-00001", Traffic(world.engine), dict, gap_of("MBTX26")))

    def unread(run: RunFolder) -> GapWatch:
        raise AssertionError("the running desk answered")

    with serving(tmp_path, server):
        found, none = (accepted("gaps", read.gaps(tmp_path, floor, unread)) for floor in (24.0, 26.0))
    assert (found["running"], found["stale"], none["gaps"]) == (True, False, []) and found["gaps"][0]["open"] == 80_200.0
    assert max(len(line) for line in tables.text_of("gaps", plain(found))) <= 80


@pytest.mark.parametrize("verb", read.VERBS)
def test_a_running_desk_answers_itself(world: World, tmp_path: Path, verb: str) -> None:
    """The socket's answer is passed on as it is, and is not stale."""
    faults = {"cme": {"reject": 1}}
    server = ControlServer(tmp_path, read.handlers(world.engine, "paper-00001", Traffic(world.engine), lambda: faults, gap_of("MBTX26")))
    with serving(tmp_path, server):
        answer = read.read(tmp_path, verb, nothing)
    line = accepted(verb, answer)
    assert (line["running"], line["stale"], line["stale_s"], line["run_id"]) == (True, False, 0.0, "paper-00001")
    assert bool(line[verb]) is (verb != "orders")
    if verb == "venues":
        assert line[verb][0]["faults_hit"] == {"reject": 1} and line[verb][0]["up"] is True


def test_no_desk_and_a_silent_one_are_read_from_the_journal(world: World, tmp_path: Path) -> None:
    """Without an answer the record is read and called stale; without a run there is nothing to read; a bad record is an error."""
    empty = accepted("positions", read.read(tmp_path, "positions", nothing))
    assert (empty["running"], empty["stale"], empty["stale_s"], empty["run_id"], empty["positions"]) == (False, True, None, None, [])
    run = tmp_path / "runs" / "paper-00001"
    run.mkdir(parents=True)
    (run / "journal.db").touch()
    gone = accepted("positions", read.read(tmp_path, "positions", lambda run: remembered(world)))
    assert (gone["running"], gone["stale"], gone["run_id"]) == (False, True, "paper-00001") and gone["stale_s"] >= 0.0
    assert [row["qty"] for row in gone["positions"]] == [20.0, -2.0]
    server = ControlServer(tmp_path, {})
    try:
        silent = accepted("signals", read.read(tmp_path, "signals", lambda run: remembered(world)))
    finally:
        server.close()
    assert silent["running"] and silent["stale"] and silent["signals"][0]["blocked"].startswith("STALE")

    def torn(run: RunFolder) -> Engine:
        raise DataError("torn")

    with pytest.raises(BotError, match="paper-00001.*torn"):
        read.read(tmp_path, "positions", torn)


def test_rows_are_values(world: World) -> None:
    """Rows travel the socket as plain JSON: decoding gives the same row."""
    row = views.positions(world.engine)[0]
    assert msgspec.convert(msgspec.to_builtins(row), views.PositionRow) == row
