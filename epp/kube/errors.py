"""What keeps a picker from finding its API server, and from reading what that says."""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises; the last one for what is nested too deeply."""


class ConnectError(Exception):
    """There is no way to any API server; the message says where it was looked for, and what to do."""
