"""The control socket: one line in, one line out, whatever the path, the peer or a crashed predecessor do."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.kill.control import LINE_MAX, POINTER, SOCKET, ControlServer, DeskSilent, NoDesk, ask, socket_path
from bot.model.errors import BotError


def refuse(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """A handler that refuses."""
    raise BotError("resume needs a reason")


HANDLERS = {"echo": lambda r: {"said": r["text"], "uid": r["uid"]}, "refuse": refuse}


@contextmanager
def serving(folder: Path) -> Iterator[ControlServer]:
    """Run a server in a thread, as a desk's loop would poll it."""
    server, stop = ControlServer(folder, HANDLERS), threading.Event()

    def loop() -> None:
        while not stop.is_set():
            server.poll(0.01)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join()
        server.close()


def test_answers_and_refuses(tmp_path: Path) -> None:
    """A known operation is answered; a refusal, an unknown operation and rubbish come back as errors."""
    with serving(tmp_path) as server:
        answer = ask(tmp_path, {"op": "echo", "text": "ä"}, 5.0)
        assert answer["said"] == "ä"
        with pytest.raises(BotError, match="needs a reason"):
            ask(tmp_path, {"op": "refuse"}, 5.0)
        with pytest.raises(BotError, match="unknown operation 'nope'"):
            ask(tmp_path, {"op": "nope"}, 5.0)
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(server.path))
            wire.sendall(b"{]\n")
            assert b"not a JSON object" in wire.recv(4096)
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert not server.path.exists()


def test_no_desk_is_said_at_once(tmp_path: Path) -> None:
    """Without a socket, and with one left behind by a crash, there is no desk."""
    with pytest.raises(NoDesk):
        ask(tmp_path, {"op": "echo"})
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET))
    left.close()
    with pytest.raises(NoDesk):
        ask(tmp_path, {"op": "echo"})


def test_a_stale_socket_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    """A crashed desk's socket does not stop the next one; a running desk's does."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET))
    left.close()
    with serving(tmp_path):
        assert ask(tmp_path, {"op": "echo", "text": "x"}, 5.0)["said"] == "x"
        with pytest.raises(BotError, match="another desk"):
            ControlServer(tmp_path, HANDLERS)
        assert ask(tmp_path, {"op": "echo", "text": "still"}, 5.0)["said"] == "still"


def test_a_silent_desk_is_not_no_desk(tmp_path: Path) -> None:
    """A desk that hangs holds its socket: that is reported as silence, within the time given."""
    server = ControlServer(tmp_path, HANDLERS)
    try:
        with pytest.raises(DeskSilent):
            ask(tmp_path, {"op": "echo", "text": "x"}, 0.05)
    finally:
        server.close()


def test_a_full_queue_is_silence_not_absence(tmp_path: Path) -> None:
    """A desk that takes no more connections is there: it must not be mistaken for none and its positions for nobody's."""
    server, waiting = ControlServer(tmp_path, HANDLERS), []
    try:
        for _ in range(64):
            wire = socket.socket(socket.AF_UNIX)
            wire.setblocking(False)
            waiting.append(wire)
            try:
                wire.connect(str(server.path))
            except BlockingIOError:
                break
        with pytest.raises(DeskSilent):
            ask(tmp_path, {"op": "echo", "text": "x"}, 0.05)
    finally:
        server.close()
        for wire in waiting:
            wire.close()


def test_a_long_folder_works(tmp_path: Path) -> None:
    """A data folder deeper than a unix socket path may be is served from a short private place."""
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    with serving(folder) as server:
        assert ask(folder, {"op": "echo", "text": "deep"}, 5.0)["said"] == "deep"
        assert socket_path(folder) == server.path != folder / SOCKET
        place = server.path.parent
    assert not place.exists() and not (folder / POINTER).exists()
    with pytest.raises(NoDesk):
        ask(folder, {"op": "echo"})


def drop_midway(wire: socket.socket) -> None:
    """Send half a line and leave."""
    wire.sendall(b'{"op":')


def flood(wire: socket.socket) -> None:
    """Send more than any request may hold, without an end."""
    try:
        wire.sendall(b"x" * (LINE_MAX * 4))
    except OSError:
        pass


def leave_before_the_answer(wire: socket.socket) -> None:
    """Ask and hang up."""
    wire.sendall(b'{"op":"echo","text":"gone"}\n')


@pytest.mark.parametrize("rude", [drop_midway, flood, leave_before_the_answer])
def test_a_rude_client_does_not_hurt_the_next_one(tmp_path: Path, rude: Callable[[socket.socket], None]) -> None:
    """Half a line, a flood or a reader that has gone leave the server serving."""
    with serving(tmp_path) as server:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(server.path))
            rude(wire)
        assert ask(tmp_path, {"op": "echo", "text": "next"}, 5.0)["said"] == "next"


def test_idle_clients_do_not_lock_others_out(tmp_path: Path) -> None:
    """More idle connections than the server keeps push out the oldest."""
    with serving(tmp_path) as server:
        idle = []
        for _ in range(40):
            wire = socket.socket(socket.AF_UNIX)
            wire.settimeout(5.0)
            wire.connect(str(server.path))
            idle.append(wire)
            ask(tmp_path, {"op": "echo", "text": "between"}, 5.0)
        assert ask(tmp_path, {"op": "echo", "text": "in"}, 5.0)["said"] == "in"
        for wire in idle:
            wire.close()
