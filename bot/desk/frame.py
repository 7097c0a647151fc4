"""One frame of the live view, for any width and height: lines by subject, laid out in panels where there is room for them.

Below WIDE columns there are no boxes and the first 24 rows hold what matters: banner, state, NAV, net delta, worst margin, legs,
premium, margin, funding, the trade and its reason, and the last events. Every line is cut to the width; none wraps but
those that say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bot.desk.feed import Feed, Fills, Line
from bot.desk.incidents import Incident
from bot.desk.snapshot import LegRow, PairRow, Snapshot, VenueRow
from bot.journal.attribution import LINES

WIDE, PANEL_ROWS = 120, 30
"""Columns and rows from which panels stand side by side."""
BARS = " ▁▂▃▄▅▆▇█"
BAND_SIGMAS = 4.0
"""The premium strip shows z from minus to plus this many deviations."""
STRIP_STEP = 4
"""Frames per column of the strip when there are many: at four frames a second 60 columns are the last minute."""
GAUGE = 14
FOLDED = frozenset({"enter", "alert"})
"""Kinds of events that say a reason or an action: they may take a second line."""
RED_BUFFER = 0.25
"""Unstressed margin buffer (share of equity) below which a bar is red whatever the shocks would take."""
KIND_STYLE = {
    "enter": "bold green", "exit": "bold cyan", "fill": "green", "funding": "blue", "order": "dim", "reject": "bold red",
    "refuse": "dim yellow", "stop": "bold red", "kill": "bold white on red", "alert": "bold yellow", "venue": "magenta", "desk": "cyan",
}  # fmt: skip
STATE_STYLE = {
    "HEDGED": "bold green", "FLAT": "bold", "LEGGING": "bold yellow", "UNWINDING": "bold red", "FLATTENING": "bold white on red",
    "EVACUATING": "bold white on red", "HALTED": "bold white on red", "RECONCILING": "bold yellow", "WORKING": "bold yellow",
}  # fmt: skip
BANNER = "PAPER: seeded market, scripted venue faults, real desk. Not evidence of profit."
"""Only market and venue faults are scripted, never the desk's reaction."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame shows. z: recent values of the first pair, oldest first. card: row of the last closed trade
    (bot.desk.report_money). incident: an open leg to show, on or just closed. speed: market seconds per second, 0: max.
    """

    snapshot: Snapshot
    feed: Feed
    z: Sequence[float] = ()
    card: Mapping[str, Any] | None = None
    incident: Incident | None = None
    now_ns: int = 0
    speed: float = 0.0


def frame(view: View, width: int, height: int) -> RenderableType:
    """Return the whole screen."""
    if width < WIDE or height < PANEL_ROWS:
        return _narrow(view, width, height)
    return _wide(view, width, height)


def _narrow(view: View, width: int, height: int) -> Group:
    """Return lines without boxes; what is left of the height goes to the last trade's card and the events."""
    s = view.snapshot
    tall = height >= PANEL_ROWS
    legs = _legs(s) if tall else _legs(s)[:-1]
    top = [*_header(view), _bar(view), *legs, *_premium(s, view.z, width - 2, strip=tall), *_margin(s), *_funding(s, apart=False),
           *_trade(s, width, 2 if tall else 1), _orders(s)[-1]]  # fmt: skip
    card = _card(view.card) if height >= len(top) + 24 else _short_card(view.card, width)
    rows = max(1, height - len(top) - len(card) - 2)
    rule = Text("-- events " + "-" * max(0, width - 11), "dim", no_wrap=True)
    alert = _alert(view.feed, width)
    events = _events(view.feed, rows, width)
    if alert and all(alert[0].plain != line.plain for line in events):  # it has scrolled away, and must not
        events = _events(view.feed, max(1, rows - len(alert)), width)
        return Group(*top, *card, rule, *events, *alert, _footer(s))
    return Group(*top, *card, rule, *events, _footer(s))


