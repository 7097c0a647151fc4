"""The verbs that study files and the machine: gaps, sweep, data check, data compare, bench. `gaps` without a file asks the desk.

As in bot.cli everything heavy is imported inside the verb; what a verb does stands in bot.backtest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bot.cli_options import FILE, Instant, Stop, as_json, configured, data_dir, emit

ERROR = 1


def register(cli: click.Group) -> None:
    """Add the verbs to the command line."""
    for verb in (gaps, sweep, data, bench):
        cli.add_command(verb)


def _symbol(value: str | None) -> str | None:
    """Return the product of a product or contract code. Raises click.UsageError naming the known ones."""
    if value is None:
        return None
    from bot.market.expiry import parse_contract
    from bot.market.products import PRODUCTS, product

    try:
        return value if value in PRODUCTS else product(parse_contract(value)[0]).code
    except ValueError:
        raise click.UsageError(f"--symbol {value}: no product or contract; known are {', '.join(sorted(PRODUCTS))}") from None


symbol = click.option("--symbol", help="Product or contract of the CME file. Default: that of the setting market.lead for such a file.")


@click.command()
@click.option("--cme", type=FILE, help="CME bars: one-minute or daily, recognised by header. Without it: the gaps that the desk of this folder has seen.")
@symbol
@click.option("--close", type=click.Choice(["last_trade", "settlement"]), help="What gaps are measured from. Default: settlement if daily, else last trade.")
@click.option("--floor-bp", type=click.FloatRange(0.0), default=10.0, show_default=True, help="Smallest gap listed, bp of the prior close.")
@click.option("--atr-multiple", type=click.FloatRange(0.0), default=0.1, show_default=True, help="Significant above this share of the average true range too.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random-walk benchmark.")
@configured
@as_json
def gaps(
    cme: Path | None, symbol: str | None, close: str | None, floor_bp: float, atr_multiple: float, seed: int,
    files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool,
) -> int:  # fmt: skip
    """List price gaps over CME's closures, what became of them, and (of a file) how chance alone would have filled them."""
    if cme is None:
        return _seen_gaps(floor_bp, json_out)
    code = _symbol(symbol)
    from bot.backtest.gap_text import lines
    from bot.backtest.gaps import run
    from bot.desk.progress import Bar
    from strategies.gaps import CloseKind, GapParams

    params = GapParams(floor_bp=floor_bp, atr_multiple=atr_multiple)
    with Bar("gaps") as bar:
        result = run(cme, code, close=None if close is None else CloseKind(close), params=params, seed=seed, layers=files, sets=sets, progress=bar.to)
    if json_out:
        emit("gaps", result, json_out)
    else:
        click.echo("\n".join(lines(result)))
    return 0


def _seen_gaps(floor_bp: float, json_out: bool) -> int:
    """List the gaps a desk has seen. Raises click.UsageError for an option that needs a file."""
    context = click.get_current_context()
    needing = {"symbol": "--symbol", "close": "--close", "atr_multiple": "--atr-multiple", "seed": "--seed", "files": "--config", "sets": "--set"}
    for name, option in needing.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} needs --cme FILE: a desk's gaps are of its own contract, last mid to first")
    from bot import app
    from bot.desk import read, tables
    from bot.desk.card import plain

    answer = read.gaps(data_dir(), floor_bp, app.gaps_seen)
    if json_out:
        emit("gaps", answer, json_out)
    else:
        click.echo("\n".join(tables.text_of("gaps", plain(answer))))
    return 0


@click.command()
@click.option("--grid", type=FILE, required=True, help="TOML or JSON: [grid] of strategy parameters with lists of values, [inputs] of files.")
@click.option(
    "--engine", type=click.Choice(["screen", "full"]), default="full", show_default=True,
    help="full: the engine every mode runs. screen: the same trades much faster, without orders, venues and journal.",
)  # fmt: skip
@click.option("--cme", type=FILE, help="CME bars; as all files here it may stand in the grid instead.")
@click.option("--perp", type=FILE, help="Perp bars.")
@click.option("--perp-mark", type=FILE, help="Mark price bars of the perp.")
@click.option("--spot", type=FILE, help="Spot bars, the index where the perp's own is not given.")
@click.option("--funding", type=FILE, help="Funding rates by stamp.")
@click.option("--stable", type=FILE, help="Stablecoin in USD, daily.")
@click.option("--stable-fixed", type=float, help="Stablecoin in USD as one number; an assumption.")
@click.option("--from", "from_ns", type=Instant(), help="First instant used.")
@click.option("--to", "to_ns", type=Instant(), help="First instant not used.")
@configured
@as_json
def sweep(grid: Path, engine: str, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool, **inputs: Any) -> int:
    """Play every combination of a grid of strategy parameters over one backtest, and judge a choice among them."""
    if inputs["stable"] is not None and inputs["stable_fixed"] is not None:
        raise click.UsageError("give one of --stable and --stable-fixed")
    from bot.backtest.grid import merged, read
    from bot.backtest.sweep import lines, run
    from bot.desk.progress import Bar

    table = read(grid)
    from bot.model.errors import DataError

    with Stop() as stop, Bar("sweep") as bar:
        try:
            result = run(table, merged(table, inputs), files, sets, stopped=lambda: stop.code != 0, progress=bar.to, engine=engine)
        except DataError as error:
            if not stop.code:
                raise
            click.echo(f"error: {error}", err=True)
            return stop.code
    if json_out:
        emit("sweep", result, json_out)
    else:
        click.echo("\n".join(lines(result)))
    return stop.code or (ERROR if any(row.invariant_violations for row in result.rows) else 0)


