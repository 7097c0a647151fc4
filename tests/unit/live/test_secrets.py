"""Keys come from the environment or from files of their owner alone, leave no trace, and show a mask wherever they are shown."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from bot.desk.secrets import SIZE_MAX, Credentials, credentials, fingerprint, how_to_give
from bot.model.errors import ConfigError
from bot.venues.secret import Secret

CANARY = "canary-4f1d9c"


def folder(path: Path, mode: int = 0o600, **parts: str) -> dict[str, str]:
    """Write secret files; return the environment that names their folder."""
    for part, value in parts.items():
        file = path / f"perp_{part}"
        file.write_text(value, encoding="utf-8")
        file.chmod(mode)
    return {"BOT_SECRETS_DIR": str(path)}


def test_from_the_environment_and_out_of_it() -> None:
    """What is read is taken away, so that no child inherits it."""
    environ = {"BOT_SECRET_PERP_KEY": CANARY, "BOT_SECRET_PERP_SECRET": " s \n", "HOME": "/h"}
    given = credentials("perp", environ)
    assert given.given and given.key.reveal() == CANARY and given.secret.reveal() == "s" and given.source == "environment"
    assert environ == {"HOME": "/h"}


def test_from_files_that_only_their_owner_can_read(tmp_path: Path) -> None:
    """A line end at the end of a file is not part of a secret; systemd's folder serves too."""
    environ = folder(tmp_path, key=CANARY + "\n", secret="s")
    assert credentials("perp", environ).key.reveal() == CANARY
    assert credentials("perp", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).secret.reveal() == "s"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With what to do about it, and without what is in it."""
    environ = folder(tmp_path, mode, key=CANARY, secret=CANARY)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        credentials("perp", environ)
    assert CANARY not in str(caught.value)


def test_what_is_no_secret_file_is_refused(tmp_path: Path) -> None:
    """A pipe, a folder, a flood and bytes that are no text, none of which is quoted."""
    environ = folder(tmp_path, key="x" * (SIZE_MAX + 1))
    with pytest.raises(ConfigError, match="too long"):
        credentials("perp", environ)
    (tmp_path / "perp_key").write_bytes(b"\xff\xfe" + CANARY.encode())
    with pytest.raises(ConfigError, match="not a text file") as caught:
        credentials("perp", environ)
    assert CANARY not in str(caught.value)
    (tmp_path / "perp_key").unlink()
    os.mkfifo(tmp_path / "perp_key", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        credentials("perp", environ)
    (tmp_path / "perp_key").unlink()
    (tmp_path / "perp_key").mkdir(0o700)
    with pytest.raises(ConfigError, match="not a regular file"):
        credentials("perp", environ)


def test_half_a_pair_is_none(tmp_path: Path) -> None:
    """A key without its secret signs nothing."""
    assert not credentials("perp", {"BOT_SECRET_PERP_KEY": CANARY}).given
    assert not credentials("perp", {}).given and credentials("perp", {}).fingerprint == ""
    assert "BOT_SECRET_PERP_KEY" in how_to_give("perp") and "0600" in how_to_give("perp")


def test_a_secret_shows_a_mask_wherever_it_is_shown() -> None:
    """In text, in a struct, in JSON and in an error; its fingerprint names it and does not hold it."""
    given = Credentials(key=Secret(CANARY), secret=Secret(CANARY))
    shown = [repr(given), str(given), f"{given.key}", f"{given.key!r}", "%s" % given.key, repr([given]), str(ValueError(given))]  # noqa: UP031
    assert not any(CANARY in text for text in shown)
    with pytest.raises(TypeError):
        msgspec.json.encode(given)
    assert len(fingerprint(given.key)) == 12 and fingerprint(given.key) not in CANARY and fingerprint(Secret()) == ""
