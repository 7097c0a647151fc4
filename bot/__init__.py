"""Basisbot: an execution desk for the divergence between CME crypto futures and offshore perpetuals."""

__version__ = "0.1.0"