def _wide(view: View, width: int, height: int) -> Group:
    """Return panels two by two: legs and premium beside margin and funding, events beside card and alerts."""
    s, left = view.snapshot, width * 11 // 20
    first = Table.grid(expand=True)
    first.add_column(ratio=11)
    first.add_column(ratio=9)
    premium = _premium(s, view.z, left - 4, strip=True)
    first.add_row(
        Group(_panel("Legs", _legs(s)), _panel("Premium, perp - CME (short perp earns when it falls)", premium)),
        Group(
            _panel("Margin: all shocks would take, of USD", _margin(s)),
            _panel("Funding and trade", [*_funding(s, apart=True), *_trade(s, width - left, 2)]),
        ),
    )
    orders = _panel(f"Orders ({len(s.orders)} live)", _orders(s))
    used = 4 + max(len(_legs(s)) + len(premium), len(_margin(s)) + len(_funding(s, apart=True)) + len(_trade(s, width - left, 2))) + 4 + len(_orders(s)) + 2 + 1
    rows = max(3, height - used - 2)
    card = _card(view.card) if rows >= 16 else _short_card(view.card, width - left - 4)
    alerts = [Text(str(x)[11:19] + str(x)[20:], "bold yellow", overflow="fold") for x in list(view.feed.alerts)[-2:]]
    side = Table.grid(expand=True)
    side.add_column(ratio=11)
    side.add_column(ratio=9)
    side.add_row(
        _panel("Events", _events(view.feed, rows, left - 4), rows + 2),
        _panel("Last trade" if view.card else f"Alerts ({len(view.feed.alerts)})", [*card, *alerts] or [Text("none", "dim")], rows + 2),
    )
    return Group(*_header(view), _bar(view), first, orders, side, _footer(s))


def _panel(title: str, lines: Iterable[RenderableType], height: int | None = None) -> Panel:
    return Panel(Group(*lines), title=title, title_align="left", padding=(0, 1), height=height)


def _line(*parts: str | tuple[str, str], style: str = "") -> Text:
    return Text.assemble(*parts, style=style, no_wrap=True, overflow="ellipsis")


def _header(view: View) -> list[Text]:
    s = view.snapshot
    pace = "max" if view.speed <= 0 else f"x{view.speed:g}"
    kill = (" ".join([" KILL", s.kill_level, *s.evacuate, ""]), "bold white on red") if s.kill_level != "NONE" else ""
    nav = "not priced" if s.equity_usd is None else f"{s.equity_usd:,.0f} USD"
    day = "" if s.day_pnl_usd is None else f" day {s.day_pnl_usd:+,.0f}"
    base = s.pairs[0].base if s.pairs else "coins"
    return [
        _line(BANNER, style="dim italic"),
        _line((f" {s.run_id} ", "bold white on blue"), f" {s.scenario} seed {s.seed} {pace} | ", (s.state, STATE_STYLE.get(s.state, "bold")),
              kill, f" | {s.at[5:19].replace('T', ' ')}Z"),
        _line(f" NAV {nav}{day} | net {s.net_delta_base:+.3f} {base} | worst margin ", _worst(s)),
    ]  # fmt: skip


def _worst(s: Snapshot) -> tuple[str, str]:
    strained = [(v.strain, name, v) for name, v in s.venues.items() if v.strain is not None]
    if strained:
        share, name, venue = max(strained, key=lambda x: x[0])
        return f"{name} {share:.0%}", _colour(venue)
    return "none used", "dim"


def _colour(venue: VenueRow) -> str:
    """Return green, amber from the warning on, red where the shocks or the venue itself would take everything."""
    strain = venue.strain or 0.0
    if strain >= 1.0 or (venue.buffer is not None and venue.buffer < RED_BUFFER):
        return "bold red"
    return "bold yellow" if strain > venue.strain_warn else "green"


def _bar(view: View) -> Text:
    """Return the one line to look at first: an open leg, a venue that is gone, strained margin, else the trade or what it waits for."""
    s, x = view.snapshot, view.incident
    if x is not None:
        said = f"{x.why} ({x.failed} x)" if x.failed > 1 else x.why
        if not x.closed_ns:
            return _line(f" UNHEDGED {x.coins:+.3f} {x.base} {x.seconds(view.now_ns):.1f}s - repairing: {said} ", style="bold white on red")
        return _line(f" UNHEDGED {x.coins:+.3f} {x.base} {x.seconds(view.now_ns):.1f}s, repaired: {said} ", style="bold white on red")
    for name, venue in s.venues.items():
        if not venue.up:
            return _line(f" {name} UNREACHABLE: positions as last known, nothing is opened ", style="bold white on magenta")
    for name, venue in s.venues.items():
        if venue.strain is not None and venue.strain > venue.strain_warn:
            rates = f", margin rates x{venue.rates:.2g}" if venue.rates > 1.01 else ""
            return _line(f" MARGIN {name}: shocks would take {venue.strain:.0%}, warned at {venue.strain_warn:.0%}{rates} ", style="bold black on yellow")
    held = [p for p in s.pairs if p.held_s is not None]
    if held:
        return _line(f" in a trade: leaves at z {held[0].z_out:g} " if held[0].z_out is not None else " in a trade ", style="black on green")
    return _line(f" waiting: {_blocks(s)} ", style="dim")


def _blocks(s: Snapshot) -> str:
    return "; ".join(s.blocked_by) or "nothing blocks"


