"""How long prompts and answers are: each length is drawn from its own dice, once per request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.load.trace import MOST_TOKENS
from benchmarks.scenarios.scenario import Lognormal, Uniform

if TYPE_CHECKING:
    import random

    from benchmarks.scenarios.scenario import Length

Sampler = Callable[[], int]

LARGEST_SIGMA = 5.0
"""Beyond it the mean is made of one request in millions."""


class LengthError(ValueError):
    """No such length; the message goes on from the field's name."""


def sampler(length: Length, dice: random.Random) -> Sampler:
    """Draws one length after the other, each at least 1. Raises `LengthError`.

    A lognormal's `mean` is that of the numbers before those above `most` are cut to it.
    """
    match length:
        case Lognormal():
            _check(".most", length.most)
            if not (math.isfinite(length.mean) and 1 <= length.mean <= length.most):
                raise LengthError(f".mean is {length.mean:g}: give at least 1 and at most {length.most}")
            if not 0 <= length.sigma <= LARGEST_SIGMA:
                raise LengthError(f".sigma is {length.sigma:g}: give 0 to {LARGEST_SIGMA:g}")
            mu, sigma, most = math.log(length.mean) - length.sigma**2 / 2, length.sigma, length.most
            # Cut before it is rounded: the logarithm's tail may be beyond every integer.
            return lambda: max(1, round(min(float(most), dice.lognormvariate(mu, sigma))))
        case Uniform(least=least, most=most):
            _check(".least", least)
            _check(".most", most)
            if least > most:
                raise LengthError(f".least is {least}: give at most {most}, which is most")
            return lambda: dice.randint(least, most)
        case int():
            _check("", length)
            return lambda: length


def _check(field: str, tokens: int) -> None:
    if not 1 <= tokens <= MOST_TOKENS:
        raise LengthError(f"{field} is {tokens}: give 1 to {MOST_TOKENS} tokens")
