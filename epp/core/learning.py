"""A limit on requests that is learned for every endpoint, from the time that first tokens take.

While requests take no longer than they may, the limit grows by its root, as in Gradient2; once they take longer it
falls by those that are there only because they wait (Little's law: their rate times what each takes too long).
Rules of this file:

- How long a request may take depends on its prompt. A line over prompt lengths (`a + b * tokens`, fitted as we go) says
  what prompts took on the endpoint while it was *half empty*: between a quarter and a half of the limit. A full
  endpoint may take half as long again, all its requests together. The constant part keeps short prompts from being
  noise, and summing up before dividing keeps them from counting more than the long ones that they wait behind.
- It is judged once per turnover, since a limit's effect shows only after as many requests.
- While less than half of the limit is in use nothing is judged: an idle endpoint is quick whatever its limit.
- The line is never learned from a full endpoint, nor from what was sent while it was one. A baseline that follows a
  long overload makes overload look normal, and the limit creeps up with every one. So if an endpoint is never half
  empty by itself, its limit in force is halved every thirty turnovers, or when it falls and falls, until the line is
  placed, and refilled one by one. Beyond the knee half the load waits less than half as long, and that shows, however
  far beyond. The endpoint is compared with itself, a moment ago: one that became slower as such keeps its limit.
- A full endpoint that is much quicker than the line was half empty: then the line is what is wrong, and it follows.
- In shadow nothing is halved, so the line is as good as quiet moments are frequent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import floor, inf, sqrt

_TOLERANCE = 1.5
"""How far a full endpoint may be slower than a half empty one. Below 2, or the knee is invisible from beyond it."""
_IMPOSSIBLE = 0.7
"""A full endpoint so much quicker than a half empty one: the line is out of date."""
_SUSPICIOUS = 3
"""Judgements in a row against the limit. The line is as likely to be out of date, and looked at anew."""
_DRIFT = 1.3
"""Half empty, the endpoint may be off the line so far, up or down, before the line follows at once."""
_LEAST_WINDOW = 8
_MOST_WINDOW = 64
"""Samples that a judgement takes."""
_GAIN = 0.5
"""Of the way to the better limit that is gone at each judgement."""
_MEMORY = 64
"""Samples that the line's shape is fitted to, about."""
_QUIET_ENOUGH = 8
"""Samples from a half empty endpoint that tell where the line lies."""
_PROBE_TURNOVERS = 30
"""Without them the line is good for so many turnovers."""
_PROBE_S = 120.0
"""So long the endpoint is given to become half empty: long answers take that long to end."""
_OUTLIER = 8.0
"""In fitting, no sample is further from what was expected."""
_HOPELESS = 100.0
"""No sample counts as more than so many times what was expected."""
_SHORTEST_S = 1e-4
"""Clocks and wake-ups are no better than that."""
_LONGEST_S = 3600.0
_MOST_TOKENS = 10_000_000
"""Whoever says more, or took longer, is believed so much."""
_HOLD = 0.05
"""How strongly the line's constant part keeps its place where prompts are too alike to tell it."""


class LearnedLimits(Enum):
    """What is done with what is learned."""

    SHADOW = "shadow"
    """It is published, and nothing follows from it."""
    ON = "on"
    """It is the endpoint's limit, within the operator's bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedLimitPolicy:
    """Bounds and pace of learning."""

    mode: LearnedLimits = LearnedLimits.SHADOW
    least: int = 1
    most: int = 256
    initial: int = 20


class PrefillLine:
    """What a prompt of so many tokens takes: a weighted least-squares line that forgets."""

    __slots__ = ("constant_s", "per_token_s", "samples", "w", "wx", "wxx", "wxy", "wy")

    def __init__(self) -> None:
        self.constant_s = 0.0
        self.per_token_s = 0.0
        self.samples = 0
        self.w = self.wx = self.wxx = self.wy = self.wxy = 0.0

    def expect_s(self, tokens: int) -> float:
        """What a prompt of that length takes."""
        return max(_SHORTEST_S, self.constant_s + self.per_token_s * tokens)

    def add(self, tokens: int, took_s: float) -> None:
        """One more sample. Errors count relative to what is expected, so long prompts don't count more."""
        if not self.samples:
            self.constant_s = took_s / 2
            self.per_token_s = took_s / 2 / tokens
        self.samples += 1
        expected_s = self.expect_s(tokens)
        took_s = min(max(took_s, expected_s / _OUTLIER), expected_s * _OUTLIER)
        weight = 1 / (expected_s * expected_s)
        keep = 1 - 1 / min(self.samples, _MEMORY)
        self.w = self.w * keep + weight
        self.wx = self.wx * keep + weight * tokens
        self.wxx = self.wxx * keep + weight * tokens * tokens
        self.wy = self.wy * keep + weight * took_s
        self.wxy = self.wxy * keep + weight * tokens * took_s
        self._fit()

    def scale(self, factor: float) -> None:
        """Everything takes so many times as long."""
        self.constant_s *= factor
        self.per_token_s *= factor
        # Samples weigh as much as if they had been taken at the new level.
        self.w /= factor * factor
        self.wx /= factor * factor
        self.wxx /= factor * factor
        self.wy /= factor
        self.wxy /= factor

    def _fit(self) -> None:
        hold = _HOLD * self.w
        w, wy = self.w + hold, self.wy + hold * self.constant_s
        slope = (w * self.wxy - self.wx * wy) / (w * self.wxx - self.wx * self.wx)
        self.per_token_s = max(0.0, slope)
        self.constant_s = (wy - self.per_token_s * self.wx) / w
        if self.constant_s < 0:
            self.constant_s, self.per_token_s = 0.0, self.wxy / self.wxx


