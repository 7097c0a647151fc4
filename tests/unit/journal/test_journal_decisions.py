"""The decisions table: why each entry was taken or refused, in few rows, the same however it was projected."""

from __future__ import annotations

import random
from decimal import Decimal as D
from pathlib import Path

from sqlalchemy import select

from bot.journal import tables
from bot.journal.decisions import Decision, Decisions
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import MemoryJournal, SqliteJournal
from bot.model import event as ev
from bot.model.intent import EntryDeclined, PairIntent

S = 1_000_000_000


def refused(ts: int, rule: str = "depth", observed: float = 1.0, pair: str = "a", count: int = 1) -> ev.Refused:
    """Return a refusal."""
    return ev.Refused(ts=ts, pair=pair, rule=rule, observed=observed, limit=2.5, count=count)


def target(ts: int, lots: str, pair: str = "a") -> ev.TargetSet:
    """Return an approved target, one lot smaller than asked."""
    intent = PairIntent(pair=pair, target_lead=D(lots) + 1, reason="z +2.2, edge 4.1 bp")
    return ev.TargetSet(ts=ts, pair=pair, intent=intent, target_lead=D(lots))


def rows(events: list[ev.Event]) -> list[Decision]:
    """Return the rows that the events leave, in order."""
    fold, found = Decisions(), {}
    for seq, event in enumerate(events, 1):
        row = fold.fold(seq, 0, event)
        if row is not None:
            found[row.seq, row.n] = row
    return list(found.values())


def test_a_day_of_the_same_refusal_is_one_row() -> None:
    """86,400 refusals by one rule: a count, the first and last time and the last numbers."""
    found = rows([refused(t * S, observed=float(t)) for t in range(86_400)])
    assert found == [Decision(
        seq=1, n=0, ts=0, last_ts=86_399 * S, pair="a", kind="refused", rule="depth", observed=D("86399.0"), limit=D("2.5"), count=86_400,
    )]  # fmt: skip


def test_another_rule_or_decision_begins_a_row() -> None:
    """A row ends when the pair is refused by another rule or something else is decided about it."""
    found = rows([
        refused(1), refused(2, count=3), refused(3, "edge"), refused(4), target(5, "10"), refused(6), refused(7),
    ])  # fmt: skip
    assert [(r.kind, r.rule, r.ts, r.last_ts, r.count) for r in found] == [
        ("refused", "depth", 1, 2, 4), ("refused", "edge", 3, 3, 1), ("refused", "depth", 4, 4, 1), ("target", "", 5, 5, 1),
        ("refused", "depth", 6, 7, 2),
    ]  # fmt: skip


def test_what_the_strategy_declined_is_collapsed_like_what_risk_refused() -> None:
    """One row per reason, apart from refusals by a rule of the same name, with the strategy's numbers."""
    said = [EntryDeclined(ts=t, pair="a", why="edge", observed=1.5 + t, limit=3.0) for t in (1, 2)]
    found = rows([*said, EntryDeclined(ts=3, pair="a", why="z_stop"), refused(4, "edge"), EntryDeclined(ts=5, pair="a", why="edge")])
    assert [(r.kind, r.rule, r.ts, r.last_ts, r.count) for r in found] == [
        ("declined", "edge", 1, 2, 2), ("declined", "z_stop", 3, 3, 1), ("refused", "edge", 4, 4, 1), ("declined", "edge", 5, 5, 1),
    ]  # fmt: skip
    assert (found[0].observed, found[0].limit) == (D("3.5"), D("3.0"))


def test_pairs_do_not_end_each_others_rows() -> None:
    """Two pairs refused in turn are two rows."""
    found = rows([refused(t, pair="ab"[t % 2]) for t in range(10)])
    assert [(r.pair, r.count) for r in found] == [("a", 5), ("b", 5)]


