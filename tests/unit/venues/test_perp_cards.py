"""The capability cards: as generated, shown without ccxt, and honest about what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from bot.venues.perp_card import LOSSES, committed, text_of
from bot.venues.perp_quirks import QUIRKS

ROOT = Path(__file__).parents[3]


def test_the_committed_cards_are_those_of_the_installed_ccxt() -> None:
    pytest.importorskip("ccxt", reason="ccxt is not installed here")
    from bot.venues.perp_card import cards

    assert committed() == cards(), "write them anew: python -m bot.venues.perp_card > bot/venues/perp_cards.json"


def test_every_exchange_has_a_card_and_live_ones_miss_no_safety() -> None:
    made = {c["exchange"]: c for c in committed()}
    assert sorted(made) == sorted(QUIRKS)
    for exchange, card in made.items():
        assert card["orders"]["live"] is QUIRKS[exchange].live
        assert len(card["missing"]) == len(card["disables"])
        if card["orders"]["live"]:
            assert card["dead_man_timer"] and card["sandbox"] != "none" and card["orders"]["reduce_only"] and card["key_permissions"]
            assert QUIRKS[exchange].arm is not None and QUIRKS[exchange].account is not None
        else:
            assert card["orders"]["why_not"] and "live orders: market data and paper only" in card["disables"]
    assert {what for c in made.values() for what in c["missing"]} <= {what for what, _, _ in LOSSES}


def test_the_verb_shows_them_without_ccxt(tmp_path: Path) -> None:
    script = (
        "import sys; from bot.cli import main; import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['venues', '--json'])\n"
        "assert not {'ccxt', 'ib_insync', 'aiohttp'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"BOT_DATA_DIR": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    line = json.loads(done.stdout)
    jsonschema.validate(line, json.loads((ROOT / "bot/schemas/venues.json").read_text(encoding="utf-8")))
    assert line["cards"] == committed()


def test_a_card_says_what_is_missing_in_words() -> None:
    lines = {c["exchange"]: "\n".join(text_of(c)) for c in committed()}
    assert "no sandbox" in lines["mexc"] and "without    sandbox: nothing can be tried without money" in lines["mexc"]
    assert "orders     live" in lines["binanceusdm"] and "countdown of each market" in lines["binanceusdm"]
    assert all(len(line) < 160 for text in lines.values() for line in text.splitlines())
