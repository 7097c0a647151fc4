"""The harness itself: shrinking, one log digest whoever runs the days, plans as files, a disk and deaths as planned, and the verb."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest

from bot import crash
from bot.cli import main
from bot.engine import fold
from bot.model import event as ev
from bot.model.errors import ConfigError, JournalError
from bot.sim.faults import FaultKind
from bot.simulate import plan as plans
from bot.simulate import shrink as shrinking
from bot.simulate.deaths import BETWEEN, Crash, Reaper
from bot.simulate.plan import DAY_NS, HOUR, Commits, Death, Kill, S, plan_of
from bot.simulate.proof import run_plan
from bot.simulate.rows import clocks_change, dated_closure
from bot.simulate.run import plan_for, run
from bot.simulate.storage import Disk, PlannedJournal

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "bot/schemas/simulate.json").read_text(encoding="utf-8"))
VERB = [sys.executable, "-m", "bot", "simulate"]


def first(condition: str) -> plans.Plan:
    """Return the first day that has something."""
    return next(p for seed in range(100) if getattr(p := plan_of(seed), condition))


# Shrinking.


def test_a_shrunk_plan_keeps_only_what_breaks_the_invariant() -> None:
    """Of a whole swarm with kills and deaths the one fault that matters is left, within a bounded number of days."""
    plan = next(p for p in map(plan_of, range(200)) if p.kills and p.deaths and any(f.kind is FaultKind.LOST_ACK for f in p.faults))
    ran = 0

    def broken(candidate: plans.Plan) -> list[str]:
        nonlocal ran
        ran += 1
        hurt = any(f.kind is FaultKind.LOST_ACK for f in candidate.faults) and len(candidate.kills) > 0
        return ["I5 at noon: moved"] if hurt else ["I9 at noon: something else"]

    small = shrinking.shrink(plan, "I5", runs=200, run=broken)
    assert [f.kind for f in small.faults] == [FaultKind.LOST_ACK] and small.faults[0].count == 1, f"{small}"
    assert len(small.kills) == 1 and small.deaths == () and small.commits is None and not small.files and ran <= 200
    ran = 0
    assert shrinking.shrink(plan, "I5", runs=5, run=broken).seed == plan.seed and ran <= 5
    assert shrinking.shrink(plan, "I1", runs=50, run=broken) == plan, "what never shows again is left as it was"


def test_a_stretch_without_journal_keeps_the_death_that_ends_it() -> None:
    """A process that lost rows and lives on is no real one, so the two are dropped or kept together."""
    plan = next(p for p in map(plan_of, range(200)) if p.commits is not None and p.commits.kind == "lost" and len(p.deaths) > 1)
    assert plan.commits is not None
    small = shrinking.shrink(plan, "R1", run=lambda p: ["R1: x"] if p.commits is not None else [])
    assert small.commits == plan.commits and [d.at_ns for d in small.deaths] == [plan.commits.to_ns] and small.faults == ()


def test_a_planted_bug_is_shrunk_to_a_plan_that_still_shows_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fills booked twice need a repeated fill and nothing else; the file repeats it, and the same file is clean without the bug."""
    plan = msgspec.structs.replace(plan_of(20), kills=(), deaths=(), commits=None, files=False)
    with monkeypatch.context() as patch:
        patch.setattr(fold, "repeats", lambda ob, event: False)
        patch.setattr("bot.runtime.repeats", lambda ob, event: False)
        assert any(v.startswith("I4") for v in run_plan(plan).violations), f"{plan}"
        small = shrinking.shrink(plan, "I4", runs=14)
        assert len(small.faults) < len(plan.faults) / 2
        plans.write(small, tmp_path / "plan.json")
        again = plans.read(tmp_path / "plan.json")
        assert again == small and any(v.startswith("I4") for v in run_plan(again).violations)
    assert run_plan(again).violations == []


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    """A file that is no plan is named."""
    (tmp_path / "plan.json").write_text('{"seed": "x"}')
    with pytest.raises(ConfigError, match="plan.json"):
        plans.read(tmp_path / "plan.json")


# What a day is.


def test_chosen_faults() -> None:
    """all is the seed's own day, none is a day on which nothing fails, words choose; an unknown one is refused."""
    plan = plan_of(8)
    assert plan_for(8) == plan and plan.kills and plan.commits and plan.deaths
    quiet = plan_for(8, "none")
    assert (quiet.faults, quiet.kills, quiet.commits, quiet.deaths) == ((), (), None, ()) and quiet.start_ns == plan.start_ns
    some = plan_for(8, "kill,reject,adl")
    assert {f.kind for f in some.faults} == {FaultKind.REJECT, FaultKind.ADL} and some.kills == plan.kills and some.deaths == ()
    assert all(f.venue == "perp" for f in some.faults if f.kind is FaultKind.ADL)
    with pytest.raises(ConfigError, match="thunder"):
        plan_for(8, "reject,thunder")


def test_dated_days_are_recognised() -> None:
    """A change of the clocks and a holiday inside the day count, the day before does not."""
    changed = plan_of(13)
    assert clocks_change(changed)
    assert not clocks_change(msgspec.structs.replace(changed, start_ns=changed.start_ns - 2 * DAY_NS))
    labor_day = msgspec.structs.replace(changed, start_ns=1_788_750_000 * S)  # 2026-09-07 01:00Z is still Sunday in Chicago
    assert dated_closure(labor_day) and not dated_closure(msgspec.structs.replace(labor_day, start_ns=labor_day.start_ns - 3 * DAY_NS))


