"""The watch over packets that would leave loopback: it has to catch one in this process, in a child, and in a whole session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guard import loopback_only

ROOT = Path(__file__).parents[2]
AWAY = ("192.0.2.1", 9)
"""An address of the block for documentation (RFC 5737): nobody is there."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a log of attempts of its own, so that the session's stays empty."""
    path = tmp_path / "attempts"
    path.touch()
    monkeypatch.setenv(loopback_only.LOG, str(path))
    return path


def test_this_process_is_watched(log: Path) -> None:
    for attempt in (lambda: socket.create_connection(AWAY, 1), lambda: socket.getaddrinfo("example.org", 80)):
        with pytest.raises(PermissionError, match="loopback"):
            attempt()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, pytest.raises(PermissionError, match="loopback"):
        udp.sendto(b"x", AWAY)
    told = log.read_text().splitlines()
    assert [line.split()[0] for line in told] == ["socket.getaddrinfo", "socket.getaddrinfo", "socket.sendto"]


def test_loopback_and_unix_sockets_are_free(log: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 1).close()
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(FileNotFoundError):
        unix.connect(str(tmp_path / "nobody"))
    assert log.read_text() == ""


@pytest.mark.parametrize("environment", [None, {"PYTHONPATH": str(ROOT)}, {}], ids=["ours", "its own path", "empty"])
def test_a_child_is_watched_whatever_its_environment(log: Path, environment: dict[str, str] | None) -> None:
    code = "import socket; s = socket.socket(); s.settimeout(1); s.connect(('192.0.2.1', 9))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode and "PermissionError" in done.stderr
    assert "socket.connect 192.0.2.1:9" in log.read_text()


def test_a_session_with_an_attempt_fails_although_its_test_passes(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(
        "import socket, contextlib\n"
        "def test_planted():\n"
        "    with contextlib.suppress(OSError):\n"
        "        socket.create_connection(('192.0.2.1', 9), 1)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "tests.egress", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "1 passed, 1 error" in done.stdout and "192.0.2.1" in done.stdout, done.stdout[-2_000:]
