"""When the broker itself is away: dated, in New York time, as its pages have it. The exchange's own hours are bot.market.calendar.

A window explains an interruption; in those that block, an order sent may be lost without a word, so none that adds risk is sent.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from bot.market.expiry import NEW_YORK

_S = 1_000_000_000
_EVERY = range(7)
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One weekly rule. days: Python weekdays on which it begins. length: its minutes. blocks: openings are not sent in it.

    person: it does not end by itself: somebody has to log in again with the second factor.
    """

    name: str
    days: tuple[int, ...]
    begins: time
    length: int
    blocks: bool
    person: bool = False
    source: str


WINDOWS = (
    Window(name="weekend maintenance", days=(_FRIDAY,), begins=time(23), length=240, blocks=True,
           source="V: broker's system status page, Friday 23:00 to Saturday 03:00 ET, read 2026-11"),
    Window(name="exchange maintenance after the broker's", days=(_SATURDAY,), begins=time(3), length=120, blocks=True,
           source="V: exchange notice, Saturday 02:00 to 04:00 CT; so nothing trades from Friday 23:00 to Saturday 05:00 ET, read 2026-11"),
    Window(name="login expired", days=(_SUNDAY,), begins=time(1), length=1_440, blocks=False, person=True,
           source="V: broker's page on auto restart: it works until tokens expire, Sunday 01:00 ET, read 2026-11; how long a person takes is ours"),
    Window(name="nightly restart", days=tuple(_EVERY), begins=time(23, 44), length=6, blocks=True,
           source="V: TWS and Gateway restart at 23:45 local time by default; local is taken for New York, width is ours, read 2026-11"),
    Window(name="daily reset", days=tuple(_EVERY), begins=time(0, 15), length=90, blocks=False,
           source="V: broker's system status page, North America 00:15 to 01:45 ET; short interruptions within it, read 2026-11"),
)  # fmt: skip
"""In order of weight: the first that holds is the one named."""


def window_at(now_ns: int) -> Window | None:
    """Return the window that holds at a UTC instant, the weightiest when there are several.

    >>> friday = int(datetime(2026, 11, 7, 4, 30, tzinfo=UTC).timestamp()) * _S  # 23:30 in New York
    >>> window_at(friday).name, window_at(friday + 9 * 3600 * _S)
    ('weekend maintenance', None)
    """
    now = datetime.fromtimestamp(now_ns // _S, UTC)
    today = now.astimezone(NEW_YORK).date()
    for window in WINDOWS:
        for day in (today, today - timedelta(days=1)):
            begins = _begins(window, day)
            if day.weekday() in window.days and begins <= now < begins + timedelta(minutes=window.length):
                return window
    return None


def _begins(window: Window, day: date) -> datetime:
    """Return when it begins on a day, UTC: a length is real time, whatever the clocks in New York do meanwhile."""
    return datetime.combine(day, window.begins, tzinfo=NEW_YORK).astimezone(UTC)
