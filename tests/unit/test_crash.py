"""Crash points: armed at one passage, refused where they make no sense, nothing at all otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot import crash
from bot.model.errors import ConfigError


@pytest.fixture(autouse=True)
def nothing_armed() -> Iterator[None]:
    """Whatever a test arms ends with it."""
    yield
    crash.disarm()


class Died(Exception):
    """Stands for the end of the process."""


def die() -> None:
    """End here."""
    raise Died


def test_it_happens_at_the_nth_passage_and_once() -> None:
    """Other points do not count, later passages do nothing more."""
    crash.arm("send.before", 2, die)
    crash.crash_point("send.before")
    crash.crash_point("send.after")
    with pytest.raises(Died):
        crash.crash_point("send.before")
    crash.crash_point("send.before")


def test_several_are_armed_side_by_side_and_disarmed_together() -> None:
    """A watcher sees every passage in order."""
    seen: list[str] = []
    crash.watch(seen.append)
    crash.arm("ack.before_fold", 1, die)
    crash.crash_point("fill.before_fold")
    with pytest.raises(Died):
        crash.crash_point("ack.before_fold")
    crash.arm("fill.before_fold", 1, die)
    crash.disarm()
    crash.crash_point("fill.before_fold")
    assert seen == ["fill.before_fold", "ack.before_fold"]


@pytest.mark.parametrize("mode", ["live", "backtest", "simulate", ""])
def test_only_paper_kills_itself(mode: str) -> None:
    """A live desk does not start with the variable set, whatever it says; without it every mode starts."""
    for text in ("send.before:1", "nowhere:1", ""):
        with pytest.raises(ConfigError, match=crash.VARIABLE):
            crash.arm_from_environment(mode, {crash.VARIABLE: text})
    crash.arm_from_environment(mode, {})


@pytest.mark.parametrize("text", ["", "send.before", "send.before:", "send.before:0", "send.before:-1", "send.before:1.5", "send.before:²", "nowhere:1", ":1"])
def test_what_names_no_passage_is_refused(text: str) -> None:
    """A variable that would never strike is a mistake, not a run without a crash."""
    with pytest.raises(ConfigError):
        crash.arm_from_environment("paper", {crash.VARIABLE: text})
