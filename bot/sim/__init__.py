"""Pure exchange core: matching, accounts, funding, liquidation and faults; no clock, no I/O."""
