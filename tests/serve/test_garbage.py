"""The garbage collector's looks: when they come, and at what."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from epp.serve import garbage
from epp.serve.garbage import GarbageLooks


@pytest.fixture
def looks() -> Iterator[list[int]]:
    """The generation of every look that is taken; none is taken by the collector itself."""
    taken: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            taken.append(info["generation"])

    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(1_000_000, 1_000, 1_000)
    gc.callbacks.append(note)
    yield taken
    gc.callbacks.remove(note)
    gc.set_threshold(*before)
    gc.unfreeze()


def requests(paced: GarbageLooks, count: int, *, queued: int) -> None:
    """So many come, while so many wait."""
    for _ in range(count):
        paced.request_came(queued_requests=queued)


def test_what_is_young_is_looked_at_after_so_many_requests(looks: list[int]) -> None:
    """Neither sooner nor later, however long the queue is."""
    paced = GarbageLooks()
    requests(paced, garbage._REQUESTS_PER_LOOK - 1, queued=50_000)
    assert looks == []
    requests(paced, 1, queued=50_000)
    requests(paced, garbage._REQUESTS_PER_LOOK, queued=50_000)
    assert looks == [0, 0]


def test_what_is_old_waits_for_an_empty_queue(looks: list[int]) -> None:
    """A queue that is never empty is never held up for it; the first look without one sees to it, once."""
    paced = GarbageLooks()
    often = garbage._YOUNG_LOOKS_PER_OLD * 3
    requests(paced, often * garbage._REQUESTS_PER_LOOK, queued=1)
    assert looks == [0] * often
    requests(paced, 2 * garbage._REQUESTS_PER_LOOK, queued=0)
    assert looks[often:] == [1, 0]


def test_a_queue_that_never_empties_puts_nothing_off_for_ever(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many young looks what is old has its turn though somebody waits; all of it has not."""
    monkeypatch.setattr(garbage, "_REQUESTS_PER_LOOK", 1)
    monkeypatch.setattr(garbage, "_OLD_LOOKS_PER_FULL", 1)
    paced = GarbageLooks()
    requests(paced, 2 * (garbage._YOUNG_LOOKS_AT_MOST + 1), queued=1)
    assert looks == ([0] * garbage._YOUNG_LOOKS_AT_MOST + [1]) * 2


def test_all_of_it_is_looked_at_now_and_then(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many looks at what is old, when nobody waits."""
    monkeypatch.setattr(garbage, "_REQUESTS_PER_LOOK", 1)
    paced = GarbageLooks()
    rounds = garbage._OLD_LOOKS_PER_FULL + 1
    requests(paced, rounds * (garbage._YOUNG_LOOKS_PER_OLD + 1), queued=0)
    assert [look for look in looks if look] == [1] * garbage._OLD_LOOKS_PER_FULL + [2]


def test_an_empty_queue_alone_is_no_reason(looks: list[int]) -> None:
    """Under light load the queue is mostly empty: what is old is looked at after some young looks only."""
    paced = GarbageLooks()
    requests(paced, (garbage._YOUNG_LOOKS_PER_OLD + 1) * garbage._REQUESTS_PER_LOOK, queued=0)
    assert looks == [0] * garbage._YOUNG_LOOKS_PER_OLD + [1]


@pytest.mark.usefixtures("looks")
def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    """It is frozen; the collector's own trigger stays on."""
    garbage.settle()
    assert gc.get_freeze_count() > 10_000
    assert gc.isenabled()
    assert gc.get_threshold() == garbage._OWN_TRIGGER
