"""The broker's own absences, in New York time through both clock changes."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from bot.venues.ib_windows import window_at

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("when", "name", "blocks"),
    [
        ("2026-11-06 22:59:59", None, False), ("2026-11-06 23:00:00", "weekend maintenance", True), ("2026-11-07 02:59:59", "weekend maintenance", True),
        ("2026-11-07 03:00:00", "exchange maintenance after the broker's", True), ("2026-11-07 05:00:00", None, False),
        ("2026-11-08 00:59:59", "daily reset", False), ("2026-11-08 01:00:00", "login expired", False), ("2026-11-09 00:59:59", "login expired", False),
        ("2026-11-03 23:43:59", None, False), ("2026-11-03 23:45:00", "nightly restart", True), ("2026-11-03 23:50:00", None, False),
        ("2026-11-04 00:15:00", "daily reset", False), ("2026-11-04 01:45:00", None, False), ("2026-11-03 09:30:00", None, False),
        # 2026-10-30 is the last Friday on summer time, 2027-03-12 the last one on winter time.
        ("2026-10-30 23:00:00", "weekend maintenance", True), ("2027-03-12 23:00:00", "weekend maintenance", True),
    ],
)  # fmt: skip
def test_what_holds_when(when: str, name: str | None, blocks: bool) -> None:
    now = datetime.fromisoformat(when).replace(tzinfo=NEW_YORK)
    window = window_at(int(now.timestamp()) * 1_000_000_000)
    assert (None if window is None else window.name) == name
    assert blocks is (window is not None and window.blocks)


def test_only_a_lost_login_needs_a_person() -> None:
    sunday = datetime(2026, 11, 8, 12, tzinfo=NEW_YORK)
    window = window_at(int(sunday.timestamp()) * 1_000_000_000)
    assert window is not None and window.person and not window.blocks
