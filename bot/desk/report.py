"""The report of one run, from its folder alone: every table as rows, for people, scripts and spreadsheets.

It reads the journal read-only, the tape and the venues' own logs, and takes no lock, so it may be asked for beside a running
desk; what that desk has not yet written is then not in it, and the notes say where the record ends.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot import scenarios
from bot.config import Settings
from bot.desk.history import Told, tell
from bot.desk.report_flow import Flow, HedgeQuality
from bot.desk.report_money import Money
from bot.desk.runs import RunFolder, RunRecord
from bot.engine.step import Engine
from bot.journal.store import JournalReader
from bot.journal.tape import TapeReader
from bot.market import holidays
from bot.market.edge import break_even_bp
from bot.model.errors import BotError, DataError
from bot.model.event import CashBooked, FundingPaid, OrderFilled
from bot.model.ids import InstrumentId, VenueId
from bot.model.instrument import Instrument
from bot.model.notation import iso
from bot.model.position import ZERO, Position, apply_fill
from bot.tally import Score, Tally
from bot.venues.simlog import read_records

Row = dict[str, Any]
PRICE_LADDER = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Prices of the break-even page as multiples of the last index of the record, rounded to two digits."""
TABLES = (
    "summary", "attribution", "trades", "dates", "fills", "funding", "fees", "refusals", "decisions", "hedge", "episodes", "incidents",
    "margin", "equity", "tie_out", "break_even", "reproducibility", "notes",
)  # fmt: skip
"""Names of the tables, in the order they are printed."""


class Report(msgspec.Struct, kw_only=True):
    """Tables by name (TABLES), each a list of rows with the same keys."""

    run_id: str
    tables: dict[str, list[Row]]

    @property
    def result(self) -> list[Row]:
        """Return the tables as the result object of the verb lists them."""
        return [{"table": name, "rows": self.tables[name]} for name in TABLES]


class Reading(msgspec.Struct, kw_only=True):
    """A record folded to its end, with everything that listened."""

    engine: Engine
    tally: Tally
    money: Money
    flow: Flow
    quality: HedgeQuality
    told: Told
    sha256: str


def build(
    folder: RunFolder, record: RunRecord, settings: Settings, engine: Engine, progress: Callable[[int], None] | None = None
) -> Report:
    """Return the report of the run in `folder`. engine: of the run's settings, on fresh obligations, with empty books.

    Raises JournalError or DataError naming what of the record cannot be read.
    """
    r = _read(folder, engine, settings.strategy.carry_fixed, progress)
    score = r.tally.score()
    seconds = (r.told.to_ns - r.told.from_ns) * 1e-9
    tables: dict[str, list[Row]] = {
        "summary": [_summary(folder.run_id, record, score, r)],
        "attribution": [{"line": name, "usd": usd} for name, usd in (*score.attribution.items(), ("residual", score.residual_usd), ("pnl", score.pnl_usd))],
        "trades": r.money.trades, "dates": r.money.days, "fills": r.flow.fills, "funding": r.flow.funding, "fees": r.flow.fees,
        "refusals": r.flow.refusals, "decisions": r.flow.decisions, "hedge": [r.quality.row(seconds=seconds, net_delta_max=score.net_delta_max_base)],
        "episodes": r.quality.episodes, "incidents": r.flow.incidents, "margin": r.money.lows, "equity": r.money.equity,
        "tie_out": _tie_out(folder, settings, r), "break_even": break_evens(settings, _prices(r.engine)),
        "reproducibility": _reproducibility(record, settings, r), "notes": _notes(settings, r),
    }  # fmt: skip
    return Report(run_id=folder.run_id, tables=tables)


def _read(folder: RunFolder, engine: Engine, carry: float, progress: Callable[[int], None] | None) -> Reading:
    tally = Tally(engine, carry)
    money, flow, quality = Money(engine, tally), Flow(engine), HedgeQuality(engine)
    reader, tape = JournalReader(folder.journal), TapeReader(folder.tape)
    try:
        told = tell(engine, reader.read(), tape, (tally, money, flow, quality), estimated=flow.estimated, progress=progress)
        sha256 = reader.sha256()
    finally:
        reader.close()
    money.finish()
    quality.finish()
    return Reading(engine=engine, tally=tally, money=money, flow=flow, quality=quality, told=told, sha256=sha256)


def _summary(run_id: str, record: RunRecord, score: Score, r: Reading) -> Row:
    row = {
        "run_id": run_id, "mode": record.mode, "seed": record.seed, "market_from": iso(r.told.from_ns), "market_to": iso(r.told.to_ns),
        "events": r.told.events, "observations": r.told.observations,
    }  # fmt: skip
    skipped = ("attribution", "refusals", "margin_buffer_min", "commands_sha256")
    return row | {name: value for name, value in msgspec.structs.asdict(score).items() if name not in skipped}


def _tie_out(folder: RunFolder, settings: Settings, r: Reading) -> list[Row]:
    """Return opening + realised + fees + funding + cash = closing by venue and currency against the venue's log, then positions.

    A log that cannot be read is no statement: its rows have no `statement` and no `break`.
    """
    rows: list[Row] = []
    ob, books = r.engine.ob, r.flow.books
    for venue, silo in ob.silos.items():
        try:
            cash, held = statement(folder.venue_log(venue), venue, settings, r.engine.terms)
        except (OSError, DataError):
            cash, held = None, None
        for currency in sorted({c for v, c in books.balances if v == venue} | set(cash or ())):
            b = books.balance(venue, currency)
            rows.append(_tied(venue, currency, "cash", b.closing, cash) | {
                "opening": b.opening, "realised": b.realised, "fees": b.fees, "funding": b.funding, "cash": b.cash,
            })  # fmt: skip
        for instrument in sorted(set(silo.positions) | set(held or ())):
            position = silo.positions.get(instrument)
            rows.append(_tied(venue, instrument, "position", position.qty if position is not None else ZERO, held) | dict.fromkeys(
                ("opening", "realised", "fees", "funding", "cash")
            ))  # fmt: skip
    return rows


