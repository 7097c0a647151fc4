"""The accounting and its projection: books tie out, repeats change nothing, a rebuild gives equal rows."""

from __future__ import annotations

import random
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import StatementError

from bot.journal import tables
from bot.journal.accounts import Accounts, Balance, FundingPosting
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import SqliteJournal
from bot.model import event as ev
from bot.model.errors import JournalError
from bot.model.instrument import Instrument, Kind
from bot.model.order import OrderSpec, Outcome, Purpose, Side, TimeInForce

MBT = Instrument(
    id="MBT", venue="ib", kind=Kind.FUTURE, base="BTC", unit=D("0.1"), tick=D(5), lot=D(1), index_quote="USD",
    settle="USD",
)  # fmt: skip
PERP = Instrument(
    id="BTCUSDT", venue="x", kind=Kind.PERP, base="BTC", unit=D(1), tick=D("0.1"), lot=D("0.001"),
    index_quote="USDT", settle="USDT",
)  # fmt: skip
TERMS = {"MBT": MBT, "BTCUSDT": PERP}


def start() -> ev.RunStarted:
    """Return the first event of a run with the balances of G8."""
    return ev.RunStarted(ts=1, run=1, mode="paper", cash={"ib": {"USD": D(60_000)}, "x": {"USDT": D(50_000)}})


def intended(ts: int, client_id: str, instrument: Instrument, side: Side, qty: str, pair: str = "a") -> ev.OrderIntended:
    """Return an intent."""
    spec = OrderSpec(
        client_id=client_id, pair=pair, venue=instrument.venue, instrument=instrument.id, side=side, qty=D(qty),
        limit=D(70_000), tif=TimeInForce.IOC, purpose=Purpose.LEAD,
    )  # fmt: skip
    return ev.OrderIntended(ts=ts, order=spec, lead_mid=1.0, hedge_mid=1.0, stable=1.0, index_usd=1.0)


def filled(ts: int, client_id: str, instrument: Instrument, side: Side, qty: str, price: str, fee: str, exec_id: str = "") -> ev.OrderFilled:
    """Return a fill; its execution id defaults to one made of time and order."""
    return ev.OrderFilled(
        ts=ts, venue=instrument.venue, client_id=client_id, instrument=instrument.id,
        exec_id=exec_id or f"{client_id}-{ts}", side=side, qty=D(qty), price=D(price), fee=D(fee),
        fee_currency=instrument.settle,
    )  # fmt: skip


def funding(ts: int, amount: str, qty: str) -> ev.FundingPaid:
    """Return a funding payment with its own stamp."""
    return ev.FundingPaid(
        ts=ts, venue="x", instrument="BTCUSDT", stamp_ns=ts, rate=0.0001, mark=70_000.0, qty=D(qty),
        amount=D(amount), currency="USDT",
    )  # fmt: skip


def g8() -> list[ev.Event]:
    """Return the journal of the worked round trip."""
    return [
        start(),
        ev.DayStarted(ts=2, trade_date="2026-11-03", nav_usd=1.0, peak_usd=1.0),
        intended(3, "L1", MBT, Side.BUY, "20"), filled(4, "L1", MBT, Side.BUY, "20", "70505", "60"),
        intended(5, "H1", PERP, Side.SELL, "2"), filled(6, "H1", PERP, Side.SELL, "2", "71490", "71.490"),
        funding(7, "71.000", "-2"), funding(8, "-16.848", "-2"),
        ev.DayStarted(ts=9, trade_date="2026-11-04", nav_usd=1.0, peak_usd=1.0),
        funding(10, "13.960", "-2"),
        intended(11, "L2", MBT, Side.SELL, "20"), filled(12, "L2", MBT, Side.SELL, "20", "71315", "60"),
        intended(13, "H2", PERP, Side.BUY, "2"), filled(14, "H2", PERP, Side.BUY, "2", "71085", "71.085"),
        ev.CashBooked(ts=15, venue="ib", kind="interest", amount=D("12.34"), currency="USD", ref="i1"),
    ]  # fmt: skip


def books(events: list[ev.Event]) -> Accounts:
    """Return the books after the events."""
    accounts = Accounts(TERMS)
    for event in events:
        accounts.fold(event)
    return accounts


