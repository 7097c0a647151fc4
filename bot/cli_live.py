"""The verbs of the wire and of live venues: `wire` serves a market to real client libraries, `live` trades, `doctor` examines.

Keys and secrets come from the environment or from files of mode 0600 (bot.desk.secrets), never from a setting or an argument.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bot.cli_options import FILE, SCENARIO_HELP, Script, as_json, configured, emit

PORT = click.IntRange(0, 65_535)


def register(cli: click.Group) -> None:
    """Add the verbs to the command line."""
    cli.add_command(wire)


@click.command()
@click.option("--tws-port", type=PORT, default=0, help="Port of the TWS server. Default: the system chooses.")
@click.option("--perp-port", type=PORT, default=0, help="Port of the Binance USD-M server. Default: the system chooses.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the market; the same seed is the same market.")
@click.option("--scenario", type=Script(), metavar="NAME|FILE.toml", help=SCENARIO_HELP.replace("story, stressed and watchable", "wire"))
@click.option("--faults", type=FILE, help="JSON lines of scripted venue faults, those of the wire too.")
@click.option("--attached", is_flag=True, help="End when standard input closes.")
@configured
@as_json
def wire(
    tws_port: int, perp_port: int, seed: int | None, scenario: str | None, faults: Path | None, attached: bool,
    files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool,
) -> int:  # fmt: skip
    """Serve a seeded market on 127.0.0.1 as TWS and Binance USD-M do: prints one JSON line when ready, ends on a signal.

    The market runs at the pace of the wall clock. Any client may connect; the account is a simulator's, its key no secret.
    """
    import asyncio

    from bot import config, wired
    from bot.app import fault_lines

    given: dict[str, tuple[str, Any]] = {"market.seed": ("--seed", seed), "market.scenario": ("--scenario", scenario)}
    settings = config.load("wire", files=files, sets=sets, options={k: v for k, v in given.items() if v[1] is not None}).settings
    lines = fault_lines(faults) if faults is not None else []
    return asyncio.run(
        wired.serve(
            settings, lines, tws_port=tws_port, perp_port=perp_port, key=wired.KEY, secret=wired.SECRET,
            ready=lambda said: emit("wire", said, True), attached=attached,
        )  # fmt: skip
    )
