"""Seeded days of the whole desk in which everything fails that can: the deterministic fault harness behind `simulate`.

A day is real engine, gate, strategy, venues, journal and recovery on a seeded market; its `Plan` says what goes wrong. Chaos lasts
three quarters of the day, then every fault stops and the desk must come back by itself. Read in this order:

- plan: what a seed decides, as data that can be written down, shortened and run again
- day: one day under way, process after process
- storage, deaths: what outlives a process, and where one dies
- outlet, proof: what is judged as orders leave, and at the end (everything else: bot.checks; list: docs/invariants.md)
- rows: which rows of the fault catalogue a day has shown
- shrink, run: the shortest plan that still breaks the same invariant; many days in several processes
"""
