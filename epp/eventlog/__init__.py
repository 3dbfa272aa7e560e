"""Event logs: everything that the core was told, written down so that every decision can be replayed and questioned."""

from epp.eventlog.log import EventLog, EventLogSettings
from epp.eventlog.recipe import Recipe

__all__ = ["EventLog", "EventLogSettings", "Recipe"]
