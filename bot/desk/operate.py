"""What another terminal does to a desk: kill, resume, status. The latch on disk comes first, the socket second.

A kill is never refused and never waits for the desk to be well: the files are durable before anyone is asked. It is
reported as done only when the venues themselves confirmed it; everything else is a residual, stated loudly. With no desk
running a paper desk's venues are their own logs, and those are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot.clock import now_ns
from bot.config import Settings, load
from bot.desk.read import age_s
from bot.desk.runs import RunFolder, latest_run
from bot.desk.shell import DeskShell
from bot.desk.snapshot import Snapshot
from bot.desk.triggers import Triggers
from bot.engine.flatten import Residual, named
from bot.engine.fold import apply
from bot.engine.obligations import Obligations, PairState, decode
from bot.engine.step import Engine
from bot.journal.store import JournalReader
from bot.kill.control import ANSWER_S, DeskSilent, NoDesk, ask
from bot.kill.latch import AUDIT, Latch, LatchState, check_audit
from bot.model.errors import BotError, ConfigError
from bot.model.event import LEVEL_RANK, KillLevel, OrderFilled
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.position import Position, apply_fill, delta_coins
from bot.venues.simlog import read_positions, read_records, read_working

POLL_S = 0.1
"""Wall time between two looks at a desk that is being killed."""
OUTSIDE = ("wire", "live")
"""Kinds of venues that keep what they hold when the desk has gone."""
CANCEL, EVACUATE = LEVEL_RANK[KillLevel.CANCEL], LEVEL_RANK[KillLevel.EVACUATE]


class KillReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a kill stands. reached: the level is in force and confirmed. confirmed_flat: the venues hold nothing of ours.

    evacuate: the venues to leave, under EVACUATE or a level above it.
    """

    kill_id: str
    level: KillLevel
    evacuate: tuple[VenueId, ...]
    reached: bool
    confirmed_flat: bool
    residual: tuple[Residual, ...]
    desk: str


