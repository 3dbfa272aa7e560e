"""Every trap's test can fail: falling into the trap turns it red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from epp.core import Controller
from tests.traps import mutants_fair
from tests.traps.mutants import FALLEN, MODULES

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTERED = (mutants_fair,)
"""Importing it fills `FALLEN`."""
NAMES = [f"{patch.__name__}-{test.__name__}" for test, patch in FALLEN]


@pytest.mark.parametrize(("test", "patch"), FALLEN, ids=NAMES)
def test_whoever_falls_into_a_trap_is_noticed(
    test: Callable[[], None], patch: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the wrong rule in force the trap's test goes red, by its own judgement alone."""
    monkeypatch.setattr(Controller, "check", lambda self: None)
    patch(monkeypatch)
    with pytest.raises((AssertionError, LookupError, ValueError)):
        test()


def test_every_trap_has_been_fallen_into() -> None:
    """There is a mutant for each test of the traps."""
    tests = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if name.startswith("test_") and callable(value)
    }
    assert tests == {test.__name__ for test, _ in FALLEN}
