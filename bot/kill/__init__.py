"""The kill switch outside the engine: the latch on disk and the control socket. Nothing here needs the database or a strategy."""
