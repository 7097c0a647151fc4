"""Split the change of equity into named causes, in USD, so that it adds up and what does not is visible (G8).

Held coins earn by the moves between successive marks; fills earn against their decision mids. Matched coins n of two
opposite legs split into roll-down, richening and perp premium, in which the index cancels; coins of one leg alone
are residual delta, and so is the move of a leg between decision and fill (legging). A stablecoin perp earns in its
stablecoin, so every open slice also carries stablecoin exposure of its decision notional, and its slippage is worth
what the stablecoin is worth when the slice closes; from then on it is wallet.

For each pair: sum of its lines = change of (lead profit + hedge profit x stable) + fees + funding + cash. For a
wallet: its line = balance x change of the stablecoin. Both together are the change of equity; nothing here is
measured against the other, which is what makes the printed residual a check. Everything is a float estimate: money
is booked in bot.journal.accounts.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bot.model.instrument import Instrument

LINES = (
    "roll_down", "richening", "perp_premium", "residual_delta", "slippage", "funding", "fees", "stablecoin_notional",
    "stablecoin_wallet", "financing", "roll",
)  # fmt: skip
"""Names of the lines, in the order they are printed (cli.md)."""

CASH_LINES = {"interest": "financing", "financing": "financing", "borrow": "financing"}
"""Which line a booked cash movement belongs to. A kind not here gets none and shows up as residual."""

CAPITAL_KINDS = frozenset({"deposit", "withdrawal", "transfer"})
"""Movements of capital: they change equity and are no profit; the caller takes them out of the change."""


class Leg(StrEnum):
    """Which leg of a pair."""

    LEAD = "lead"
    HEDGE = "hedge"


class Marks(msgspec.Struct, frozen=True, gc=False):
    """What a pair is valued at. stable: USD per unit of the hedge's currency (1 for USD); mids: quote currencies.

    fair_usd: index x exp(carry x T), from the same configured carry each time.
    """

    ts: int
    lead_mid: float
    hedge_mid: float
    stable: float
    index_usd: float
    fair_usd: float


class PairAttribution:
    """Lines of one pair since it was created, and the open slices they still depend on (coins, signed).

    `hedge_entry` is the average decision mid of the open hedge slices and `hedge_slip` their slippage, both in the
    hedge's currency. The lead settles in USD, so nothing of its past has to be remembered.
    """

    def __init__(self, lead: Instrument, hedge: Instrument) -> None:
        for leg in (lead, hedge):
            if leg.inverse:
                raise ValueError(f"{leg.id}: attribution of an inverse contract is not defined here")
        if lead.settle != "USD":
            raise ValueError(f"{lead.id}: the lead must settle in USD, not {lead.settle}")
        self._currency = hedge.settle
        self.lines: dict[str, float] = dict.fromkeys(LINES, 0.0)
        self.lead = 0.0
        self.hedge = 0.0
        self.hedge_entry = 0.0
        self.hedge_slip = 0.0
        self.last: Marks | None = None

    def adopt(self, lead: float, hedge: float, hedge_avg: float, marks: Marks) -> None:
        """Begin with slices that are already open (coins, signed): they count from these marks on.

        hedge_avg: their average price in the hedge's currency, which is what their stablecoin exposure is.
        """
        self.lead, self.hedge, self.hedge_entry, self.last = lead, hedge, hedge_avg, marks

    def mark(self, marks: Marks) -> None:
        """Move every open slice from the last marks to these."""
        last = self.last
        self.last = marks
        if last is None or (self.lead == 0.0 and self.hedge == 0.0):
            return
        lead, hedge, lines = self.lead, self.hedge, self.lines
        matched = 0.0
        if lead > 0.0 > hedge:
            matched = min(lead, -hedge)
        elif lead < 0.0 < hedge:
            matched = max(lead, -hedge)
        d_index = marks.index_usd - last.index_usd
        d_fair = marks.fair_usd - last.fair_usd
        d_lead = marks.lead_mid - last.lead_mid
        d_perp = marks.hedge_mid * marks.stable - last.hedge_mid * last.stable
        d_stable = marks.stable - last.stable
        lines["roll_down"] += matched * (d_fair - d_index)
        lines["richening"] += matched * (d_lead - d_fair)
        lines["perp_premium"] -= matched * (d_perp - d_index)
        lines["residual_delta"] += (lead - matched) * d_lead + (hedge + matched) * d_perp
        lines["stablecoin_notional"] -= hedge * self.hedge_entry * d_stable
        lines["slippage"] += self.hedge_slip * d_stable

    def fill(self, leg: Leg, coins: float, price: float, decision_mid: float, marks: Marks) -> float:
        """Book a fill of signed `coins` and return what it realised, in the leg's settle currency.

        Slippage is the fill against the decision mid; the move from there to the present mid is residual delta.
        The realised amount of the hedge goes to its WalletAttribution (`add`), where it is revalued from now on.
        """
        self.mark(marks)
        lines = self.lines
        if leg is Leg.LEAD:
            lines["slippage"] += coins * (decision_mid - price)
            lines["residual_delta"] += coins * (marks.lead_mid - decision_mid)
            self.lead = _flat_if_noise(self.lead + coins)
            return 0.0
        lines["slippage"] += coins * (decision_mid - price) * marks.stable
        lines["residual_delta"] += coins * (marks.hedge_mid - decision_mid) * marks.stable
        return self._move_hedge(coins, price, decision_mid)

    def _move_hedge(self, coins: float, price: float, decision_mid: float) -> float:
        """Change the open hedge slices at average cost; what a reduction releases is realised."""
        held = self.hedge
        total = _flat_if_noise(held + coins)
        closing = 0.0 if held * coins >= 0.0 else -held if abs(coins) >= abs(held) else coins
        realised = 0.0
        if closing:
            share = -closing / held
            realised = -closing * (price - self.hedge_entry) + share * self.hedge_slip
            self.hedge_slip *= 1.0 - share
        opening = coins - closing
        if opening:
            kept = held + closing
            self.hedge_entry = (kept * self.hedge_entry + opening * decision_mid) / (kept + opening)
            self.hedge_slip += opening * (decision_mid - price)
        if total == 0.0:
            self.hedge_entry = self.hedge_slip = 0.0
        self.hedge = total
        return realised

    def fee(self, amount: float, currency: str, marks: Marks) -> None:
        """Book a fee (> 0 is a cost) at the stablecoin of its own stamp. ValueError: a currency without a price."""
        self.mark(marks)
        self.lines["fees"] -= amount * self._usd(currency, marks)

    def funding(self, amount: float, marks: Marks) -> None:
        """Book a funding payment in the hedge's currency (> 0 is received) at the stablecoin of its own stamp."""
        self.mark(marks)
        self.lines["funding"] += amount * marks.stable

    def cash(self, kind: str, amount: float, currency: str, marks: Marks) -> None:
        """Book another cash movement (> 0 is received) that concerns this pair on the line of its kind."""
        self.mark(marks)
        line = CASH_LINES.get(kind)
        if line is not None:
            self.lines[line] += amount * self._usd(currency, marks)

    def roll(self, paid: float, decision: float, old: Marks, new: Marks) -> None:
        """Exchange the whole lead for the next contract at a calendar spread (new minus old, USD per coin).

        paid: spread filled; decision: spread mid at the decision. `old` and `new` value the pair with the old and
        the new contract at this instant: the premium re-bases without profit and only the spread's slippage counts
        (G9), plus the move of the spread since the decision as residual delta.
        """
        self.mark(old)
        self.lines["roll"] += self.lead * (decision - paid)
        self.lines["residual_delta"] += self.lead * (new.lead_mid - old.lead_mid - decision)
        self.last = new

    def total(self) -> float:
        """Return the sum of the lines in USD."""
        return sum(self.lines.values())

    def _usd(self, currency: str, marks: Marks) -> float:
        if currency == "USD":
            return 1.0
        if currency == self._currency:
            return marks.stable
        raise ValueError(f"no USD price for currency {currency!r} in this pair (hedge settles in {self._currency})")


class WalletAttribution:
    """The stablecoin_wallet line of one silo and currency: every unit held is worth more or less as the coin moves.

    The balance is the opening one plus fees, funding, cash and what the pairs' `fill` reported as realised. Pairs
    that share the wallet realise at their own average cost; only the total of open and realised is the venue's.
    """

    def __init__(self, opening: float, stable: float) -> None:
        self.balance = opening
        self.stable = stable
        self.line = 0.0

    def mark(self, stable: float) -> None:
        """Revalue the balance at this USD price of the currency."""
        self.line += self.balance * (stable - self.stable)
        self.stable = stable

    def add(self, amount: float, stable: float) -> None:
        """Change the balance (> 0 is received) at the price of its stamp."""
        self.mark(stable)
        self.balance += amount


def _flat_if_noise(coins: float) -> float:
    """Return exactly 0 for what float subtraction leaves of a closed leg (the smallest lots are 1e-8 coins)."""
    return 0.0 if abs(coins) < 1e-10 else coins
