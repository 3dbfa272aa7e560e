"""Texts that many requests carry are held once, and no client can make that a burden."""

from __future__ import annotations

from epp.extproc.sharing import _TEXTS_REMEMBERED, _remembered, shared


def a_text(name: str) -> str:
    """A string object of its own."""
    return name.encode().decode()


def test_the_same_text_is_the_same_object() -> None:
    """However often it is read."""
    first, second = a_text("/v1/chat/completions"), a_text("/v1/chat/completions")
    assert first is not second
    assert shared(first) is shared(second)


def test_what_is_long_is_not_remembered() -> None:
    """It stays what it was, and goes with its request."""
    before = _remembered.cache_info().currsize
    long = a_text("x" * 129)
    assert shared(long) is long
    assert _remembered.cache_info().currsize == before


def test_only_so_many_are_remembered() -> None:
    """A client that names a new tenant with each request makes nothing grow."""
    for number in range(_TEXTS_REMEMBERED + 10):
        shared(f"tenant-{number}")
    assert _remembered.cache_info().currsize == _TEXTS_REMEMBERED
