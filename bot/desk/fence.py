"""The mode fence: stage, account, port and key must all say paper, or all say live. One of them astray, and nothing connects.

Each of the four is judged alone, by what the broker and we ourselves lay down; one that says neither never passes.
"""

from __future__ import annotations

import re
from enum import StrEnum

from bot.config import Settings
from bot.venues.finding import Finding


class Stage(StrEnum):
    """How real the money is. wire: loopback servers of our own; testnet: the broker's paper account and the exchange's testnet."""

    WIRE = "wire"
    TESTNET = "testnet"
    SMALL = "small"
    FULL = "full"

    @property
    def side(self) -> str:
        """Return the side of the fence a stage is on."""
        return LIVE if self in (Stage.SMALL, Stage.FULL) else PAPER


PAPER, LIVE, NEITHER = "paper", "live", "neither"
PORTS = {7497: PAPER, 4002: PAPER, 4004: PAPER, 7496: LIVE, 4001: LIVE, 4003: LIVE}
"""TWS, Gateway, Gateway in the usual container (broker's API pages and the container's README, read 2026-11)."""
_PAPER_ACCOUNT, _LIVE_ACCOUNT = re.compile(r"D[A-Z]\d{4,}"), re.compile(r"[A-CE-Z]\d{4,}")
"""Paper accounts begin with D and a letter (DU1234567), live ones with one letter (U1234567) (broker's pages, read 2026-11)."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def side_of_account(account: str) -> str:
    """Return which side an account id is on, by its prefix."""
    return PAPER if _PAPER_ACCOUNT.fullmatch(account) else LIVE if _LIVE_ACCOUNT.fullmatch(account) else NEITHER


def side_of_port(port: int) -> str:
    """Return which side a port is on, by the broker's defaults."""
    return PORTS.get(port, NEITHER)


def side_of_key(settings: Settings, fingerprint: str) -> str:
    """Return which side a key is on: that whose configured fingerprint it has."""
    names = settings.offshore
    on = [side for side, named in ((PAPER, names.testnet_fingerprint), (LIVE, names.live_fingerprint)) if fingerprint and named == fingerprint]
    return on[0] if len(on) == 1 else NEITHER


def fence(stage: Stage, settings: Settings, fingerprint: str) -> list[Finding]:
    """Return the judgement of account, port and key against the stage, one finding each. On the wire only loopback counts."""
    if stage is Stage.WIRE:
        host = settings.broker.host
        return [_finding("fence host", host in LOOPBACK, host, "the wire is on this machine only: set broker.host to 127.0.0.1")]
    wanted, broker = stage.side, settings.broker
    looked = (
        ("account", side_of_account(broker.account), broker.account or "none configured", "set broker.account to the account of this stage"),
        ("port", side_of_port(broker.port), str(broker.port), f"set broker.port to {' or '.join(str(p) for p, s in PORTS.items() if s == wanted)}"),
        ("key", side_of_key(settings, fingerprint), f"fingerprint {fingerprint}" if fingerprint else "no key",
         f"make a key for this stage and set offshore.{'testnet' if wanted == PAPER else 'live'}_fingerprint to its fingerprint"),
    )  # fmt: skip
    return [
        _finding(f"fence {name}", side == wanted, f"{found}: {side}, stage {stage.value} is {wanted}", fix) for name, side, found, fix in looked
    ]


def _finding(name: str, ok: bool, found: str, fix: str) -> Finding:
    return Finding(name=name, ok=ok, found=found, fix="" if ok else fix)
