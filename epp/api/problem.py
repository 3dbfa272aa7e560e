"""What is wrong with an object, said so that its owner can mend it.

A problem names the field, shows the value and says what to do. It never quotes more than a short piece of a
value, and never one of a kind that is not ours: a folder of manifests may hold Secrets.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import NamedTuple

FieldPath = tuple[str | int, ...]
"""Where a field is inside its object: mapping keys and list positions, outermost first."""

SHOWN_CHARACTERS = 60
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Severity(Enum):
    """What a problem means for the object; the values are the log levels to use."""

    ERROR = "error"
    """The object as written is not used."""
    WARNING = "warning"
    """The object is used, but something in it is ignored, or surely not what was meant."""
    INFO = "info"
    """Nothing is wrong; the owner may wonder all the same why the object has no effect."""
    DEBUG = "debug"
    """Not for us."""


class Problem(NamedTuple):
    """One thing that is wrong in one object."""

    severity: Severity
    path: FieldPath
    value: str
    """The value as `describe` shows it; empty if there is none to show."""
    message: str
    """What is wrong with it, and what to do."""

    @property
    def field(self) -> str:
        """The path as people write it: `spec.targetPorts[0].number`."""
        return format_path(self.path)

    @property
    def level(self) -> str:
        """The log level."""
        return self.severity.value

    def under(self, key: str | int) -> Problem:
        """The same problem, seen from the mapping or list that holds its field as `key`."""
        return self._replace(path=(key, *self.path))

    def __str__(self) -> str:
        return ": ".join(part for part in (self.field, self.value, self.message) if part)


def format_path(path: FieldPath) -> str:
    """A path as people write it; keys with dots or slashes stand in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) <= SHOWN_CHARACTERS and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{_quoted(step)}]"
    return text


def describe(value: object) -> str:
    """A value for a message: short whatever its size, and containers without their content."""
    match value:
        case str():
            text = _quoted(value)
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case int() if value.bit_length() > 4 * SHOWN_CHARACTERS:
            text = "a very large number"  # which Python may even refuse to print
        case int() | float():
            text = str(value)
        case dict():
            text = "a mapping"
        case list() | tuple():
            text = "a list"
        case _:
            text = type(value).__name__
    return text


def _quoted(text: str) -> str:
    """Text in quotes, cut, and with nothing in it that could upset a terminal or an encoder."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())
