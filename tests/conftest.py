"""For all tests: nothing leaves loopback, and what pytest must not import here."""

from __future__ import annotations

from tests.egress import nothing_left_loopback, pytest_configure, pytest_unconfigure

__all__ = ["nothing_left_loopback", "pytest_configure", "pytest_unconfigure"]

CLIENTS = ("connector_session.py", "ib_async_adapter.py", "ib_async_session.py", "ibapi_session.py")
"""Scripts that run in environments of other clients."""
collect_ignore = ["guard/sitecustomize.py", *(f"wire/{name}" for name in CLIENTS)]
