"""What labels say of an endpoint's limit."""

from __future__ import annotations

import pytest

from epp.core.endpoint import EndpointSpec
from epp.core.limits import NO_RULES, LabelLimit, LimitRules

RULES = LimitRules(
    label="limit",
    by_label=(LabelLimit("gpu", "big", 40), LabelLimit("zone", "b", 7), LabelLimit("gpu", "big", 1)),
)


@pytest.mark.parametrize(
    ("labels", "annotation", "expected"),
    [
        ({"limit": "12", "gpu": "big"}, 3, 3),
        ({"limit": "12", "gpu": "big"}, 0, 0),
        ({"limit": "12", "gpu": "big"}, None, 12),
        ({"gpu": "big", "zone": "b"}, None, 40),
        ({"gpu": "small", "zone": "b"}, None, 7),
        ({"gpu": "small"}, None, None),
        ({}, None, None),
    ],
)
def test_the_more_particular_word_wins(
    labels: dict[str, str], annotation: int | None, expected: int | None
) -> None:
    """The annotation before the label that is a number, that before the first rule that matches, else nothing."""
    spec = EndpointSpec("10.0.0.1:80", labels=tuple(sorted(labels.items())), max_concurrency=annotation)
    assert RULES.limit(spec) == expected
    assert NO_RULES.limit(spec) == annotation


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "9" * 40, "٣", " 3"])
def test_a_label_that_is_no_number_says_nothing(text: str) -> None:
    """Anything but a whole number above 0 of a sane size leaves the word to the rules."""
    spec = EndpointSpec("10.0.0.1:80", labels=(("limit", text), ("zone", "b")))
    assert RULES.limit(spec) == 7
