"""Settings as the command line shows and checks them: each value with its source, and where that source stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bot.config import PROFILES, Loaded, load, packaged_folder
from bot.model.errors import ConfigError

PRECEDENCE = (
    "code default", "packaged defaults.toml and instruments.toml", "profile of the verb", "--config files, in order",
    "environment BOT__SECTION__KEY", "--set section.key=value", "options of the verb",
)  # fmt: skip
"""Lowest first."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was looked at, whether it holds, what was found and how to mend it ("" when it holds)."""

    name: str
    ok: bool
    found: str
    fix: str


def shown(loaded: Loaded) -> dict[str, Any]:
    """Return every setting with its value, its source and the sources it overrides, lowest first."""
    return {
        "precedence": list(PRECEDENCE),
        "sources": list(loaded.layers),
        "settings": [
            {"key": key, "value": given[-1][1], "source": given[-1][0], "overrides": [source for source, _ in given[:-1]]}
            for key, given in loaded.origins.items()
        ],
    }


def checked(files: tuple[Path, ...], sets: tuple[str, ...]) -> list[Check]:
    """Return one check per profile, with the given layers on top, and one of the packaged files' place."""
    checks = [Check(name="packaged files", ok=True, found=str(packaged_folder()), fix="")]
    for profile in PROFILES:
        try:
            count = len(load(profile, files, sets=sets).origins)
        except ConfigError as error:
            checks.append(Check(name=f"profile {profile}", ok=False, found=str(error), fix="correct or remove the key where it stands"))
        else:
            checks.append(Check(name=f"profile {profile}", ok=True, found=f"{count} settings", fix=""))
    return checks
