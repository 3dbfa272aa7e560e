"""Every event as a line, and back."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.core.eligibility import ANY, Both, Serving, Subset
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    Event,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
    Unseen,
)
from epp.eventlog.codec import Decoder, Encoder, LineError, Recorded, Truth
from epp.eventlog.digest import Checkpoint
from epp.eventlog.pseudonyms import Pseudonyms
from epp.eventlog.recipe import Recipe, fingerprint

A = EndpointSpec("10.0.0.1:8000", "u1", "pod-a", (("app", "x"), ("limit", "4")), 7, frozenset({"m", "n"}))
B = EndpointSpec("10.0.0.2:8000")
SAMPLE = EngineSample(1, 2, 0.1 + 0.2)
EVENTS: tuple[Event, ...] = (
    Arrived(1, -5, "tenant", 10, 0, ANY, 0.1, None, "model", 400, 7, None, 2.5, 0.25, ANY),
    Arrived(2, 0, "tenant", 10, eligibility=Subset.of(["10.0.0.1", "[::1]:80"]), prefill=Subset.of([])),
    Arrived(3, 0, "tenant", 10, eligibility=Serving("model"), prefill=Serving("")),
    Arrived(4, 0, "tenant", 10, eligibility=Both(Subset.of(["10.0.0.1"]), Serving("model"))),
    Arrived(5, 0, "", 10, eligibility=Both(Subset.of([]), Serving("model"))),
    Cancelled(1),
    DeliveryFailed(2),
    FirstByte(3),
    Ended(4),
    Ended(5, 10, 0, Unseen.BY_TIME),
    EndpointsChanged((A, B)),
    Scraped(A.key, 1.1, 1.3, SAMPLE),
    Scraped(A.key, 1.1, 1.3, None, Contact.REFUSED),
    ObjectivesChanged(frozenset({3, -1})),
    Draining(),
    Resumed(),
    Tick(),
)


def back(*events: Event, salt: bytes = b"") -> list[Event]:
    """Through one segment's encoder and decoder."""
    encoder, decoder = Encoder(Pseudonyms(salt)), Decoder()
    read = []
    for event in events:
        line = decoder.line(encoder.event(event, 1 / 3))
        assert isinstance(line, Recorded)
        assert line.now == 1 / 3
        read.append(line.event)
    return read


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    """Nothing that decisions depend on is lost or rounded."""
    assert back(event) == [event]


def test_no_kind_of_event_is_forgotten() -> None:
    """The list above has one of each; a changed policy has a test of its own."""
    assert {type(event) for event in EVENTS} | {PolicyChanged} == set(get_args(Event))


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**31), 2**31 - 1))
def test_numbers_survive_to_the_last_bit(number: float, priority: int) -> None:
    """Whatever a time, a budget or a weight is, it is the same afterwards."""
    line = Decoder().line(
        Encoder(Pseudonyms(b"")).event(Arrived(1, priority, "t", 1, ttl_s=number, weight=number), number)
    )
    assert isinstance(line, Recorded)
    assert isinstance(line.event, Arrived)
    assert (line.now.hex(), line.event.weight.hex(), line.event.priority) == (
        number.hex(),
        number.hex(),
        priority,
    )
    assert line.event.ttl_s is not None
    assert float(line.event.ttl_s).hex() == number.hex()


def test_a_changed_policy_is_its_recipe() -> None:
    """A reader builds the policy again from the configuration's words."""
    recipe = Recipe(
        config="", seed=3, refresh_interval_s=0.5, memory_limit_bytes=10**9, ttl_s=7.0, hold_s=8.0
    )
    line = Decoder().line(Encoder(Pseudonyms(b"")).event(PolicyChanged(recipe.policy()), 1.0, recipe=recipe))
    assert isinstance(line, Recorded)
    assert isinstance(line.event, PolicyChanged)
    assert fingerprint(line.event.policy) == fingerprint(recipe.policy())
    assert (line.event.policy.ttl_s, line.event.policy.hold_s, line.event.policy.scrape_interval_s) == (
        7.0,
        8.0,
        0.5,
    )


def test_endpoints_are_written_by_their_differences() -> None:
    """Who came, changed or went is written, and whoever reads on has all of them."""
    changed = EndpointSpec(A.address, A.uid, max_concurrency=9)
    more = EndpointSpec("10.0.0.3:8000")
    encoder = Encoder(Pseudonyms(b""))
    lists = [(A, B), (B, changed), (more, changed), (), (A,)]
    lines = [encoder.event(EndpointsChanged(each), 0.0) for each in lists]
    assert b"10.0.0.2" not in lines[1]
    decoder = Decoder()
    for line, wanted in zip(lines, lists, strict=True):
        read = decoder.line(line)
        assert isinstance(read, Recorded)
        assert isinstance(read.event, EndpointsChanged)
        assert set(read.event.endpoints) == set(wanted)


def test_what_is_new_keeps_its_order() -> None:
    """The core takes newcomers in in the order of the list, so the list that is read has them in that order."""
    encoder, decoder = Encoder(Pseudonyms(b"")), Decoder()
    specs = [EndpointSpec(f"10.0.0.{n}:80") for n in (5, 3, 9, 1)]
    decoder.line(encoder.event(EndpointsChanged((specs[1],)), 0.0))
    read = decoder.line(encoder.event(EndpointsChanged(tuple(specs)), 0.0))
    assert isinstance(read, Recorded)
    assert isinstance(read.event, EndpointsChanged)
    assert [each for each in read.event.endpoints if each != specs[1]] == [specs[0], specs[2], specs[3]]


def test_names_and_facts_are_not_written() -> None:
    """Neither a tenant, nor a model, nor what a request carried, nor a client's own words are in a line."""
    encoder = Encoder(Pseudonyms(b"salt", label_keys=["limit"]))
    text = b"".join(
        encoder.event(event, 0.0)
        for event in (
            Arrived(1, 0, "tenant", 1, facts={"prompt": "secret"}, model="model"),
            Arrived(2, 0, "tenant", 1, eligibility=Subset.of(["secret words", "10.0.0.1"])),
            EndpointsChanged(
                (EndpointSpec("10.0.0.1:80", "u", "secret-pod", (("a", "secret"), ("limit", "4"))),)
            ),
        )
    )
    assert b"secret" not in text
    assert b"tenant" not in text
    assert b"model" not in text
    assert b'["limit","4"]' in text
    assert b"10.0.0.1" in text


def test_names_that_the_core_knows_stay() -> None:
    """The empty id, the default flow and the overflow flow mean something."""
    for name in ("", "default-flow", "overflow"):
        assert back(Arrived(1, 0, name, 1), salt=b"salt") == [Arrived(1, 0, name, 1)]


def test_other_lines() -> None:
    """Checkpoints and truths are told apart from events."""
    encoder, decoder = Encoder(Pseudonyms(b"")), Decoder()
    assert decoder.line(encoder.checkpoint(Checkpoint(5, 3, 2**32 - 1))) == Checkpoint(5, 3, 2**32 - 1)
    assert decoder.line(encoder.truth(Truth(1, 2, 3))) == Truth(1, 2, 3)


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"{}", b"1", b"[1.0]", b'[1.0,"?"]', b'[1.0,"a",1]', b'["x","t"]', b'[1,"s","a"]'],
)
def test_nonsense_is_one_kind_of_error(line: bytes) -> None:
    """A line that is none raises LineError, whatever is wrong."""
    with pytest.raises(LineError):
        Decoder().line(line)
