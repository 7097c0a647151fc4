"""Layers of settings: nested tables from TOML files, environment variables and options, read as the types of a struct.

Every value keeps the name of the layer it came from, so that whatever is wrong with it can be said where it stands.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from bot.model.errors import ConfigError

ENV_PREFIX = "BOT__"


class Layer(msgspec.Struct, frozen=True):
    """One source of values: its name as printed, and a nested table. text: values are strings still to be read."""

    source: str
    table: Mapping[str, Any]
    text: bool = False


def from_file(path: Path, kind: str) -> Layer:
    """Return a TOML file as a layer. kind: what its name is printed with. Raises ConfigError."""
    name = kind + (str(path) if kind == "file " else path.name)
    try:
        return Layer(name, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: {error}") from error


def environment(environ: Mapping[str, str]) -> list[Layer]:
    """Return one layer per BOT__ variable, in order of name, so that an error can name it."""
    return [
        Layer(f"environment {name}", nested(name.removeprefix(ENV_PREFIX).split("__"), environ[name]), text=True)
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX)
    ]


def assignment(text: str) -> Layer:
    """Return `a.b=c` as a layer. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected section.key=value")
    return Layer("--set", nested(key.strip().split("."), value.strip()), text=True)


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `value` inside a table for each key of `path`."""
    for key in reversed(path):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def put(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables."""
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
    table[last] = value


def is_struct(kind: Any) -> bool:
    """Return whether `kind` is a section of settings: its keys are known."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def written(field: str) -> str:
    """Return the key of a field: people write seconds, values hold ns."""
    return field.removesuffix("_ns") + "_s" if field.endswith("_ns") else field


@cache
def keys(kind: Any) -> Mapping[str, tuple[str, Any]]:
    """Return key -> (field, type) of a struct. Kept: reading annotations is most of what loading costs."""
    hints = get_type_hints(kind)
    return {written(f.name): (f.name, hints[f.name]) for f in msgspec.structs.fields(kind)}


def leaves(
    kind: Any, value: Any, prefix: str, layer: Layer, known: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a layer's table, refusing keys that the type does not have."""
    if not is_struct(kind) and get_origin(kind) is not dict:
        yield prefix, _leaf(kind, value, prefix, layer)
        return
    if not isinstance(value, Mapping):
        raise ConfigError(f"{prefix or 'configuration'}: is a section, not a value, in {layer.source}")
    for key, inner in value.items():
        if is_struct(kind):
            known_keys = keys(kind)
            name = _match(key, known_keys, layer.text)
            if name is None:
                raise ConfigError(f"unknown key {dotted(prefix, key)} in {layer.source}")
            field, inner_kind = known_keys[name]
            inner_kind = float if field.endswith("_ns") else inner_kind
        else:
            inner_kind = get_args(kind)[1]
            here = {k[len(prefix) + 1 :].split(".")[0] for k in known if k.startswith(prefix + ".")}
            name = _match(key, here, layer.text)
            if name is None:
                if layer.text:
                    raise ConfigError(f"unknown key {dotted(prefix, key)} in {layer.source}")
                name = key
        if "." in name:
            raise ConfigError(f"key {dotted(prefix, name)!r} in {layer.source}: a name must not contain a dot")
        yield from leaves(inner_kind, inner, dotted(prefix, name), layer, known)


def dotted(prefix: str, key: str) -> str:
    """Return the dotted key of `key` in the section `prefix`, "" for the top."""
    return f"{prefix}.{key}" if prefix else key


def _match(key: str, keys: Any, text: bool) -> str | None:
    """Return the known key that `key` means; environment variables are upper case, so case is no matter there."""
    if key in keys:
        return key
    if text:
        return next((k for k in keys if k.lower() == key.lower()), None)
    return None


def _leaf(kind: Any, value: Any, key: str, layer: Layer) -> Any:
    """Return one value as its type wants it, still as written (seconds); refuse what is not finite or of another type."""
    if layer.text and isinstance(value, str):
        value = _parse(value, kind)
    if isinstance(value, datetime | date | time):
        value = value.isoformat().replace("+00:00", "Z")
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key}: {error} (got {value!r}) in {layer.source}") from error
    if isinstance(converted, float | Decimal) and not math.isfinite(converted):
        raise ConfigError(f"{key}: {converted} is not a finite number, in {layer.source}")
    return converted


def _parse(text: str, kind: Any) -> Any:
    """Read a text value as TOML would, or keep it as it is for a string or a decimal."""
    if kind is str or kind is Decimal:
        return text
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, datetime | date | time) else value