def _tied(venue: VenueId, item: str, kind: str, ours: Decimal, theirs: Mapping[str, Decimal] | None) -> Row:
    said = theirs.get(item, ZERO) if theirs is not None else None
    return {"venue": venue, "item": item, "kind": kind, "closing": ours, "statement": said, "break": said - ours if said is not None else None}


def statement(
    path: Path, venue: VenueId, settings: Settings, terms: Mapping[InstrumentId, Instrument]
) -> tuple[dict[str, Decimal], dict[InstrumentId, Decimal]]:
    """Return (cash by currency, signed contracts held) as the in-process venue's own log has them.

    Raises OSError and DataError for a log that cannot be read.
    """
    cash = dict(settings.cash.get(venue, {}))
    positions: dict[InstrumentId, Position] = {}

    def add(currency: str, amount: Decimal) -> None:
        cash[currency] = cash.get(currency, ZERO) + amount

    for entry in read_records(path):
        if isinstance(entry, OrderFilled):
            listed = terms[entry.instrument]
            add(listed.settle, apply_fill(listed, positions.setdefault(entry.instrument, Position()), entry.qty * entry.side.sign, entry.price))
            add(entry.fee_currency, -entry.fee)
        elif isinstance(entry, FundingPaid | CashBooked):
            add(entry.currency, entry.amount)
    return cash, {instrument: position.qty for instrument, position in positions.items()}


def _prices(engine: Engine) -> dict[str, float]:
    """Return USD per coin by base, from the record's last index, else last mid; a base without either is absent."""
    found: dict[str, float] = {}
    for loop in engine.loops:
        price = loop.window.index_usd or loop.window.lead.mid
        if price > 0.0:
            found[loop.window.lead_terms.base] = price
    return found


def break_evens(settings: Settings, prices: Mapping[str, float]) -> list[Row]:
    """Return the cost of a round trip (four crossing fills) by contract, perp and price, in bp and USD per coin.

    Half-spreads are those of the costs section. Contracts of which a term is not known are left out (see the notes).
    """
    rows: list[Row] = []
    costs = settings.costs
    for code, future in sorted(settings.futures.items()):
        if future.unit is None or future.tick is None or future.fee_per_lot is None or future.base not in prices:
            continue
        for name, perp in sorted(settings.perps.items()):
            if perp.base != future.base:
                continue
            half = costs.lead_half_spread_ticks * float(future.tick)
            for price in _ladder(prices[future.base]):
                bp = break_even_bp(price, float(future.unit), float(future.fee_per_lot), half, float(perp.taker_rate), costs.hedge_half_spread_bp)
                rows.append({
                    "contract": code, "perp": name, "venue": perp.venue, "price": price, "break_even_bp": bp, "usd_per_coin": bp * 1e-4 * price,
                    "fee_per_lot": future.fee_per_lot, "taker_rate": perp.taker_rate, "half_spread_usd": half,
                    "perp_half_spread_bp": costs.hedge_half_spread_bp,
                })  # fmt: skip
    return rows


def _ladder(price: float) -> Iterable[float]:
    return dict.fromkeys(float(f"{price * share:.1e}") for share in PRICE_LADDER)


def _reproducibility(record: RunRecord, settings: Settings, r: Reading) -> list[Row]:
    """Return what a reader needs to run this again and to date its assumptions, one fact per row."""
    market = settings.market
    facts: list[tuple[str, str]] = [
        ("version", _version()),
        ("python", platform.python_version()),
        ("settings_sha256", hashlib.sha256(bytes(record.settings)).hexdigest()),
        ("seed", str(record.seed)),
        ("scenario", scenarios.label(market.scenario)),
        ("market_start", market.start),
        ("scripted_faults", str(len(record.faults))),
        ("faults_sha256", hashlib.sha256("\n".join(record.faults).encode()).hexdigest()),
        ("runs", str(r.engine.ob.run)),
        ("journal_sha256", r.sha256),
        ("session_tables_sha256", _digest(Path(holidays.__file__))),
        ("session_tables_from", holidays.FIRST_DAY.isoformat()),
        ("session_tables_to", holidays.LAST_DAY.isoformat()),
        *((f"fees {terms.id}", terms.fees.source) for terms in r.engine.terms.values() if terms.fees.source != "unspecified"),
    ]
    return [{"what": what, "value": value} for what, value in facts]


def _version() -> str:
    try:
        return importlib.metadata.version("basisbot")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "not readable"


def _notes(settings: Settings, r: Reading) -> list[Row]:
    """Return what limits this report."""
    said = [f"tape {gap}: attribution there follows the books that decisions read" for gap in r.told.gaps]
    priced = set(_prices(r.engine))
    unpriced = sorted({f.base for f in settings.futures.values()} - priced)
    if unpriced:
        said.append(f"break-evens need a price: none in this record for {', '.join(unpriced)}")
    unknown = sorted(c for c, f in settings.futures.items() if f.base in priced and None in (f.unit, f.tick, f.fee_per_lot))
    if unknown:
        said.append(f"no break-even, a term is not known: {', '.join(unknown)}")
    if not r.tally.started:
        said.append("the run never had a price for everything it owns: no equity, no attribution")
    return [{"note": text} for text in said]


def named(report: Report, table: str) -> list[Row]:
    """Return one table. Raises BotError for a name that is none of TABLES."""
    if table not in report.tables:
        raise BotError(f"no table {table!r}: one of {', '.join(TABLES)}")
    return report.tables[table]
