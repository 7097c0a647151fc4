"""The verbs of the wire and of live venues: `wire` serves a market to real client libraries, `live` trades, `doctor` examines.

Keys and secrets come from the environment or from files of mode 0600 (bot.desk.secrets), never from a setting or an argument.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bot.cli_options import FILE, SCENARIO_HELP, F, Script, Span, as_json, configured, data_dir, emit, latched, run_code

if TYPE_CHECKING:
    from bot.adapter_run import RunRequest
    from bot.config import Settings
    from bot.tally import RunResult

VENUE, HALTED = 4, 6
PORT = click.IntRange(0, 65_535)
PORTS = ("tws_port", "perp_port", "reference_port")
SIM, WIRE, LIVE_DATA = "sim", "wire", "live-data"


def register(cli: click.Group) -> None:
    """Add the verbs to the command line."""
    for verb in (wire, live, doctor):
        cli.add_command(verb)


def ports(verb: F) -> F:
    """Add the ports of servers that run already to a verb."""
    for name, what in zip(PORTS, ("TWS server", "Binance USD-M server", "reference price"), strict=True):
        verb = click.option(f"--{name.replace('_', '-')}", name, type=PORT, default=0, help=f"Use the {what} of a `wire` that runs already.")(verb)
    return verb


def venues(verb: F) -> F:
    """Add to `paper` what it trades on."""
    verb = ports(verb)
    words = "sim: in this process. wire: loopback servers, through the real client libraries. live-data: real market data, orders stay here."
    return click.option("--venues", "venues", type=click.Choice([SIM, WIRE, LIVE_DATA]), default=SIM, show_default=True, help=words)(verb)


def outside(where: Mapping[str, Any]) -> bool:
    """Return whether `paper` is asked for venues outside this process. Raises click.UsageError for ports without servers."""
    given = [name for name in PORTS if where[name]]
    if given and where["venues"] != WIRE:
        raise click.UsageError("ports of servers go with --venues wire")
    if given and len(given) < len(PORTS):
        raise click.UsageError("give all of --tws-port, --perp-port and --reference-port, as the ready line of `wire` says them, or none")
    return bool(where["venues"] != SIM)


class Asked(NamedTuple):
    """What `paper` was asked for, whatever its venues."""

    for_ns: int | None
    speed: str | float | None
    seed: int | None
    scenario: str | None
    faults: Path | None
    resumed: str | None
    files: tuple[Path, ...]
    sets: tuple[str, ...]

    @property
    def servers(self) -> list[str]:
        """Return the options for `wire` that make the same market."""
        out = []
        for name, value in (("--seed", self.seed), ("--scenario", self.scenario), ("--faults", self.faults)):
            out += [name, str(value)] if value is not None else []
        for file in self.files:
            out += ["--config", str(file)]
        for text in self.sets:
            out += ["--set", text]
        return out

    def settings(self, profile: str) -> Settings:
        """Return the settings of the run."""
        from bot import config

        given = {"market.seed": ("--seed", self.seed), "market.scenario": ("--scenario", self.scenario)}
        return config.load(profile, files=self.files, sets=self.sets, options={k: v for k, v in given.items() if v[1] is not None}).settings


def paper(asked: Asked, json_out: bool, *, venues: str, **at: int) -> int:
    """Trade on paper through adapters: against servers on loopback, or on real market data with orders that stay here."""
    given = tuple(at[name] for name in PORTS)
    if asked.speed not in (None, 1.0):
        raise click.UsageError(f"--venues {venues} runs at the pace of the wall clock: --speed does not go with it")
    if asked.resumed is not None and venues == WIRE and not all(given):
        raise click.UsageError("--continue needs the ports of the servers the run traded on: those it started ended with it")
    if asked.resumed is not None and (asked.seed is not None or asked.scenario or asked.files or asked.sets):
        raise click.UsageError("--continue keeps the run's own settings: give only --for, --json and the ports with it")
    if asked.faults is not None and (all(given) or venues != WIRE):
        raise click.UsageError("--faults is for the servers: give it to `wire`")
    from bot import adapter_run
    from bot.desk.screen import Screen
    from bot.desk.triggers import Triggers

    settings = asked.settings("wire" if venues == WIRE else "live")
    triggers = Triggers(data_dir())
    halted = latched(triggers.poll())
    if halted:
        return _refused(halted)
    about = "Loopback servers, seeded market" if venues == WIRE else "Real market data; orders stay in this process"
    screen = Screen("paper", watched=asked.for_ns is None, speed=1.0, json_out=json_out, about=about)
    with triggers, screen:
        request = adapter_run.RunRequest(settings=settings, data_dir=data_dir(), screen=screen, latch=triggers, for_ns=asked.for_ns, resumed=asked.resumed)
        result = adapter_run.on_wire(request, given, asked.servers, asked.faults) if venues == WIRE else _on_live_data(request)
    emit("paper", result, json_out)
    return screen.exit_code or run_code(result)


def _on_live_data(request: RunRequest) -> RunResult:
    """Trade on paper on the real market. Keys are not needed and, if given, only read."""
    from bot import adapter_run, live
    from bot.clock import Steady
    from bot.desk.fence import Stage
    from bot.desk.secrets import credentials

    return adapter_run.on_live_data(request, live.where(request.settings, Stage.FULL, credentials("perp")), Steady())


@click.command()
@click.option("--stage", type=click.Choice(["testnet", "small", "full"]), required=True, help="testnet: the broker's paper account and the exchange's testnet.")
@click.option("--for", "for_ns", type=Span(), help="Time to run. Without it: until stopped.")
@click.option("--continue", "resumed", metavar="RUN", help="Recover this run with the settings it has; --config says where the venues are.")
@click.option("--confirm", metavar="ACCOUNT", help="The broker account, typed; asked for on a terminal.")
@configured
@as_json
def live(stage: str, for_ns: int | None, resumed: str | None, confirm: str | None, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Trade on live venues: fence, doctor and a typed account id come first; small and full are closed in this version."""
    from bot.desk import gates
    from bot.desk.fence import Stage

    asked = Stage(stage)
    shut = gates.closed(asked)
    if shut:
        return _refused(shut)
    from bot import config
    from bot import live as root
    from bot.adapter_run import RunRequest
    from bot.desk.screen import Screen
    from bot.desk.secrets import credentials
    from bot.desk.triggers import Triggers

    settings, given, triggers = config.load("live", files=files, sets=sets).settings, credentials("perp"), Triggers(data_dir())
    halted = latched(triggers.poll())
    if halted:
        return _refused(halted)
    root.refuse(settings, asked, given)
    account = settings.broker.account
    if not gates.typed(account, confirm if confirm is not None else _type(account)):
        raise click.UsageError("the account typed is not the account configured: nothing was started")
    screen = Screen("live", watched=for_ns is None, speed=1.0, json_out=json_out, about=f"Stage {stage}, account {account}")
    with triggers, screen:
        request = RunRequest(settings=settings, data_dir=data_dir(), screen=screen, latch=triggers, for_ns=for_ns, resumed=resumed)
        result = root.live(request, asked, given)
    emit("live", result, json_out)
    return screen.exit_code or run_code(result)


