"""Composition root of live trading and of what must be right before it: doctor, fence, gates, then the same connected run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.adapter_run import ConnectedRun, RunRequest, run_folder
from bot.adapters import Adapters, Where, adapters, at_wire, examined
from bot.clock import Steady
from bot.composition import Desk, desk
from bot.config import Settings
from bot.desk import doctor, gates
from bot.desk.fence import Stage, fence
from bot.desk.secrets import Credentials
from bot.model.errors import ConfigError
from bot.tally import RunResult
from bot.venues.finding import Finding
from bot.wire_process import found


def where(settings: Settings, stage: Stage, given: Credentials) -> Where:
    """Return where a stage's venues are: the exchange's testnet or its real hosts, by the stage alone."""
    broker = settings.broker
    return Where(
        stage=stage, host=broker.host, port=broker.port, client_id=broker.client_id, account=broker.account, exchange=settings.offshore.exchange,
        price_url=settings.reference.url, credentials=given,
    )  # fmt: skip


def examine(settings: Settings, stage: Stage, given: Credentials, data_dir: Path, ports: Sequence[int] = ()) -> list[Finding]:
    """Return what `doctor` finds: on this machine, then at the venues. ports: of the wire's servers, for stage wire.

    Venues are asked only inside the fence: a key or account of the wrong side is never used to look.
    """
    mine = doctor.local(settings, stage, given, data_dir)
    if not all(f.ok for f in fence(stage, settings, given.fingerprint)):
        return [*mine, Finding(name="venues", ok=False, found="not asked", fix="mend the fence first")]

    async def ask() -> list[Finding]:
        if stage is Stage.WIRE:
            ready = await found(ports)
            return await examined(desk(settings), at_wire(ready, settings, given), Steady(ready.offset_ns))
        return await examined(desk(settings), where(settings, stage, given), Steady())

    return [*mine, *asyncio.run(ask())]


def refuse(settings: Settings, stage: Stage, given: Credentials) -> None:
    """Raise ConfigError if stage, account, port and key are not all on one side of the fence."""
    astray = [f for f in fence(stage, settings, given.fingerprint) if not f.ok]
    if astray:
        raise ConfigError("mode fence: " + "; ".join(f"{f.name.removeprefix('fence ')} is {f.found} ({f.fix})" for f in astray))


def live(request: RunRequest, stage: Stage, given: Credentials) -> RunResult:
    """Trade on the venues of a stage. Raises ConfigError outside the fence, VenueError when the doctor is not content."""
    refuse(request.settings, stage, given)
    gates.demand_green(examine(request.settings, stage, given, request.data_dir))
    return trade(request, where(request.settings, stage, given), Steady())


def trade(request: RunRequest, at: Where, clock: Callable[[], int]) -> RunResult:
    """Run a live desk where `at` says; what stands before that is the caller's."""

    def connect(built: Desk, log: Callable[..., None]) -> Adapters:
        return adapters(built, at, clock, log)

    with run_folder(request, "live", "live") as (folder, record):
        return asyncio.run(ConnectedRun(folder, record, clock, connect).run(request.latch, request.screen, request.for_ns))
