"""What fuzzing has found worth keeping goes through the same functions as an ordinary test."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz.shrink import branches

CORPORA = Path(__file__).parent / "corpora"
TARGETS = ("connections", "envelopes", "exchanges")


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_still_holds(target: str) -> None:
    """Nothing that was ever found is found again."""
    one_input = importlib.import_module(f"tests.fuzz.{target}").one_input
    paths = sorted((CORPORA / target).iterdir())
    assert paths
    for path in paths:
        try:
            one_input(path.read_bytes())
        except Exception as error:
            error.add_note(f"with the input {path.name}")
            raise


def test_the_corpora_stay_small() -> None:
    """They are in the tree: what adds nothing is thrown away (`python -m tests.fuzz --shrink`)."""
    sizes = [path.stat().st_size for path in CORPORA.rglob("*") if path.is_file()]
    assert len(sizes) < 600
    assert sum(sizes) < 500_000


def test_what_an_input_reaches_is_seen() -> None:
    """The measure by which inputs are kept tells those apart that go different ways."""
    one_input = importlib.import_module("tests.fuzz.envelopes").one_input
    usual, empty = branches(one_input, b"\x2a\x03\x0a\x01x"), branches(one_input, b"")
    assert usual - empty
    assert branches(one_input, b"") <= empty
