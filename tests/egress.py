"""No packet of a test run leaves loopback: this process is watched, every Python process it starts too, and the session fails if one tried.

An attempt is refused where it is made, so nothing leaves even then. The one exception is pip, by which tests build environments
for clients that must not share ours.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guard import loopback_only

GUARD = str(Path(__file__).with_name("guard"))
_init = subprocess.Popen.__init__


def guarded(env: Any) -> dict[str, str]:
    """Return an environment in which a Python process watches itself."""
    out = dict(os.environ if env is None else env)
    paths = [p for p in out.get("PYTHONPATH", "").split(os.pathsep) if p and p != GUARD]
    return {loopback_only.LOG: os.environ[loopback_only.LOG], **out, "PYTHONPATH": os.pathsep.join([GUARD, *paths])}


def _popen(self: Any, args: Any, *more: Any, env: Any = None, **named: Any) -> None:
    words = [str(a) for a in args] if isinstance(args, list | tuple) else [str(args)]
    if words[1:3] == ["-m", "pip"]:
        env = {k: v for k, v in (os.environ if env is None else env).items() if k != "PYTHONPATH"}
    else:
        env = guarded(env)
    _init(self, args, *more, env=env, **named)


def pytest_configure() -> None:
    """Watch from before the first test module is imported."""
    handle, path = tempfile.mkstemp(prefix="egress-", suffix=".log")
    os.close(handle)
    os.environ[loopback_only.LOG] = path
    os.environ.update(guarded(None))  # for children that are not started through subprocess
    subprocess.Popen.__init__ = _popen  # type: ignore[method-assign,assignment]
    loopback_only.install()


@pytest.fixture(scope="session", autouse=True)
def nothing_left_loopback() -> Iterator[None]:
    """Assert at the end of the session that no process tried to."""
    path = Path(os.environ[loopback_only.LOG])
    yield
    tried = path.read_text(encoding="utf-8").splitlines()
    assert not tried, f"{len(tried)} attempts to leave loopback, the first: {tried[:5]}"


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    subprocess.Popen.__init__ = _init  # type: ignore[method-assign]
    path = Path(os.environ.pop(loopback_only.LOG, ""))
    if path.is_file():
        path.unlink()
