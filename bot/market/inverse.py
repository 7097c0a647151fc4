"""Inverse perpetuals: margined and paid in coin, their USD value is linear in price (worked case G5).

The account's coin delta is marked coin equity - N / mark, constant in price: never re-hedge to N / mark alone.
"""

from __future__ import annotations


def coin_equity(wallet: float, notional_usd: float, entry: float, mark: float) -> float:
    """Return marked coin equity of a short of `notional_usd` (> 0) opened at `entry`."""
    return wallet + notional_usd * (1.0 / mark - 1.0 / entry)


def account_delta(wallet: float, notional_usd: float, entry: float, mark: float) -> float:
    """Return the coin delta of a short's account: marked equity - N / mark = wallet - N / entry."""
    return coin_equity(wallet, notional_usd, entry, mark) - notional_usd / mark
