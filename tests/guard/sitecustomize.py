"""Read by every Python process that a test starts, before anything else (tests/egress.py puts this folder on its path)."""

import loopback_only

loopback_only.install()