def handlers(
    shell: DeskShell, snapshot: Callable[[], Snapshot]
) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
    """Return what a running desk answers on its control socket (bot.kill.control.ControlServer)."""
    engine = shell.runtime.engine

    def obey(request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the latch into the loop now: whoever asks has written it already."""
        shell.take(shell.latch.poll())
        return standing(engine)

    return {
        "status": lambda request: _plain(snapshot()),
        "snapshot": lambda request: _plain(snapshot()),
        "kill": obey,
        "resume": obey,
        "standing": lambda request: standing(engine),
    }


def standing(engine: Engine) -> dict[str, Any]:
    """Return how far the level in force is confirmed, and whether the venues confirm that nothing is held."""
    ob = engine.ob
    answered = all(silo.up and _agreed(engine, silo.venue, silo.moved_ns) for silo in ob.silos.values())
    flat = answered and not ob.live and not any(p.qty for silo in ob.silos.values() for p in silo.positions.values())
    return {"level": ob.kill_level.value, "evacuate": list(ob.evacuate), "kill_id": ob.kill_id, "flat": flat,
            "residual": [_plain(r) for r in engine.left()]}  # fmt: skip


def _agreed(engine: Engine, venue: str, moved_ns: int) -> bool:
    contact = engine.contacts[venue]
    return contact.reconciled and contact.agreed_ns > moved_ns


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=())


def venues(folder: Path) -> tuple[VenueId, ...]:
    """Return the venues of the newest run, or those a new one would have; empty when neither can be told."""
    try:
        run = latest_run(folder)
        settings = load().settings if run is None else msgspec.json.decode(run.read_record().settings, type=Settings)
        return settings.venues
    except (ConfigError, OSError, msgspec.MsgspecError):
        return ()


def kill(
    folder: Path, level: KillLevel, *, reason: str, who: str, channel: str, wait_s: float, venue: VenueId | None = None
) -> KillReport:  # fmt: skip
    """Latch `level`, make a running desk obey, and wait up to `wait_s` until the venues confirm it. venue: the one to EVACUATE.

    Raises JournalError when the latch could not be written anywhere: nothing then outlives this call.
    """
    deadline = time.monotonic() + wait_s
    state = Latch(folder).raise_to(level, reason=reason, who=who, channel=channel, now_ns=now_ns(), venue=venue)
    silent = ""
    while True:
        try:
            answer = ask(folder, {"op": "kill"}, ANSWER_S)
            silent = ""
            report = _report(state, answer)
            if report.reached:
                return report
        except NoDesk:
            return without_desk(folder, state)
        except DeskSilent as error:
            silent = str(error)
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    if silent:
        left = (Residual(venue="", what="unconfirmed", why=f"latched, but the desk does not answer: {silent}"),)
        return _found(state, reached=False, flat=False, left=left, desk="silent")
    return report


def _report(state: LatchState, answer: Mapping[str, Any]) -> KillReport:
    left = msgspec.convert(answer["residual"], tuple[Residual, ...])
    level, leaving = KillLevel(answer["level"]), answer.get("evacuate", ())
    obeyed = LEVEL_RANK[level] >= LEVEL_RANK[state.level] and set(state.evacuate) <= set(leaving)
    if not obeyed:
        left += (Residual(venue="", what="unconfirmed", why=f"the desk is still at {named(level, leaving)}"),)
    return _found(state, reached=obeyed and not left, flat=obeyed and bool(answer["flat"]), left=left, desk="running")


def _found(state: LatchState, *, reached: bool, flat: bool, left: tuple[Residual, ...], desk: str) -> KillReport:
    return KillReport(
        kill_id=state.kill_id, level=state.level, evacuate=state.evacuate, reached=reached, confirmed_flat=flat, residual=left, desk=desk
    )  # fmt: skip


def without_desk(folder: Path, state: LatchState) -> KillReport:
    """Judge a level by the venue logs of the newest paper run: what they hold and work is what is there.

    Venues outside this process cannot be asked without a desk: whatever was there is unconfirmed.

    A log that cannot be read is not flat. A run trades one pair, so with one of its venues evacuated the other leg counts.
    """
    run, rank = latest_run(folder), LEVEL_RANK[state.level]
    logs = sorted(run.path.glob("venue-*.log")) if run is not None else []
    outside = _outside(run) if run is not None else []
    if outside:
        left = outside if rank >= CANCEL else []
        return _found(state, reached=not left, flat=False, left=tuple(left), desk="none")
    left = [r for path in logs for r in _held(path)]
    flat = not left
    if rank < CANCEL:
        left = []
    elif rank < EVACUATE:
        left = [r for r in left if r.what != "position"]
    elif run is not None:
        left += _naked(run, logs) if left else []
        known = {_venue(path) for path in logs}
        left += (Residual(venue=v, what="unconfirmed", why=f"{run.run_id} has no such venue") for v in state.evacuate if v not in known)
    return _found(state, reached=not left, flat=flat, left=tuple(left), desk="none")


def _outside(run: RunFolder) -> list[Residual]:
    """Return one residual per venue of a run that traded outside this process; none for in-process venues."""
    try:
        record = run.read_record()
    except ConfigError:
        return []  # the logs are judged then
    if record.venues not in OUTSIDE:
        return []
    cure = " and the servers' ports; what servers of its own held has ended with them" if record.venues == "wire" else ", or look there by hand"
    why = f"{run.run_id} traded on {record.venues} venues; no desk runs to ask them: start it again with --continue{cure}"
    return [Residual(venue=v, what="unconfirmed", why=why) for v in msgspec.json.decode(record.settings, type=Settings).venues]


def _venue(path: Path) -> VenueId:
    return path.stem.removeprefix("venue-")


def _naked(run: RunFolder, logs: Iterable[Path]) -> list[Residual]:
    """Return the net coins of what a run's venues hold, 0 left out; a sum that cannot be told is unconfirmed."""
    held: dict[InstrumentId, Position] = {}
    try:
        catalogue = msgspec.json.decode(run.read_record().settings, type=Settings).catalogue
        for record in (r for path in logs for r in read_records(path) if isinstance(r, OrderFilled)):
            apply_fill(catalogue.named(record.instrument), held.setdefault(record.instrument, Position()), record.qty * record.side.sign, record.price)
        coins = sum((delta_coins(catalogue.named(i), p) for i, p in held.items()), Decimal(0))
    except (BotError, OSError, msgspec.MsgspecError) as error:
        return [Residual(venue="", what="unconfirmed", why=f"naked delta: {error}")]
    return [Residual(venue="", what="delta", qty=coins, why="net of all venues")] if coins else []


def _held(path: Path) -> list[Residual]:
    venue = _venue(path)
    try:
        held = [Residual(venue=venue, what="position", instrument=i, qty=q) for i, q in read_positions(path).items() if q]
        return held + [Residual(venue=venue, what="order", why=client_id) for client_id in read_working(path)]
    except (BotError, OSError, ValueError) as error:
        return [Residual(venue=venue, what="unconfirmed", why=f"{path.name}: {error}")]


def loud(report: KillReport) -> list[str]:
    """Return what must be said about a kill that is not confirmed: each residual, and the human way out."""
    if report.reached:
        return []
    lines = [
        f"RESIDUAL {r.what} {r.venue} {r.instrument} {r.qty if r.qty else ''} {r.why}".replace("  ", " ").rstrip()
        for r in report.residual
    ]
    if any(r.what == "position" for r in report.residual):
        lines.append(f"the latch holds; to close by hand call the broker's trade desk: {_broker_phone()}")
    return lines


def _broker_phone() -> str:
    """Return the configured number; a broken configuration must not spoil a kill."""
    try:
        return load().settings.desk.broker_phone
    except ConfigError as error:
        return f"unknown ({error})"


def status(folder: Path, remembered: Callable[[RunFolder], Obligations]) -> dict[str, Any]:
    """Return the desk of a folder as it says itself, or as its journal last had it when it is silent or not running.

    stale_s: 0 for an answer, else the age of the newest record (None without one). remembered: reads a run's journal.
    audit_faults: what is wrong with the kill switch's audit file, [] when its chain holds.
    """
    try:
        said = {"running": True, "stale_s": 0.0, **ask(folder, {"op": "status"}, ANSWER_S)}
    except NoDesk:
        said = _from_record(folder, remembered, running=False)
    except DeskSilent:
        said = _from_record(folder, remembered, running=True)
    return said | {"audit_faults": audit_faults(folder)}


def audit_faults(folder: Path) -> list[str]:
    """Return what is wrong with the audit file of a data folder; one that cannot be read is wrong, one that is not there is not."""
    try:
        return check_audit(folder / AUDIT)
    except OSError as error:
        return [f"cannot be read: {error.strerror or error}"]


def _from_record(folder: Path, remembered: Callable[[RunFolder], Obligations], *, running: bool) -> dict[str, Any]:
    latch, run = Latch(folder).read(), latest_run(folder)
    said: dict[str, Any] = {
        "running": running, "stale_s": None, "mode": None, "state": "SILENT" if running else "STOPPED", "kill_level": latch.level.value,
        "evacuate": list(latch.evacuate), "pairs": [], "legs": [], "net_delta_base": None, "equity_usd": None, "venues": {},
        "blocked_by": [f"kill {named(latch.level, latch.evacuate)} {latch.kill_id}".strip()] if latch.level is not KillLevel.NONE else [],
    }  # fmt: skip
    if run is None:
        return said
    said |= {"run_id": run.run_id, "mode": run.run_id.partition("-")[0]}
    said["stale_s"] = age_s(run)
    try:
        ob = remembered(run)
    except (BotError, OSError) as error:
        return said | {"blocked_by": [*said["blocked_by"], f"record of {run.run_id} unreadable: {error}"]}
    return said | {
        "legs": [row for pair in ob.pairs.values() for row in _kept_legs(ob, pair)],
        "venues": {v: {"up": None, "positions": {i: float(p.qty) for i, p in s.positions.items() if p.qty}} for v, s in ob.silos.items()},
    }


def owed(run: RunFolder, terms: dict[InstrumentId, Instrument], fresh: Obligations) -> Obligations:
    """Return what the journal of a run says is owed, read-only, beside a desk that may hold it. Raises JournalError."""
    reader = JournalReader(run.journal)
    try:
        found = reader.latest_checkpoint()
        seq, ob = (found[0], decode(found[1])) if found is not None else (0, fresh)
        for _, _, event in reader.read(seq + 1):
            apply(ob, terms, event)
    finally:
        reader.close()
    return ob


def _kept_legs(ob: Obligations, pair: PairState) -> list[dict[str, Any]]:
    at = {instrument: venue for venue, silo in ob.silos.items() for instrument in silo.positions}
    return [
        {"pair": pair.terms.id, "leg": leg, "venue": at.get(instrument), "instrument": instrument, "qty": p.qty_f, "avg": p.avg_f or None, "mark": None}
        for leg, instrument, p in (("lead", pair.terms.lead, pair.lead), ("hedge", pair.terms.hedge, pair.hedge))
    ]


def resume(folder: Path, *, reason: str, who: str, channel: str) -> LatchState:
    """Lower the latch with a reason and let a running desk take it at once.

    Raises BotError without a reason, and while the file KILL is in the folder.
    """
    state = Triggers(folder).resume(reason=reason, who=who, channel=channel, now_ns=now_ns())
    try:
        ask(folder, {"op": "resume"}, ANSWER_S)
    except (NoDesk, DeskSilent):
        pass  # it reads the latch itself, now or at its next start
    return state
