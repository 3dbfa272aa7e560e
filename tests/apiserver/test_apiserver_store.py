"""The fake's store: every past version can be read and replayed until it is compacted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.apiserver.crds import kind_named
from tests.apiserver.kinds import PODS
from tests.apiserver.refusal import Refusal
from tests.apiserver.samples import OBJECTIVES, objective, pod
from tests.apiserver.selectors import Selection, read_labels
from tests.apiserver.store import Part, Store
from tests.apiserver.watches import change_line

OBJECTIVE = kind_named(OBJECTIVES)
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "delete"]), st.sampled_from("abc"), st.sampled_from(["x", "y"])),
    max_size=30,
)


def _store() -> Store:
    return Store(now=lambda: "2026-01-01T00:00:00Z", kinds=[OBJECTIVE])


def _step(store: Store, step: tuple[str, str, str]) -> None:
    """Create, relabel or delete an objective; pods come in between, so that versions are shared."""
    verb, name, label = step
    is_there = store.has(OBJECTIVE, "default", name)
    labels = {"metadata": {"labels": {"app": label}}}
    if verb == "delete" and is_there:
        store.delete(OBJECTIVE, "default", name)
    elif is_there:
        store.patch(
            OBJECTIVE, "default", name, lambda old: old | {"metadata": old["metadata"] | labels["metadata"]}
        )
    else:
        store.create(OBJECTIVE, "default", objective(name, labels={"app": label}))
        store.create(PODS, "default", pod("p") | {"metadata": {"generateName": "p-"}})


def _state(store: Store, selection: Selection) -> dict[str, bytes]:
    return {stored.key: stored.raw for stored in store.page(OBJECTIVE, selection).items}


@given(STEPS)
def test_past_versions(steps: list[tuple[str, str, str]]) -> None:
    """A page pinned to any version shows exactly what a list at that time showed."""
    store = _store()
    seen = {}
    for step in steps:
        _step(store, step)
        seen[store.revision] = store.page(OBJECTIVE, Selection()).items
    for revision, items in seen.items():
        assert list(store.page(OBJECTIVE, Selection(), revision=revision).items) == list(items)


@given(STEPS, st.integers(0, 30), st.sampled_from(["", "app=x", "app!=x"]))
def test_replay(steps: list[tuple[str, str, str]], start: int, selector: str) -> None:
    """Whoever lists at any version and applies what a watch tells from there ends with what the store holds."""
    store, selection = _store(), Selection(labels=read_labels(selector))
    for step in steps[:start]:
        _step(store, step)
    cache, revision = _state(store, selection), store.revision
    for step in steps[start:]:
        _step(store, step)
    for change in store.changes(OBJECTIVE, after=revision):
        line = change_line(OBJECTIVE, change, selection)
        key = (change.new or change.old).key
        if line.startswith(b'{"type":"DELETED"'):
            assert key in cache
            del cache[key]
        elif line:
            assert (b'"ADDED"' in line[:20]) is (key not in cache)
            cache[key] = change.new.raw
    assert cache == _state(store, selection)


@given(STEPS)
def test_versions_only_grow(steps: list[tuple[str, str, str]]) -> None:
    """Every change has a version of its own, in order, and an object carries that of its last change."""
    store = _store()
    for step in steps:
        _step(store, step)
    changes = store.changes(OBJECTIVE, after=0)
    revisions = [change.revision for change in changes]
    assert revisions == sorted(set(revisions))
    for stored in store.all(OBJECTIVE):
        last = [change for change in changes if change.new and change.new.key == stored.key][-1]
        assert stored.obj["metadata"]["resourceVersion"] == str(last.revision)


def test_compaction() -> None:
    """What came before a compaction is refused; the version of the compaction itself is still good."""
    store = _store()
    store.create(OBJECTIVE, "default", objective("a"))
    before = store.revision - 1
    store.compact()
    with pytest.raises(Refusal) as refusal:
        store.changes(OBJECTIVE, after=before)
    assert refusal.value.code == 410
    assert store.changes(OBJECTIVE, after=store.revision) == []


def test_stored_objects_are_apart() -> None:
    """Changing what was handed in, or what came out of an earlier version, changes nothing that is stored."""
    store = _store()
    obj: dict[str, Any] = objective("a", labels={"app": "x"})
    first = store.create(OBJECTIVE, "default", obj, part=Part.WHOLE)
    obj["metadata"]["labels"]["app"] = "changed"
    store.patch(OBJECTIVE, "default", "a", lambda old: old | {"spec": old["spec"] | {"priority": 5}})
    assert first.obj["metadata"]["labels"] == {"app": "x"}
    assert "priority" not in first.obj["spec"]
    assert store.get(OBJECTIVE, "default", "a").obj["metadata"]["labels"] == {"app": "x"}
