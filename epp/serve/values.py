"""The values of flags, as they were read: what each is where its kind is known."""

from __future__ import annotations

from pathlib import Path

from epp.extproc.http2.limits import Allowance

Value = str | int | float | bool | Path | Allowance | None
"""None: nothing was typed, and there is no default."""


def text(value: Value) -> str | None:
    """A flag of text."""
    return value if isinstance(value, str) else None


def path(value: Value) -> Path | None:
    """A flag that names a file or folder."""
    return value if isinstance(value, Path) else None


def whole(value: Value) -> int:
    """A flag that counts; 0 for none."""
    return value if isinstance(value, int) else 0


def number(value: Value) -> float:
    """A flag that measures; 0 for none."""
    return float(value) if isinstance(value, (int, float)) else 0.0
