"""A progress bar for what takes longer than two seconds, on stderr and only where somebody looks at it."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_AFTER_S = 2.0


class Bar:
    """Shows `to` shares of one piece of work. Nothing is loaded or drawn before SHOW_AFTER_S, or without a terminal.

    >>> with Bar("reading") as bar:
    ...     bar.to(0.5)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._began = time.monotonic()
        self._wanted = sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def to(self, share: float) -> None:
        """Say how much is done, 0 to 1."""
        if not self._wanted:
            return
        if self._bar is None:
            if time.monotonic() - self._began < SHOW_AFTER_S:
                return
            self._start()
        assert self._bar is not None and self._task is not None
        self._bar.update(self._task, completed=min(1.0, max(0.0, share)))

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.text, total=1.0)
        self._bar.start()
