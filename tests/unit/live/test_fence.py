"""The mode fence and the gates: of sixteen ways to mix paper and live two are in order, and what does not exist opens nothing."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from bot import config
from bot.config import Broker, Offshore, Settings
from bot.desk import gates
from bot.desk.fence import LIVE, NEITHER, PAPER, Stage, fence, side_of_account, side_of_key, side_of_port
from bot.desk.secrets import fingerprint
from bot.live import refuse
from bot.model.errors import ConfigError, VenueError
from bot.venues.finding import Finding
from bot.venues.secret import Secret

KEYS = {PAPER: fingerprint(Secret("testnet key")), LIVE: fingerprint(Secret("live key"))}
ACCOUNTS = {PAPER: "DU1234567", LIVE: "U1234567"}
PORTS = {PAPER: 4002, LIVE: 4001}
STAGES = {PAPER: Stage.TESTNET, LIVE: Stage.SMALL}


def settings(account: str, port: int, host: str = "127.0.0.1") -> Settings:
    """Return settings whose keys of both sides are named."""
    base = config.load("live", environ={}).settings
    broker = Broker(host=host, port=port, client_id=17, account=account)
    return msgspec.structs.replace(base, broker=broker, offshore=Offshore(testnet_fingerprint=KEYS[PAPER], live_fingerprint=KEYS[LIVE]))


@pytest.mark.parametrize(("stage", "account", "port", "key"), list(product((PAPER, LIVE), repeat=4)))
def test_only_what_is_of_one_side_passes(stage: str, account: str, port: str, key: str) -> None:
    """Mode, account prefix, port and key fingerprint: every mixture is refused, naming each that is astray."""
    found = fence(STAGES[stage], settings(ACCOUNTS[account], PORTS[port]), KEYS[key])
    astray = [f.name for f in found if not f.ok]
    assert astray == [f"fence {name}" for name, side in (("account", account), ("port", port), ("key", key)) if side != stage]
    assert all(f.fix for f in found if not f.ok)
    if astray:
        with pytest.raises(ConfigError, match="mode fence"):
            refuse(settings(ACCOUNTS[account], PORTS[port]), STAGES[stage], _given(key))
    else:
        refuse(settings(ACCOUNTS[account], PORTS[port]), STAGES[stage], _given(key))


def _given(side: str):  # type: ignore[no-untyped-def]
    from bot.desk.secrets import Credentials

    return Credentials(key=Secret("testnet key" if side == PAPER else "live key"), secret=Secret("s"))


@pytest.mark.parametrize(("account", "side"), [
    ("DU1234567", PAPER), ("DF1234567", PAPER), ("U1234567", LIVE), ("F1234567", LIVE), ("I1234567", LIVE), ("", NEITHER), ("du1234567", NEITHER),
    ("D1234567", NEITHER), ("U12", NEITHER), ("UU1234567", NEITHER), ("U1234567 ", NEITHER), ("DU1234567\n", NEITHER),
])  # fmt: skip
def test_an_account_says_its_side_by_its_prefix_or_neither(account: str, side: str) -> None:
    """What is not plainly one of the two passes nowhere."""
    assert side_of_account(account) == side


def test_a_port_or_key_that_nobody_named_is_on_neither_side() -> None:
    """Unknown is not paper."""
    assert [side_of_port(p) for p in (7497, 4002, 4004, 7496, 4001, 4003, 5000)] == [PAPER] * 3 + [LIVE] * 3 + [NEITHER]
    s = settings("DU1234567", 4002)
    assert side_of_key(s, "") == side_of_key(s, "0123456789ab") == NEITHER
    both = msgspec.structs.replace(s, offshore=Offshore(testnet_fingerprint=KEYS[PAPER], live_fingerprint=KEYS[PAPER]))
    assert side_of_key(both, KEYS[PAPER]) == NEITHER
    unnamed = msgspec.structs.replace(s, offshore=Offshore())
    assert side_of_key(unnamed, "") == NEITHER


def test_the_wire_is_on_this_machine_alone() -> None:
    """A simulator's key and account never leave loopback."""
    assert all(f.ok for f in fence(Stage.WIRE, settings("DU1", 1), ""))
    assert not fence(Stage.WIRE, settings("DU1", 1, host="10.0.0.5"), "")[0].ok


def test_the_stages_of_real_money_wait_for_what_does_not_exist() -> None:
    """Only testnet is open, and each refusal says what is missing."""
    assert not gates.closed(Stage.TESTNET)
    for stage in (Stage.SMALL, Stage.FULL):
        assert "guardian" in gates.closed(stage) and "kill drill" in gates.closed(stage) and "risk" in gates.closed(stage)


@pytest.mark.parametrize(("account", "given", "ok"), [("DU1", "DU1", True), ("DU1", "du1", False), ("DU1", "", False), ("", "", False)])
def test_the_account_is_typed_letter_by_letter(account: str, given: str, ok: bool) -> None:
    """An account that is not configured is confirmed by nothing."""
    assert gates.typed(account, given) is ok


def test_one_finding_that_is_not_well_stops_the_start() -> None:
    """The error says what to do."""
    good, bad = Finding(name="clock", ok=True, found="+0 s"), Finding(name="key", ok=False, found="withdraws", fix="take that right away")
    gates.demand_green([good])
    with pytest.raises(VenueError, match=r"key: withdraws \(take that right away\)"):
        gates.demand_green([good, bad])
