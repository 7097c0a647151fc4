"""Whole desks on the wire: the verbs as processes, against servers of their own or ones a test has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BOT = (sys.executable, "-m", "bot")
LIMIT_S = 90.0


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a verb with its own data folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BOT_", "BOT__"))}
    return {**clean, "BOT_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **(more or {})}


def verb(folder: Path, *argv: str, timeout_s: float = LIMIT_S, secrets: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([*BOT, *argv], capture_output=True, text=True, env=environment(folder, secrets), timeout=timeout_s, check=False)


def last_line(text: str) -> dict[str, Any]:
    """Return the result object of a verb."""
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


@contextmanager
def wire(folder: Path, *options: str, secrets: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Run `wire`; give its ready line."""
    with (folder / "wire.err").open("w", encoding="utf-8") as err:
        process = subprocess.Popen([*BOT, "wire", *options], stdout=subprocess.PIPE, stderr=err, text=True, env=environment(folder, secrets))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "wire.err").read_text(encoding="utf-8")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20.0) == 130
        process.stdout.close()


def ports(ready: Mapping[str, Any]) -> list[str]:
    """Return the options that lead to servers."""
    return [str(x) for name in ("tws_port", "perp_port", "reference_port") for x in (f"--{name.replace('_', '-')}", ready[name])]


class Running:
    """A desk as a process. said: its first line."""

    def __init__(self, folder: Path, argv: Sequence[str]) -> None:
        self.folder = folder
        with (folder / "desk.err").open("a", encoding="utf-8") as err:
            self.process = subprocess.Popen([*BOT, *argv], stdout=subprocess.PIPE, stderr=err, text=True, env=environment(folder))
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "desk.err").read_text(encoding="utf-8")
        self.said: dict[str, Any] = json.loads(line)

    def status(self) -> dict[str, Any]:
        """Ask for its state as another terminal does."""
        return last_line(verb(self.folder, "status", "--json").stdout)

    def until(self, condition: Callable[[dict[str, Any]], object], limit_s: float = 45.0) -> dict[str, Any]:
        """Ask until a condition holds; fail with the last answer after the limit."""
        deadline = time.monotonic() + limit_s
        while not condition(answer := self.status()):
            assert time.monotonic() < deadline and self.process.poll() is None, (answer, (self.folder / "desk.err").read_text(encoding="utf-8"))
        return answer

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; return exit code and the rest of its output."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60.0)
        return self.process.returncode, out


@contextmanager
def desk(folder: Path, *argv: str) -> Iterator[Running]:
    """Run a desk for the length of a block, at the latest."""
    running = Running(folder, argv)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def held(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return the quantities that a status shows, by instrument, what is flat left out."""
    return {leg["instrument"]: leg["qty"] for leg in answer["legs"] if leg["qty"]}
