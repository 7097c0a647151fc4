"""Scenario files: TOML that describes a market's script, read and checked into the value the market takes.

A name means a file of the packaged `scenarios` folder, a text that ends in .toml a file of the user's. What is read
becomes part of the settings, and so of what a run records: a run is recovered and replayed without its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.layers import Layer
from bot.model.errors import ConfigError
from bot.model.instrument import Instrument
from bot.sim.scenarios import Scenario, scripted

NAMES = ("story", "calm", "widen", "leg-fail", "exchange-down", "gap", "wire")
"""Shipped with the desk, the default first."""
FOLDER = "scenarios"
SUFFIX = ".toml"


def layer(name: str, packaged: Path) -> Layer:
    """Return the scenario `name` as the section of settings it is. packaged: folder of the packaged TOML files.

    Raises ConfigError naming file and key.
    """
    if name.endswith(SUFFIX):
        path, source = Path(name), f"scenario file {name}"
    elif name in NAMES:
        path, source = packaged / FOLDER / (name + SUFFIX), f"scenario {name}{SUFFIX}"
    else:
        raise ConfigError(f"market.scenario: {name!r} is neither one of {', '.join(NAMES)} nor a {SUFFIX} file")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: {error}") from error
    table.setdefault("weather", {})
    try:
        checked = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
    return Layer(source, {"scenario": msgspec.to_builtins(checked)})


def check(scenario: Scenario, lead: Instrument, hedge: Instrument, source: Mapping[str, str]) -> None:
    """Refuse venue faults that cannot be read, as ConfigError naming the row. source: key -> where its value is from."""
    try:
        scripted(scenario, 0, lead.venue, hedge.venue)
    except ConfigError as error:
        raise ConfigError(f"scenario.{error} in {source['scenario.faults']}") from error


def label(name: str) -> str:
    """Return what screens call a scenario: its shipped name, or its file's name without folder and ending."""
    return Path(name).stem if name.endswith(SUFFIX) else name


def wanted(layers: Sequence[Layer]) -> str:
    """Return the market.scenario that holds, of layers lowest first. Raises ConfigError when none gives it."""
    for given in reversed(layers):
        value: Any = given.table
        for key in ("market", "scenario"):
            found = value if isinstance(value, Mapping) else {}
            value = next((found[k] for k in found if (k.lower() if given.text else k) == key), None)
        if isinstance(value, str):
            return value
    raise ConfigError("market.scenario is missing: no layer gives it")
