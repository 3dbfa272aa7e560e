"""How long a request would wait that came now, how far such estimates can be trusted, and what the refused are told.

An estimate is the work ahead over the pace at which work has left lately. It is held against what requests then
really waited, and the recent error says whether it is good. While it isn't, what clients are told has a floor
that grows as long as refusals keep coming and shrinks afterwards, as Kubernetes' API server does it.

Nothing here draws lots: who is told to come later than others follows from the sequence number.
"""

from __future__ import annotations

from math import ceil, exp2, inf, log

SHORTEST_RETRY_S = 1
LONGEST_RETRY_S = 60
_HIGHEST_FLOOR_S = 32.0
_PRESSURE = 3.0
"""Refusals per second under which the floor rises; at fewer than one per second it falls."""
_HALF_LIFE_S = 30.0
"""In which time half of what was learned of estimates is forgotten."""
_ENOUGH = 8.0
"""Recent samples that it takes to trust estimates."""
_GOOD_ERROR = log(1.5)
"""Estimates are good while they are off by no more than this factor on average."""
_WORST_ERROR = log(8.0)
_NEGLIGIBLE_S = 1.0
"""Added to both sides of a comparison, so that what is a fraction of a second off isn't called wrong."""
_GOLDEN = 0.6180339887498949
"""Multiples of it fall evenly between 0 and 1, whatever the stretch of numbers."""


def expected_wait_s(
    *, above: float, above_per_second: float, own: float, flows: int, own_per_second: float
) -> float:
    """What a newcomer of one flow would wait: first for what is queued in higher bands, then for its flow's turns.

    `above` are requests queued in higher bands, which leave at the pace of all bands together, in requests.
    `own` is what lies before the newcomer in its own flow, in the units that the band's fairness policy charges: the
    tag's lead over virtual time, and the costs of the flow's queued requests. By the time that it has been
    charged that much, so has each of the band's `flows` with work, its own included. `own_per_second` is what this
    band and those below it, whose turns it would get, charge. Infinite if there is work ahead and none leaves.
    """
    return _over(above, above_per_second) + _over(own * flows, own_per_second)


def _over(work: float, per_second: float) -> float:
    if work <= 0.0:
        return 0.0
    return work / per_second if per_second > 0.0 else inf


class Outlook:
    """What one band's estimates have been worth, and what its refused clients are told."""

    __slots__ = ("_error", "_floor_s", "_learned_s", "_refusals", "_samples", "_since_s")

    def __init__(self) -> None:
        self._samples = 0.0
        self._error = 0.0
        self._learned_s = 0.0
        self._floor_s = float(SHORTEST_RETRY_S)
        self._since_s = -inf
        self._refusals = 0

    # ------------------------------------------------------------- the estimates' worth

    def learn(self, *, estimated_s: float, waited_s: float, now: float) -> None:
        """A request was dispatched that had waited, and for which this was estimated when it came."""
        self._learn(abs(self._off_by(estimated_s, waited_s)), now)

    def learn_expiry(self, *, estimated_s: float, waited_s: float, now: float) -> None:
        """A request's waiting budget ran out: its wait would have been longer. Right if the estimate said so."""
        self._learn(max(0.0, self._off_by(estimated_s, waited_s)), now)

    def is_good(self, now: float) -> bool:
        """Whether there were enough estimates lately, and they were off by little."""
        samples = self._samples * self._kept(now)
        return samples >= _ENOUGH and self._error <= _GOOD_ERROR * self._samples

    @staticmethod
    def _off_by(estimated_s: float, waited_s: float) -> float:
        """Positive if the wait was longer than estimated."""
        if estimated_s == inf:
            return -_WORST_ERROR
        error = log((waited_s + _NEGLIGIBLE_S) / (estimated_s + _NEGLIGIBLE_S))
        return max(-_WORST_ERROR, min(_WORST_ERROR, error))

    def _learn(self, error: float, now: float) -> None:
        kept = self._kept(now)
        self._samples = self._samples * kept + 1.0
        self._error = self._error * kept + error
        self._learned_s = now

    def _kept(self, now: float) -> float:
        return exp2((self._learned_s - now) / _HALF_LIFE_S)

    # --------------------------------------------------------------- what clients are told

    @property
    def floor_s(self) -> float:
        """The least that clients are told while estimates are poor."""
        return self._floor_s

    def retry_after_s(self, *, estimated_s: float, sequence: int, now: float) -> int:
        """When a refused client should come again, in whole seconds: 60 if nothing drains.

        Never sooner than estimated, and spread over a quarter of that and a second beyond, so that clients who are
        refused together don't come back together.
        """
        self._note_refusal(now)
        if estimated_s == inf:
            return LONGEST_RETRY_S
        least_s = SHORTEST_RETRY_S if self.is_good(now) else self._floor_s
        wait_s = ceil(min(float(LONGEST_RETRY_S), max(least_s, estimated_s)))
        spread = int(sequence * _GOLDEN % 1.0 * (1.0 + wait_s / 4))
        return min(LONGEST_RETRY_S, wait_s + spread)

    def _note_refusal(self, now: float) -> None:
        lasted_s = now - self._since_s
        if lasted_s >= self._floor_s:
            if self._refusals >= _PRESSURE * lasted_s:
                self._floor_s = min(_HIGHEST_FLOOR_S, 2 * self._floor_s)
            elif self._refusals < lasted_s:
                self._floor_s = max(float(SHORTEST_RETRY_S), self._floor_s - lasted_s / self._floor_s)
            self._since_s = now
            self._refusals = 0
        self._refusals += 1