def test_every_kind_says_what_it_knows_and_nothing_more() -> None:
    """Numbers a decision does not have are absent, not zero; the rest is named."""
    found = rows([
        target(1, "10"), ev.StopTripped(ts=2, pair="a", rule="spread_bp", observed=101.5, limit=100.0), ev.Rearmed(ts=3, pair="a"),
        ev.UnwindSet(ts=4, pair="a", on=True, reason="6 hedge attempts failed"), ev.Frozen(ts=5, pair="a", on=False, reason="hedged again"),
        ev.CommitFailed(ts=6, reason="commit is late"), ev.Alert(ts=7, severity=ev.Severity.INFO, code="c", text="t"),
    ])  # fmt: skip
    assert [(r.pair, r.kind, r.rule, r.observed, r.limit, r.reason) for r in found] == [
        ("a", "target", "", D(10), D(11), "z +2.2, edge 4.1 bp"), ("a", "stop", "spread_bp", D("101.5"), D("100.0"), ""),
        ("a", "rearm", "", None, None, ""), ("a", "unwind", "on", None, None, "6 hedge attempts failed"),
        ("a", "frozen", "off", None, None, "hedged again"), ("", "frozen", "on", None, None, "journal: commit is late"),
    ]  # fmt: skip


def story(rng: random.Random, steps: int) -> list[list[ev.Event]]:
    """Return steps of random decisions of two pairs."""
    made = []
    for ts in range(1, steps + 1):
        pair = rng.choice("ab")
        make = rng.choice((
            lambda ts, pair: refused(ts, rng.choice(("depth", "edge")), rng.random(), pair), lambda ts, pair: refused(ts, "depth", rng.random(), pair),
            lambda ts, pair: target(ts, "5", pair), lambda ts, pair: ev.Rearmed(ts=ts, pair=pair),
        ))  # fmt: skip
        made.append([make(ts, pair) for _ in range(rng.randrange(1, 4))])
    return made


def test_projection_in_pieces_restarts_and_rebuilds_gives_the_same_rows(tmp_path: Path) -> None:
    """Wherever projections were cut, by whichever ledger, the rows are those of one fold over the whole journal."""
    seed = 3
    rng = random.Random(seed)
    journal, memory = SqliteJournal(tmp_path / "desk.db"), MemoryJournal()
    for seq, step in enumerate(story(rng, 300), 1):
        journal.append(seq, step)
        memory.append(seq, step)
    fold, whole = Decisions(), {}
    for seq, n, event in memory.read():
        row = fold.fold(seq, n, event)
        assert row is not None
        whole[row.seq, row.n] = row
    everything = list(journal.read())
    engine = ledger_engine(tmp_path / "desk.db")
    while True:
        ledger = Ledger(engine, {})
        upto = ledger.watermark() + rng.randrange(1, 40)
        if ledger.project(row for row in everything if row[0] <= upto) == 300:
            break
    assert ledger.decisions() == list(whole.values()), f"seed {seed}"
    ledger.rebuild()
    assert ledger.decisions() == []
    ledger.project(everything)
    assert ledger.decisions() == list(whole.values()), f"seed {seed}"
    assert sum(row.count for row in whole.values()) == len(everything)
    engine.dispose()
    journal.close()


def test_questions_asked_of_the_table(tmp_path: Path) -> None:
    """By pair, by kind and by time; a refusal still going on at that time counts; plain SQL works as well."""
    journal = SqliteJournal(tmp_path / "desk.db")
    events: list[ev.Event] = [refused(10), refused(50), target(60, "10"), refused(70, "edge", pair="b"), refused(80, pair="")]
    for seq, event in enumerate(events, 1):
        journal.append(seq, [event])
    ledger = Ledger(ledger_engine(tmp_path / "desk.db"), {})
    ledger.project(journal.read())
    assert [r.count for r in ledger.decisions(pair="a")] == [2, 1]
    assert [r.rule for r in ledger.decisions(kind="refused", since_ns=50)] == ["depth", "edge", "depth"]
    assert [r.rule for r in ledger.decisions(kind="refused", since_ns=51)] == ["edge", "depth"]
    assert [r.pair for r in ledger.decisions(pair="")] == [""]
    table = tables.DECISIONS
    with ledger_engine(tmp_path / "desk.db").connect() as connection:
        total = connection.execute(select(table.c.rule, table.c.observed).where(table.c["count"] == 2)).one()
    assert tuple(total) == ("depth", D("1.0"))
    journal.close()
