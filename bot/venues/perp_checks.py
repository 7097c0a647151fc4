"""What must be true of an account and its key before orders may leave, asked of the exchange itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bot.model.instrument import Instrument, maintenance_margin
from bot.venues.budget import Priority
from bot.venues.finding import Finding
from bot.venues.perp_line import Line, failures
from bot.venues.perp_quirks import number

CLOCK_MS_MAX = 1_000
"""Binance refuses a request that is stamped this much ahead of its clock."""
DEAD_MAN_MS = 120_000
"""Binance recommends this with a renewal every 30 s (its page on the countdown, read 2026-11); OKX allows no more."""
PROBES = 3
ADL_FIRST = 4
"""Rank of those who are deleveraged first (0 to 4 at Binance, 1 to 5 lights elsewhere)."""


async def sync_clock(line: Line) -> float:
    """Measure the exchange's clock against ours and stamp with it from now on; return the difference found, ms."""
    best: tuple[int, int] | None = None
    for _ in range(PROBES):
        sent = line.clock() // 1_000_000
        theirs = await line.read(line.client.fetch_time)
        back = line.clock() // 1_000_000
        if not isinstance(theirs, int) or theirs <= 0:
            raise ValueError(f"server time {theirs!r}")
        probe = (back - sent, theirs - (sent + back) // 2)
        best = probe if best is None else min(best, probe)
    assert best is not None
    line.client.offset_ms = best[1]
    return float(best[1])


async def withdraws(line: Line) -> bool | None:
    """Return whether the key may withdraw; None where the exchange, or its sandbox, does not tell."""
    quirks = line.quirks
    if not quirks.permissions or quirks.withdraws is None:
        return None
    ask: Callable[[], Awaitable[Any]] = getattr(line.client, quirks.permissions)
    import ccxt

    try:
        return quirks.withdraws(await line.read(ask))
    except ccxt.NotSupported:
        return None


async def key_finding(line: Line) -> Finding:
    """Check that the key cannot move money away: whoever steals it then cannot either."""
    can = await withdraws(line)
    if can is None:
        return Finding(name="key", ok=True, found="the exchange does not tell what the key may do")
    if can:
        return Finding(name="key", ok=False, found="the key may withdraw", fix="make a key that may trade and not withdraw, and revoke this one")
    return Finding(name="key", ok=True, found="trades, cannot withdraw")


async def mode_finding(line: Line) -> Finding:
    """Check that positions are netted, with one position per direction a reduction would open a second one, and that each currency stands alone."""
    if line.client.has.get("fetchPositionMode") is not True:
        return Finding(name="account mode", ok=True, found="cannot be asked")
    symbol = next(iter(line.symbols.id_of), None)
    told = await line.read(lambda: line.client.fetch_position_mode(symbol))
    if told.get("hedged") is None:
        raise ValueError("the position mode was not told")
    if told["hedged"]:
        return Finding(name="account mode", ok=False, found="one position per direction", fix="switch the account to one-way mode")
    if line.quirks.multi_assets:
        shared = await line.read(getattr(line.client, line.quirks.multi_assets))
        if str(shared["multiAssetsMargin"]).lower() != "false":
            return Finding(name="account mode", ok=False, found="margin shared between currencies", fix="switch the account to single-asset mode")
    return Finding(name="account mode", ok=True, found="one-way, margin by currency")


async def leverage_finding(line: Line, wanted: int) -> Finding:
    """Check cross margin, and the leverage that was decided if any: the place in the queue for deleveraging rises with it."""
    if line.client.has.get("fetchLeverages") is not True:
        return Finding(name="leverage", ok=True, found="cannot be asked")
    told = await line.read(lambda: line.client.fetch_leverages(list(line.symbols.id_of)))
    rows = {s: told.get(s) or {} for s in line.symbols.id_of}
    isolated = [s for s, row in rows.items() if row.get("marginMode") == "isolated"]
    if isolated:
        return Finding(name="leverage", ok=False, found=f"isolated margin on {', '.join(isolated)}", fix="switch it to cross margin")
    odd = {s: row.get("longLeverage") for s, row in rows.items()}
    wrong = [f"{s} {v}" for s, v in odd.items() if wanted and (v is None or int(v) != wanted)]
    if wrong:
        return Finding(name="leverage", ok=False, found=", ".join(wrong), fix=f"set leverage to {wanted} at the exchange")
    return Finding(name="leverage", ok=True, found=", ".join(f"{s} {v}" for s, v in odd.items()) + ", cross margin")


async def tiers_finding(line: Line) -> Finding:
    """Check that the exchange asks for no more maintenance margin than our brackets say, at every bracket's floor."""
    client = line.client
    if client.has.get("fetchLeverageTiers") is not True:
        return Finding(name="margin brackets", ok=True, found="cannot be asked")
    told = await line.read(lambda: client.fetch_leverage_tiers(list(line.symbols.id_of)))
    dearer = []
    for symbol, instrument_id in line.symbols.id_of.items():
        dearer.extend(dearer_tiers(line.symbols.instruments[instrument_id], told.get(symbol) or []))
    if dearer:
        return Finding(name="margin brackets", ok=False, found="; ".join(dearer[:3]), fix="correct the tiers in instruments.toml")
    return Finding(name="margin brackets", ok=True, found="as configured, or kinder")


def dearer_tiers(instrument: Instrument, told: list[Any]) -> list[str]:
    """Return at which notionals the exchange asks for more than our brackets do, by over 1 %."""
    out = []
    for tier in told:
        rate, top = number(tier.get("maintenanceMarginRate")), number(tier.get("maxNotional"))
        cum = number((tier.get("info") or {}).get("cum"))
        if not top or not rate:
            continue
        theirs, ours = float(top * rate - cum), maintenance_margin(instrument, float(top))
        if theirs > ours * 1.01:
            out.append(f"{instrument.id} at {top:.0f}: {theirs:.0f} there, {ours:.0f} here")
    return out


async def clock_finding(line: Line) -> Finding:
    """Measure the clock; a difference is corrected for, a large one is still worth knowing."""
    off = await sync_clock(line)
    if abs(off) > CLOCK_MS_MAX:
        fix = "synchronise this machine's clock; requests are stamped with the exchange's meanwhile"
        return Finding(name="clock", ok=False, found=f"{off:+.0f} ms", fix=fix)
    return Finding(name="clock", ok=True, found=f"{off:+.0f} ms")


async def adl_ranks(line: Line) -> dict[str, int]:
    """Return the deleveraging rank of every instrument that the exchange ranks."""
    if not line.quirks.adl_rank or line.client.has.get("fetchPositionsADLRank") is not True:
        return {}
    out: dict[str, int] = {}
    for row in await line.read(lambda: line.client.fetch_positions_adl_rank(list(line.symbols.id_of))):
        name = line.symbols.id_of.get(str(row.get("symbol")))
        if name is not None and row.get("rank") is not None:
            out[name] = int(row["rank"])
    return out


async def arm(line: Line) -> None:
    """Set the exchange's dead man's switch anew: without a word from us for DEAD_MAN_MS it cancels what we left working."""
    act = line.quirks.arm
    if act is None:
        return
    markets = [str(line.client.market(symbol)["id"]) for symbol in line.symbols.id_of]
    for market in markets if line.quirks.arm_each else markets[:1]:
        await line.turn(Priority.QUERY)
        await act(line.client, market, DEAD_MAN_MS)


async def examine(line: Line, leverage: int, keyed: bool) -> list[Finding]:
    """Return every finding; a check that fails to be answered is one that did not pass."""
    checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [("clock", lambda: clock_finding(line))]
    if keyed:
        checks += [
            ("key", lambda: key_finding(line)), ("account mode", lambda: mode_finding(line)),
            ("leverage", lambda: leverage_finding(line, leverage)), ("margin brackets", lambda: tiers_finding(line)),
        ]  # fmt: skip
    out = []
    for name, check in checks:
        try:
            out.append(await check())
        except failures() as error:
            out.append(Finding(name=name, ok=False, found=line.judge(error).text, fix="ask again when the exchange answers"))
    return out
