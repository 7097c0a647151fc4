"""What the verbs of the command line share: option types, --config, --set and --json, and how a result is printed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

SCENARIOS = ("story", "calm", "widen", "leg-fail", "exchange-down", "gap", "wire")
SCENARIO_HELP = f"Market to trade in: {', '.join(SCENARIOS)}, or a scenario file. Default: story, stressed and watchable; calm seldom trades."
DATA_DIR_VARIABLE, DATA_DIR_DEFAULT = "BOT_DATA_DIR", "desk-data"

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Span(click.ParamType[int]):
    """A duration like 6h, 90s, 2d or PT35M, in ns."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return ns."""
        from bot.model.notation import duration_ns

        try:
            return value if isinstance(value, int) else duration_ns(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Instant(click.ParamType[int]):
    """A UTC time like 2026-11-03T15:45Z or a date, in ns."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return UTC ns."""
        from bot.model.notation import instant_ns

        try:
            return value if isinstance(value, int) else instant_ns(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Speed(click.ParamType[str | float]):
    """Market seconds per second, or max."""

    name = "N|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        """Return "max" or a number > 0."""
        if value == "max":
            return "max"
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0.0 < number < float("inf"):
            self.fail(f"{value!r} is not a number > 0 or max", param, ctx)
        return number


class Script(click.ParamType[str]):
    """A shipped scenario's name, or the path of a scenario file that ends in .toml."""

    name = "scenario"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name or path; a file must exist."""
        text = str(value)
        if text in SCENARIOS:
            return text
        if not text.endswith(".toml"):
            self.fail(f"{text!r} is neither one of {', '.join(SCENARIOS)} nor a .toml file", param, ctx)
        return str(FILE.convert(text, param, ctx))


def configured(verb: F) -> F:
    """Add --config and --set to a verb."""
    verb = click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Override one setting; wins over everything else.")(verb)
    return click.option("--config", "files", multiple=True, type=FILE, help="TOML file over the defaults; may be repeated.")(verb)


as_json = click.option("--json", "json_out", is_flag=True, help="JSON lines on stdout; the last one is the result.")


def data_dir() -> Path:
    """Return the data folder: BOT_DATA_DIR, else a folder that git ignores."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or DATA_DIR_DEFAULT)
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"{DATA_DIR_VARIABLE}: {folder} is not a folder")
    return folder


def emit(verb: str, result: Any, json_out: bool) -> None:
    """Print a result: one JSON line with its schema, or text for people."""
    from bot.desk import card

    click.echo(card.json_line(verb, result) if json_out else card.text(verb, result))


def latched(state: Any) -> str:
    """Return why nothing starts while the kill switch is up (bot.kill.latch.LatchState), "" when it is down."""
    if state.level == "NONE":
        return ""
    level = " ".join([state.level, *state.evacuate])
    return f"latched at {level}: {state.fault or state.reason or 'no reason given'}; lower it with: resume --reason WHY"


def run_code(result: Any) -> int:
    """Return the exit code of a run that ended by itself: a broken invariant is an error, a kill level a halt."""
    if result.invariant_violations:
        return 1
    return 0 if result.kill_level == "NONE" else 6


class Stop:
    """Notes SIGINT and SIGTERM, so that work under way can end by itself; the code is 128 + the signal, 0 without one."""

    def __init__(self) -> None:
        self.code = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._noted)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    def _noted(self, number: int, frame: object) -> None:
        self.code = self.code or 128 + number
