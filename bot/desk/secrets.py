"""Keys and secrets: from the environment or from files that only their owner can read, never from a setting or an argument.

A value read from the environment is taken out of it, so that no process started from here inherits it. What is read is a
Secret, which shows a mask wherever it is printed; a fingerprint names a key without telling it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path

import msgspec

from bot.model.errors import ConfigError
from bot.venues.secret import Secret

PREFIX = "BOT_SECRET_"
FOLDERS = ("BOT_SECRETS_DIR", "CREDENTIALS_DIRECTORY")
"""Variables that name a folder of secret files: ours, then systemd's."""
PARTS = ("key", "secret", "password")
SIZE_MAX = 4_096
"""Bytes of a secret file."""
FINGERPRINT = 12
"""Hex digits: 48 bits tell a handful of keys apart and give none away."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What signs requests at one exchange. source: where it came from, for people. An empty part was not given."""

    key: Secret = Secret()
    secret: Secret = Secret()
    password: Secret = Secret()
    source: str = "nowhere"

    @property
    def given(self) -> bool:
        """Return whether there is a key with its secret."""
        return bool(self.key) and bool(self.secret)

    @property
    def fingerprint(self) -> str:
        """Return what names the key, "" without one."""
        return fingerprint(self.key)


def fingerprint(key: Secret) -> str:
    """Return the beginning of a key's SHA-256, "" for none."""
    return hashlib.sha256(key.reveal().encode()).hexdigest()[:FINGERPRINT] if key else ""


def credentials(name: str, environ: MutableMapping[str, str] | None = None) -> Credentials:
    """Return the credentials `name`: BOT_SECRET_<NAME>_KEY and so on, else <name>_key and so on in the folder of secret files.

    The variables are removed. Raises ConfigError for a file that others can read, that is none, or that cannot be read.
    """
    given = os.environ if environ is None else environ
    folder = next((Path(given[f]) for f in FOLDERS if given.get(f)), None)
    found: dict[str, Secret] = {}
    sources = set()
    for part in PARTS:
        variable = f"{PREFIX}{name}_{part}".upper()
        value = given.pop(variable, "").strip()
        if value:
            sources.add("environment")
        elif folder is not None and (folder / f"{name}_{part}").exists():
            value = _from_file(folder / f"{name}_{part}")
            sources.add(str(folder))
        found[part] = Secret(value)
    return Credentials(**found, source=" and ".join(sorted(sources)) or "nowhere")


def how_to_give(name: str) -> str:
    """Return how credentials are handed over, for an error or a check."""
    variables = ", ".join(f"{PREFIX}{name}_{part}".upper() for part in PARTS[:2])
    return f"set {variables}, or put {name}_key and {name}_secret, mode 0600, in the folder {FOLDERS[0]} names"


def _from_file(path: Path) -> str:
    """Return the content of a secret file, after making sure that it is one. Raises ConfigError; never says what is in it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError(f"{path}: not a regular file")
        if state.st_uid not in (os.getuid(), 0):
            raise ConfigError(f"{path}: belongs to another user")
        if state.st_mode & 0o077:
            raise ConfigError(f"{path}: mode {stat.S_IMODE(state.st_mode):04o} lets others in; chmod 600 it")
        body = os.read(fd, SIZE_MAX + 1)
    finally:
        os.close(fd)
    if len(body) > SIZE_MAX:
        raise ConfigError(f"{path}: too long for a secret")
    try:
        return body.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file") from None
