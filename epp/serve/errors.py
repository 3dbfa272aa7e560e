"""What keeps a picker from starting."""

from __future__ import annotations


class StartError(Exception):
    """The picker can't start. The message names the flag and the remedy."""
