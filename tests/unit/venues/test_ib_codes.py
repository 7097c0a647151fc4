"""Every message code of the broker that is named has its reaction, and what follows for an order is never taken from a code."""

from __future__ import annotations

import pytest

from bot.venues.ib_codes import CODES, Reaction, reaction

R = Reaction
TABLE = [
    (1100, R.LINK_LOST), (1101, R.LINK_BACK_BARE), (1102, R.LINK_BACK), (2110, R.LINK_LOST),
    (2103, R.DATA_PAUSED), (2104, R.DATA_BACK), (2105, R.NOTE), (2106, R.NOTE), (2107, R.NOTE), (2108, R.NOTE),
    (326, R.ID_TAKEN), (354, R.NO_DATA), (10167, R.NO_DATA), (10197, R.NO_DATA),
    (201, R.REFUSED), (202, R.CHECK), (110, R.REFUSED), (103, R.REFUSED),
    (161, R.CHECK), (10147, R.CHECK), (10148, R.CHECK), (10349, R.TELL), (399, R.TELL), (162, R.FAIL_REQUEST), (100, R.TOO_FAST),
]  # fmt: skip


@pytest.mark.parametrize(("code", "wanted"), TABLE)
def test_a_code_has_its_reaction(code: int, wanted: Reaction) -> None:
    assert reaction(code) is wanted


def test_every_reaction_is_used() -> None:
    assert set(CODES.values()) | {R.UNKNOWN} == set(Reaction)


def test_what_is_not_known_is_not_overlooked() -> None:
    assert reaction(12_345) is R.UNKNOWN and reaction(2_199) is R.NOTE
