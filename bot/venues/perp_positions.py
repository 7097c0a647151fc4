"""Positions as the account's stream tells them: one that moved without an execution that says why is asked about at once.

What is held is known from executions and confirmed by whole answers (bot.venues.perp_snapshot). This stream is the third
witness: it tells of a fill whose own message was lost, of deleveraging and of liquidations, before anybody would have asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bot.model.ids import InstrumentId
from bot.venues.perp_account import Fills
from bot.venues.perp_errors import SHAPE_ERRORS, told
from bot.venues.perp_line import Line, heard
from bot.venues.perp_parse import net_positions

GRACE_S = 1.0
"""A position and its execution are told in two messages, in either order: so long the second one is waited for."""


class Positions:
    """Compares what is told to be held with the executions that were told. ask: called when something moved by itself."""

    def __init__(self, line: Line, fills: Fills, ask: Callable[[], None]) -> None:
        self._line = line
        self._fills = fills
        self._ask = ask
        self._held: dict[InstrumentId, Decimal] = {}

    async def watch(self) -> None:
        """Hear positions until the stream ends with its error."""
        while True:
            for position in await heard(self._line.client.watch_positions()):
                self.hear(position)

    def hear(self, position: Any) -> None:
        """Take one position of ccxt; one that executions do not explain is judged when they have had time to come."""
        line = self._line
        instrument = line.symbols.id_of.get(str(position.get("symbol")))
        if instrument is None:
            return
        try:
            held = net_positions([position], line.symbols).get(instrument, Decimal(0))
        except SHAPE_ERRORS as error:
            line.log("position_unreadable", {"text": told(error)})
            return
        self._held[instrument] = held
        if not self._fills.explain(instrument, held):
            asyncio.get_running_loop().call_later(GRACE_S, self.judge, instrument)

    def judge(self, instrument: InstrumentId) -> None:
        """Ask when executions still do not say how a position came to be what it is."""
        held = self._held[instrument]
        if not self._fills.explain(instrument, held):
            self._line.log("position_moved", {"instrument": instrument, "held": str(held)})
            self._ask()