def test_g8_ties_out_by_venue_and_currency() -> None:
    """Opening + realised + fees + funding + cash is what the statement shows, and equity is G8's to the cent."""
    accounts = books(g8())
    assert accounts.cash("ib") == {"USD": D("61512.34")}
    assert accounts.cash("x") == {"USDT": D("50735.537")}
    assert accounts.balances["x", "USDT"] == Balance(opening=D("49982.662"), realised=D(810), fees=D("-71.085"), funding=D("13.960"))
    equity = accounts.equity_usd_est({}, {"USD": 1.0, "USDT": 1.0002})
    assert round(sum(equity.values()), 2) == 112_258.02
    assert accounts.breaks("x", {"USDT": D("50735.537")}) == {}
    assert accounts.breaks("x", {"USDT": D("50735.5"), "BNB": D(1)}) == {"BNB": D(1), "USDT": D("-0.037")}


def test_every_repeat_is_booked_once() -> None:
    """Events a venue reports again change no balance, position or trade."""
    events = g8()
    repeated = [e for e in events if isinstance(e, (ev.OrderFilled, ev.FundingPaid, ev.CashBooked))]
    again = books([*events, *repeated])
    assert all(again.fold(e) == () for e in repeated)
    once = books(events)
    assert again.balances == once.balances and again.positions == once.positions and again.trades == once.trades


def test_recovery_does_not_reset_opening_balances() -> None:
    """A second RunStarted keeps what the books say."""
    once = books(g8())
    assert books([*g8(), start()]).balances == once.balances


def test_trade_runs_from_flat_to_flat() -> None:
    """The round trip is one closed trade with its money in both currencies; the next entry is number two."""
    accounts = books(g8())
    trade = accounts.trades["a"]
    assert (trade.number, trade.opened_ns, trade.closed_ns) == (1, 4, 14)
    assert trade.lines["USD"].realised == D(1620) and trade.lines["USD"].fees == D(-120)
    assert trade.lines["USDT"].realised == D(810) and trade.lines["USDT"].funding == D("68.112")
    accounts.fold(intended(20, "L3", MBT, Side.BUY, "1"))
    accounts.fold(filled(21, "L3", MBT, Side.BUY, "1", "70000", "3"))
    assert accounts.trades["a"].number == 2 and accounts.trades["a"].closed_ns == 0


def test_foreign_fill_waits_for_its_allocation() -> None:
    """An execution that no order explains moves cash and net position, and a pair only when allocated."""
    accounts = books(g8()[:6])
    accounts.fold(filled(30, "", PERP, Side.BUY, "0.5", "71000", "0", "adl"))
    assert accounts.unallocated == {"BTCUSDT": D("0.5")}
    assert accounts.positions["BTCUSDT"].qty == D("-1.5")
    assert accounts.legs["a"]["BTCUSDT"].qty == D(-2)
    accounts.fold(ev.Allocated(ts=31, pair="a", instrument="BTCUSDT", qty=D("0.5"), price=D(71000), exec_id="adl"))
    assert accounts.unallocated == {}
    assert accounts.legs["a"]["BTCUSDT"].qty == D("-1.5")


def test_funding_is_shared_by_contracts_and_loses_nothing() -> None:
    """Pairs share a payment by what they hold; the shares sum to it exactly and a mismatch goes to no pair."""
    accounts = books([
        start(), intended(2, "A", PERP, Side.SELL, "1", "a"), filled(3, "A", PERP, Side.SELL, "1", "70000", "0"),
        intended(4, "B", PERP, Side.SELL, "2", "b"), filled(5, "B", PERP, Side.SELL, "2", "70000", "0"),
    ])  # fmt: skip
    postings = [p for p in accounts.fold(funding(6, "10", "-3")) if isinstance(p, FundingPosting)]
    assert [p.pair for p in postings] == ["a", "b"]
    assert sum(p.amount for p in postings) == D(10)
    odd = [p for p in accounts.fold(funding(7, "8", "-4")) if isinstance(p, FundingPosting)]
    assert [(p.pair, p.amount) for p in odd] == [("a", D(2)), ("b", D(4)), ("", D(2))]


def test_order_ends_as_the_first_report_says() -> None:
    """A denied order is denied, a filled one filled, and later reports do not rewrite it."""
    accounts = books([start(), intended(2, "A", MBT, Side.BUY, "1"), intended(3, "B", MBT, Side.BUY, "1")])
    accounts.fold(ev.SendBlocked(ts=4, client_id="A", reason="journal"))
    accounts.fold(ev.AbsenceProven(ts=5, client_id="A"))
    accounts.fold(filled(6, "B", MBT, Side.BUY, "1", "70000", "3"))
    accounts.fold(ev.OrderEnded(ts=7, client_id="B", outcome=Outcome.CANCELLED, cum_qty=D(1)))
    assert (accounts.orders["A"].outcome, accounts.orders["A"].reason) == (Outcome.DENIED, "journal")
    assert (accounts.orders["B"].outcome, accounts.orders["B"].ended_ns) == (Outcome.FILLED, 6)


