"""Fixtures that most tests of this room want."""

from __future__ import annotations

import pytest

from tests.observe.surroundings import World


@pytest.fixture
def world():
    """Fresh surroundings for metrics."""
    return World()
