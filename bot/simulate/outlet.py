"""The last inch: every order as it leaves the desk for a venue, judged against what the journal promised (I2, I3, I17, I19, R3)."""

from __future__ import annotations

from collections.abc import Callable

from bot.engine.step import Engine
from bot.model.command import Command, Submit
from bot.model.event import LEVEL_RANK, KillLevel
from bot.model.ids import ClientId
from bot.simulate.storage import DayJournal
from bot.venues.sim import SimVenue

_STOPPED = LEVEL_RANK[KillLevel.PAUSE]


class Outlet:
    """What has left, over all processes of a day. broken: told each violation. latched: level in force at the latch.

    reborn: whether the process that sends now is not the day's first.
    """

    def __init__(self, broken: Callable[[str], None]) -> None:
        self.sent: set[ClientId] = set()
        self.sends = self.emergency_sends = self.sends_reborn = 0
        self.reborn = False
        self.latched = KillLevel.NONE
        self._broken = broken

    def watch(self, venue: SimVenue, engine: Engine, journal: DayJournal, failing: Callable[[int], bool]) -> None:
        """Stand between the desk and `venue`. failing: whether the journal confirms nothing at an instant."""
        send: Callable[[Command, int], None] = venue.send

        def seen(command: Command, now_ns: int) -> None:
            if isinstance(command, Submit):
                self._judge(command, engine, journal, failing(now_ns))
            send(command, now_ns)

        venue.send = seen  # type: ignore[method-assign]

    def _judge(self, command: Submit, engine: Engine, journal: DayJournal, failing: bool) -> None:
        cid, level = command.order.client_id, engine.ob.kill_level
        if cid not in journal.durable:
            self._broken(f"I2: {cid} left without a durable intent")
        if cid in self.sent:
            self._broken(f"I3: {cid} left twice")
        if command.opening and max(LEVEL_RANK[level], LEVEL_RANK[self.latched]) >= _STOPPED:
            self._broken(f"I17: {cid} opens at {level}, latched {self.latched}")
        if LEVEL_RANK[level] < LEVEL_RANK[self.latched]:
            self._broken(f"I19: {cid} leaves at {level} while the latch is at {self.latched}")
        if command.opening and failing:
            self._broken(f"R3: {cid} opens while the journal confirms nothing")
        self.sent.add(cid)
        self.sends += 1
        self.sends_reborn += self.reborn
        self.emergency_sends += failing