def _type(account: str) -> str:
    """Ask for the account id. Raises click.UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise click.UsageError("type the account id with --confirm ACCOUNT")
    return str(click.prompt(f"This trades on {account}. Type the account id", default="", show_default=False))


def _refused(why: str) -> int:
    click.echo("error: " + why, err=True)
    return HALTED


@click.command()
@click.option("--stage", type=click.Choice(["wire", "testnet", "small", "full"]), default="testnet", show_default=True, help="For which stage.")
@ports
@configured
@as_json
def doctor(stage: str, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool, **at: int) -> int:
    """Check machine, fence, keys and venues, and say how to fix each failure: exit 0 when all is well, 4 when a check fails."""
    from bot import config
    from bot import live as root
    from bot.desk.fence import Stage
    from bot.desk.secrets import credentials

    asked, given = Stage(stage), tuple(at[name] for name in PORTS)
    if (asked is Stage.WIRE) is not all(given):
        raise click.UsageError("--stage wire needs all of --tws-port, --perp-port and --reference-port, and no other stage takes them")
    settings = config.load("wire" if asked is Stage.WIRE else "live", files=files, sets=sets).settings
    checks = root.examine(settings, asked, credentials("wire" if asked is Stage.WIRE else "perp"), data_dir(), given)
    emit("doctor", {"checks": checks}, json_out)
    return 0 if all(c.ok for c in checks) else VENUE


def _struck(hits: Mapping[str, Mapping[str, int]]) -> None:
    """Say on stderr what the script did, for whoever wonders afterwards."""
    told = "; ".join(f"{venue} {kind} {n}" for venue, kinds in hits.items() for kind, n in sorted(kinds.items()))
    click.echo(f"faults that struck: {told or 'none'}", err=True)


@click.command()
@click.option("--tws-port", type=PORT, default=0, help="Port of the TWS server. Default: the system chooses.")
@click.option("--perp-port", type=PORT, default=0, help="Port of the Binance USD-M server. Default: the system chooses.")
@click.option("--reference-port", type=PORT, default=0, help="Port of the stablecoin's price, as Kraken's API tells it. Default: the system chooses.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the market; the same seed is the same market.")
@click.option("--scenario", type=Script(), metavar="NAME|FILE.toml", help=SCENARIO_HELP.replace("story, stressed and watchable", "wire"))
@click.option("--faults", type=FILE, help="JSON lines of scripted venue faults, those of the wire too.")
@click.option("--attached", is_flag=True, help="End when standard input closes.")
@configured
@as_json
def wire(
    tws_port: int, perp_port: int, reference_port: int, seed: int | None, scenario: str | None, faults: Path | None, attached: bool,
    files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool,
) -> int:  # fmt: skip
    """Serve a seeded market on 127.0.0.1 as TWS and Binance USD-M do: prints one JSON line when ready, ends on a signal.

    The market runs at the pace of the wall clock. Any client may connect; the account is a simulator's, its key no secret.
    """
    import asyncio

    from bot import config, wire_servers
    from bot.app import fault_lines
    from bot.desk.secrets import credentials

    given: dict[str, tuple[str, Any]] = {"market.seed": ("--seed", seed), "market.scenario": ("--scenario", scenario)}
    settings = config.load("wire", files=files, sets=sets, options={k: v for k, v in given.items() if v[1] is not None}).settings
    lines = fault_lines(faults) if faults is not None else []
    return asyncio.run(
        wire_servers.serve(
            settings, lines, ports=(tws_port, perp_port, reference_port), given=credentials("wire"), ready=lambda said: emit("wire", said, True),
            attached=attached, ended_with=_struck,
        )  # fmt: skip
    )
