"""The command line: reads what people type, calls one function per verb, prints its result and sets the exit code.

Everything heavy is imported inside the verb that needs it, so that `--help` stays light and `kill` and `status` start
fast. With --json stdout carries JSON lines only and the last one is the result; everything else goes to stderr.

Exit codes: 0 ok, 1 error, 2 usage, 3 configuration, 4 venue, 5 an operator's order refused by risk, 6 halted or latched,
130 and 143 stopped by SIGINT and SIGTERM after a bounded drain.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot import cli_desk, cli_live, cli_simulate, cli_studies
from bot.cli_options import FILE, SCENARIO_HELP, Instant, Script, Span, Speed, as_json, configured, data_dir, emit, latched, run_code

if TYPE_CHECKING:
    from bot.config import Loaded
    from bot.desk.runs import RunFolder
    from bot.engine.obligations import Obligations

OK, ERROR, USAGE, CONFIG, VENUE, REFUSED, HALTED = range(7)
LEVELS = ("PAUSE", "FREEZE", "CANCEL", "EVACUATE", "FLATTEN", "SEVER")

BAD_PATH = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; an error is one line on stderr."""
    from bot.model.errors import BotError, ConfigError, VenueError

    try:
        code = cli.main(argv, prog_name="basisbot", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        return _fail(error.format_message(), USAGE)
    except (click.Abort, KeyboardInterrupt) as error:  # click turns an interrupt into its own Abort
        return int(getattr(error.__cause__ or error, "exit_code", 130))
    except ConfigError as error:
        return _fail(str(error), CONFIG)
    except VenueError as error:
        return _fail(str(error), VENUE)
    except BotError as error:
        return _fail(str(error), ERROR)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        code = USAGE if isinstance(error, BAD_PATH) else ERROR
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", code)


def _fail(text: str, code: int) -> int:
    click.echo("error: " + " ".join(text.split()), err=True)
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="basisbot")
def cli() -> None:
    """Execution desk for the divergence between CME crypto futures and offshore perps.

    Data goes to the folder in BOT_DATA_DIR (default: ./desk-data). Nothing here reaches a network unless you ask for a venue.
    """


@cli.command()
@click.option("--for", "for_ns", type=Span(), help="Market time to run, closures included. Without it: until stopped.")
@click.option("--speed", type=Speed(), help="Market seconds per second, or max. Default: 60 when watched, else max.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the market; the same seed is the same run.")
@click.option("--scenario", type=Script(), metavar="NAME|FILE.toml", help=SCENARIO_HELP)
@click.option("--faults", type=FILE, help="JSON lines of scripted venue faults.")
@click.option("--continue", "resumed", metavar="RUN", help="Recover this run instead of starting a new one.")
@cli_live.venues
@configured
@as_json
def paper(
    for_ns: int | None, speed: str | float | None, seed: int | None, scenario: str | None, faults: Path | None,
    resumed: str | None, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool, **where: Any,
) -> int:  # fmt: skip
    """Trade a seeded market on in-process venues: no keys, no network. --venues wire puts real client libraries in between."""
    if cli_live.outside(where):
        asked = cli_live.Asked(for_ns=for_ns, speed=speed, seed=seed, scenario=scenario, faults=faults, resumed=resumed, files=files, sets=sets)
        return cli_live.paper(asked, json_out, **where)
    given = {"market.speed": ("--speed", speed), "market.seed": ("--seed", seed), "market.scenario": ("--scenario", scenario)}
    if resumed is not None and (seed is not None or scenario or faults or files or sets):
        raise click.UsageError("--continue keeps the run's own settings: give only --for, --speed and --json with it")
    from bot.crash import arm_from_environment
    from bot.desk.screen import Screen
    from bot.desk.triggers import Triggers

    arm_from_environment("paper")
    loaded = load("paper", files, sets, {k: v for k, v in given.items() if v[1] is not None})
    triggers = Triggers(data_dir())
    halted = latched(triggers.poll())
    if halted:
        return _fail(halted, HALTED)
    screen = Screen("paper", watched=for_ns is None, speed=loaded.settings.market.speed, json_out=json_out)
    with triggers, screen:
        from bot import app

        result = app.paper(loaded.settings, data_dir(), screen, for_ns=for_ns, faults=faults, resumed=resumed, latch=triggers)
    emit("paper", result, json_out)
    return screen.exit_code or run_code(result)


