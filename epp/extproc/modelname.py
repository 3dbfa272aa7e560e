"""Naming another model in a JSON body, and leaving every other byte of it alone.

What changes is the value of the top-level `model`: order, numbers, escapes and white space stay what the client wrote.
If the key comes several times, all of its values change, so that it doesn't matter which of them a model server
believes. If it doesn't come at all, it is put first.

The work is bounded whatever a client sends, because nobody else is served meanwhile: what is usually large is jumped
over by the JSON decoder, and a body whose remaining fields would take too long to walk over is refused.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec
from msgspec import Raw

from epp.extproc.body import Edit
from epp.extproc.parsers import Malformed

_NOTHING: Final = Raw(b"")

_EFFORT: Final = 4 * 1024 * 1024
"""Bytes that may be walked over, at most. About 20 ms."""
_MARK_EFFORT: Final = 200
"""What stopping at a bracket or a quote costs, in bytes walked over."""
_MEMBER_EFFORT: Final = 1000

_GAP: Final = re.compile(rb"[ \t\n\r]*+")
_COLON: Final = re.compile(rb"[ \t\n\r]*+:[ \t\n\r]*+")
_SCALAR: Final = re.compile(rb"[^,}\]\s]++")
_MARK: Final = re.compile(rb'["\[\]{}]')
_OPENING: Final = b"[{"
_AFTER_VALUE: Final = b",} \t\n\r"


def name_model(body: bytes, model: str) -> tuple[Edit, ...]:
    """The changes that make the JSON object `body` name `model`.

    Raises Malformed if finding the place would take too long.
    """
    try:
        landmarks = _DECODER.decode(body)
    except RecursionError:  # the parser's decoder, called from less deep, may just have managed
        raise _too_intricate() from None
    # With escapes for all that isn't ASCII: nothing in a name can then fail to be written.
    value = json.dumps(model).encode()
    if len(landmarks.model):
        return tuple(Edit(start, end, value) for start, end in _Walk(body, landmarks).models())
    first = body.index(b"{") + 1
    gap = _GAP.match(body, first)
    assert gap is not None
    comma = b"" if body[gap.end()] == ord("}") else b","
    return (Edit(first, first, b'"model":' + value + comma),)


class _Landmarks(msgspec.Struct):
    """The model, and the fields that may be most of a body: their values needn't be walked over."""

    model: Raw = _NOTHING
    messages: Raw = _NOTHING
    prompt: Raw = _NOTHING
    input: Raw = _NOTHING
    items: Raw = _NOTHING
    tools: Raw = _NOTHING


_DECODER: Final = msgspec.json.Decoder(_Landmarks)


class _Walk:
    """A walk over the members of a JSON object, which the decoder has found to be one."""

    __slots__ = ("_at", "_body", "_effort", "_known")

    def __init__(self, body: bytes, landmarks: _Landmarks) -> None:
        self._body = body
        self._known: dict[bytes, Raw] = {
            f'"{name}"'.encode(): getattr(landmarks, name) for name in landmarks.__struct_fields__
        }
        self._at = 0
        self._effort = _EFFORT

    def models(self) -> list[tuple[int, int]]:
        """Where the values of the members called `model` begin and end."""
        body = self._body
        found: list[tuple[int, int]] = []
        self._at = body.index(b"{")
        while True:
            self._spend(_MEMBER_EFFORT)
            self._at += 1
            self._step(_GAP)
            start = self._at
            self._string()
            key = body[start : self._at]
            self._step(_COLON)
            start = self._at
            self._value(key)
            if _is_model(key):
                found.append((start, self._at))
            self._step(_GAP)
            if body[self._at] != ord(","):
                return found

    def _value(self, key: bytes) -> None:
        body, at = self._body, self._at
        known = self._known.get(key)
        # The decoder gives the last of several values under one key: only if this is that one is its length known.
        if known is not None and body.startswith(known, at) and body[at + len(known)] in _AFTER_VALUE:
            self._at += len(known)
        elif body[at] == ord('"'):
            self._string()
        elif body[at] in _OPENING:
            self._nested()
        else:
            self._step(_SCALAR)

    def _string(self) -> None:
        body, at = self._body, self._at
        while True:
            end = body.find(b'"', at + 1)
            inside = body[max(at + 1, end - self._effort) : end]
            backslashes = len(inside) - len(inside.rstrip(b"\\"))
            self._spend(_MARK_EFFORT + backslashes)
            at = end
            if backslashes % 2 == 0:
                self._at = at + 1
                return

    def _nested(self) -> None:
        body = self._body
        depth = 0
        while True:
            found = _MARK.search(body, self._at, self._at + self._effort)
            if found is None:
                raise _too_intricate()
            self._spend(_MARK_EFFORT + found.start() - self._at)
            self._at = found.start()
            if body[self._at] == ord('"'):
                self._string()
                continue
            depth += 1 if body[self._at] in _OPENING else -1
            self._at += 1
            if not depth:
                return

    def _step(self, pattern: re.Pattern[bytes]) -> None:
        found = pattern.match(self._body, self._at, self._at + self._effort)
        if found is None:
            raise _too_intricate()
        self._spend(found.end() - self._at)
        self._at = found.end()

    def _spend(self, effort: int) -> None:
        self._effort -= effort
        if self._effort <= 0:
            raise _too_intricate()


def _is_model(key: bytes) -> bool:
    if b"\\" not in key:
        return key == b'"model"'
    try:
        return msgspec.json.decode(key, type=str) == "model"
    except ValueError:
        return False


def _too_intricate() -> Malformed:
    return Malformed("the request has too many fields, or too large ones, for its model to be set")
