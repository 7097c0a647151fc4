"""The reading verbs from another terminal: positions, orders, limits, venues, signals, gaps.

The running desk is asked through its socket. If it does not answer in time, or none runs, the journal of the newest run is
folded instead and the answer says that it is STALE and by how much; what needs a price or a connection is None then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bot.clock import now_s
from bot.desk import usage, views
from bot.desk.gap_watch import GapWatch
from bot.desk.runs import RunFolder, latest_run
from bot.desk.traffic import Traffic
from bot.engine.step import Engine
from bot.kill.control import ANSWER_S, DeskSilent, NoDesk, ask
from bot.model.errors import BotError
from bot.model.notation import iso

VERBS = ("positions", "orders", "limits", "venues", "signals")
STALE = "STALE: read from the journal, no desk answers"

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def handlers(engine: Engine, run_id: str, traffic: Traffic, faults: Callable[[], views.Faults], gaps: GapWatch) -> dict[str, Handler]:
    """Return what a running desk answers to each reading verb on its control socket."""

    def reopened(request: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = gaps.rows(float(request.get("floor_bp", 0.0)))
        return {"run_id": run_id, "at": iso(engine.ob.now), "gaps": msgspec.to_builtins(rows)}

    def answer(verb: str) -> Handler:
        def look(request: Mapping[str, Any]) -> Mapping[str, Any]:
            rows = rows_of(engine, verb, traffic, faults())
            return {"run_id": run_id, "at": iso(engine.ob.now), verb: msgspec.to_builtins(rows)}

        return look

    return {verb: answer(verb) for verb in VERBS} | {"gaps": reopened}


def rows_of(engine: Engine, verb: str, traffic: Traffic | None = None, faults: views.Faults | None = None) -> list[Any]:
    """Return the rows of one reading verb."""
    if verb == "venues":
        return list(views.venues(engine, traffic, faults))
    forms: dict[str, Callable[[Engine], list[Any]]] = {
        "positions": views.positions, "orders": views.orders, "limits": usage.limits, "signals": views.signals,
    }  # fmt: skip
    return forms[verb](engine)


def read(folder: Path, verb: str, recalled: Callable[[RunFolder], Engine]) -> dict[str, Any]:
    """Return the answer of `verb`: running, stale, stale_s (0 for an answer, else age of the record, None without one) and its list.

    recalled: an engine on what a run's journal says. Raises BotError when the record of the newest run cannot be read:
    an unreadable record is not an empty desk.
    """

    def from_record(run: RunFolder) -> tuple[int, list[Any]]:
        engine = recalled(run)
        rows = rows_of(engine, verb)
        if verb == "signals":
            rows = [msgspec.structs.replace(row, blocked=STALE) for row in rows]
        return engine.ob.now, rows

    return _answer(folder, verb, {"op": verb}, from_record)


def gaps(folder: Path, floor_bp: float, seen: Callable[[RunFolder], GapWatch]) -> dict[str, Any]:
    """Return the gaps of `floor_bp` or more that the desk has seen, as `read` returns lists. seen: a watch on a run's own record."""

    def from_record(run: RunFolder) -> tuple[int, list[Any]]:
        watch = seen(run)
        return watch.last_ns, list(watch.rows(floor_bp))

    return _answer(folder, "gaps", {"op": "gaps", "floor_bp": floor_bp}, from_record)


def _answer(folder: Path, verb: str, request: Mapping[str, Any], from_record: Callable[[RunFolder], tuple[int, list[Any]]]) -> dict[str, Any]:
    """Ask the running desk, else take (market time, rows) from the record of the newest run."""
    try:
        return {"running": True, "stale": False, "stale_s": 0.0, **ask(folder, request, ANSWER_S)}
    except NoDesk:
        running = False
    except DeskSilent:
        running = True
    said: dict[str, Any] = {"running": running, "stale": True, "stale_s": None, "run_id": None, "at": None, verb: []}
    run = latest_run(folder)
    if run is None:
        return said
    try:
        now, rows = from_record(run)
    except (BotError, OSError) as error:
        raise BotError(f"record of {run.run_id} unreadable: {error}") from error
    return said | {"stale_s": age_s(run), "run_id": run.run_id, "at": iso(now) if now else None, verb: rows}


def age_s(run: RunFolder) -> float | None:
    """Return the wall age in seconds of the newest record of a run, None when it has none."""
    files = [p for p in (run.journal, run.journal.with_name(run.journal.name + "-wal"), run.tape) if p.exists()]
    return max(0.0, now_s() - max(p.stat().st_mtime for p in files)) if files else None
