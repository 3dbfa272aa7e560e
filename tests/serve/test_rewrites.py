"""Which model a request goes to."""

from __future__ import annotations

from random import Random

from epp.api.rewrites import Rewriting
from epp.serve.rewrites import Rewrites


class Counted:
    """Metrics that only count decisions."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def model_rewritten(self, rewrite: str, *, asked: str, target: str) -> None:
        self.seen.append((rewrite, asked, target))


RULES = {"food": Rewriting("menu", (("pizza", 0.75), ("soup", 0.25)))}


def test_a_rule_wins_over_the_requests_own_header() -> None:
    """The pool's owner decides; the header only counts where no rule fits."""
    counted = Counted()
    rewrites = Rewrites(RULES.get, metrics=counted, random=Random(1))
    assert rewrites.target_model("food", "grass") in {"pizza", "soup"}
    assert rewrites.target_model("drink", "tea") == "tea"
    assert rewrites.target_model("drink", "") == ""
    assert [(rewrite, asked) for rewrite, asked, _ in counted.seen] == [("menu", "food")]


def test_targets_get_their_share_by_weight() -> None:
    """Three to one over 4,000 requests, within 5 %."""
    rewrites = Rewrites(RULES.get, metrics=Counted(), random=Random(7))
    targets = [rewrites.target_model("food", "") for _ in range(4000)]
    assert abs(targets.count("pizza") / 4000 - 0.75) < 0.05
