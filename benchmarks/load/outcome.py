"""What became of one request, from its client's point of view.

Promises:
- Every request that was sent ends in exactly one `Result`.
- Waiting counts from the moment when a request was *due*, so that a generator that lags behind can't hide a wait
  (coordinated omission); how far it lagged behind is told as well.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Result(Enum):
    """How a request ended."""

    COMPLETED = "completed"
    REFUSED = "refused"
    """An honest no: it says why."""
    GAVE_UP = "gave up"
    """No first token within the client's patience."""
    HUNG_UP = "hung up"
    """The scenario told the client to."""
    BROKEN = "broken"
    """Anything else: a broken connection, an incomplete answer, an unexpected status."""


class Outcome(NamedTuple):
    """One request, finished; times are in seconds since the beginning of its round."""

    class_name: str
    tenant: str
    due_s: float
    sent_s: float
    """When it really left: later than `due_s` by what the generator lagged behind."""
    first_token_s: float | None
    """None: none came."""
    ended_s: float
    result: Result
    status: int | None
    """None: there was no answer."""
    chunks: int
    """Events of a streamed answer, the last ones included; 0 for one that came whole."""
    output_tokens: int
    """What the client got: the usage told at the end, else the chunks with content."""
    headers: tuple[tuple[str, str], ...]
    """Of the answer: those that a picker adds (`x-llm-d-*`, `retry-after`, `x-should-retry`)."""
    detail: str = ""
    """For a refusal its reason, for a broken answer what was wrong with it."""

    @property
    def ttft_s(self) -> float | None:
        """Time to first token; None if none came."""
        return None if self.first_token_s is None else self.first_token_s - self.due_s

    @property
    def latency_s(self) -> float:
        """From when it was due to its end."""
        return self.ended_s - self.due_s
