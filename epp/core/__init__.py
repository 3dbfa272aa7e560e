"""Flow control, pure: events in, actions out, time as an argument. The standard library only."""

from epp.core.controller import Controller

__all__ = ["Controller"]