def test_unknown_price_is_not_zero() -> None:
    """Valuing a held position without its price names the instrument."""
    with pytest.raises(KeyError, match="MBT"):
        books(g8()[:4]).equity_usd_est({}, {"USD": 1.0, "USDT": 1.0})


def dump(ledger: Ledger, engine: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Return every ledger row."""
    with engine.connect() as connection:
        return {table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))] for table in tables.LEDGER}


def journal_of(path: Path, events: list[ev.Event]) -> SqliteJournal:
    """Return a journal holding the events, two in a step."""
    journal = SqliteJournal(path)
    for index in range(0, len(events), 2):
        journal.append(index + 1, events[index : index + 2])
    return journal


def test_projection_writes_the_books(tmp_path: Path) -> None:
    """Fills, funding, cash, orders, trades and daily balances of G8 are in the tables."""
    journal = journal_of(tmp_path / "desk.db", g8())
    engine = ledger_engine(tmp_path / "desk.db")
    ledger = Ledger(engine, TERMS)
    assert ledger.project(journal.read()) == 15 == ledger.watermark()
    rows = dump(ledger, engine)
    assert [len(rows[name]) for name in ("fills", "funding", "cash", "orders", "trades")] == [4, 3, 1, 4, 2]
    assert rows["equity"] == [
        ("", "ib", "USD", D(60000), D(0), D(0), D(0), D(0), D(60000)),
        ("", "x", "USDT", D(50000), D(0), D(0), D(0), D(0), D(50000)),
        ("2026-11-03", "ib", "USD", D(60000), D(0), D(-60), D(0), D(0), D(59940)),
        ("2026-11-03", "x", "USDT", D(50000), D(0), D("-71.490"), D("54.152"), D(0), D("49982.662")),
        ("2026-11-04", "ib", "USD", D(59940), D(1620), D(-60), D(0), D("12.34"), D("61512.34")),
        ("2026-11-04", "x", "USDT", D("49982.662"), D(810), D("-71.085"), D("13.960"), D(0), D("50735.537")),
    ]
    engine.dispose()
    journal.close()


def test_projection_in_pieces_by_many_ledgers_and_rebuilt_is_equal(tmp_path: Path) -> None:
    """However the journal is cut, repeated or projected again from zero, the rows are the same."""
    seed = 7
    rng = random.Random(seed)
    journal = journal_of(tmp_path / "desk.db", g8())
    engine = ledger_engine(tmp_path / "desk.db")
    rows = list(journal.read())
    while True:
        ledger = Ledger(engine, TERMS)
        upto = ledger.watermark() + rng.randrange(1, 6)
        ledger.project(row for row in rows if row[0] <= upto)
        if ledger.project([]) == rows[-1][0]:
            break
    pieces = dump(ledger, engine)
    ledger.project(rows)
    assert dump(ledger, engine) == pieces, f"seed {seed}"
    ledger.rebuild()
    assert dump(ledger, engine)["fills"] == []
    ledger.project(rows)
    assert dump(ledger, engine) == pieces, f"seed {seed}"
    engine.dispose()
    journal.close()


def test_failed_projection_continues_where_it_stopped(tmp_path: Path) -> None:
    """A database that refuses costs time, not rows: the next call books everything once."""
    journal = journal_of(tmp_path / "desk.db", g8())
    engine = ledger_engine(tmp_path / "desk.db")
    ledger = Ledger(engine, TERMS)
    rows = list(journal.read())
    ledger.project(rows[:4])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE fills RENAME TO hidden")
    with pytest.raises(JournalError, match="fills"):
        ledger.project(rows)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO fills")
    ledger.project(rows)
    broken = dump(ledger, engine)
    ledger.rebuild()
    ledger.project(rows)
    assert dump(ledger, engine) == broken
    engine.dispose()
    journal.close()


def test_ledger_takes_decimals_only(tmp_path: Path) -> None:
    """A float offered as money is refused by the column itself."""
    journal = journal_of(tmp_path / "desk.db", g8()[:1])
    engine = ledger_engine(tmp_path / "desk.db")
    row = {"venue": "x", "ref": "r", "ts": 1, "kind": "interest", "amount": 1.5, "currency": "USD"}
    with engine.begin() as connection, pytest.raises(StatementError, match="Decimals only"):
        connection.execute(insert(tables.CASH), [row])
    engine.dispose()
    journal.close()
