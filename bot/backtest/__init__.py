"""Backtests: market data files in, time-ordered decisions through the same engine out.

`formats` reads files strictly, `contracts` says which future a CME row belongs to, `align` pairs the two
legs at instants where both bars end. A row that cannot be believed stops the run; a row that is true but
not tradable (a splice, a merged holiday, two contracts in one day) is dropped by a stated rule and counted.
"""
