"""The judges are awake: every known trap, re-introduced, turns a run red that is green on the real code."""

from __future__ import annotations

import pytest

from epp.core.controller import Controller
from tests.core import mutants_deciding, mutants_lasting
from tests.core.mutants import MUTANTS, Mutant, Run

REGISTERED = (mutants_deciding, mutants_lasting)
"""Importing them is what fills `MUTANTS`."""
RED = (AssertionError, LookupError)
"""A broken promise, or books so wrong that a request can't be found in them."""
RUNS: dict[Run, str] = {mutant.run: f"run-for-{name}" for name, mutant in MUTANTS.items()}


@pytest.mark.parametrize("run", RUNS, ids=RUNS.values())
def test_without_a_mutant_the_run_is_green(run: Run) -> None:
    """The control: what the mutants below turn red raises nothing on the real code."""
    run()


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """With this wrong rule the oracle, the controller's own check or the engines' truth goes red."""
    mutant.patch(monkeypatch)
    with pytest.raises(RED):
        mutant.run()


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_noticed_without_the_controllers_own_check(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle doesn't lean on `Controller.check`: with that switched off it goes red as well."""
    monkeypatch.setattr(Controller, "check", lambda self: None)
    mutant.patch(monkeypatch)
    with pytest.raises(RED):
        mutant.run()
