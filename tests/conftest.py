"""For all tests: nothing leaves loopback."""

from __future__ import annotations

from tests.egress import nothing_left_loopback, pytest_configure, pytest_unconfigure

__all__ = ["nothing_left_loopback", "pytest_configure", "pytest_unconfigure"]

collect_ignore = ["guard/sitecustomize.py"]
