"""Plain tables that fit a terminal of 80 columns: numbers right, words left, nothing wider than the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

WIDTH = 80
GAP = 2
WORD_MIN = 6
"""A column of words is never cut below this many characters."""


class Column(msgspec.Struct, frozen=True):
    """One column: key of the row, heading, decimals of a number (None: as short as it is), signed numbers with their +.

    whole: words that are never cut.
    """

    key: str
    title: str
    places: int | None = None
    signed: bool = False
    whole: bool = False


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, width: int = WIDTH, indent: int = 0) -> Iterator[str]:
    """Yield heading and rows as lines of at most `width` characters; columns of words give way when there is no room."""
    cells = [[_cell(row.get(c.key), c) for c in columns] for row in rows]
    if not cells:
        yield " " * indent + "none"
        return
    numeric = [all(_is_number(row.get(c.key)) for row in rows) for c in columns]
    sizes = [max(len(c.title), *(len(line[n]) for line in cells)) for n, c in enumerate(columns)]
    over = sum(sizes) + GAP * (len(sizes) - 1) + indent - width
    for n in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        if over > 0 and not numeric[n] and not columns[n].whole:
            cut = min(over, max(0, sizes[n] - max(WORD_MIN, len(columns[n].title))))
            sizes[n] -= cut
            over -= cut
    for line in ([c.title for c in columns], *cells):
        parts = [_fit(text, size, right) for text, size, right in zip(line, sizes, numeric, strict=True)]
        yield (" " * indent + (" " * GAP).join(parts)).rstrip()[:width]


def number(value: Any, places: int | None = None, signed: bool = False) -> str:
    """Return a number for people: thousands apart, `places` decimals or as few as it needs; "-" when it is not known."""
    if value is None:
        return "-"
    if places is None:
        text = f"{value:{'+' if signed else ''},.4f}" if isinstance(value, float) else f"{value:{'+' if signed else ''},}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:{'+' if signed else ''},.{places}f}"


def _cell(value: Any, column: Column) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int | float):
        return number(value, column.places, column.signed)
    if isinstance(value, Mapping):
        return " ".join(f"{k} {number(v) if _is_number(v) else v}" for k, v in value.items()) or "-"
    return str(value) or "-"


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float) and not isinstance(value, bool)


def _fit(text: str, size: int, right: bool) -> str:
    if len(text) > size:
        text = text[: size - 1] + "~"
    return text.rjust(size) if right else text.ljust(size)