@click.group()
def data() -> None:
    """Market data files."""


@data.command()
@click.option("--cme", type=FILE, required=True, help="CME bars: one-minute or daily, recognised by header.")
@click.option("--perp", type=FILE, help="Perp bars.")
@click.option("--perp-mark", type=FILE, help="Mark price bars of the perp.")
@click.option("--spot", type=FILE, help="Spot bars.")
@click.option("--funding", type=FILE, help="Funding rates by stamp.")
@click.option("--stable", type=FILE, help="Stablecoin in USD, daily.")
@symbol
@configured
@as_json
def check(symbol: str | None, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool, **paths: Any) -> int:
    """Check market data files: rows, calendar, contracts, alignment; exit 1 when one cannot be used as it is."""
    code = _symbol(symbol)
    from bot.backtest.data_check import lines, run

    checks = run(paths, code, files, sets)
    if json_out:
        emit("data check", {"checks": checks}, json_out)
    else:
        click.echo("\n".join(lines(checks)))
    wrong = [c for c in checks if not c.ok]
    if wrong:
        click.echo(f"error: {len(wrong)} of {len(checks)} checks failed: {', '.join(c.name for c in wrong)}", err=True)
    return ERROR if wrong else 0


@data.command()
@click.option("--data", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of market data files.")
@click.option("--days", type=click.IntRange(3, 3_650), default=365, show_default=True, help="Days of the seeded market.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the market. Default: the setting market.seed.")
@configured
@as_json
def compare(folder: Path, days: int, seed: int | None, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Compare the seeded market, scenario calm, with real data: returns, premium, funding, basis, stablecoin."""
    from bot.backtest.calibration import lines, run
    from bot.desk.progress import Bar

    with Bar("data compare") as bar:
        result = run(folder, days, seed, files, sets, progress=bar.to)
    if json_out:
        emit("data compare", result, json_out)
    else:
        click.echo("\n".join(lines(result)))
    return 0


@click.group()
def bench() -> None:
    """Measure the engine and the way through it."""


@bench.command()
@click.option("--file", "path", type=FILE, required=True, help="npz made by the task's generator.")
@configured
@as_json
def ticks(path: Path, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Run the published tick task through the real engine, gate, venue and accounting."""
    from bot import config
    from bot.backtest.bench import run

    settings = config.load("bench", files=files, sets=sets).settings
    emit("bench ticks", run(path, settings.limits, settings.execution), json_out)
    return 0


@bench.command()
@click.option("--cycles", type=click.IntRange(1), default=2_000, show_default=True, help="Cycles counted in each of the three series.")
@click.option("--pace-ms", type=click.IntRange(2), default=55, show_default=True, help="Between ticks of the lead; the exchange takes 20 orders a second.")
@click.option("--serve", "serving", is_flag=True, hidden=True)
@configured
@as_json
def wire(cycles: int, pace_ms: int, serving: bool, files: tuple[Path, ...], sets: tuple[str, ...], json_out: bool) -> int:
    """Measure bytes received to order bytes sent, through the real client libraries, servers in a process of their own."""
    from bot import config

    settings = config.load("bench", files=files, sets=sets).settings
    if serving:
        import asyncio

        from bot.latency import market

        return asyncio.run(market.serve(settings, pace_ms * 1_000_000, lambda said: emit("wire", said, True)))
    from bot.desk.progress import Bar
    from bot.latency.run import run
    from bot.latency.summary import lines

    options = [word for name, values in (("--config", files), ("--set", sets)) for value in values for word in (name, str(value))]
    with Bar("bench wire") as bar:
        found = run(settings, data_dir(), cycles=cycles, pace_ms=pace_ms, options=options, progress=bar.to)
    if json_out:
        emit("bench wire", found, json_out)
    else:
        from bot.desk.card import plain

        click.echo("\n".join(lines(plain(found))))
    return 0
