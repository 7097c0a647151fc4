"""Values every other layer speaks: instruments, orders, events, commands, positions. No behaviour beyond algebra."""
