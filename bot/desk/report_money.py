"""Where the money of a run came from: attribution by trade and by trade date, equity by silo, margin low points.

Lines come from the tally, profits from the accounts and the marks; the residual is their difference and is printed. A trade
has no wallet line: what its profit does in a stablecoin after it is realised belongs to the wallet, hence to the date.
"""

from __future__ import annotations

from typing import Any

from bot.desk.snapshot import net_delta
from bot.engine import assess
from bot.engine.step import Engine, Step
from bot.engine.watch import PairLoop
from bot.journal.accounts import Accounts
from bot.journal.attribution import CASH_LINES, LINES
from bot.model import event as ev
from bot.model.ids import PairId, VenueId
from bot.model.notation import iso
from bot.model.position import pnl_est
from bot.tally import Tally, buffers

Row = dict[str, Any]


class OpenTrade:
    """A trade in the making: what it was opened for, its lines before the first fill, and its profit so far in USD."""

    def __init__(self, loop: PairLoop, number: int, before: dict[str, float]) -> None:
        self.loop = loop
        self.number = number
        self.before = before
        self.opened_ns = loop.state.entered_ns
        self.entry = loop.state.entry or loop.state.intent
        held = loop.state.lead.qty or -loop.state.hedge.qty
        self.direction = 1 if held > 0 else -1
        self.index = loop.state.entry_index
        self.booked: dict[str, float] = {}
        self.pnl = 0.0
        self.lots = 0.0
        self.stamps = 0
        self.exit = ""


