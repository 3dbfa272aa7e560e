"""One endpoint of the pool, live: what we have on it, what its engine last said, and what it would take.

Load is our own requests in flight plus the foreign ones. Foreign is what a sample showed beyond *the most that we had
in flight* between the sending and the receipt of its scrape, so what is on its way between us and the engine is
never counted twice. Only the ledger changes it; policies see its `view`.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final

from epp.core.capacity import StalenessPolicy
from epp.core.endpoint import NO_SAMPLE, EndpointSpec, EndpointView, Knowledge

if TYPE_CHECKING:
    from epp.core.endpoint import EngineSample
    from epp.core.learning import LearnedLimit

ASK_AGAIN_S = 0.02
"""An endpoint is asked early at most this often, and less often while asking gains nothing."""
PROVEN_S = 60.0
"""How long it counts that so many of ours had room there at once."""
_SENT_MEMORY = 4096
"""Dispatches remembered since the last sample."""
_FRESH: Final = Knowledge.FRESH
"""An enum's member is looked up for every dispatch otherwise."""


class Endpoint:
    """One incarnation, live. Only the ledger changes it."""

    __slots__ = (
        "_peaks",
        "_proven",
        "_sent",
        "ask_at_s",
        "ask_pace_s",
        "foreign_requests",
        "knowledge",
        "last_foreign_requests",
        "learned",
        "learned_limit",
        "listed",
        "own_requests",
        "own_tokens",
        "proven_requests",
        "sample",
        "sample_received_s",
        "sample_sent_s",
        "spec",
        "stale_armed",
        "stated_limit",
        "view",
    )

    def __init__(self, spec: EndpointSpec, stated_limit: int | None = None) -> None:
        self.spec = spec
        self.stated_limit = stated_limit
        self.learned: LearnedLimit | None = None
        self.learned_limit: float | None = None
        self.listed = True
        self.own_requests = 0
        self.own_tokens = 0
        self.foreign_requests = 0
        self.last_foreign_requests = 0
        self.knowledge = Knowledge.UNKNOWN
        self.sample = NO_SAMPLE
        self.sample_sent_s = -inf
        self.sample_received_s = -inf
        self.proven_requests = 0
        self.stale_armed = False
        self.ask_at_s = -inf
        self.ask_pace_s = ASK_AGAIN_S
        self._peaks: deque[tuple[int, float]] = deque()
        # A list, though it is shortened in front: it is short, and an empty deque takes 600 bytes of each endpoint.
        self._proven: list[tuple[int, float]] = []
        self._sent: deque[float] = deque(maxlen=_SENT_MEMORY)
        self.view = self.fresh_view()

    def describe(self, spec: EndpointSpec, stated_limit: int | None) -> None:
        """Take in what the pool's objects say of it now, and what the operator's rules make of that."""
        self.spec = spec
        self.stated_limit = stated_limit
        self.view = self.fresh_view()

    def restrict(self, learned_limit: float | None) -> bool:
        """Put a learned limit in force, or none. Whether that changes anything."""
        if learned_limit == self.learned_limit:
            return False
        self.learned_limit = learned_limit
        self.view = self.fresh_view()
        return True

    def add(self, requests: int, tokens: int, now: float) -> None:
        """Count what goes to it (positive) or what ended (negative)."""
        if requests:
            self._remember_peak(now)
            self.own_requests += requests
            if requests > 0:
                self._sent.append(now)
                if self.knowledge is _FRESH:
                    self._prove(now)
        self.own_tokens += tokens
        self.view = self.fresh_view()

    def learn(self, sample: EngineSample, *, sent_s: float, received_s: float) -> None:
        """Take a sample in."""
        while self._peaks and self._peaks[0][1] < sent_s:
            self._peaks.popleft()
        most = max(self.own_requests, self._peaks[0][0] if self._peaks else 0)
        self.foreign_requests = max(0, sample.waiting + sample.running - most)
        self.last_foreign_requests = self.foreign_requests
        while self._sent and self._sent[0] <= sent_s:
            self._sent.popleft()
        self.sample = sample
        self.sample_sent_s = sent_s
        self.sample_received_s = received_s
        self.knowledge = Knowledge.FRESH
        self.view = self.fresh_view()

    def forget(self, staleness: StalenessPolicy) -> None:
        """The sample is too old to be believed; what it showed counts or doesn't."""
        if self.knowledge is Knowledge.FRESH:
            self._forget_proven(self.sample_received_s)
            # Whatever is there was sent while there was room.
            lately = self._proven[0][0] if self._proven else 0
            self.proven_requests = max(self.own_requests, lately)
        self.knowledge = Knowledge.STALE
        match staleness:
            case StalenessPolicy.OWN_ACCOUNTING:
                self.foreign_requests = 0
            case StalenessPolicy.LAST_SAMPLE:
                self.foreign_requests = self.last_foreign_requests
        self.view = self.fresh_view()

    def _remember_peak(self, now: float) -> None:
        # Decreasing in requests, increasing in time: (in flight, until when). The front is the most since any
        # time before its end.
        while self._peaks and self._peaks[-1][0] <= self.own_requests:
            self._peaks.pop()
        self._peaks.append((self.own_requests, now))

    def _prove(self, now: float) -> None:
        # Decreasing in requests, increasing in time: (in flight, when). The front is the most of the last while.
        proven = self._proven
        while proven and proven[-1][0] <= self.own_requests:
            proven.pop()
        proven.append((self.own_requests, now))
        self._forget_proven(now)
        self.proven_requests = proven[0][0]

    def _forget_proven(self, now: float) -> None:
        while self._proven and self._proven[0][1] <= now - PROVEN_S:
            del self._proven[0]

    def fresh_view(self) -> EndpointView:
        """A snapshot of it as it is now."""
        return EndpointView(
            self.spec,
            self.own_requests,
            self.own_tokens,
            self.foreign_requests,
            self.knowledge,
            self.sample,
            self.proven_requests,
            len(self._sent),
            self.stated_limit,
            self.learned_limit,
        )


NOWHERE = Endpoint(EndpointSpec(""))
"""Where a request is that has no endpoint yet."""
