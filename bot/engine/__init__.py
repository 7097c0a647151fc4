"""The pure core: folds events into obligations, asks strategies and risk, plans orders. No clock, no I/O."""
