"""The built wheel, installed elsewhere and run from an empty folder: what people get, not what the checkout has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the installed backend, without a network."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("basisbot-*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into a folder of its own; its dependencies are the test environment's."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def run(site: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python from an empty folder, on the installed wheel and not on the checkout."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BOT_")}
    env["PYTHONPATH"] = str(site)
    return subprocess.run([sys.executable, *argv], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_wheel_holds_code_configuration_and_schemas(wheel: Path) -> None:
    """Packages, TOML files, JSON schemas and migrations are in it; tests and shared data are not."""
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("bot/_config/defaults.toml", "bot/_config/instruments.toml", "bot/_config/paper.toml", "bot/schemas/paper.json",
                   "bot/journal/migrations/versions/r0001_first.py", "strategies/convergence.py", "risk/gate.py"):  # fmt: skip
        assert wanted in names
    assert {n.partition("/")[0] for n in names} <= {"bot", "strategies", "risk", "basisbot-0.1.0.dist-info"}
    assert not [n for n in names if n.startswith("bot/_config/") and not n.endswith(".toml")]


def test_installed_wheel_uses_its_own_configuration(site: Path, tmp_path: Path) -> None:
    """The settings come from inside the package."""
    done = run(site, tmp_path, "-m", "bot", "config", "check", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"][0]["found"] == str(site / "bot" / "_config")


def test_installed_wheel_trades_on_paper(site: Path, tmp_path: Path) -> None:
    """From an empty folder an hour of paper trading runs to its end and leaves its data there only."""
    done = run(site, tmp_path, "-m", "bot", "paper", "--for", "1h", "--speed", "max", "--json")
    assert done.returncode == 0, done.stderr
    ready, result = (json.loads(line) for line in done.stdout.splitlines())
    assert ready["event"] == "ready" and result["schema"] == "paper/1" and result["run_id"] == ready["run_id"]
    assert [p.name for p in tmp_path.iterdir()] == ["desk-data"]


def test_console_script_is_the_module(site: Path, tmp_path: Path) -> None:
    """basisbot and python -m bot are one."""
    assert (site / "bin" / "basisbot").exists()
    done = run(site, tmp_path, str(site / "bin" / "basisbot"), "--version")
    assert done.returncode == 0 and "0.1.0" in done.stdout
