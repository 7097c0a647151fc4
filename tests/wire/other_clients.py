"""Clients that must not share an environment with this project: named by a variable, else built with pip, else skipped; and one session of one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tws_rig import Desk, running

BUILD_S = 120
SESSION_S = 40.0


def python_with(package: str, variable: str, folder: Path, *more: str) -> str:
    """Return an interpreter that has `package` (name==version); the test is skipped, with the reason, when there is none.

    variable: environment variable that names one. folder: where one is built otherwise, once.
    """
    named = os.environ.get(variable)
    if named:
        return named
    python = folder / "bin" / "python"
    done = folder / "ready"
    if not done.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=BUILD_S)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package, *more]
            subprocess.run(pip, check=True, capture_output=True, timeout=BUILD_S)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{package} cannot be installed ({error}); set {variable} to a Python that has it")
        done.touch()
    return str(python)


def session(python: str, script: Path, **more: Any) -> tuple[dict[str, Any], Desk]:
    """Run a client's script, which gets the port and prints JSON, against a TWS server; return what it printed and the server's desk.

    more: arguments of tws_rig.running.
    """

    async def whole() -> tuple[dict[str, Any], Desk]:
        async with asyncio.timeout(SESSION_S), running(**more) as desk:
            pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
            process = await asyncio.create_subprocess_exec(python, str(script), str(desk.server.port), **pipes)
            try:
                out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, err.decode()[-3_000:]
            return dict(json.loads(out)), desk

    return asyncio.run(whole())
