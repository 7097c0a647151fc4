"""Where a venue's adapter may connect to: named hosts and nothing else, enforced where sockets are opened.

A library that signs requests for a dozen hosts must not be able to send one to a host nobody named: a redirect, a
forgotten URL or a default of the library ends here, before a byte leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from bot.model.errors import VenueError


class EgressRefused(VenueError):
    """A connection to a host that is not on the list; nothing was sent."""


def hosts_in(urls: Any) -> frozenset[str]:
    """Return the hosts of every URL in nested mappings and sequences of them."""
    if isinstance(urls, str):
        host = urlsplit(urls).hostname
        return frozenset({host}) if host else frozenset()
    if isinstance(urls, dict):
        return frozenset[str]().union(*(hosts_in(v) for v in urls.values()))
    if isinstance(urls, list | tuple):
        return frozenset[str]().union(*(hosts_in(v) for v in urls))
    return frozenset()


def moved(urls: Any, base: str) -> Any:
    """Return nested URLs with scheme and host replaced by those of `base` (http or https; WebSockets get ws or wss).

    Paths stay: the server at `base` answers under the venue's own paths.

    >>> moved({"rest": "https://a.example/v1", "ws": ["wss://b.example/ws"]}, "http://127.0.0.1:8000")
    {'rest': 'http://127.0.0.1:8000/v1', 'ws': ['ws://127.0.0.1:8000/ws']}
    """
    if isinstance(urls, str):
        old, new = urlsplit(urls), urlsplit(base)
        if not old.netloc:
            return urls
        scheme = new.scheme.replace("http", "ws") if old.scheme in ("ws", "wss") else new.scheme
        return old._replace(scheme=scheme, netloc=new.netloc).geturl()
    if isinstance(urls, dict):
        return {k: moved(v, base) for k, v in urls.items()}
    if isinstance(urls, list | tuple):
        return [moved(v, base) for v in urls]
    return urls


def guarded_session(hosts: Iterable[str], verify: Any = True) -> Any:
    """Return an aiohttp session whose connector opens connections to `hosts` only (exact names, no proxies).

    verify: an ssl.SSLContext, or True for the default one. Connecting elsewhere raises EgressRefused.
    """
    import aiohttp

    allowed = frozenset(h.lower() for h in hosts)

    class Guard(aiohttp.TCPConnector):
        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
            host = (req.url.host or "").lower()
            if host not in allowed:
                raise EgressRefused(f"{host} is not on the list of hosts of this venue")
            return await super().connect(req, traces, timeout)

    return aiohttp.ClientSession(connector=Guard(ssl=verify), trust_env=False)