@cli.command()
@click.option("--cme", type=FILE, required=True, help="CME bars: one-minute or daily, recognised by header.")
@click.option("--perp", type=FILE, required=True, help="Perp bars.")
@click.option("--perp-mark", type=FILE, help="Mark price bars of the perp.")
@click.option("--spot", type=FILE, help="Spot bars, the index where the perp's own is not given.")
@click.option("--funding", type=FILE, required=True, help="Funding rates by stamp.")
@click.option("--stable", type=FILE, help="Stablecoin in USD, daily.")
@click.option("--stable-fixed", type=float, help="Stablecoin in USD as one number; printed as an assumption.")
@click.option("--from", "from_ns", type=Instant(), help="First instant used.")
@click.option("--to", "to_ns", type=Instant(), help="First instant not used.")
@click.option("--strategy", type=click.Choice(["convergence"]), default="convergence", show_default=True)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a self-contained HTML report here.")
@configured
@as_json
def backtest(files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool, **inputs: Any) -> int:
    """Run the same engine, strategy and risk over recorded bars."""
    if (inputs["stable"] is None) == (inputs["stable_fixed"] is None):
        raise click.UsageError("give exactly one of --stable and --stable-fixed")
    from bot.backtest.run import Inputs, run
    from bot.desk.progress import Bar

    with Bar("backtest") as bar:
        result = run(Inputs(**inputs), files, sets, progress=lambda what, done, of: bar.to(done / of))
    if json_out:
        emit("backtest", result, json_out)
    else:
        from bot.backtest.report import show

        show(result)
    return ERROR if result.invariant_violations else OK


@cli.command()
@click.option("--run", "run_id", required=True, help="Run id, as `paper` printed it.")
@as_json
def replay(run_id: str, json_out: bool) -> int:
    """Prove a run from its record: every order from the journal, every decision from journal and tape."""
    from bot import app

    found = app.replay(data_dir(), run_id)
    emit("replay", found, json_out)
    return ERROR if found.mismatches else OK


@cli.command()
@as_json
def status(json_out: bool) -> int:
    """Show the desk of this data folder; answers at once, also when no desk runs or it hangs."""
    from bot.desk import operate

    said = operate.status(data_dir(), _remembered)
    emit("status", said, json_out)
    _warn_of_audit(said["audit_faults"])
    return OK


@cli.command()
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="Default: FLATTEN, or EVACUATE with --venue.")
@click.option("--venue", metavar="V", help="Leave this venue, whatever the other leg can do: naked delta is accepted. Goes with EVACUATE.")
@click.option("--reason", default="", help="Why; kept in the audit file.")
@click.option("--wait", "wait_s", type=click.FloatRange(0.0), default=30.0, show_default=True, help="Seconds to wait for the venues to confirm.")
@as_json
def kill(level: str | None, venue: str | None, reason: str, wait_s: float, json_out: bool) -> int:
    """Latch the kill switch and see it through: exit 0 only when the venues confirm it, else 6 with a residual."""
    from bot.desk import operate
    from bot.model.event import KillLevel

    asked = KillLevel(level.upper()) if level is not None else KillLevel.FLATTEN if venue is None else KillLevel.EVACUATE
    if (asked is KillLevel.EVACUATE) is not bool(venue):
        raise click.UsageError("EVACUATE needs --venue V, and no other level takes one; nothing was latched")
    known = operate.venues(data_dir()) if venue else ()
    if known and venue not in known:  # where none can be told, a kill goes ahead: the desk says whether it has such a venue
        raise click.UsageError(f"--venue {venue}: this desk trades at {', '.join(known)}; nothing was latched")
    report = operate.kill(data_dir(), asked, reason=reason, who=who(), channel="cli", wait_s=wait_s, venue=venue)
    emit("kill", report, json_out)
    if report.level is KillLevel.SEVER:
        click.echo("there is no guardian yet: SEVER asks the desk itself to flatten, as FLATTEN does", err=True)
    for line in operate.loud(report):
        click.echo(line, err=True)
    return OK if report.reached else HALTED


