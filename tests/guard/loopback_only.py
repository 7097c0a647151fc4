"""Refuses and writes down every attempt of a Python process to reach another host. Standard library only: it runs in any environment.

What a process opens through C libraries of its own (none of ours does in tests) is not seen.
"""

from __future__ import annotations

import os
import sys
from typing import Any

LOG = "BASISBOT_TEST_EGRESS"
"""Environment variable: file to which each attempt is appended, one line."""
CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
RESOLVES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
HOME = frozenset({"", "localhost", "::1", "0.0.0.0", "::"})
_installed = "_basisbot_loopback_only"


def is_home(host: Any) -> bool:
    """Return whether a host is this machine's loopback; no host at all is.

    >>> [is_home(h) for h in ("127.0.0.1", "::1", None, "192.0.2.1", "example.org")]
    [True, True, True, False, False]
    """
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    return name in HOME or name.startswith("127.")


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Take one audit event. Raises PermissionError for an attempt to leave."""
    if event in CONNECTS:
        address = args[1]
        if not isinstance(address, tuple) or is_home(address[0]):  # a path is a Unix socket, None goes where it is connected
            return
        where = f"{address[0]}:{address[1]}"
    elif event in RESOLVES:
        if is_home(args[0]):
            return
        where = str(args[0])
    else:
        return
    _write(f"{event} {where} {' '.join(sys.argv)[:200]}")
    raise PermissionError(f"tests stay on loopback: {event} {where}")


def install() -> None:
    """Watch this process from now on, for good."""
    if not hasattr(sys, _installed):
        setattr(sys, _installed, True)
        sys.addaudithook(hook)


def _write(line: str) -> None:
    path = os.environ.get(LOG)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line.replace("\n", " ") + "\n")