def _legs(s: Snapshot) -> list[Text]:
    lines = [_line(f"{'venue':<5} {'instrument':<11}{'qty':>8}{'avg':>11}{'mark':>11}{'uPnL':>9}{'age':>6}", style="dim")]
    lines += [_leg(leg) for leg in s.legs]
    open_coins = sum(abs(p.unhedged_coins) for p in s.pairs)
    lines.append(_line(f"net   {s.net_delta_base:+.3f} ", (f"unhedged {open_coins:.3f}", "bold red" if open_coins > 0.05 else "dim")))
    return lines


def _leg(leg: LegRow) -> Text:
    age = "-" if leg.age_s is None else span(leg.age_s)
    upnl = "-" if leg.upnl is None or not leg.qty else f"{leg.upnl:+,.0f}"
    qty = f"{leg.qty:+g}" if leg.qty else "0"
    return _line(
        f"{leg.venue:<5} {leg.instrument:<11}", (f"{qty:>8}", "bold" if leg.qty else "dim"), f"{_price(leg.avg):>11}{_price(leg.mark):>11}{upnl:>9}",
        (f"{age:>6}" if leg.open else f"{age:>6} closed", "" if leg.open else "yellow"),
    )


def _premium(s: Snapshot, z: Sequence[float], width: int, *, strip: bool) -> list[Text]:
    lines = []
    for pair in s.pairs:
        lines.append(_line(("prem ", "dim"), _number(pair.premium_bp, "+.1f"), (" excess ", "dim"), _number(pair.excess_bp, "+.1f"), (" z ", "dim"),
                           (_number(pair.z, "+.2f"), "bold"), (" mean ", "dim"), _number(pair.mean_bp, "+.1f"), (" sd ", "dim"),
                           _number(pair.sigma_bp, ".1f"), (" edge ", "dim"), _number(pair.edge_bp, "+.1f"), (" bp", "dim")))  # fmt: skip
        lines.append(_gauge(pair, max(20, width)))
    if strip:
        lines.append(Text(_strip(z, max(20, width)), "cyan", no_wrap=True))
    return lines


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
    step = max(1, min(STRIP_STEP, -(-len(z) // width)))
    shown = list(z)[::-step][:width][::-1]
    scale = len(BARS) - 1
    return "".join(BARS[round((max(-BAND_SIGMAS, min(BAND_SIGMAS, v)) + BAND_SIGMAS) / (2 * BAND_SIGMAS) * scale)] for v in shown)


def _margin(s: Snapshot) -> list[Text]:
    return [_venue(name, venue) for name, venue in s.venues.items()]


def _venue(name: str, venue: VenueRow) -> Text:
    label = (f"{name:<5} ", "" if venue.up else "bold white on red")
    if venue.buffer is None:
        return _line(label, ("no price yet", "dim"))
    strain = venue.strain or 0.0
    full = round(min(1.0, strain) * GAUGE)
    money = "-" if venue.equity_usd is None else f"{venue.equity_usd:,.0f}"
    call = "" if venue.call_move is None else f", call {venue.call_move:+.0%}"
    return _line(label, ("[" + "#" * full + "." * (GAUGE - full) + "]", _colour(venue)), f" {strain:4.0%} of {money}", (call, "dim"),
                 ("" if venue.up else " DOWN", "bold red"))  # fmt: skip


def _funding(s: Snapshot, *, apart: bool) -> list[Text]:
    """Return each pair's next stamp, with the time left and what it would pay (> 0 to us), and what the trade has got.

    apart: in two lines.
    """
    lines = []
    for pair in s.pairs:
        rate = "-" if pair.funding_rate is None else f"{pair.funding_rate * 1e4:+.2f} bp"
        due = "" if pair.funding_due_usd is None else f" = {pair.funding_due_usd:+,.0f} USD"
        got = "" if pair.held_s is None else f"got {pair.funding_usd:+,.2f} USD since the entry"
        stamp = f"funding {_stamp(s.at, pair.funding_stamp)} {rate}{due}"
        lines += [_line(stamp), _line(got)] if apart else [_line(f"{stamp}; {got}" if got else stamp)]
    return lines


def _stamp(at: str, stamp: str | None) -> str:
    """Return a stamp's time of day and the time left to it, from two ISO times at most a day apart."""
    if stamp is None:
        return "stamp unknown"
    left = (_second_of_day(stamp) - _second_of_day(at)) % 86_400
    return f"{stamp[11:16]}Z in {left // 3_600}:{left // 60 % 60:02}:{left % 60:02}"


def _second_of_day(iso: str) -> int:
    return int(iso[11:13]) * 3_600 + int(iso[14:16]) * 60 + int(iso[17:19])


def _trade(s: Snapshot, width: int, rows: int) -> list[Text]:
    """Return each pair's trade and, in `rows` lines, why it was opened."""
    lines = []
    for pair in s.pairs:
        pnl = "" if pair.pnl_usd is None else f", P&L {pair.pnl_usd:+,.0f} USD"
        held = "" if pair.held_s is None else f", held {span(pair.held_s)}"
        name = f"{pair.id}: " if len(s.pairs) > 1 else ""
        lines.append(_line(f"{name}{pair.held:+g} of {pair.target:+g} lots{pnl}{held}"))
        lines += _folded(pair.entry and f"why: {pair.entry}", width - 4 if rows > 1 else width, rows)
    return lines


def _folded(text: str, width: int, rows: int) -> list[Text]:
    """Return `text` in exactly `rows` lines, so that nothing below them moves."""
    words, lines = text.split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width and len(lines) < rows:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [_line(line, style="dim") for line in (*lines, *[""] * (rows - len(lines)))]


def _orders(s: Snapshot) -> list[Text]:
    """Return two live orders (or room for them) and the counts."""
    rows = [
        _line(f"{o.id} {o.purpose} {o.side} {o.filled:g}/{o.qty:g} {o.instrument} @ {o.limit:g} {o.status} {span(o.age_s)}",
              style="bold red" if o.status == "unknown" else "")
        for o in s.orders[:2]
    ]  # fmt: skip
    rows += [_line("") for _ in range(2 - len(rows))]
    refusals = ", ".join(f"{rule} {n}" for rule, n in sorted(s.refusals.items(), key=lambda r: -r[1])[:4]) or "none"
    counts = f"opened {s.opened}, closed {s.closed}; orders live {len(s.orders)}, fills {s.fills}, rejects {s.rejects}; refused: {refusals}"
    return [*rows, _line(counts, style="dim")]


def _events(feed: Feed, rows: int, width: int) -> list[Text]:
    """Return the last events in exactly `rows` lines, the newest last."""
    lines: list[Text] = []
    for line in reversed(feed.digest):
        if len(lines) >= rows:
            break
        lines[:0] = _event(line, width)
    return lines[-rows:] + [_line("") for _ in range(rows - len(lines))]


def _event(line: Line | Fills, width: int) -> list[Text]:
    text, style = str(line), KIND_STYLE.get(line.kind, "")
    said = f"{text[11:19]}{text[20:]}"
    if line.kind not in FOLDED or len(said) <= width:
        return [_line(said, style=style)]
    return [_line(part, style=style) for part in (x.plain for x in _folded(said, width, 3)) if part]


def _alert(feed: Feed, width: int) -> list[Text]:
    """Return the last alert in two lines: the number, the limit and the action must be readable. Nothing without one."""
    if not feed.alerts:
        return []
    text = str(feed.alerts[-1])
    lines = _folded(f"{text[11:19]}{text[20:]}", width, 2)
    return [Text(line.plain, "bold yellow", no_wrap=True, overflow="ellipsis") for line in lines]


def _card(row: Mapping[str, Any] | None) -> list[Text]:
    """Return the attribution of the last closed trade; it sums, and what does not is printed."""
    if row is None:
        return []
    head = f"{row['lots']:g} lots, held {span(row['held_s'])}; out: {row['exit']}"
    lines = [_line(head, style="bold cyan")]
    lines += [_amount(name.replace("_", " "), row[name]) for name in LINES if name != "stablecoin_wallet" and (row[name] or name in ALWAYS)]
    return [*lines, _amount("residual", row["residual_usd"]), _amount("P&L", row["pnl_usd"], "bold")]


ALWAYS = ("perp_premium", "richening", "funding", "fees", "slippage")


def _amount(name: str, usd: float, style: str = "") -> Text:
    return _line(f"  {name:<20}{usd + 0.0:>+12,.2f}", style=style)


def _short_card(row: Mapping[str, Any] | None, width: int) -> list[Text]:
    """Return the same in three lines, cents left out."""
    if row is None:
        return []
    parts = [f"{name.replace('_', ' ')} {row[name]:+,.0f}" for name in LINES if name != "stablecoin_wallet" and abs(row[name]) >= 0.5]
    text = f"trade closed {(row['closed_at'] or '')[11:16]}Z: P&L {row['pnl_usd']:+,.0f} = {', '.join(parts)}; residual {row['residual_usd'] + 0.0:+.2f}"
    return [Text(line.plain, "bold cyan", no_wrap=True, overflow="ellipsis") for line in _folded(text, width, 3)]


def _footer(s: Snapshot) -> Text:
    return _line(f" blocked by: {'; '.join(s.blocked_by) or 'nothing'}", style="yellow" if s.blocked_by else "dim")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def span(seconds: float) -> str:
    """Return a length of time in at most five characters."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3_600:.0f}h{seconds % 3_600 / 60:02.0f}" if seconds < 172_800 else f"{seconds / 86_400:.1f}d"
