"""A trace: requests as they came once, one JSON object per line.

    {"arrival_s": 0.25, "class": "chat", "tenant": "ada", "prompt_tokens": 120, "output_tokens": 40}

`tenant` may be left out: it names none. Empty lines are ignored.

Promises:
- Every other line that isn't like this is an error that names the file, the line, the field, its value and the remedy.
- Lines may be in any order and are sorted by arrival, those of one instant in the order of the file: a trace is often
  put together from the logs of several servers, and its order then says nothing that its times don't say better.
- What `write` writes, `read` reads, to the last digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.load.plan import Due

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST_TOKENS = 10_000_000
"""Of a prompt or an answer: more is a mistake of units."""
LATEST_S = 2_592_000.0
"""Thirty days: whoever writes more means the time since 1970."""
_FIELDS = ("arrival_s", "class", "tenant", "prompt_tokens", "output_tokens")
_REQUIRED = ("arrival_s", "class", "prompt_tokens", "output_tokens")
_MOST_SHOWN = 80


class TraceError(ValueError):
    """The file can't be played; the message says where it is wrong and what would be right."""


def read(path: Path) -> tuple[Due, ...]:
    """Its requests in order of time. Raises `TraceError`."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}; give a file that can be read") from error
    requests = [
        _request(line, place=f"{path}:{number}")
        for number, line in enumerate(raw.split(b"\n"), start=1)
        if line.strip()
    ]
    return tuple(sorted(requests, key=lambda due: due.due_s))


def write(path: Path, requests: Iterable[Due]) -> None:
    """One line for each."""
    with path.open("wb") as file:
        for due in requests:
            values = (due.due_s, due.class_name, due.tenant, due.prompt_tokens, due.output_tokens)
            file.write(msgspec.json.encode(dict(zip(_FIELDS, values, strict=True))) + b"\n")


def _request(line: bytes, *, place: str) -> Due:
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TraceError(
            f"{place}: {_shown(line.decode('utf-8', 'replace'))} is not JSON: {error}"
        ) from error
    if not isinstance(fields, dict):
        raise TraceError(f"{place}: {_shown(fields)}: expected an object with {', '.join(_FIELDS)}")
    for name in fields:
        if name not in _FIELDS:
            raise TraceError(f"{place}: unknown field {name!r}; there are {', '.join(_FIELDS)}")
    for name in _REQUIRED:
        if name not in fields:
            raise TraceError(f"{place}: {name} is missing; every line has {', '.join(_REQUIRED)}")
    return Due(
        due_s=_seconds(fields["arrival_s"], place=f"{place}: arrival_s"),
        class_name=_name(fields["class"], place=f"{place}: class"),
        tenant=_tenant(fields.get("tenant", ""), place=f"{place}: tenant"),
        prompt_tokens=_tokens(fields["prompt_tokens"], place=f"{place}: prompt_tokens"),
        output_tokens=_tokens(fields["output_tokens"], place=f"{place}: output_tokens"),
    )


def _seconds(value: Any, *, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST_S:
        raise TraceError(
            f"{place} is {_shown(value)}: give seconds since the first request, 0 to {LATEST_S:.0f}"
        )
    return float(value)


def _tokens(value: Any, *, place: str) -> int:
    if type(value) is not int or not 1 <= value <= MOST_TOKENS:
        raise TraceError(f"{place} is {_shown(value)}: give a whole number from 1 to {MOST_TOKENS}")
    return value


def _name(value: Any, *, place: str) -> str:
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        raise TraceError(f"{place} is {_shown(value)}: give a name without line breaks or spaces around it")
    return value


def _tenant(value: Any, *, place: str) -> str:
    return "" if value == "" else _name(value, place=place)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return repr(text[:_MOST_SHOWN]) if isinstance(value, str) else text[:_MOST_SHOWN]
