"""The live view: one screen of a running desk, drawn from a snapshot, for people who watch a terminal.

It shows the size and state of everything that can hurt: legs, premium in deviations with its bands, margin by venue,
funding, orders, refusals, alerts, and in one line why nothing is opened now. Two layouts: one column from 80 columns,
two from 110. Without a terminal the feed's plain lines are printed instead; this module then is not loaded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bot.desk.feed import Feed, Line
from bot.desk.snapshot import LegRow, PairRow, Snapshot, VenueRow

WIDE = 110
"""Columns from which two panels stand side by side."""
REDRAW_S = 0.25
HISTORY = 600
BARS = " ▁▂▃▄▅▆▇█"
BAND_SIGMAS = 4.0
"""The premium strip shows z from minus to plus this many deviations."""
AMBER_BUFFER, RED_BUFFER = 0.5, 0.25
"""Margin buffers (share of equity) below which a bar turns amber and red."""
KIND_STYLE = {
    "enter": "bold green", "exit": "bold cyan", "fill": "green", "funding": "blue", "order": "dim", "reject": "yellow",
    "refuse": "dim yellow", "stop": "bold red", "kill": "bold white on red", "alert": "bold yellow", "venue": "magenta", "desk": "cyan",
}  # fmt: skip
STATE_STYLE = {
    "HEDGED": "bold green", "FLAT": "bold", "LEGGING": "bold yellow", "UNWINDING": "bold red", "FLATTENING": "bold white on red",
    "EVACUATING": "bold white on red", "HALTED": "bold white on red", "RECONCILING": "bold yellow", "WORKING": "bold yellow",
}  # fmt: skip

BANNER = "PAPER: seeded market, scripted venue faults, real desk. Not evidence of profit."
"""Only market and venue faults are scripted, never the desk's reaction."""


class LiveView:
    """Redraws a screen at most every REDRAW_S of wall time. `draw` is cheap when nothing is due."""

    def __init__(self, feed: Feed, console: Console, *, speed: float) -> None:
        self.feed = feed
        self.console = console
        self.speed = speed
        self._z: deque[float] = deque(maxlen=HISTORY)
        self._live = Live(console=console, auto_refresh=False, transient=False, screen=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def draw(self, snapshot: Snapshot) -> None:
        """Show one snapshot."""
        if snapshot.pairs and snapshot.pairs[0].z is not None:
            self._z.append(snapshot.pairs[0].z)
        self._live.update(render(snapshot, self.feed, tuple(self._z), self.console.width, self.speed), refresh=True)


def render(s: Snapshot, feed: Feed, z: Sequence[float], width: int, speed: float) -> RenderableType:
    """Return the whole screen for `width` columns. z: recent values of the first pair, oldest first."""
    left: list[RenderableType] = [_legs(s), _premium(s, z, width if width < WIDE else width * 11 // 20)]
    right: list[RenderableType] = [_margin(s), _funding(s)]
    if width < WIDE:
        middle: RenderableType = Group(*left, *right)
    else:
        grid = Table.grid(expand=True)
        grid.add_column(ratio=11)
        grid.add_column(ratio=9)
        grid.add_row(Group(*left), Group(*right))
        middle = grid
    return Group(_header(s, speed), middle, _orders(s), _events(feed, 6 if width < WIDE else 8), _footer(s))


def _header(s: Snapshot, speed: float) -> RenderableType:
    pace = "max" if speed <= 0 else f"x{speed:g}"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f" {s.run_id} ", "bold white on blue")
    line.append(f" {s.scenario} seed {s.seed} {pace} | ")
    line.append(s.state, STATE_STYLE.get(s.state, "bold"))
    if s.kill_level != "NONE":
        line.append(" ".join([" KILL", s.kill_level, *s.evacuate]), "bold white on red")
    nav = "not priced" if s.equity_usd is None else f"{s.equity_usd:,.0f} USD"
    day = "" if s.day_pnl_usd is None else f" day {s.day_pnl_usd:+,.0f}"
    line.append(f" | {s.at[5:16].replace('T', ' ')}Z | NAV {nav}{day}")
    return Group(Text(BANNER, "dim italic", no_wrap=True, overflow="ellipsis"), line)


def _legs(s: Snapshot) -> Panel:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1))
    for name in ("venue", "instrument", "qty", "avg", "mark", "uPnL", "age"):
        table.add_column(name, justify="left" if name in ("venue", "instrument") else "right", no_wrap=True)
    for leg in s.legs:
        table.add_row(*_leg_cells(leg))
    open_coins = sum(abs(p.unhedged_coins) for p in s.pairs)
    style = "bold red" if open_coins > 0.05 else "dim"
    table.add_row("net", "", f"{s.net_delta_base:+.3f}", "", "", "", Text(f"{open_coins:.3f} bare", style))
    return Panel(table, title="Legs", title_align="left", padding=(0, 1))


def _leg_cells(leg: LegRow) -> tuple[RenderableType, ...]:
    age = "-" if leg.age_s is None else _span(leg.age_s)
    state = Text(age if leg.open else f"{age} closed", "" if leg.open else "yellow")
    qty = Text(f"{leg.qty:+g}" if leg.qty else "0", "bold" if leg.qty else "dim")
    upnl = "-" if leg.upnl is None or not leg.qty else f"{leg.upnl:+,.0f}"
    return leg.venue, leg.instrument, qty, _price(leg.avg), _price(leg.mark), upnl, state


