"""What `doctor` can say without asking a venue: versions, disk, kill switch, fence, keys, terms. Each failure says how to mend it."""

from __future__ import annotations

import importlib.metadata as packages
import os
import shutil
import sys
from pathlib import Path

from bot.config import Settings
from bot.desk.fence import Stage, fence
from bot.desk.secrets import Credentials, how_to_give
from bot.kill.latch import Latch
from bot.model.event import KillLevel
from bot.venues.finding import Finding

PYTHON = ((3, 11), (3, 15))
"""Supported: from, and not from on."""
FREE_MIN = 2 << 30
"""Bytes: months of journal and tape (a day of paper takes a few MB)."""
BROKER_LIBRARIES = ("ib_insync", "ib_async")
"""One of them, never both: each brings its own package named eventkit, and the one installed last wins."""


def local(settings: Settings, stage: Stage, given: Credentials, data_dir: Path) -> list[Finding]:
    """Return everything that can be found out on this machine."""
    found = [*versions(), disk(data_dir), kill_switch(data_dir), *fence(stage, settings, given.fingerprint)]
    if stage is not Stage.WIRE:
        found += [keys(given), phone(settings), *terms(settings, stage)]
    return found


def versions() -> list[Finding]:
    """Look at the interpreter and the client libraries."""
    here = sys.version_info[:2]
    ok = PYTHON[0] <= here < PYTHON[1]
    found = [_finding("python", ok, ".".join(map(str, sys.version_info[:3])), "use a Python from 3.11 up to and including 3.14")]
    there = {name: version for name in (*BROKER_LIBRARIES, "ccxt") if (version := _version(name))}
    brokers = [f"{name} {there[name]}" for name in BROKER_LIBRARIES if name in there]
    found.append(_finding("broker library", len(brokers) == 1, " and ".join(brokers) or "none", "install exactly one of ib_insync and ib_async"))
    found.append(_finding("exchange library", "ccxt" in there, f"ccxt {there.get('ccxt', 'is not installed')}", "install the packages of requirements.lock"))
    return found


def disk(data_dir: Path) -> Finding:
    """Look at where the journal will be: it must be writable and have room."""
    place = next(p for p in (data_dir.absolute(), *data_dir.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    ok = writable and free >= FREE_MIN
    return _finding("disk", ok, f"{place}: {free / (1 << 30):.1f} GiB free{'' if writable else ', not writable'}",
                    f"free at least {FREE_MIN >> 30} GiB, or point BOT_DATA_DIR at a folder you may write")  # fmt: skip


def kill_switch(data_dir: Path) -> Finding:
    """Look at the latch: nothing starts while it is up."""
    state = Latch(data_dir).read()
    why = state.fault or state.reason or "no reason given"
    down = state.level is KillLevel.NONE
    return _finding("kill switch", down, "down" if down else f"{state.level}: {why}", "resume --reason WHY, once the reason is gone")


def keys(given: Credentials) -> Finding:
    """Look whether the exchange's key and secret were handed over; the fingerprint may be shown."""
    found = f"key {given.fingerprint} from {given.source}" if given.given else "no key and secret"
    return _finding("exchange key", given.given, found, how_to_give("perp"))


def phone(settings: Settings) -> Finding:
    """Look at the broker's number, the last way out of a position."""
    number = settings.desk.broker_phone
    return _finding("broker phone", number != "not configured", number, "set desk.broker_phone to your broker's trade desk")


def terms(settings: Settings, stage: Stage) -> list[Finding]:
    """Look at what no primary source confirms of the contracts: allowed on testnet, shown; live waits for each."""
    found = []
    for code in (settings.catalogue.named(i).product for i in (settings.market.lead, settings.market.hedge)):
        open_terms = settings.catalogue.unverified(code)
        told = ", ".join(f"{t.name} ({t.status}, by {t.confirmed_by})" for t in open_terms) or "all verified"
        ok = stage is Stage.TESTNET or not open_terms
        found.append(_finding(f"terms {code}", ok, f"unverified: {told}" if open_terms else told, "confirm each with the venue and write its source beside it"))
    return found


def _version(name: str) -> str:
    try:
        return packages.version(name)
    except packages.PackageNotFoundError:
        return ""


def _finding(name: str, ok: bool, found: str, fix: str) -> Finding:
    return Finding(name=name, ok=ok, found=found, fix="" if ok else fix)
