"""What keeps a picker from finding its API server."""

from __future__ import annotations


class ConnectError(Exception):
    """There is no way to any API server; the message says where it was looked for, and what to do."""
