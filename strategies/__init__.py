"""Strategies and indicators, pure: one module per family, each usable alone."""
