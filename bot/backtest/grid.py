"""Reads a sweep's grid: which strategy parameters take which values, and optionally which files they are tried on.

TOML, or JSON where the name ends so:

    [grid]                  # every combination is a trial
    z_in = [1.5, 2.0]       # a strategy parameter; strategy.z_in means the same
    side = ["long_cme", "both"]

    [inputs]                # as the options of `backtest`; an option wins; paths count from the grid's folder
    cme = "MBT.csv.gz"
    stable_fixed = 1.0

Limits are not swept: a limit that is fitted to a history is none.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from bot.backtest.run import Inputs
from bot.model.errors import ConfigError
from bot.model.notation import instant_ns

TRIALS_MAX = 10_000
_PATHS = ("cme", "perp", "perp_mark", "spot", "funding", "stable")
_TIMES = {"from": "from_ns", "to": "to_ns"}
_SECTION = "strategy."


class Grid(msgspec.Struct, frozen=True):
    """axes: key of a setting -> its values, in the file's order. inputs: as given, paths resolved."""

    path: Path
    axes: dict[str, list[Any]]
    inputs: dict[str, Any]

    def trials(self) -> list[dict[str, Any]]:
        """Return every combination, the last axis fastest."""
        return [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]


def read(path: Path) -> Grid:
    """Read a grid. Raises ConfigError naming the key, OSError."""
    text = path.read_bytes()
    try:
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: a grid is a table of keys and lists")
    unknown = [key for key in table if key not in ("grid", "inputs")]
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]}; a grid file has [grid] and [inputs]")
    for key in table:
        if not isinstance(table[key], dict):
            raise ConfigError(f"{path}: {key} is a table, not a value")
    axes: dict[str, list[Any]] = {}
    for key, values in _flat(table.get("grid", {}), ""):
        axes[_setting(path, key, axes)] = _values(path, key, values)
    if not axes:
        raise ConfigError(f"{path}: grid: names no parameter")
    grid = Grid(path, axes, _inputs(path, table.get("inputs", {})))
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > TRIALS_MAX:
        raise ConfigError(f"{path}: grid: {count:,} combinations, at most {TRIALS_MAX:,}")
    return grid


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        found += _flat(value, name + ".") if isinstance(value, dict) else [(name, value)]
    return found


def _setting(path: Path, key: str, known: Mapping[str, Any]) -> str:
    """Return the setting that a key means; only parameters of the strategy may be swept."""
    name = key if key.startswith(_SECTION) else _SECTION + key
    if "." in name.removeprefix(_SECTION):
        raise ConfigError(f"{path}: grid.{key}: a sweep varies parameters of the strategy; set others with --set")
    if name in known:
        raise ConfigError(f"{path}: grid.{key}: given twice")
    return name


def _values(path: Path, key: str, values: Any) -> list[Any]:
    listed = values if isinstance(values, list) else [values]
    if not listed:
        raise ConfigError(f"{path}: grid.{key}: no value")
    for at, value in enumerate(listed):
        if not isinstance(value, bool | int | float | str):
            raise ConfigError(f"{path}: grid.{key}: {value!r} is no number, text or truth value")
        if any(type(value) is type(other) and value == other for other in listed[:at]):
            raise ConfigError(f"{path}: grid.{key}: {value!r} is given twice")
    return listed


def _inputs(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key in _PATHS and isinstance(value, str):
            found[key] = path.parent / value
        elif key == "stable_fixed" and isinstance(value, int | float) and not isinstance(value, bool):
            found[key] = float(value)
        elif key in _TIMES:
            found[_TIMES[key]] = _instant(path, key, value)
        else:
            known = ", ".join((*_PATHS, "stable_fixed", *_TIMES))
            raise ConfigError(f"{path}: inputs.{key}: unknown key or not of its type; known are {known}")
    return found


def _instant(path: Path, key: str, value: Any) -> int:
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, date | datetime) else str(value)
    try:
        return instant_ns(text)
    except ValueError as error:
        raise ConfigError(f"{path}: inputs.{key}: {error}") from error


def merged(grid: Grid, options: Mapping[str, Any]) -> Inputs:
    """Return the inputs: an option given wins over the grid's, stable and stable_fixed exclude each other. Raises ConfigError."""
    given = {key: value for key, value in options.items() if value is not None}
    found = dict(grid.inputs)
    if "stable" in given or "stable_fixed" in given:
        found.pop("stable", None)
        found.pop("stable_fixed", None)
    found.update(given)
    for key in ("cme", "perp", "funding"):
        if key not in found:
            raise ConfigError(f"inputs.{key} is missing: give --{key}, or {key} under [inputs] of {grid.path}")
    for key in _PATHS:
        if key in found and not found[key].is_file():
            raise FileNotFoundError(2, "no such file", str(found[key]))
    return Inputs(**found)
