"""The error tree. In the core a refusal is a value; an exception there means a bug.

BotError
  ConfigError        a setting, key or limit is wrong; names it
  JournalError       an intent could not be made durable
  VenueError         a venue or its adapter failed
  DataError          an input row, file or message is malformed; names it
"""

from __future__ import annotations


class BotError(Exception):
    """Root of every error this project raises on purpose."""


class ConfigError(BotError):
    """A configuration value is missing, unknown or out of range."""


class JournalError(BotError):
    """The journal did not confirm that an intent is durable."""


class VenueError(BotError):
    """A venue could not do what its port promises."""


class DataError(BotError):
    """A row, file or message that came from outside cannot be used."""