def _premium(s: Snapshot, z: Sequence[float], width: int) -> Panel:
    lines: list[RenderableType] = []
    for pair in s.pairs:
        lines.append(Text.assemble(_bp("premium", pair.premium_bp), _bp("excess", pair.excess_bp), ("z ", "dim"), _number(pair.z, "+.2f"),
                                   ("  band ", "dim"), _number(pair.mean_bp, "+.1f"), " sd ", _number(pair.sigma_bp, ".1f"),
                                   ("  edge ", "dim"), _number(pair.edge_bp, "+.1f"), no_wrap=True, overflow="ellipsis"))  # fmt: skip
        lines.append(_gauge(pair, max(20, width - 6)))
    lines.append(Text(_strip(z, max(20, width - 6)), "cyan", no_wrap=True))
    return Panel(Group(*lines), title="Premium, perp - CME (short perp earns when it falls)", title_align="left", padding=(0, 1))


def _gauge(pair: PairRow, width: int) -> Text:
    """Return a ruler of z with the entry (v), exit (^) and the present value (#)."""
    cells = ["-"] * width
    for value, mark in ((0.0, "|"), (pair.z_out, "^"), (pair.z_in, "v"), (pair.z, "#")):
        if value is not None:
            share = (max(-BAND_SIGMAS, min(BAND_SIGMAS, value)) + BAND_SIGMAS) / (2 * BAND_SIGMAS)
            cells[round(share * (width - 1))] = mark
    return Text("".join(cells), no_wrap=True)


def _strip(z: Sequence[float], width: int) -> str:
    """Return recent z as blocks, oldest first; the lowest block is -4 deviations, the highest +4."""
    shown = list(z)[-width:]
    scale = len(BARS) - 1
    return "".join(BARS[round((max(-BAND_SIGMAS, min(BAND_SIGMAS, v)) + BAND_SIGMAS) / (2 * BAND_SIGMAS) * scale)] for v in shown)


def _margin(s: Snapshot) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    for justify in ("left", "left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    for name, venue in s.venues.items():
        table.add_row(*_venue_cells(name, venue))
    return Panel(table, title="Margin (unstressed buffer) and money", title_align="left", padding=(0, 1))


def _venue_cells(name: str, venue: VenueRow) -> tuple[RenderableType, ...]:
    label = Text(name, "" if venue.up else "bold white on red")
    if venue.buffer is None:
        return label, Text("no price yet", "dim"), "", ""
    used = max(0.0, min(1.0, 1.0 - venue.buffer))
    style = "red" if venue.buffer < RED_BUFFER else "yellow" if venue.buffer < AMBER_BUFFER else "green"
    bar = Text("[" + "#" * round(used * 18) + "." * (18 - round(used * 18)) + "]", style)
    equity = "-" if venue.equity_usd is None else f"{venue.equity_usd:,.0f} USD"
    return label, bar, f"{venue.buffer:.0%} left", equity if venue.up else f"{equity} DOWN"


def _funding(s: Snapshot) -> Panel:
    lines: list[RenderableType] = []
    for pair in s.pairs:
        rate = "-" if pair.funding_rate is None else f"{pair.funding_rate * 1e4:+.2f} bp"
        stamp = "-" if pair.funding_stamp is None else pair.funding_stamp[11:16] + "Z"
        lines.append(Text(f"{pair.id}: next {rate} at {stamp}, got {pair.funding_usd:+,.2f} USD", no_wrap=True,
                          overflow="ellipsis"))  # fmt: skip
        if pair.pnl_usd is not None:
            held = "" if pair.held_s is None else f", held {_span(pair.held_s)}"
            lines.append(Text(f"{pair.id}: {pair.held:+g} of {pair.target:+g} lots, P&L {pair.pnl_usd:+,.0f} USD{held}", no_wrap=True))
    return Panel(Group(*lines), title="Funding and trade", title_align="left", padding=(0, 1))


def _orders(s: Snapshot) -> Panel:
    rows: list[RenderableType] = [
        Text(f"{o.id} {o.purpose} {o.side} {o.filled:g}/{o.qty:g} {o.instrument} @ {o.limit:g} {o.status} {_span(o.age_s)}",
             "bold red" if o.status == "unknown" else "", no_wrap=True, overflow="ellipsis")
        for o in s.orders[:4]
    ]  # fmt: skip
    refusals = ", ".join(f"{rule} {n}" for rule, n in sorted(s.refusals.items(), key=lambda r: -r[1])[:4]) or "none"
    rows.append(Text(f"pairs {s.opened} opened {s.closed} closed, fills {s.fills}, rejects {s.rejects}; refusals: {refusals}", "dim",
                     no_wrap=True, overflow="ellipsis"))  # fmt: skip
    return Panel(Group(*rows), title=f"Orders ({len(s.orders)} live)", title_align="left", padding=(0, 1))


def _events(feed: Feed, rows: int) -> Panel:
    lines: list[RenderableType] = [_event(line) for line in list(feed.lines)[-rows:]]
    title = f"Events, {len(feed.alerts)} alert(s)"
    if feed.alerts:
        lines.append(Text(f"last alert: {feed.alerts[-1]}", "bold yellow", no_wrap=True, overflow="ellipsis"))
    return Panel(Group(*lines) if lines else Text("nothing yet", "dim"), title=title, title_align="left", padding=(0, 1))


def _event(line: Line) -> Text:
    text = str(line)
    return Text(f"{text[11:19]}{text[20:]}", KIND_STYLE.get(line.kind, ""), no_wrap=True, overflow="ellipsis")


def _footer(s: Snapshot) -> Text:
    why = "; ".join(s.blocked_by) or "nothing"
    return Text(f" blocked by: {why}", "yellow" if s.blocked_by else "dim", no_wrap=True, overflow="ellipsis")


def _bp(name: str, value: float | None) -> Text:
    return Text.assemble((f"{name} ", "dim"), _number(value, "+.1f"), (" bp  ", "dim"))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3_600:.0f}h{seconds % 3_600 / 60:02.0f}" if seconds < 172_800 else f"{seconds / 86_400:.1f}d"
