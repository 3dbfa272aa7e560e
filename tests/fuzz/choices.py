"""A fuzzer's bytes read as decisions: whatever they are they mean something, and the end of them means zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """What is left of one input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """A number from 0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def flag(self) -> bool:
        """One of two."""
        return self.byte() % 2 == 1

    def of(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.byte() % len(options)]

    def piece(self) -> bytes:
        """Up to 255 bytes, as they are."""
        size = self.byte()
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]