class Tally:
    """Samples summed up until they are judged."""

    __slots__ = ("count", "expected_s", "load", "since_s", "took_s")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.count = 0
        self.load = 0
        self.took_s = 0.0
        self.expected_s = 0.0
        self.since_s = -inf

    def add(self, *, load: int, took_s: float, expected_s: float, now: float) -> None:
        """One more."""
        if self.since_s == -inf:
            self.since_s = now
        else:
            self.count += 1
            self.load += load
            self.took_s += min(took_s, expected_s * _HOPELESS)
            self.expected_s += expected_s

    @property
    def stretch(self) -> float:
        """How many times longer it took than was expected."""
        return self.took_s / self.expected_s


class LearnedLimit:
    """What is learned of one endpoint: plain data, and constant work for each sample."""

    __slots__ = (
        "cap",
        "full",
        "half_empty_s",
        "limit",
        "line",
        "probe_until_s",
        "quiet",
        "shrunk",
        "unquiet",
    )

    def __init__(self, policy: LearnedLimitPolicy) -> None:
        self.limit = float(policy.initial)
        self.line = PrefillLine()
        self.full = Tally()
        self.quiet = Tally()
        """Of the half empty endpoint."""
        self.half_empty_s = inf
        """Since when at most half of the limit was in use; infinite while it isn't so."""
        self.unquiet = inf
        """Samples since the quiet ones were last complete."""
        self.shrunk = 0
        """Judgements in a row against the limit, without a look at the line."""
        self.cap = inf
        """What a probe, or the refilling after one, leaves of the limit."""
        self.probe_until_s = -inf
        """When a probe that doesn't get anywhere is broken off; -inf outside of probes."""

    def bounded(self, policy: LearnedLimitPolicy) -> float:
        """What was learned, within the operator's bounds."""
        return min(max(self.limit, policy.least), policy.most)

    def in_force(self, policy: LearnedLimitPolicy) -> float:
        """What holds now: a whole number, so that it doesn't change with every sample."""
        return float(max(policy.least, 1, floor(min(self.bounded(policy), self.cap))))

    def observe(
        self, policy: LearnedLimitPolicy, *, load: int, took_s: float, input_tokens: int, now: float
    ) -> None:
        """The first byte of a response came while `load` requests were there, its own among them."""
        if not took_s >= 0:  # NaN is neither
            return
        self.limit = self.bounded(policy)
        took_s = min(max(took_s, _SHORTEST_S), _LONGEST_S)
        tokens = min(max(1, input_tokens), _MOST_TOKENS)
        expected_s = self.line.expect_s(tokens) if self.line.samples else took_s
        if load > max(1.0, self.limit / 2):
            self.half_empty_s = inf
        else:
            self.half_empty_s = min(self.half_empty_s, now)
        # What was sent while the endpoint was fuller has waited behind that.
        is_quiet = now - took_s >= self.half_empty_s and load >= self.limit / 4
        self.unquiet += 1
        if is_quiet:
            self.quiet.add(load=load, took_s=took_s, expected_s=expected_s, now=now)
        if is_quiet or self.line.samples < _QUIET_ENOUGH:
            self.line.add(tokens, took_s)
        if self.quiet.count >= _QUIET_ENOUGH:
            self._place_line()
        if load > self.limit / 2 and self.cap == inf:
            self.full.add(load=load, took_s=took_s, expected_s=expected_s, now=now)
            if self.full.count >= min(max(_LEAST_WINDOW, self.limit), _MOST_WINDOW):
                self._judge(policy, now)
        self._probe(policy, load, now)

    def give_up(self, *, own_requests: int, now: float) -> bool:
        """Break a probe off that takes too long, or can't end since it keeps all of ours away. Whether one was."""
        if self.probe_until_s == -inf or (own_requests and now < self.probe_until_s):
            return False
        self._end_probe()
        return True

    def _place_line(self) -> None:
        stretch = self.quiet.stretch
        if not 1 / _DRIFT < stretch < _DRIFT:
            self.line.scale(stretch)
            self.full.clear()
        self._end_probe()

    def _judge(self, policy: LearnedLimitPolicy, now: float) -> None:
        full = self.full
        stretch, load = full.stretch, full.load / full.count
        excess_s = (full.took_s - _TOLERANCE * full.expected_s) / full.count
        per_second = full.count / max(now - full.since_s, _SHORTEST_S)
        full.clear()
        if stretch < _IMPOSSIBLE:
            self.line.scale(stretch)
            return
        if excess_s <= 0:
            better = max(self.limit, load) + sqrt(self.limit)
            self.shrunk = 0
        else:
            # Little's law: so many of them are there only because they wait longer than they may.
            better = max(load - per_second * excess_s, self.limit / 2)
            self.shrunk += 1
            if self.shrunk >= _SUSPICIOUS:
                self.unquiet = inf
        self.limit += _GAIN * (better - self.limit)
        self.limit = self.bounded(policy)

    def _probe(self, policy: LearnedLimitPolicy, load: int, now: float) -> None:
        if self.probe_until_s != -inf:
            if now >= self.probe_until_s:
                self._end_probe()
        elif self.cap != inf:
            # What is let in at once waits for each other: that would be taken for a limit that is too high.
            self.cap = max(self.cap, load) + 1
            if self.cap >= self.limit:
                self.cap = inf
        elif (
            policy.mode is LearnedLimits.ON
            and load > self.limit / 2
            and self.line.samples >= _QUIET_ENOUGH
            and self.unquiet >= _PROBE_TURNOVERS * self.limit
        ):
            self.cap = max(1.0, self.limit / 2)
            self.probe_until_s = now + _PROBE_S
            self.quiet.clear()

    def _end_probe(self) -> None:
        self.probe_until_s = -inf
        self.unquiet = 0
        self.shrunk = 0
        self.quiet.clear()
