"""A pair's window for strategy tests: real books, and the few facts of the desk a test sets by hand."""

from __future__ import annotations

from decimal import Decimal

from bot.market.fair import DAY_NS
from bot.model.event import FundingRate, MarkPrice, Quote
from bot.model.instrument import FeeSchedule, Instrument, Kind
from bot.model.intent import PairIntent
from bot.model.market import Book, Levels

S = 1_000_000_000
H8 = 8 * 3_600 * S
NOW = 60_000 * H8  # on a funding stamp, aligned to UTC
EXPIRY = NOW + 30 * DAY_NS


def future(symbol: str = "MBTX26", expiry_ns: int | None = EXPIRY) -> Instrument:
    """Return an MBT contract with its fee of 3 USD per lot and side."""
    return Instrument(id=symbol, venue="cme", kind=Kind.FUTURE, base="BTC", unit=Decimal("0.1"), tick=Decimal(5), lot=Decimal(1), index_quote="USD",
                      settle="USD", expiry_ns=expiry_ns, fees=FeeSchedule(per_contract=Decimal(3)))  # fmt: skip


PERP = Instrument(id="BTCUSDT", venue="perp", kind=Kind.PERP, base="BTC", unit=Decimal(1), tick=Decimal("0.1"), lot=Decimal("0.001"), index_quote="USDT",
                  settle="USDT", fees=FeeSchedule(maker_rate=Decimal("0.0002"), taker_rate=Decimal("0.0005")))  # fmt: skip


def stack(book: Book, *, bids: Levels = (), asks: Levels = ()) -> None:
    """Show these levels on one side of a book or on both, the touch first."""
    book.depth_ts = book.ts
    if bids:
        (book.bid, book.bid_size), book.bids = bids[0], bids
    if asks:
        (book.ask, book.ask_size), book.asks = asks[0], asks


class PairView:
    """Satisfies bot.model.view.View; `show` moves the market and returns the quote that a strategy is called with."""

    def __init__(self, lead: Instrument | None = None, stable: float | None = 1.0) -> None:
        self.pair = "conv"
        self.now = NOW
        self.lead_terms, self.hedge_terms = lead or future(), PERP
        self.lead, self.hedge = Book(self.lead_terms.id), Book(PERP.id)
        self.stable = None if stable is None else Book("USDT/USD")
        if self.stable is not None:
            self.stable.mid = stable
        self.target = self.lead_qty = Decimal(0)
        self.intent: PairIntent | None = None
        self.entered_ns = self.disarmed_ns = 0
        self.armed = self.session_open = self.fresh = True
        self.funding(0.0001)

    def funding(self, rate: float, interval_s: int = 28_800, cap: float = 0.003) -> None:
        """Set the venue's estimate for the next stamp."""
        book = self.hedge
        book.funding_rate, book.funding_interval_s, book.funding_cap, book.funding_ts = rate, interval_s, cap, self.now

    def show(self, now: int, lead: float, perp: float, index: float, size: float = 1_000.0, half: float = 2.5) -> Quote:
        """Show both legs around these mids with this size (lead lots; the perp shows the same in coins)."""
        self.now = now
        for book, mid, spread in ((self.lead, lead, half), (self.hedge, perp, half)):
            book.ts = book.venue_ts = now
            book.bid, book.ask, book.mid = mid - spread, mid + spread, mid
            book.bid_size = book.ask_size = size
        self.hedge.mark, self.hedge.index, self.hedge.mark_ts = perp, index, now
        return Quote(now, self.hedge.instrument, perp - half, perp + half, size, size, now)

    def accept(self, intent: PairIntent) -> None:
        """Let the desk follow an intent at once: target approved and filled."""
        self.target = self.lead_qty = intent.target_lead
        if intent.target_lead:
            self.intent = intent


def history(points: list[tuple[int, float, float, float]], lead: str = "MBTX26") -> list[object]:
    """Return the events of (time, lead mid, perp mid, index) points, stablecoin at 1."""
    out: list[object] = []
    for t, lead_mid, perp_mid, index in points:
        out.append(Quote(t, "USDT/USD", 0.9999, 1.0001, 1e6, 1e6, t))
        out.append(MarkPrice(t, "BTCUSDT", perp_mid, index))
        out.append(FundingRate(t, "BTCUSDT", 0.0001, 28_800, t + H8, 0.003))
        out.append(Quote(t, lead, lead_mid - 2.5, lead_mid + 2.5, 1_000.0, 1_000.0, t))
        out.append(Quote(t, "BTCUSDT", perp_mid - 2.5, perp_mid + 2.5, 1_000.0, 1_000.0, t))
    return out
