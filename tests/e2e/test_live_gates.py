"""Live trading from the command line: what refuses to start, with which exit code, and no key in anything it says or leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.cli import CONFIG, HALTED, USAGE, VENUE, main
from bot.desk.secrets import fingerprint
from bot.kill.latch import Latch
from bot.model.event import KillLevel
from bot.venues.secret import Secret

CANARY = "canary7f3a91c5e2"
ACCOUNT = "DU1234567"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder and no keys of this machine's own."""
    folder = tmp_path / "data"
    for name in ("BOT_SECRETS_DIR", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOT_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the canary as key and secret; return settings inside the fence, of ports on which nobody listens."""
    monkeypatch.setenv("BOT_SECRET_PERP_KEY", CANARY)
    monkeypatch.setenv("BOT_SECRET_PERP_SECRET", CANARY)
    return ["--set", f"broker.account={ACCOUNT}", "--set", f"offshore.testnet_fingerprint={fingerprint(Secret(CANARY))}"]


@pytest.mark.parametrize("stage", ["small", "full"])
def test_real_money_is_closed_whatever_else_is_in_order(stage: str, keyed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 6 and what it waits for."""
    assert main(["live", "--stage", stage, "--confirm", ACCOUNT, *keyed]) == HALTED
    assert "guardian" in capsys.readouterr().err


def test_outside_the_fence_nothing_connects(keyed: list[str], capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """Exit 3 naming what is astray; no run is made."""
    assert main(["live", "--stage", "testnet", "--confirm", ACCOUNT, *keyed, "--set", "broker.port=4001"]) == CONFIG
    said = capsys.readouterr().err
    assert "mode fence: port is 4001: live" in said and "account" not in said.split("(")[0]
    assert not (data / "runs").exists()


@pytest.mark.parametrize("typed", ["DU1234568", "", "du1234567"])
def test_another_account_than_the_configured_one_starts_nothing(typed: str, keyed: list[str], data: Path) -> None:
    """A person types what the configuration says, or nothing happens; without a terminal it has to be given."""
    assert main(["live", "--stage", "testnet", "--confirm", typed, *keyed]) == USAGE
    assert not (data / "runs").exists()


def test_without_a_terminal_nobody_is_asked(keyed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The account must then stand on the command line."""
    assert main(["live", "--stage", "testnet", *keyed]) == USAGE
    assert "--confirm" in capsys.readouterr().err


def test_a_latched_desk_does_not_start(keyed: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 6, as for paper."""
    Latch(data).raise_to(KillLevel.FREEZE, reason="lunch", who="op", channel="cli", now_ns=1)
    assert main(["live", "--stage", "testnet", "--confirm", ACCOUNT, *keyed]) == HALTED
    assert main(["paper", "--venues", "wire", "--for", "5s"]) == HALTED
    assert capsys.readouterr().err.count("latched at FREEZE: lunch") == 2


@pytest.mark.parametrize("argv", [
    ["--venues", "wire", "--speed", "10"], ["--venues", "wire", "--tws-port", "5"], ["--tws-port", "5", "--perp-port", "6", "--reference-port", "7"],
    ["--venues", "wire", "--continue", "paper-00001"], ["--venues", "live-data", "--continue", "paper-00001", "--seed", "2"],
    ["--venues", "live-data", "--faults", __file__],
])  # fmt: skip
def test_what_does_not_go_together_is_a_usage_error(argv: list[str]) -> None:
    """Before anything is started."""
    assert main(["paper", *argv]) == USAGE


def test_a_secret_is_no_setting_and_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a file, in the environment of settings and on the command line it is refused without being quoted."""
    file = tmp_path / "mine.toml"
    file.write_text(f'[offshore]\nsecret = "{CANARY}"\n', encoding="utf-8")
    assert main(["doctor", "--config", str(file)]) == CONFIG
    assert main(["doctor", "--set", f"offshore.secret={CANARY}"]) == CONFIG
    monkeypatch.setenv("BOT__OFFSHORE__SECRET", CANARY)
    assert main(["doctor"]) == CONFIG
    told = capsys.readouterr()
    assert CANARY not in told.out + told.err and told.err.count("unknown key") == 3


def test_no_key_in_what_refusals_say_and_leave(keyed: list[str], data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to fail before trading, then every file and line: the fingerprint is there, the key is nowhere."""
    monkeypatch.setenv("BOT_SECRET_PERP_PASSWORD", CANARY)
    assert main(["doctor", "--json", *keyed, "--set", "broker.port=4001"]) == VENUE
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert fingerprint(Secret(CANARY)) in json.dumps(line) and CANARY not in json.dumps(line)
    main(["live", "--stage", "testnet", "--confirm", "x", *keyed])
    main(["config", "show"])
    main(["status", "--json"])
    told = capsys.readouterr()
    assert CANARY not in told.out + told.err
    assert not [p for p in data.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
