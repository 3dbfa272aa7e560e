"""Which model is asked for instead of the one that a request names.

An InferenceModelRewrite of the pool decides; without one that fits, the request's own rewrite header does. Where a rule
has several targets, each gets its share of the requests by weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from epp.api.rewrites import Rewriting
    from epp.observe.metrics import Metrics


class Rewrites:
    """The pool's rewrites, as requests meet them."""

    def __init__(
        self, rewriting: Callable[[str], Rewriting | None], *, metrics: Metrics, random: Random
    ) -> None:
        self._rewriting = rewriting
        self._metrics = metrics
        self._random = random

    def target_model(self, asked: str, header: str) -> str:
        """The model to send on; '' leaves the body as it is."""
        rewriting = self._rewriting(asked)
        if rewriting is None:
            return header
        target = rewriting.target(self._random.random())
        self._metrics.model_rewritten(rewriting.name, asked=asked, target=target)
        return target
