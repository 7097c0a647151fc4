"""The control socket: how another terminal talks to a running desk. One JSON line in, one JSON line out.

The server never blocks and needs no event loop: a synchronous drive calls `poll` between slices of market time and sleeps in it
while it paces; an asyncio shell registers `fileno`. A request is answered in the same call, so what it reports is a state
between two events. The socket file is for its owner only.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bot.model.errors import BotError

SOCKET = "control.sock"
POINTER = "control.path"
"""Holds the socket's real path when the data folder's own is too long for a unix socket."""
PATH_MAX = 100
"""Bytes: sun_path holds 108 on Linux and 104 on BSD and macOS, with the final zero."""
LINE_MAX = 1 << 16
CLIENTS_MAX = 32
ANSWER_S = 0.3
"""How long a verb waits for a desk before it calls it silent."""

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class NoDesk(BotError):
    """No desk listens on the folder."""


class DeskSilent(BotError):
    """A desk holds the socket and does not answer in time."""


class ControlServer:
    """Serves one data folder. handlers: operation -> function of the request, answering at once.

    A handler's BotError becomes {"error": text}. The request carries `uid` of the peer where the system tells it.
    Raises BotError if another desk answers on the socket.
    """

    def __init__(self, folder: Path, handlers: Mapping[str, Handler]) -> None:
        self.folder = Path(folder)
        self._handlers = handlers
        self._private: Path | None = None
        self.path = self._place()
        self._selector = selectors.DefaultSelector()
        self._socket = _listen(self.path)
        self._inode = os.stat(self.path).st_ino
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._clients: dict[socket.socket, bytearray] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` has something to do."""
        return self._selector.fileno()

    def poll(self, wait_s: float = 0.0) -> None:
        """Serve what has arrived, waiting up to `wait_s` for it; return after the first batch or the wait."""
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._socket:
                self._accept()
            else:
                self._read(key.fileobj)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop serving and remove the socket, unless it has become someone else's."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._socket.close()
        if self.path.exists() and os.stat(self.path).st_ino == self._inode:
            self.path.unlink(missing_ok=True)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)
            (self.folder / POINTER).unlink(missing_ok=True)

    def _place(self) -> Path:
        """Return where the socket goes: the folder itself, or a private short folder that a pointer file names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        direct = self.folder.absolute() / SOCKET
        old = socket_path(self.folder)
        if old.exists() and _answers(old):
            raise BotError(f"another desk answers on {old}")
        if len(os.fsencode(direct)) <= PATH_MAX:
            direct.unlink(missing_ok=True)
            return direct
        self._private = Path(tempfile.mkdtemp(prefix="basisbot-"))
        (self.folder / POINTER).write_text(str(self._private / SOCKET), encoding="utf-8")
        return self._private / SOCKET

    def _accept(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return  # it went away between select and accept
        if len(self._clients) >= CLIENTS_MAX:
            self._drop(next(iter(self._clients)))
        client.setblocking(False)
        self._clients[client] = bytearray()
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        buffer = self._clients[client]
        try:
            data = client.recv(LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        buffer += data
        if not data or len(buffer) > LINE_MAX:
            self._drop(client)
            return
        while b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            answer = self._answer(line, _peer(client))
            try:
                client.sendall(msgspec.json.encode(answer) + b"\n")
            except OSError:  # a reader that has gone, or reads too slowly to be waited for
                self._drop(client)
                return

    def _answer(self, line: bytes, uid: int | None) -> Mapping[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            return {"error": f"not a JSON object: {error}"}
        handler = self._handlers.get(str(request.get("op")))
        if handler is None:
            return {"error": f"unknown operation {request.get('op')!r}"}
        try:
            return handler({**request, "uid": uid})
        except BotError as error:
            return {"error": str(error)}

    def _drop(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        self._selector.unregister(client)
        client.close()


def socket_path(folder: Path) -> Path:
    """Return where the socket of a data folder is, or would be."""
    direct = Path(folder).absolute() / SOCKET
    if len(os.fsencode(direct)) <= PATH_MAX:
        return direct
    try:
        return Path((Path(folder) / POINTER).read_text(encoding="utf-8"))
    except OSError:
        return direct


def ask(folder: Path, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """Ask the desk of `folder` and return its answer. Raises NoDesk, DeskSilent, or BotError for a refused request."""
    path = socket_path(folder)
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        _connect(wire, path, deadline)
        try:
            wire.sendall(msgspec.json.encode(request) + b"\n")
            line = _line(wire, deadline)
        except OSError as error:
            raise DeskSilent(f"the desk on {path} did not answer within {timeout_s:g} s") from error
    answer = msgspec.json.decode(line, type=dict[str, Any])
    if "error" in answer:
        raise BotError(str(answer["error"]))
    return answer


def _connect(wire: socket.socket, path: Path, deadline: float) -> None:
    """Connect, waiting while the desk's queue is full: a full queue is a desk that does not look at it."""
    while True:
        wire.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            wire.connect(str(path))
            return
        except (TimeoutError, BlockingIOError) as error:
            if time.monotonic() >= deadline:
                raise DeskSilent(f"the desk on {path} takes no connection") from error
            time.sleep(0.005)
        except OSError as error:
            raise NoDesk(f"no desk on {path}: {error.strerror or error}") from error


def _line(wire: socket.socket, deadline: float) -> bytes:
    got = bytearray()
    while not got.endswith(b"\n"):
        wire.settimeout(max(deadline - time.monotonic(), 0.001))
        data = wire.recv(LINE_MAX)
        if not data:
            raise ConnectionResetError("closed before an answer")
        got += data
    return bytes(got)


def _listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        server.bind(str(path))
    except OSError as error:
        server.close()
        raise BotError(f"control socket {path}: {error.strerror or error}") from error
    finally:
        os.umask(old)
    server.listen(8)
    server.setblocking(False)
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_S)
        try:
            probe.connect(str(path))
        except (TimeoutError, BlockingIOError):
            return True  # somebody holds it, however slow
        except OSError:
            return False
        return True


def _peer(client: socket.socket) -> int | None:
    """Return the user id at the other end, None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])
