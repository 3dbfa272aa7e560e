"""How many tokens a response says it took, found in the last bytes of its body.

The body passes through; only its tail is kept, and bounded. That is enough, because engines write
`usage` last, in a JSON document as well as in a stream of events, where it may come with every event: the last one
seen counts, once. Nothing is parsed until the response has ended. A usage that was cut off, compressed, or pushed out
of the tail by something longer is not found, which is an answer too.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

TAIL_BYTES: Final = 8192
"""How much of a body's end is searched."""

_SLACK_BYTES: Final = 2048
"""How much more is kept before what is too long ago is cut off, so that this isn't done for every chunk."""
_WORD: Final = b'"usage"'
_OBJECT_FOLLOWS = re.compile(rb"(?:(\s*:\s*)|[\s:dat]*)\{")
"""Either just what stands between the key and its object, or whatever may stand there while an event's lines are not
put together, and a little more."""
_KEY = re.compile(r'"usage"\s*:\s*(?=\{)', re.ASCII)
_EVENT_LINE = re.compile(r"(?:\r\n|\r|\n)data: ?")
_DECODER = json.JSONDecoder()
_MOST_TOKENS = 2**53
"""More is no count of anything."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the engine counted them; None where it didn't say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


NO_USAGE: Final = Usage()


class BodyTail:
    """The last bytes of a body that is passing through."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, chunk: bytes) -> None:
        """Remember what has just passed, and forget what is too long ago."""
        kept = self._kept
        if len(chunk) > TAIL_BYTES:
            kept[:] = chunk[-TAIL_BYTES:]
            return
        kept += chunk
        if len(kept) > TAIL_BYTES + _SLACK_BYTES:
            del kept[:-TAIL_BYTES]

    def usage(self) -> Usage:
        """The last usage in what is left."""
        return find_usage(bytes(self._kept[-TAIL_BYTES:]))


def find_usage(tail: bytes) -> Usage:
    """The last usage in the end of a response's body, JSON or server-sent events."""
    # Nearly always the last one that may be one is it, in one piece. If not, all of them are tried.
    start = tail.rfind(_WORD)
    while start >= 0:
        follows = _OBJECT_FOLLOWS.match(tail, start + len(_WORD))
        if follows:
            usage = _usage_in(tail[follows.end() - 1 :]) if follows[1] else NO_USAGE
            return usage if usage != NO_USAGE else _find_usage(tail)
        start = tail.rfind(_WORD, 0, start)
    return NO_USAGE


def _usage_in(text: bytes) -> Usage:
    """The usage that `text` begins with."""
    try:
        found, _ = _DECODER.raw_decode(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return NO_USAGE
    return _read(found)


def _find_usage(tail: bytes) -> Usage:
    # An event's JSON may be spread over several `data:` lines, even inside the usage: take the prefixes away. Inside a
    # JSON string a quote is escaped, so what a model or a user wrote can't look like the key.
    text = _EVENT_LINE.sub("\n", tail.decode("utf-8", "replace"))
    for key in reversed(list(_KEY.finditer(text))):
        try:
            found, _ = _DECODER.raw_decode(text, key.end())
        except (ValueError, RecursionError):
            continue
        usage = _read(found)
        if usage != NO_USAGE:
            return usage
    return NO_USAGE


def _read(found: dict[str, Any]) -> Usage:
    """Both of the API's spellings: of completions and chats, and of responses."""
    details = found.get("prompt_tokens_details", found.get("input_tokens_details"))
    return Usage(
        input_tokens=_count(found.get("prompt_tokens", found.get("input_tokens"))),
        output_tokens=_count(found.get("completion_tokens", found.get("output_tokens"))),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )


def _count(value: object) -> int | None:
    """A count of tokens, which some engines write as a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    return None
