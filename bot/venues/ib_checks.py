"""What must be right at the broker before orders may leave, and what it says where it is not."""

from __future__ import annotations

from bot.model.ids import InstrumentId
from bot.model.instrument import Instrument, Rounding, initial_margin, notional, round_price, to_decimal
from bot.venues.finding import Finding
from bot.venues.ib_account import account_of, values, what_if
from bot.venues.ib_contracts import Found, front, product_of, rolls_on
from bot.venues.ib_hours import differences, told
from bot.venues.ib_line import Line, LineError, RequestFailed
from bot.venues.ib_session import CLOCK_OFFSET_S, Session

CENT = 0.005


async def examine(session: Session, line: Line, now_ns: int) -> list[Finding]:
    """Look at the session, the account, and at each contract: terms, prices, margin and commission. Raises as Line.ask."""
    account = account_of(line)
    rows = [
        Finding(name="session", ok=True, found=f"server version {line.client.serverVersion()}"),
        Finding(name="account", ok=True, found=f"{account}, {'paper' if account.startswith('D') else 'live'}"),
        Finding(name="clock", ok=abs(session.offset_s) <= CLOCK_OFFSET_S, found=f"broker {session.offset_s:+d} s from ours", fix="set this machine's clock"),
        await _margin(line),
    ]  # fmt: skip
    for instrument in session.contracts.instruments.values():
        rows += await _contract(session, line, instrument, now_ns)
    best = front(session.contracts.instruments.values(), now_ns)
    told = "every contract is past its roll" if best is None else f"{best.id}, rolls from {rolls_on(best) or 'never'}"
    rows.append(Finding(name="front month", ok=best is not None, found=told, fix="configure the next month"))
    return [row if not row.ok else Finding(name=row.name, ok=True, found=row.found) for row in rows]


async def _margin(line: Line) -> Finding:
    told = await values(line)
    excess, ahead = told["ExcessLiquidity"], told["LookAheadExcessLiquidity"]
    found = f"excess liquidity {excess:,.0f} USD, after the next change {ahead:,.0f}; cushion {told['Cushion']:.1%}"
    return Finding(name="margin", ok=min(excess, ahead) > 0.0, found=found, fix="add money or reduce: the broker liquidates without a call")


def _sessions(found: Found, now_ns: int) -> Finding:
    """Hold the broker's hours of a contract against the calendar that the desk trades by."""
    name, fix = f"{found.instrument.id} sessions", "trust the exchange's notice and correct the calendar, or wait with openings until both agree"
    try:
        odd = differences(product_of(found.instrument), found.hours, found.zone, now_ns)
    except ValueError as error:
        return Finding(name=name, ok=False, found=f"the broker's hours cannot be read: {error}", fix=fix)
    return Finding(name=name, ok=not odd, found=told(odd) or "as the broker has them", fix=fix)


def _depth(session: Session, instrument: InstrumentId) -> Finding:
    """Say whether more than the touch is known of a book."""
    ladders = session.quotes.ladders
    fix = "subscribe to the exchange's depth of book, or set broker.depth_rows = 0"
    if ladders.denied_of(instrument):
        return Finding(name=f"{instrument} depth", ok=False, found="asked for and denied", fix=fix)
    found = f"{ladders.rows} rows asked for" if ladders.rows else "not asked for: clips are sized by the touch"
    return Finding(name=f"{instrument} depth", ok=True, found=found, fix=fix)


async def _contract(session: Session, line: Line, instrument: Instrument, now_ns: int) -> list[Finding]:
    """Look at one contract."""
    name = instrument.id
    found = session.contracts.found.get(name)
    if found is None:
        return [Finding(name=f"{name} contract", ok=False, found=session.contracts.why.get(name, "not asked for"), fix="correct its terms or its pin")]
    pinned = name in session.pinned
    rows = [Finding(name=f"{name} contract", ok=True, found=f"{found.pin}, {'as pinned' if pinned else 'not pinned in the configuration'}")]
    rows.append(_sessions(found, now_ns))
    blocked = session.quotes.live(name)
    rows.append(Finding(name=f"{name} prices", ok=not blocked, found=blocked or "live", fix="subscribe to the exchange's live data, end the other session"))
    rows.append(_depth(session, name))
    stream = session.quotes.streams.get(name)
    if blocked or stream is None or stream.ask <= 0.0:
        return rows
    price = round_price(instrument, to_decimal(stream.ask), Rounding.UP)
    try:
        margins = await what_if(line, found, buy=True, qty=instrument.lot, limit=price)
    except (RequestFailed, LineError, TimeoutError) as error:
        rows.append(Finding(name=f"{name} order", ok=False, found=f"a what-if order failed: {error}", fix="check trading permissions"))
        return rows
    fee = float(instrument.fees.per_contract * instrument.lot)
    ours = initial_margin(instrument, float(notional(instrument, instrument.lot, price))) if instrument.tiers else 0.0
    rows.append(Finding(
        name=f"{name} commission", ok=abs(margins.commission - fee) < CENT, found=f"{margins.commission:.2f} USD a lot, {fee:.2f} here",
        fix="correct fee_per_lot",
    ))  # fmt: skip
    rows.append(Finding(
        name=f"{name} initial margin", ok=margins.initial <= ours + CENT, found=f"{margins.initial:,.2f} USD a lot, {ours:,.2f} here", fix="raise initial_rate",
    ))  # fmt: skip
    return rows
