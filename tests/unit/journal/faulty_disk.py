"""A disk that refuses, hangs or forgets, put under SQLite itself: its own VFS with the write and sync calls of the database
files taken over. So the fault is met by the real library at the real call, in whichever thread makes it."""

from __future__ import annotations

import _sqlite3
import ctypes as c
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OK, READONLY, IOERR_WRITE, IOERR_FSYNC, FULL = 0, 8, 778, 1034, 13

Method = c.c_void_p


class _Vfs(c.Structure):
    """sqlite3_vfs up to its second version (sqlite3.h of 3.40)."""

    _fields_ = [
        ("iVersion", c.c_int), ("szOsFile", c.c_int), ("mxPathname", c.c_int), ("pNext", Method), ("zName", c.c_char_p),
        ("pAppData", Method), ("xOpen", Method), *((f"x{i}", Method) for i in range(15)),
    ]  # fmt: skip


class _Methods(c.Structure):
    """sqlite3_io_methods, third version."""

    _fields_ = [
        ("iVersion", c.c_int), ("xClose", Method), ("xRead", Method), ("xWrite", Method), ("xTruncate", Method),
        ("xSync", Method), *((f"x{i}", Method) for i in range(13)),
    ]  # fmt: skip


class _File(c.Structure):
    _fields_ = [("pMethods", c.POINTER(_Methods))]


_OPEN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_void_p, c.c_int, c.c_void_p)
_WRITE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_int, c.c_int64)
_TRUNCATE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int64)
_SYNC = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)


class FaultyDisk:
    """What the disk does now. write and sync: result codes (OK passes the call on); hold: a sync waits until it is set.

    log: every write, truncation and sync of a file of the database that reached the system, in order, as
    (file name, operation, offset, bytes); only kept while `recording`.
    """

    def __init__(self) -> None:
        self.write = self.sync = OK
        self.hold: threading.Event | None = None
        self.held = threading.Event()
        self.recording = False
        self.log: list[tuple[str, str, int, bytes]] = []
        self.names: dict[int, str] = {}
        self.library = c.CDLL(_sqlite3.__file__)
        self.library.sqlite3_vfs_find.restype = c.POINTER(_Vfs)
        self.library.sqlite3_vfs_find.argtypes = [c.c_char_p]
        self.library.sqlite3_vfs_register.argtypes = [c.c_void_p, c.c_int]
        self.real = self.library.sqlite3_vfs_find(None)
        self.patched: dict[int, _Methods] = {}
        self.keep: list[Any] = []
        self.real_open = _OPEN(self.real.contents.xOpen)
        self.vfs = _Vfs.from_buffer_copy(self.real.contents)
        self.vfs.zName = b"faulty"
        self.vfs.xOpen = self._as(_OPEN, self._open)

    def _as(self, kind: Any, function: Callable[..., int]) -> int | None:
        made = kind(function)
        self.keep.append(made)
        return c.cast(made, c.c_void_p).value

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        found = int(self.real_open(vfs, name, file, flags, out))
        if found == OK and name:
            path = c.string_at(name).decode()
            if path.startswith("/"):
                self.names[file] = Path(path).name
                opened = _File.from_address(file)
                opened.pMethods = c.pointer(self._methods(opened.pMethods))
        return found

    def _methods(self, real: Any) -> _Methods:
        address = c.addressof(real.contents)
        if address not in self.patched:
            methods = _Methods.from_buffer_copy(real.contents)
            write, truncate, sync = _WRITE(methods.xWrite), _TRUNCATE(methods.xTruncate), _SYNC(methods.xSync)

            def on_write(file: int, data: int, size: int, at: int) -> int:
                if self.write != OK:
                    return self.write
                self._note(file, "write", at, c.string_at(data, size))
                return int(write(file, data, size, at))

            def on_truncate(file: int, size: int) -> int:
                self._note(file, "truncate", size, b"")
                return int(truncate(file, size))

            def on_sync(file: int, flags: int) -> int:
                if self.hold is not None:
                    self.held.set()
                    assert self.hold.wait(60)
                if self.sync != OK:
                    return self.sync
                self._note(file, "sync", 0, b"")
                return int(sync(file, flags))

            methods.xWrite, methods.xTruncate, methods.xSync = (
                self._as(_WRITE, on_write), self._as(_TRUNCATE, on_truncate), self._as(_SYNC, on_sync)
            )  # fmt: skip
            self.patched[address] = methods
        return self.patched[address]

    def _note(self, file: int, operation: str, at: int, data: bytes) -> None:
        if self.recording:
            self.log.append((self.names[file], operation, at, data))


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """Put a faulty disk under every database opened inside; skip where the library hides its functions."""
    try:
        disk = FaultyDisk()
    except (AttributeError, OSError) as error:
        pytest.skip(f"this Python's SQLite cannot be given another disk: {error}")
    disk.library.sqlite3_vfs_register(c.byref(disk.vfs), 1)
    try:
        yield disk
    finally:
        disk.write = disk.sync = OK
        if disk.hold is not None:
            disk.hold.set()
        disk.library.sqlite3_vfs_register(disk.real, 1)
        disk.library.sqlite3_vfs_unregister(c.byref(disk.vfs))
        _ALIVE.append(disk)


_ALIVE: list[FaultyDisk] = []
"""A connection closed late still calls the functions."""


def after_power_loss(log: list[tuple[str, str, int, bytes]], name: str, kept: Callable[[int], bool]) -> bytes:
    """Return a file of the log as a power loss leaves it: all that was synced, and of the rest what `kept` says by index."""
    last_sync = max((i for i, (file, op, _, _) in enumerate(log) if file == name and op == "sync"), default=-1)
    raw = bytearray()
    for i, (file, op, at, data) in enumerate(log):
        if file != name or (i > last_sync and not kept(i)):
            continue
        if op == "write":
            raw.extend(bytes(max(0, at + len(data) - len(raw))))
            raw[at : at + len(data)] = data
        elif op == "truncate":
            del raw[at:]
    return bytes(raw)


