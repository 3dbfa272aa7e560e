"""The list of intended differences: each of them is one, and does on either side what the list says."""

from __future__ import annotations

import pytest

from tests.extproc.http2.differential.differences import DIFFERENCES
from tests.extproc.http2.differential.pair import Pair
from tests.extproc.http2.differential.verdicts import Difference


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_an_intended_difference_is_as_listed(difference: Difference) -> None:
    """Both servers are given the example, and each answers as the list has it."""
    pair = Pair(greets=difference.greets)
    pair.run(difference.example)
    assert pair.met == [difference]
