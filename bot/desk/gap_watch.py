"""Gaps as a desk sees them: the mid of its future before and after each closure of the dated calendar, and what became of each.

The watch sits between the loop and its tape, so it sees exactly the quotes the desk saw, and before them the warm history
the strategy began with. It decides nothing and can be made again from the record of a run.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.market.calendar import CmeCalendar, State
from bot.model import event as ev
from bot.model.instrument import Instrument
from bot.model.ports import Tape
from strategies.gap_rows import GapRow, row
from strategies.gaps import NEAR_NS, CloseKind, Followed, GapParams, History, Register, Session, between, detect, regime_of

FAR = 0.2
"""A mid further than this share from the one before it counts only once the next one is near it: one bad tick is no gap."""


class GapWatch:
    """Sessions of one future made of quotes, and the gaps between them. found: every gap of the contract, oldest first."""

    def __init__(self, lead: Instrument, params: GapParams | None = None) -> None:
        self.lead = lead
        self.found: list[Followed] = []
        self._calendar = CmeCalendar(lead.product)
        self._history = History(params or GapParams())
        self._register = Register()
        self._open_ns = self._until_ns = self._last_ns = 0
        self._open = self._high = self._low = self._last = self._odd = 0.0

    def saw(self, event: ev.Event) -> None:
        """Take one observation; everything but a two-sided quote of the future while it trades is passed over."""
        if type(event) is not ev.Quote or event.instrument != self.lead.id:
            return
        if not (0.0 < event.bid <= event.ask and event.bid_size > 0.0 and event.ask_size > 0.0):
            return
        at, mid = event.venue_ts, 0.5 * (event.bid + event.ask)
        if at < self._last_ns or not self._believed(mid):
            return
        if at >= self._until_ns:
            now = self._calendar.at(at)
            if now.state is not State.OPEN:
                return
            self._opened(at, mid, now.to_ns)
        self._last, self._last_ns = mid, at
        reached = mid < self._low or mid > self._high
        self._high, self._low = max(self._high, mid), min(self._low, mid)
        if self._register.open and (reached or at == self._open_ns):
            self._register.saw(self._high, self._low, at)

    @property
    def last_ns(self) -> int:
        """Venue time of the last price seen, UTC ns, 0 before the first."""
        return self._last_ns

    def _believed(self, mid: float) -> bool:
        """Return whether a mid is near the last one, or near the odd one that came just before it."""
        near = not self._last or abs(mid / self._last - 1.0) <= FAR or (self._odd > 0.0 and abs(mid / self._odd - 1.0) <= FAR)
        self._odd = 0.0 if near else mid
        return near

    def rows(self, floor_bp: float) -> list[GapRow]:
        """Return the gaps of `floor_bp` or more, oldest first."""
        for f in self._register.open:
            f.seen_ns = self._last_ns
        return [row(f.gap, f) for f in self.found if abs(f.gap.bp) >= floor_bp]

    def _opened(self, at: int, mid: float, until_ns: int) -> None:
        """Close the session before, if there is one, and look for a gap where exactly one closure lies between."""
        code = self.lead.product
        if self._last_ns:
            self._register.session_over()
            self._history.add(Session(self.lead.id, self._open_ns, self._open, self._high, self._low, self._last, self._last, self._last_ns))
            reason, skip = between(code, self._last_ns, at, near_ns=NEAR_NS)
            gap = None if skip else detect(self._history, self.lead.id, at, mid, CloseKind.LAST_MID, regime_of(code, at), reason)
            if gap is not None:
                self.found.append(self._register.add(gap))
        self._open_ns, self._until_ns = at, until_ns
        self._open = self._high = self._low = mid


class WatchedTape:
    """A tape (port bot.model.ports.Tape) that lets a watch see what it records."""

    def __init__(self, tape: Tape, watch: GapWatch) -> None:
        self._record, self._saw = tape.record, watch.saw

    def record(self, seq: int, event: ev.Observation) -> None:
        """Show the observation to the watch and keep it."""
        self._saw(event)
        self._record(seq, event)


def watched(lead: Instrument, events: Iterable[ev.Event]) -> GapWatch:
    """Return a watch that has seen these events, in order of time."""
    watch = GapWatch(lead)
    for event in events:
        watch.saw(event)
    return watch
