"""Tenants of the simulation: how large their requests are, when they send them, and how wrong the picker's guesses are.

Every tenant rolls its own seeded dice, so what it sends doesn't depend on who is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from epp.core.eligibility import ANY, Eligibility

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


@dataclass(frozen=True, slots=True)
class Backlogged:
    """Always so many requests queued, from a moment on and until another."""

    depth: int = 4
    from_s: float = 0.0
    until_s: float = inf


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many requests under way at most, and the next one only after an answer and a pause."""

    depth: int = 1
    pause_s: float = 0.0
    from_s: float = 0.0
    until_s: float = inf


@dataclass(frozen=True, slots=True)
class Bursts:
    """So many requests at once, and again after a while."""

    requests: int
    every_s: float
    from_s: float = 0.0
    until_s: float = inf


@dataclass(frozen=True, slots=True)
class Poisson:
    """So many requests a second on average, whatever becomes of them."""

    per_second: float
    from_s: float = 0.0
    until_s: float = inf


Demand = Backlogged | ClosedLoop | Bursts | Poisson


class Guess(Protocol):
    """What the picker takes a request's tokens for, on arrival."""

    def __call__(self, dice: Random, tokens: int, /) -> int:
        """At least 1."""


def exact(dice: Random, tokens: int, /) -> int:
    """Right."""
    del dice
    return tokens


def scaled(factor: float) -> Guess:
    """Always wrong by the same factor."""

    def guess(dice: Random, tokens: int, /) -> int:
        del dice
        return max(1, round(factor * tokens))

    return guess


def scattered(factor: float) -> Guess:
    """Wrong by up to this factor, either way."""

    def guess(dice: Random, tokens: int, /) -> int:
        return max(1, round(tokens * float(factor ** dice.uniform(-1.0, 1.0))))

    return guess


def constant(tokens: int) -> Guess:
    """The same for every request, as where nothing is known."""

    def guess(dice: Random, actual: int, /) -> int:
        del dice, actual
        return tokens

    return guess


def around(tokens: int) -> Callable[[Random], int]:
    """Sizes from half to one and a half times as many tokens."""

    def size(dice: Random) -> int:
        return max(1, round(tokens * dice.uniform(0.5, 1.5)))

    return size


def heavy_tailed(tokens: int, *, sigma: float = 1.0, most: int = 20_000) -> Callable[[Random], int]:
    """Lognormal sizes with this median."""

    def size(dice: Random) -> int:
        return min(most, max(1, round(tokens * float(dice.lognormvariate(0.0, sigma)))))

    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishaps:
    """How often something other than an answer with its usage comes of a dispatch."""

    usage_missing: float = 0.0
    """The stream ends without usage."""
    aborted: float = 0.0
    """The client goes away halfway."""
    undelivered: float = 0.0
    """The gateway is gone before it hears of its endpoint."""


NO_MISHAPS = Mishaps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One fairness id."""

    name: str
    demand: Demand
    size: Callable[[Random], int]
    """Tokens of its next request."""
    weight: float = 1.0
    priority: int = 0
    eligibility: tuple[Eligibility, ...] = (ANY,)
    """Its requests take these in turn."""
    guess: Guess = exact
    mishaps: Mishaps = NO_MISHAPS
    ttl_s: float | None = 0.0
    """The waiting budget of its requests; None means the band's, 0 none."""