class Money:
    """Watcher (bot.desk.history.Watcher). It must hear a step after the tally has."""

    def __init__(self, engine: Engine, tally: Tally) -> None:
        self.engine = engine
        self.tally = tally
        self.accounts = Accounts(engine.terms)
        self.trades: list[Row] = []
        self.days: list[Row] = []
        self.equity: list[Row] = []
        self._open: dict[PairId, OpenTrade] = {}
        self._flat_lines: dict[PairId, dict[str, float]] = {p: dict.fromkeys(LINES, 0.0) for p in tally.pairs}
        self._reasons: dict[PairId, str] = {}
        self._lows: dict[tuple[str, VenueId], Row] = {}
        self._day: tuple[str, int, float, float, dict[str, float]] | None = None

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Book one step, then see whether a trade or a date began or ended with it."""
        for happened in (event, *out.events):
            if isinstance(happened, ev.DayStarted) and happened.trade_date != self.accounts.trade_date:
                self._close_silos()
            self.accounts.fold(happened)
            self._note(happened)
        for loop in self.engine.loops:
            self._follow(loop)
        if any(isinstance(x, ev.DayStarted) for x in (event, *out.events)):
            self._new_day()

    def marked(self, now_ns: int) -> None:
        """Look for a margin low at fresh marks."""
        for venue, share in buffers(self.engine).items():
            key = (self.engine.ob.trade_date, venue)
            low = self._lows.get(key)
            if low is None or share < low["buffer"]:
                self._lows[key] = {"trade_date": key[0], "venue": venue, "buffer": share, "at": iso(now_ns), **self._margin(venue, share)}

    def finish(self) -> None:
        """Value what is still open and end the last date."""
        for pair in list(self._open):
            self._end(self._open[pair], closed=False)
        self._close_silos()
        self._end_day()

    @property
    def lows(self) -> list[Row]:
        """Lowest unstressed margin buffer by trade date and venue."""
        return [self._lows[key] for key in sorted(self._lows)]

    # Trades.

    def _note(self, event: ev.Event) -> None:
        """Keep the reason a trade ends for, and what concerns a trade besides fills."""
        if isinstance(event, ev.TargetSet):
            self._reasons[event.pair] = event.intent.reason
        elif isinstance(event, ev.StopTripped):
            self._reasons[event.pair] = f"stop {event.rule}: {event.observed:.2f} against {event.limit:.2f}"
        elif isinstance(event, ev.KillSet):
            self._reasons.update(dict.fromkeys(self._reasons, f"kill {event.level.value}"))
        elif isinstance(event, ev.CashBooked) and event.kind in CASH_LINES:
            for trade in self._open.values():
                if event.venue in (trade.loop.window.lead_terms.venue, trade.loop.window.hedge_terms.venue):
                    trade.pnl += float(event.amount) * self.engine.desk.usd(event.currency)
                    return

    def _follow(self, loop: PairLoop) -> None:
        """Begin, continue or end the trade of a pair; money counts in USD at the moment it is booked."""
        pair = loop.window.pair
        booked = self.accounts.trades.get(pair)
        trade = self._open.get(pair)
        if booked is not None and trade is None and (not self.trades or self._last(pair) < booked.number):
            trade = self._open[pair] = OpenTrade(loop, booked.number, self._flat_lines[pair])
        if trade is not None and booked is not None:
            trade.lots = max(trade.lots, abs(loop.state.lead.qty_f))
            trade.exit = self._reasons.get(pair, "")
            for currency, line in booked.lines.items():
                total = float(line.realised + line.fees + line.funding)
                trade.pnl += (total - trade.booked.get(currency, 0.0)) * self.engine.desk.usd(currency)
                trade.booked[currency] = total
            if booked.closed_ns:
                self._end(trade, closed=True)
        if pair not in self._open:
            self._flat_lines[pair] = dict(self.tally.pairs[pair].lines.lines)

    def _last(self, pair: PairId) -> int:
        return max((row["number"] for row in self.trades if row["pair"] == pair), default=0)

    def _end(self, trade: OpenTrade, *, closed: bool) -> None:
        """Write the row of a trade: lines since it began, profit by the books, residual."""
        loop, now = trade.loop, self.engine.ob.now
        window, pair = loop.window, loop.window.pair
        tally = self.tally.pairs[pair]
        if not closed:
            tally.lines.mark(tally.marks(now, self.tally.carry))
            trade.pnl += pnl_est(window.lead_terms, loop.state.lead, window.lead.mid, window.lead_unit)
            trade.pnl += pnl_est(window.hedge_terms, loop.state.hedge, window.hedge.mid, window.hedge_unit) * window.stable_usd
        lines = {name: amount - trade.before[name] for name, amount in tally.lines.lines.items()}
        intent, notional = trade.entry, trade.lots * window.lead_unit * trade.index
        self.trades.append({
            "pair": pair, "number": trade.number, "direction": "long_cme" if trade.direction > 0 else "short_cme", "lots": trade.lots,
            "opened_at": iso(trade.opened_ns), "closed_at": iso(now) if closed else None, "held_s": (now - trade.opened_ns) * 1e-9,
            "entry": intent.reason if intent is not None else "", "exit": trade.exit if closed else "",
            "edge_bp": intent.edge_bp if intent is not None else None, "notional_usd": notional,
            "realised_bp": trade.pnl / notional * 1e4 if notional > 0.0 else None,
            **lines, "residual_usd": trade.pnl - sum(lines.values()), "pnl_usd": trade.pnl,
        })  # fmt: skip
        del self._open[pair]

    # Dates and silos.

    def _new_day(self) -> None:
        self._end_day()
        ob = self.engine.ob
        self._day = (ob.trade_date, ob.now, self._nav(), self.tally.capital, self.tally.attribution())

    def _end_day(self) -> None:
        """Write the row of the trade date that ends now."""
        if self._day is None:
            return
        label, since, nav, capital, before = self._day
        end, ob = self._nav(), self.engine.ob
        pnl = end - nav - (self.tally.capital - capital)
        lines = {name: amount - before[name] for name, amount in self.tally.attribution().items()}
        self.days.append({
            "trade_date": label, "from": iso(since), "to": iso(ob.now), "equity_start_usd": nav, "equity_end_usd": end,
            **lines, "residual_usd": pnl - sum(lines.values()), "pnl_usd": pnl, "net_delta_base": net_delta(self.engine),
        })  # fmt: skip
        self._day = None

    def _nav(self) -> float:
        return assess.nav_usd(self.engine.ob, self.engine.desk)

    def _close_silos(self) -> None:
        """Write each silo's books of the trade date that ends, valued at the present mids."""
        label, desk = self.accounts.trade_date, self.engine.desk
        for (venue, currency), b in self.accounts.balances.items():
            if not label:
                continue
            value = assess.silo_equity(self.engine.ob.silos[venue], desk, currency, at_mid=True)
            self.equity.append({
                "trade_date": label, "venue": venue, "currency": currency, "opening": b.opening, "realised": b.realised, "fees": b.fees,
                "funding": b.funding, "cash": b.cash, "closing": b.closing, "equity": value, "equity_usd": value * desk.usd(currency),
            })  # fmt: skip

    def _margin(self, venue: VenueId, share: float) -> Row:
        silo, desk = self.engine.ob.silos[venue], self.engine.desk
        equity = sum(assess.silo_equity(silo, desk, c) * desk.usd(c) for c in silo.cash)
        return {"equity_usd": equity, "maintenance_usd": equity * (1.0 - share)}
