"""Environments of clients that must not share one with this project: named by a variable, else built with pip, else skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD_S = 120


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
