"""The market's arithmetic: fair value, funding, edge, sessions and expiries, as pure functions of numbers and dates."""
