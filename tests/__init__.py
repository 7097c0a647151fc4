"""Tests, a package by name: some library installs a package `tests` of its own beside us."""
