"""The verb `simulate`: seeded days in which everything fails that can (bot.simulate)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli_options import FILE, Stop, as_json, data_dir, emit

if TYPE_CHECKING:

    from bot.simulate.run import Broken

ERROR = 1
SAY_EVERY_S = 5.0
SHRUNK = 3
"""Days whose plan is shortened after a run: each may cost a minute."""


def register(cli: click.Group) -> None:
    """Add the verb to the command line."""
    cli.add_command(simulate)


@click.command()
@click.option("--days", type=click.IntRange(1), default=100, show_default=True, help="How many days to run.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the first day; each day has its own.")
@click.option("--faults", default="all", show_default=True, metavar="all|none|KIND,..",
              help="What may go wrong: kinds as in a faults file, kill, death, journal.")  # fmt: skip
@click.option("--plan", "plan_file", type=FILE, help="Run one day as this file plans it, instead of seeds.")
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: as many as there are cores.")
@as_json
def simulate(days: int, seed: int, faults: str, plan_file: Path | None, workers: int | None, json_out: bool) -> int:
    """Run the whole desk through days in which venues, disk, process and operator fail, and check every invariant.

    Chaos lasts three quarters of each day; then the desk must come back by itself. A violation exits 1 and leaves the shortest plan
    that shows it.
    """
    from bot.simulate import plan as plans
    from bot.simulate.run import gather, lines, run

    with Stop() as stop:
        if plan_file is not None:
            one = plans.read(plan_file)
            days = 1
            result = gather([one], one.seed, 1)
        else:
            result = run(days, seed, faults, workers=workers or 0, stopped=lambda: stop.code != 0, progress=_progress(days))
        found = _shown(result.broken, days, plan_file, stop)
    if json_out:
        import msgspec

        emit("simulate", {**msgspec.structs.asdict(result), "broken": found}, json_out)
    else:
        click.echo("\n".join(lines(result)))
    return stop.code or (ERROR if result.violations else 0)


def _progress(days: int) -> Any:
    """Return what says on stderr how far the days are, every few seconds."""
    began = said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SAY_EVERY_S:
            said = now
            click.echo(f"{done} of {days} days, {60.0 * done / (now - began):.0f} a minute", err=True)

    return tell


def _shown(broken: tuple[Broken, ...], days: int, plan_file: Path | None, stop: Stop) -> list[dict[str, Any]]:
    """Say each violation on stderr, with a command that repeats its day; the first few days in their shortest form."""
    commands: dict[int, str] = {}
    out = []
    for b in broken:
        if b.seed not in commands:
            short = len(commands) < SHRUNK and plan_file is None and not stop.code
            click.echo(f"violation: {b.text}\n  {b.plan}" + ("\n  looking for a shorter day that shows it" if short else ""), err=True)
            commands[b.seed] = _reproduction(b, plan_file, short)
            click.echo(f"  reproduce: {commands[b.seed]}", err=True)
        out.append({"seed": b.seed, "invariant": b.invariant, "text": b.text, "day": str(b.plan), "reproduce": commands[b.seed]})
    return out


def _reproduction(b: Broken, plan_file: Path | None, short: bool) -> str:
    """Return a command that repeats the day; short: with the shortest plan that still breaks the same invariant, in a file."""
    from bot.simulate import plan as plans
    from bot.simulate.shrink import RUNS, shrink

    if plan_file is not None:
        return f"python -m bot simulate --plan {plan_file}"
    path = data_dir() / "simulate" / f"plan-{b.seed}.json"
    plans.write(shrink(b.plan, b.invariant, RUNS) if short else b.plan, path)
    return f"python -m bot simulate --plan {path}"
