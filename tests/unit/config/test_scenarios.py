"""Scenario files: read into the settings, checked, refused in one line with file and key, and never needed again."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from bot import app, config, scenarios
from bot.cli import CONFIG, OK, USAGE, main
from bot.config import Settings
from bot.model.errors import ConfigError
from bot.sim.scenarios import ORDINARY

MINE = """
about = "mine"
quiet_min = 10.0

[weather]
premium_sd_bp = 5.0

[[excursions]]
peak_min = 9.0
rise_min = 12.0
half_life_min = 45.0
height_bp = 64.0

[[excursions]]
peak_min = 25.0
rise_min = 10.0
half_life_min = 60.0
height_bp = 0.0

[[index_moves]]
at_min = 3.0
over_min = 4.0
share = -0.02

[[faults]]
at = "PT2M"
venue = "hedge"
fault = "reject"
count = 2
"""


def load(*sets: str, **environ: str) -> config.Loaded:
    """Load the paper profile."""
    return config.load("paper", environ=environ, sets=sets)


def written(tmp_path: Path, text: str) -> Path:
    """Write a scenario file."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_every_shipped_scenario_loads(name: str) -> None:
    """Its content is in the settings with its file as the source, and survives being recorded."""
    loaded = load(f"market.scenario={name}")
    s = loaded.settings
    assert s.scenario.about and loaded.origins["scenario.about"][-1][0] == f"scenario {name}.toml"
    assert msgspec.json.decode(msgspec.json.encode(s), type=Settings) == s


def test_a_file_of_the_users_is_a_scenario(tmp_path: Path) -> None:
    """What it leaves out has the code's defaults, what it says holds, and single values can be overridden."""
    path = written(tmp_path, MINE)
    s = load(f"market.scenario={path}").settings.scenario
    assert s.weather.premium_sd_bp == 5.0 and s.weather.premium_mean_bp == 2.0 and [x.height_bp for x in s.excursions] == [64.0, 0.0]
    assert s.index_moves[0].share == -0.02 and s.faults == ({"at": "PT2M", "venue": "hedge", "fault": "reject", "count": 2},)
    assert load(f"market.scenario={path}", "scenario.weather.premium_sd_bp=6").settings.scenario.weather.premium_sd_bp == 6.0
    assert load(BOT__MARKET__SCENARIO=str(path)).settings.scenario.about == "mine"
    assert scenarios.label(str(path)) == "mine" and scenarios.label("story") == "story"
    assert load(f"market.scenario={written(tmp_path, '')}").settings.scenario == ORDINARY


WRONG = [
    ("quiet = 3", "quiet"),
    ("[weather]\npremium_sd = 3.0", "premium_sd"),
    ("[weather]\npremium_sd_bp = -1.0", "premium_sd_bp"),
    ("[weather]\npremium_sd_bp = nan", "premium_sd_bp"),
    ("[weather]\npremium_sd_bp = 'much'", "premium_sd_bp"),
    ("[[excursions]]\npeak_min = 1.0\nrise_min = 1.0\nheight_bp = 3.0", "half_life_min"),
    ("[[excursions]]\npeak_min = 1.0\nrise_min = 0.0\nhalf_life_min = 1.0\nheight_bp = 3.0", "rise_min"),
    ("[[excursions]]\npeak_min = 1.0\nrise_min = 1.0\nhalf_life_min = 1.0\nheight_bp = inf", "height_bp"),
    ("[[index_moves]]\nat_min = 1.0\nover_min = 1.0\nshare = -1.0", "share"),
    ("quiet_min = 1e9", "quiet_min"),
    ("[[faults]]\nat = 'PT1M'\nvenue = 'hedge'\nfault = 'gremlins'", "gremlins"),
    ("[[faults]]\nat = 'PT1M'\nvenue = 'nowhere'\nfault = 'reject'", "nowhere"),
    ("[[faults]]\nat = 'PT1M'\nvenue = 'hedge'\nfault = 'reject'\nhow = 1", "how"),
    ("[[faults]]\nat = 3\nvenue = 'hedge'\nfault = 'reject'", "at"),
    ("[[faults]]\nvenue = 'hedge'\nfault = 'reject'", "at is missing"),
    ("faults = 3", "faults"),
    ("[[weather", "mine.toml"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_file_is_refused_naming_file_and_key(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3 and one line on stderr, before anything is written."""
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    path = written(tmp_path, text)
    assert main(["paper", "--for", "1m", "--scenario", str(path)]) == CONFIG
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and said in out.err and "mine.toml" in out.err
    assert not (tmp_path / "data" / "runs").exists()


@pytest.mark.parametrize("name", ["sunny", "", "story.tom"])
def test_an_unknown_name_is_a_usage_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The option names what is known; as a setting it is a configuration error."""
    assert main(["paper", "--for", "1m", "--scenario", name]) == USAGE
    assert "story" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"market\.scenario"):
        load(f"market.scenario={name}")


def test_a_file_that_is_not_there_is_a_bad_path(tmp_path: Path) -> None:
    """Exit 2 as an option, a configuration error as a setting."""
    assert main(["paper", "--for", "1m", "--scenario", str(tmp_path / "none.toml")]) == USAGE
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(f"market.scenario={tmp_path / 'none.toml'}")


def test_a_run_outlives_its_scenario_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Continued and replayed after the file is gone, a run is the run that was never interrupted."""
    path = written(tmp_path, MINE)

    def run(folder: str, *argv: str) -> dict[str, object]:
        monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / folder))
        code = main([*argv, "--json"])
        found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert code == OK, found
        return found

    whole = run("whole", "paper", "--for", "40m", "--speed", "max", "--scenario", str(path))
    assert (whole["pairs_opened"], whole["pairs_closed"], whole["rejects"]) == (1, 1, 2), whole
    first = run("parts", "paper", "--for", "15m", "--speed", "max", "--scenario", str(path))
    path.unlink()
    then = run("parts", "paper", "--continue", str(first["run_id"]), "--for", "25m", "--speed", "max")
    assert (first["pairs_opened"], then["pairs_closed"]) == (1, 1)
    for folder, done in (("whole", whole), ("parts", then)):
        found = run(folder, "replay", "--run", str(done["run_id"]))
        assert found["mismatches"] == 0 and found["commands"], (folder, found)
    record = app.find_run(tmp_path / "parts", str(first["run_id"])).read_record()
    assert msgspec.json.decode(record.settings, type=Settings).scenario.about == "mine"
