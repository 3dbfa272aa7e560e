"""Reads a streamed answer: counts its events and tokens, and knows its end, without parsing its JSON.

Promises:
- Pure, and the same however the bytes are cut: an event counts when its `data:` has come.
- The first token is the first event with content. After it, events are counted by a search for the line break before
  `data:`, which JSON can't contain; a look at their content is taken only where an answer ends.
- A few hundred bytes are kept, enough for what the end of an answer says: the usage, an error, `[DONE]`.
"""

from __future__ import annotations

import re

_EVENT = b"\ndata:"
_OVERLAP = len(_EVENT) - 1
_KEPT_BYTES = 1024
_DONE = b"[DONE]"
_TOKEN = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|arguments)"\s*:\s*"[^"]|"function"\s*:\s*\{'
)
_LAST = re.compile(rb"\ndata: ?\[DONE\]")
_USAGE = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_ERROR = re.compile(rb'\ndata: ?(\{"error".*)')


class AnswerReader:
    """One answer, piece by piece."""

    __slots__ = ("_tail", "_tokens_seen", "events")

    def __init__(self) -> None:
        self.events = 0
        """All that have come, the last ones without content included."""
        self._tokens_seen = 0
        """Events from the first one with content on."""
        self._tail = b"\n"

    def feed(self, data: bytes) -> int:
        """How many tokens begin in this piece."""
        tail = self._tail
        window = tail + data
        begin = max(0, len(tail) - _OVERLAP)
        self._tail = window[-_KEPT_BYTES:]
        events = window.count(_EVENT, begin)
        self.events += events
        if not self._tokens_seen:
            first = _TOKEN.search(window)
            if first is None:
                return 0
            self._tokens_seen = 1 + window.count(_EVENT, first.start())
            return self._tokens_seen - _idle_at_end(window[first.start() :])
        self._tokens_seen += events
        if events and (_DONE in data or b'"usage"' in data):
            return sum(_TOKEN.search(event) is not None for event in window[begin:].split(_EVENT)[1:])
        return events

    @property
    def is_done(self) -> bool:
        """Whether the last event was the one that says so."""
        return _LAST.search(self._tail) is not None

    @property
    def tokens(self) -> int:
        """As the usage says; without one, the events with content."""
        told = _USAGE.findall(self._tail)
        if told:
            return int(told[-1])
        return max(0, self._tokens_seen - _idle_at_end(self._tail)) if self._tokens_seen else 0

    @property
    def error(self) -> str | None:
        """What went wrong, where the server says so in the middle of its answer."""
        match = _ERROR.search(self._tail)
        return None if match is None else match.group(1)[:200].decode("utf-8", "replace")


def _idle_at_end(window: bytes) -> int:
    """How many events at the end have no content."""
    idle = 0
    for event in reversed(window.split(_EVENT)[1:]):
        if _TOKEN.search(event) is not None:
            break
        idle += 1
    return idle
