"""The run log: one JSON line per event, named noun.verb_past, with the keys that say what it is about."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot.desk.feed import REFUSAL_EVERY
from bot.desk.runlog import RunLog
from bot.engine.step import NOTHING, Step
from bot.model import event as ev
from tests.simulation.loopback import World

S = 1_000_000_000
BOUND = {"run_id", "mode", "seq", "at", "event"}


def written(path: Path) -> list[dict[str, Any]]:
    """Every line of a log, each a JSON object."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def log_of(path: Path, events: list[ev.Event]) -> list[dict[str, Any]]:
    """Log `events`, a step each, and stop."""
    seq = iter(range(1, 10_000))
    log = RunLog(path, run_id="paper-00001", seq=lambda: next(seq))
    for event in events:
        log.stepped(event, NOTHING)
    log.stopped(events[-1].ts, "end")
    assert log.lost == 0
    return written(path)


def test_a_trade_reads_as_events_with_their_keys(tmp_path: Path) -> None:
    """From run.started to run.stopped: names are noun.verb_past, orders carry venue, instrument, pair and client id throughout."""
    world = World()
    world.wish.target = Decimal(20)
    world.run(5)
    lines = log_of(tmp_path / "run.log", world.journal)
    names = [line["event"] for line in lines]
    assert names[0] == "run.started" and names[-1] == "run.stopped"
    assert {"venue.connected", "reconcile.agreed", "intent.decided", "order.submitted", "order.acknowledged", "order.filled", "order.completed"} <= set(names)
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in names)
    assert all(set(line) >= BOUND and line["mode"] == "paper" for line in lines)
    for line in lines:
        if line["event"].startswith("order."):
            assert {"venue", "instrument", "pair_id", "client_order_id"} <= set(line), line
    fill = next(line for line in lines if line["event"] == "order.filled")
    assert (fill["qty"], fill["fee"]) == ("10", "30"), "money and quantities stay exact"


def test_the_same_events_write_the_same_log(tmp_path: Path) -> None:
    """Nothing in a line depends on the wall clock, the process or the folder."""
    for n in ("a", "b"):
        (tmp_path / n).mkdir()
        world = World()
        world.wish.target = Decimal(5)
        world.run(5)
        log_of(tmp_path / n / "run.log", world.journal)
    assert (tmp_path / "a/run.log").read_bytes() == (tmp_path / "b/run.log").read_bytes()


def test_a_recovered_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """A second process appends."""
    first = log_of(tmp_path / "run.log", [ev.Rearmed(ts=S, pair="conv")])
    both = log_of(tmp_path / "run.log", [ev.Rearmed(ts=2 * S, pair="conv")])
    assert both[: len(first)] == first and len(both) == 2 * len(first)


def test_a_rule_that_keeps_refusing_is_one_line_a_minute(tmp_path: Path) -> None:
    """Refusals repeat every second and are counted elsewhere."""
    refused = [ev.Refused(ts=S * n, pair="conv", rule="quote_age", observed=50.0, limit=45.0) for n in range(1, 100)]
    lines = [x for x in log_of(tmp_path / "run.log", list(refused)) if x["event"] == "intent.refused"]
    assert [x["at"] for x in lines] == ["1970-01-01T00:00:01Z", "1970-01-01T00:01:01Z"] and lines[0]["rule"] == "quote_age"
    assert REFUSAL_EVERY == 60 * S


def test_a_disk_that_refuses_costs_lines_and_not_the_run(tmp_path: Path) -> None:
    """Writing to a full disk or a closed file is counted, and nothing is raised into the loop."""

    class Full(io.StringIO):
        """A file on a full disk."""

        def write(self, text: str) -> int:
            """Refuse."""
            raise OSError(28, "No space left on device")

    log = RunLog(tmp_path / "run.log", run_id="paper-00001", seq=lambda: 1)
    log._log = log._log.bind()
    log._log._logger._write = Full().write
    log.stepped(ev.Rearmed(ts=S, pair="conv"), Step())
    assert log.lost == 1
    log = RunLog(tmp_path / "run.log", run_id="paper-00001", seq=lambda: 1)
    log.stopped(S, "end")
    log.stepped(ev.Rearmed(ts=S, pair="conv"), Step())
    assert log.lost == 1 and [x["event"] for x in written(tmp_path / "run.log")] == ["run.stopped"]
