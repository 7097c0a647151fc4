"""The verbs that read: what a desk holds, owes, may do and sees now, and the report of a run.

They change nothing and take no lock; a desk that does not answer is read from its journal and called STALE.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli_options import as_json, data_dir, emit

if TYPE_CHECKING:
    from bot.desk.report import Report

READS = {
    "positions": "List both legs of every pair, and what no pair owns, at the venues' marks.",
    "orders": "List the orders that may still change a position.",
    "limits": "List every limit with its unit, and its use and headroom where something uses it.",
    "venues": "List the venues of the run: reachable, money, margin buffer, orders, last answer, messages, faults hit.",
    "signals": "Show what each pair's strategy sees: premium, excess, z, edge against hurdle, carry, funding, and what blocks it.",
}
FORMATS = ("text", "json", "csv")


def register(cli: click.Group) -> None:
    """Add the verbs to the command line."""
    for name, words in READS.items():
        cli.add_command(venues if name == "venues" else _reading(name, words))
    cli.add_command(report)


def _reading(name: str, words: str) -> click.Command:
    @click.command(name, help=words)
    @as_json
    def verb(json_out: bool) -> int:
        from bot import app
        from bot.desk import tables
        from bot.desk.card import plain
        from bot.desk.read import read

        answer = read(data_dir(), name, app.recalled)
        if json_out:
            emit(name, answer, json_out)
        else:
            click.echo("\n".join(tables.text_of(name, plain(answer))))
        return 0

    return verb


@click.command(help=READS["venues"])
@click.option("--cards", is_flag=True, help="Show instead what each exchange of perpetuals can do, and what is missing. JSON always has both.")
@as_json
def venues(cards: bool, json_out: bool) -> int:
    """List the venues of the run, or the capability cards of the exchanges that could be one."""
    from bot import app
    from bot.desk import tables
    from bot.desk.card import plain
    from bot.desk.read import read
    from bot.venues.perp_card import committed, text_of

    if cards and not json_out:
        click.echo("\n".join(line for made in committed() for line in text_of(made)))
        return 0
    answer = read(data_dir(), "venues", app.recalled)
    if json_out:
        emit("venues", answer | {"cards": committed()}, json_out)
    else:
        click.echo("\n".join(tables.text_of("venues", plain(answer))))
    return 0


@click.command()
@click.option("--run", "run_id", help="Run id, as `paper` printed it. Default: the newest run.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: text, or json with --json.")
@click.option("--out", type=click.Path(path_type=Path), help="Write there instead: a file, or for csv without --table a folder.")
@click.option("--table", "only", help="One table alone, for csv: trades, dates, fills, funding, fees, tie_out, ...")
@as_json
def report(run_id: str | None, form: str | None, out: Path | None, only: str | None, json_out: bool) -> int:
    """Report a run: attribution, fills, funding, fees, refusals, hedge quality, margin, tie-out, break-evens."""
    form = form or ("json" if json_out else "text")
    if json_out and form == "text":
        raise click.UsageError("--json is not --format text")
    if only is not None and form != "csv":
        raise click.UsageError("--table needs --format csv")
    if form == "csv" and only is None and out is None:
        raise click.UsageError("csv needs --table NAME, or --out FOLDER for a file per table")
    from bot.desk.report import TABLES

    if only is not None and only not in TABLES:
        raise click.UsageError(f"--table {only}: one of {', '.join(TABLES)}")
    _place(out, folder=form == "csv" and only is None)
    from bot import app
    from bot.desk.progress import Bar

    with Bar("report") as bar:
        found = app.report(data_dir(), run_id, progress=bar.to)
    _deliver(found, form, out, only)
    if json_out and (form == "csv" or out is not None):
        emit("report", _result(found), json_out)
    return 0


def _place(out: Path | None, *, folder: bool) -> None:
    """Refuse an --out that cannot be written before anything is read. Raises click.UsageError."""
    if out is None:
        return
    if folder and out.exists() and not out.is_dir():
        raise click.UsageError(f"--out {out}: is a file, csv without --table needs a folder")
    if not folder and (out.is_dir() or not out.parent.is_dir()):
        raise click.UsageError(f"--out {out}: not a file in a folder that exists")


def _result(found: Report) -> dict[str, Any]:
    return {"run_id": found.run_id, "report": found.result}


def _deliver(found: Report, form: str, out: Path | None, only: str | None) -> None:
    """Print the report, or write it to `out` and say so on stderr."""
    from bot.desk import card, report_text
    from bot.desk.report import named

    if form == "csv" and only is None:
        assert out is not None
        written = report_text.write_csv(found, out)
        click.echo(f"{len(written)} tables written to {out}", err=True)
        return
    if form == "csv":
        assert only is not None
        text = report_text.csv_of(named(found, only))
    elif form == "json":
        text = card.json_line("report", _result(found)) + "\n"
    else:
        text = "\n".join(report_text.text_of(found)) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"report of {found.run_id} written to {out}", err=True)
