"""`python -m bot` is the console script `basisbot`."""

from bot.cli import main

raise SystemExit(main())
