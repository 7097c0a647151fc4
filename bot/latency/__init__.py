"""The latency benchmark: from bytes received to order bytes sent, through the real clients, runtime and journal, servers in another process."""
