"""A picker for tests: it decides what it was told to, and remembers what it heard."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum

from epp.core.actions import Reason
from epp.core.eviction import Begun
from epp.extproc.ingress import Answer, Refusal, RequestFacts, ResponseFacts
from tests.extproc.gateway import ADDRESS


class Decide(Enum):
    """When this picker decides."""

    AT_ONCE = "at once"
    LATER = "later"


class FakePicker:
    """Decides at once, or when a test says so."""

    def __init__(self, decide: Decide = Decide.AT_ONCE) -> None:
        self.decide = decide
        self.facts: list[RequestFacts] = []
        self.waiting: dict[int, Answer] = {}
        self.running: dict[int, Answer] = {}
        self.heard: Counter[str] = Counter()
        self.responses: list[ResponseFacts] = []
        self.rejections: list[Refusal] = []
        self._changed = asyncio.Event()

    def submit(self, facts: RequestFacts, answer: Answer) -> int:
        """Take a request."""
        self.facts.append(facts)
        number = len(self.facts)
        self._note("submit")
        if self.decide is Decide.AT_ONCE:
            self.running[number] = answer
            answer.dispatched(ADDRESS, 0.0)
        else:
            self.waiting[number] = answer
        return number

    def cancel(self, request_id: int) -> None:
        """It is gone."""
        del self.waiting[request_id]
        self._note("cancel")

    def delivery_failed(self, request_id: int) -> None:
        """It was not told."""
        self.running.pop(request_id)
        self._note("delivery_failed")

    def first_byte(self, request_id: int) -> None:
        """Its response has begun."""
        assert request_id in self.running
        self._note("first_byte")

    def ended(self, request_id: int, response: ResponseFacts) -> None:
        """It is over."""
        self.running.pop(request_id)
        self.responses.append(response)
        self._note("ended")

    def rejected(self, facts: RequestFacts | None, refusal: Refusal) -> None:
        """It was refused without us."""
        assert facts is None or facts.body_bytes >= 0
        self.rejections.append(refusal)
        self._note("rejected")

    def dispatch_all(self, *, waited_s: float = 0.5) -> None:
        """Decide about everything that waits, with a yes."""
        while self.waiting:
            number, answer = self.waiting.popitem()
            self.running[number] = answer
            answer.dispatched(ADDRESS, waited_s)

    def refuse_all(self, refusal: Refusal) -> None:
        """Decide about everything that waits, with a no."""
        while self.waiting:
            _, answer = self.waiting.popitem()
            answer.refused(refusal)

    def evict_all(self, begun: Begun = Begun.SPARED) -> list[bool]:
        """End everything that runs; whether each was ended."""
        refusal = Refusal(Reason.EVICTED, 1, "", 0.0)
        return [answer.evicted(refusal, begun) for answer in list(self.running.values())]

    async def has_heard(self, **counts: int) -> None:
        """Wait until each of these calls has come so often."""
        while any(self.heard[name] < count for name, count in counts.items()):
            self._changed.clear()
            await self._changed.wait()

    def _note(self, name: str) -> None:
        self.heard[name] += 1
        self._changed.set()
