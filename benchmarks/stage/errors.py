"""What goes wrong when a stage is put up, in words for people."""

from __future__ import annotations


class StageError(Exception):
    """The stage can't be put up as the scenario or the target wants it; the message says what to change."""