@cli.command()
@click.option("--reason", required=True, help="Why it is safe to go on; kept in the audit file.")
@click.option("--confirm", metavar="ACCOUNT", help="Account id, asked for before live trading; paper has none.")
@as_json
def resume(reason: str, confirm: str | None, json_out: bool) -> int:
    """Lower the kill latch. Positions are not touched; a running desk goes on once it is reconciled."""
    if not reason.strip():
        raise click.UsageError("resume needs a reason")
    from bot.desk import operate

    state = operate.resume(data_dir(), reason=reason, who=who() + (f" for {confirm}" if confirm else ""), channel="cli")
    emit("resume", {"level": state.level, "kill_id": state.kill_id}, json_out)
    _warn_of_audit(operate.audit_faults(data_dir()))
    return OK


@cli.command()
@click.option("--symbol", required=True, help="Product or contract: MBT, XRP, QBTC, MBTX26, BFFX2627.")
@click.option("--from", "from_ns", type=Instant(), required=True)
@click.option("--to", "to_ns", type=Instant(), required=True)
@as_json
def sessions(symbol: str, from_ns: int, to_ns: int, json_out: bool) -> int:
    """List when CME trades a product, in UTC, half-open, and what expires meanwhile."""
    if from_ns >= to_ns:
        raise click.UsageError("--from must be before --to")
    from bot.desk.sessions import expiries, listing

    try:
        rows, ends = listing(symbol, from_ns, to_ns), expiries(symbol, from_ns, to_ns)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    emit("sessions", {"intervals": rows, "expiries": ends}, json_out)
    return OK


@cli.group()
def config() -> None:
    """Settings and where they come from."""


@config.command()
@click.option("--profile", type=click.Choice(["paper", "backtest", "backtest-daily", "bench", "simulate", "wire", "live"]), default="paper", show_default=True)
@configured
@as_json
def show(profile: str, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Print every setting with its value and source, and the precedence of sources."""
    from bot.desk.settings import shown

    emit("config show", shown(load(profile, files, sets)), json_out)
    return OK


@config.command()
@configured
@as_json
def check(files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Check the settings of every profile; exit 3 naming what is wrong."""
    from bot.desk.settings import checked

    checks = checked(files, sets)
    emit("config check", {"checks": checks}, json_out)
    wrong = [c for c in checks if not c.ok]
    return _fail(wrong[0].found, CONFIG) if wrong else OK


cli_desk.register(cli)
cli_live.register(cli)
cli_studies.register(cli)
cli_simulate.register(cli)


def load(profile: str, files: tuple[Path, ...], sets: tuple[str, ...], options: Mapping[str, tuple[str, Any]] | None = None) -> Loaded:
    """Return the settings of a verb."""
    from bot import config as settings

    return settings.load(profile, files=files, sets=sets, options=options)


def _remembered(run: RunFolder) -> Obligations:
    """Return what the journal of a run says is owed, read-only."""
    from bot import app

    return app.recalled(run).ob


def _warn_of_audit(faults: list[str]) -> None:
    """Say what is wrong with the audit file of the kill switch: who did what when cannot be told from it any more."""
    for fault in faults:
        click.echo(f"warning: audit file of the kill switch: {fault}", err=True)


def who() -> str:
    """Return the operator for the audit file."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
