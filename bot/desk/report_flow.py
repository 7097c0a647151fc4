"""What a run sent and met, as rows: fills with slippage, funding stamps, refusals by hour, decisions, hedge quality, incidents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.engine.flatten import named
from bot.engine.pair import unhedged_coins
from bot.engine.step import Engine, Step
from bot.engine.watch import PairLoop
from bot.journal.accounts import Accounts, FillPosting, FundingPosting
from bot.journal.decisions import Decision, Decisions
from bot.model import event as ev
from bot.model.ids import ClientId, InstrumentId, PairId
from bot.model.notation import iso
from bot.model.order import Outcome
from bot.tally import coins_of

Row = dict[str, Any]
HOUR_NS = 3_600_000_000_000
_INCIDENTS: dict[type, Callable[[Any], tuple[str, str, str] | None]] = {
    ev.Alert: lambda e: ("", f"alert {e.code}", e.text) if e.severity is not ev.Severity.INFO else None,
    ev.UnwindSet: lambda e: (e.pair, "unwind" if e.on else "unwind over", e.reason),
    ev.Frozen: lambda e: (e.pair, "frozen" if e.on else "released", e.reason),
    ev.NoAnswer: lambda e: ("", "no answer", f"{e.client_id} {e.reason}"),
    ev.OrderEnded: lambda e: ("", "rejected", f"{e.client_id} {e.reason}".rstrip()) if e.outcome is Outcome.REJECTED else None,
    ev.SendBlocked: lambda e: ("", "not sent", f"{e.client_id} {e.reason}"),
    ev.VenueStatus: lambda e: ("", "venue reachable" if e.up else "venue lost", f"{e.venue} {e.reason}".rstrip()),
    ev.KillSet: lambda e: ("", f"kill {named(e.level, e.evacuate)}", e.reason),
    ev.CommitFailed: lambda e: ("", "journal failed", e.reason),
    ev.Allocated: lambda e: (e.pair, "allocated", f"{e.qty} {e.instrument} at {e.price}"),
}


class Flow:
    """Watcher (bot.desk.history.Watcher). books: accounts of the whole run, dates not told apart; they say what counts once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fills: list[Row] = []
        self.funding: list[Row] = []
        self.incidents: list[Row] = []
        self.books = Accounts(engine.terms)
        self._mids: dict[ClientId, ev.OrderIntended] = {}
        self._rates: dict[tuple[InstrumentId, int], float] = {}
        self._refused: dict[tuple[str, str, PairId], Row] = {}
        self._decisions = Decisions()
        self._decided: dict[tuple[int, int], Decision] = {}
        self._count = 0

    def estimated(self, rate: ev.FundingRate) -> None:
        """Keep the last estimate made for each stamp before it came."""
        if rate.ts < rate.stamp_ns:
            self._rates[rate.instrument, rate.stamp_ns] = rate.rate

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Book one step."""
        self._count += 1
        for n, happened in enumerate((event, *out.events)):
            self._see(n, happened)

    def marked(self, now_ns: int) -> None:
        """Marks are no flow."""

    def _see(self, n: int, event: ev.Event) -> None:
        row = self._decisions.fold(self._count, n, event)
        if row is not None:
            self._decided[row.seq, row.n] = row
        if isinstance(event, ev.OrderIntended):
            self._mids[event.order.client_id] = event
        elif isinstance(event, ev.Refused):
            self._refuse(event)
        found = _INCIDENTS[type(event)](event) if type(event) in _INCIDENTS else None
        if found is not None:
            self.incidents.append({"at": iso(event.ts), "pair": found[0], "what": found[1], "detail": found[2]})
        paid = False
        for posting in () if isinstance(event, ev.DayStarted) else self.books.fold(event):
            if isinstance(posting, FillPosting):
                self._fill(posting)
            elif isinstance(posting, FundingPosting) and not paid:
                self._fund(posting.paid)
                paid = True

    def _fill(self, posting: FillPosting) -> None:
        """Write one execution against the mid its order was decided on; nobody's order has no such mid."""
        fill, terms = posting.fill, self.engine.terms[posting.fill.instrument]
        intent = self._mids.get(fill.client_id)
        usd, price = self.engine.desk.usd(terms.settle), float(fill.price)
        mid = None
        if intent is not None:
            pair = self.engine.ob.pairs[intent.order.pair]
            mid = intent.lead_mid if fill.instrument == pair.terms.lead else intent.hedge_mid
        coins = coins_of(terms, float(fill.qty) * fill.side.sign, price)
        slip = coins * (mid - price) if mid else None
        value = abs(coins) * price * (1.0 if terms.inverse else usd)
        self.fills.append({
            "at": iso(fill.ts), "venue": fill.venue, "instrument": fill.instrument, "pair": posting.pair, "client_order_id": fill.client_id,
            "exec_id": fill.exec_id, "purpose": intent.order.purpose.name.lower() if intent is not None else fill.reason,
            "side": fill.side.value, "qty": fill.qty, "price": fill.price, "decision_mid": mid,
            "slippage_bp": (mid / price - 1.0) * 1e4 * fill.side.sign if mid else None,
            "slippage_usd": slip * (1.0 if terms.inverse else usd) if slip is not None else None, "notional_usd": value,
            "fee": fill.fee, "fee_currency": fill.fee_currency, "fee_usd": float(fill.fee) * self.engine.desk.usd(fill.fee_currency),
            "maker": fill.maker, "realised": posting.realised, "currency": posting.currency,
            "since_intent_s": (fill.ts - intent.ts) * 1e-9 if intent is not None else None,
        })  # fmt: skip

    def _fund(self, paid: ev.FundingPaid) -> None:
        """Write one stamp: what was booked, and what the last estimate before it would have paid on the same position."""
        terms, rate = self.engine.terms[paid.instrument], self._rates.get((paid.instrument, paid.stamp_ns))
        value = float(paid.qty) * float(terms.unit) * (1.0 / paid.mark if terms.inverse else paid.mark)
        predicted = -value * rate if rate is not None else None
        amount = float(paid.amount)
        self.funding.append({
            "stamp": iso(paid.stamp_ns), "venue": paid.venue, "instrument": paid.instrument, "rate": paid.rate, "predicted_rate": rate,
            "mark": paid.mark, "qty": paid.qty, "amount": paid.amount, "predicted": predicted,
            "difference": amount - predicted if predicted is not None else None, "currency": paid.currency,
            "amount_usd": amount * self.engine.desk.usd(paid.currency),
        })  # fmt: skip

    def _refuse(self, e: ev.Refused) -> None:
        hour = iso(e.ts // HOUR_NS * HOUR_NS)
        row = self._refused.setdefault((hour, e.rule, e.pair), {"hour": hour, "rule": e.rule, "pair": e.pair, "count": 0})
        row |= {"count": row["count"] + e.count, "observed_last": e.observed, "limit": e.limit}

    @property
    def refusals(self) -> list[Row]:
        """Refusals by hour and rule, with the last numbers of each."""
        return [self._refused[key] for key in sorted(self._refused)]

    @property
    def decisions(self) -> list[Row]:
        """Decisions as the ledger keeps them: repeated refusals are one row with a count."""
        return [
            {
                "at": iso(d.ts), "last_at": iso(d.last_ts), "pair": d.pair, "kind": d.kind, "rule": d.rule, "observed": d.observed,
                "limit": d.limit, "reason": d.reason, "count": d.count,
            }
            for _, d in sorted(self._decided.items())
        ]  # fmt: skip

    @property
    def fees(self) -> list[Row]:
        """Fees by venue, instrument and currency; a cost is > 0."""
        rows: dict[tuple[str, str, str], Row] = {}
        for fill in self.fills:
            key = (fill["venue"], fill["instrument"], fill["fee_currency"])
            row = rows.setdefault(key, {
                "venue": key[0], "instrument": key[1], "currency": key[2], "fills": 0, "maker_fills": 0, "qty": 0, "notional_usd": 0.0,
                "fee": 0, "fee_usd": 0.0,
            })  # fmt: skip
            row["fills"] += 1
            row["maker_fills"] += bool(fill["maker"])
            for name in ("qty", "notional_usd", "fee", "fee_usd"):
                row[name] += fill[name]
        return [row | {"fee_bp": row["fee_usd"] / row["notional_usd"] * 1e4 if row["notional_usd"] else None} for _, row in sorted(rows.items())]


class HedgeQuality:
    """Watcher that times every stretch in which a pair's delta is open beyond tolerance."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.episodes: list[Row] = []
        self.unwinds = self.budget_breaches = 0
        self._open: dict[PairId, Row] = {}

    def stepped(self, event: ev.Event, out: Step) -> None:
        """Measure after every fill, allocation or end of an episode."""
        for happened in (event, *out.events):
            if isinstance(happened, ev.UnwindSet) and happened.on:
                self.unwinds += 1
                self._incident(happened.pair)
            elif isinstance(happened, ev.Alert) and happened.code == "pair.unhedged":
                self.budget_breaches += 1
                self._incident(happened.text.partition(":")[0])
        for loop in self.engine.loops:
            self._measure(loop)

    def marked(self, now_ns: int) -> None:
        """The price moved: what is open costs at the new one from here."""
        for loop in self.engine.loops:
            if loop.window.pair in self._open:
                self._measure(loop)

    def finish(self) -> None:
        """End what is still open with the record."""
        for pair in list(self._open):
            self._end(pair)

    def _measure(self, loop: PairLoop) -> None:
        pair, now = loop.window.pair, self.engine.ob.now
        coins = abs(float(unhedged_coins(loop.state, loop.window)))
        row = self._open.get(pair)
        if row is not None:
            row["usd_s"] += row["coins"] * loop.window.lead.mid * (now - row["touched"]) * 1e-9
            row["touched"], row["coins"] = now, coins
            row["coins_max"] = max(row["coins_max"], coins)
            if coins <= self.engine.limits.unhedged_coins_max:
                self._end(pair)
        elif coins > self.engine.limits.unhedged_coins_max:
            self._open[pair] = {"since": now, "touched": now, "coins": coins, "coins_max": coins, "usd_s": 0.0, "incident": False}

    def _incident(self, pair: PairId) -> None:
        if pair in self._open:
            self._open[pair]["incident"] = True

    def _end(self, pair: PairId) -> None:
        row = self._open.pop(pair)
        self.episodes.append({
            "at": iso(row["since"]), "pair": pair, "seconds": (row["touched"] - row["since"]) * 1e-9, "coins_max": row["coins_max"],
            "usd_s": row["usd_s"], "incident": row["incident"],
        })  # fmt: skip

    def row(self, *, seconds: float, net_delta_max: float) -> Row:
        """Return the summary over `seconds` of market time."""
        lasted = sorted(e["seconds"] for e in self.episodes)
        outside = sum(lasted)

        def at(share: float) -> float | None:
            return lasted[min(len(lasted) - 1, int(share * len(lasted)))] if lasted else None

        return {
            "episodes": len(lasted), "outside_tolerance_s": outside, "outside_tolerance_share": outside / seconds if seconds > 0.0 else None,
            "seconds_p50": at(0.5), "seconds_p95": at(0.95), "seconds_max": lasted[-1] if lasted else None,
            "unhedged_usd_s": sum(e["usd_s"] for e in self.episodes), "unhedged_usd_s_max": max((e["usd_s"] for e in self.episodes), default=0.0),
            "net_delta_max_base": net_delta_max, "one_leg_incidents": sum(e["incident"] for e in self.episodes), "unwinds": self.unwinds,
            "budget_breaches": self.budget_breaches,
        }  # fmt: skip