def test_a_disk_fails_as_planned() -> None:
    """It fails inside its stretch, from the first fill there if so planned; lost rows forbid a checkpoint, late ones are kept."""
    fill = ev.OrderFilled(ts=12, venue="v", client_id="c", instrument="i", exec_id="e", side="buy", qty=1, price=1, fee=0, fee_currency="USD")  # type: ignore[arg-type]
    other = ev.CommitFailed(ts=11, reason="")
    plain, waiting = Disk(Commits(10, 20, "lost")), Disk(Commits(10, 20, "lost", on_fill=True))
    assert plain.refuses((other,)) and not plain.fails(9) and not plain.fails(20)
    assert not waiting.refuses((other,)) and waiting.refuses((fill,)) and waiting.fails(19) and not waiting.fails(20)
    for kind in ("lost", "late"):
        journal = PlannedJournal(Disk(Commits(10, 20, kind)))
        with pytest.raises(JournalError):
            journal.append(1, (other,))
        assert journal.failed == 1 and journal.lost is (kind == "lost") and journal.last_seq() == (kind == "late")
        if journal.lost:
            with pytest.raises(JournalError):
                journal.checkpoint(1, b"")


def test_a_process_dies_at_the_nth_passage_and_once() -> None:
    """Passages before it, other points and passages after the death do nothing."""
    reaper = Reaper()
    try:
        reaper.arm("send.before", 2)
        crash.crash_point("send.before")
        crash.crash_point("send.after")
        with pytest.raises(Crash, match="send.before"):
            crash.crash_point("send.before")
        crash.crash_point("send.before")
        assert reaper.struck == {"send.before": 1}
        with pytest.raises(ConfigError):
            reaper.arm("send.sideways", 1)
    finally:
        reaper.rest()


@pytest.mark.parametrize("files", [False, True])
def test_a_kill_survives_deaths_before_and_after_it(files: bool) -> None:
    """Dying between the copies of the latch, and again while starting under it, ends flattened, resumed and clean."""
    plan = plan_of(2)
    at = plan.start_ns + 2 * HOUR
    deaths = (Death(at, "latch.between_copies", again="recovery.after_start"), Death(at + S, BETWEEN))
    plan = msgspec.structs.replace(plan, files=files, faults=(), commits=None, deaths=deaths, mood="quiet", scenario="ordinary",
                                   kills=(Kill(at, ev.KillLevel.FLATTEN, at + HOUR),))  # fmt: skip
    o = run_plan(plan)
    assert o.violations == [] and o.counted["deaths"] == 3 and o.counted["flattened"] == 1, f"{plan}: {o.violations} {o.counted}"
    assert o.points == {"latch.between_copies": 1, "recovery.after_start": 1} and o.rows["F59"] == 3 and o.rows["F91"] >= 1


# Many days.


def test_one_digest_whoever_runs_the_days() -> None:
    """One process, two, and others with other hash seeds give the digest of the same journals."""
    here = run(5, 4, workers=1)
    assert here.violations == 0 and here.days == 5 and run(5, 4, workers=2).log_hash == here.log_hash
    for hash_seed in ("1", "77"):
        done = subprocess.run([*VERB, "--days", "5", "--seed", "4", "--workers", "2", "--json"], cwd=ROOT, capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONHASHSEED": hash_seed})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["log_hash"] == here.log_hash, f"PYTHONHASHSEED={hash_seed}"
    assert run(2, 4, workers=1).log_hash != run(2, 5, workers=1).log_hash


# The verb.


def test_the_verb_keeps_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """A clean day is exit 0 and one object; without --json it is text."""
    assert main(["simulate", "--days", "1", "--seed", "5", "--workers", "1", "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    jsonschema.validate(line, SCHEMA)
    assert line["days"] == 1 and line["violations"] == 0 and line["faults_injected"] >= 1 and line["faults_hit"] and line["days_per_minute"] > 0
    assert main(["simulate", "--days", "1", "--seed", "5", "--faults", "none", "--workers", "1"]) == 0
    assert "violations: none" in capsys.readouterr().out


def test_a_violation_is_exit_1_with_a_plan_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command it names shows the violation again."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(shrinking, "RUNS", 2)
    for where in ("pair", "watch"):
        monkeypatch.setattr(f"bot.engine.{where}.plan_hedge", lambda *args: None)
    assert main(["simulate", "--days", "1", "--seed", "22", "--faults", "none", "--workers", "1", "--json"]) == 1
    captured = capsys.readouterr()
    line = json.loads(captured.out.splitlines()[-1])
    jsonschema.validate(line, SCHEMA)
    assert line["violations"] >= 1 and line["broken"][0]["invariant"] in captured.err and "reproduce: " in captured.err
    words = line["broken"][0]["reproduce"].split()
    assert words[:4] == ["python", "-m", "bot", "simulate"]
    assert main([*words[3:], "--json"]) == 1
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["broken"][0]["invariant"] == line["broken"][0]["invariant"]


@pytest.mark.parametrize(("args", "code"), [(["--faults", "thunder"], 3), (["--days", "0"], 2), (["--plan", "nowhere.json"], 2)])
def test_bad_arguments(args: list[str], code: int) -> None:
    """An unknown fault is a configuration error, a bad number or path a usage error."""
    assert main(["simulate", *args]) == code


def test_an_interrupt_ends_with_what_is_done() -> None:
    """SIGINT is exit 130, with the days that were finished in the result."""
    with subprocess.Popen([*VERB, "--days", "5000", "--seed", "0", "--workers", "2", "--json"], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as desk:  # fmt: skip
        assert desk.stderr is not None and desk.stdout is not None
        assert "days" in desk.stderr.readline(), "progress says that it has begun"
        desk.send_signal(signal.SIGINT)
        out, _ = desk.communicate(timeout=120)
    line = json.loads(out.splitlines()[-1])
    jsonschema.validate(line, SCHEMA)
    assert desk.returncode == 130 and 0 < line["days"] < 5_000
