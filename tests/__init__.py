"""Tests; a package of its own name, because a dependency ships one called tests and would be imported instead."""
