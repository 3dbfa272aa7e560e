"""What other configurations would have made of a recording."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from epp.config.parse import parse_config
from epp.core.actions import Reason
from epp.core.events import Arrived
from epp.eventlog.header import Header
from epp.eventlog.pseudonyms import Pseudonyms
from epp.eventlog.recipe import Recipe
from epp.replay.generate import generate
from epp.replay.recording import decide_again
from epp.replay.simulation import Candidate, simulate
from epp.replay.spec import parse_spec
from epp.replay.weights import candidate
from tests.core.test_determinism import replays
from tests.eventlog.tape import CONFIGS, storm
from tests.replay.traces import HEAD, SPEC, STRICT, recording, trace

if TYPE_CHECKING:
    from pathlib import Path

    from epp.replay.course import Course
    from epp.replay.recording import Recording


def _fates(course: Course) -> dict[int, tuple[object, ...]]:
    return {
        number: (fate.dispatched_s, fate.key, fate.refused, fate.waited_s, fate.ended_s)
        for number, fate in course.fates.items()
    }


def _tried(found: Recording, text: str) -> Course:
    return simulate(found, candidate("x", parse_config(text, source="x"), found.header).candidate)


@pytest.mark.parametrize("config", ["", STRICT])
def test_the_same_configuration_makes_the_same_of_a_made_up_trace(tmp_path: Path, config: str) -> None:
    """Every request is sent at the same moment to the same endpoint, or refused at the same moment."""
    found = recording(tmp_path, config=config)
    assert found.difference is None
    assert _fates(_tried(found, config)) == _fates(found.course)


def test_the_same_configuration_makes_the_same_of_a_recording(tmp_path: Path) -> None:
    """Requests that run as long as they ran, and engines that say what they said, lead to the same decisions."""
    found = recording(tmp_path, made_up=False)
    assert _fates(_tried(found, "")) == _fates(found.course)


def test_another_configuration_makes_something_else_of_it(tmp_path: Path) -> None:
    """Shorter budgets refuse sooner, and nobody waits longer than they say."""
    for made_up in (True, False):
        found = recording(tmp_path, made_up=made_up)
        course = _tried(found, STRICT)
        assert len(course.fates) == len(found.course.fates)
        waits = [fate.waited_s for fate in course.fates.values()]
        assert max(waits) <= 15.001 < max(fate.waited_s for fate in found.course.fates.values())
        assert sum(fate.refused is Reason.TTL_EXPIRED for fate in course.fates.values()) > 5
        assert all(fate.left_s is not None for fate in course.fates.values())


def test_a_request_that_never_ran_runs_by_its_tokens(tmp_path: Path) -> None:
    """With endless patience everybody is served, also those that the recording refused."""
    found = recording(tmp_path, config=STRICT, made_up=False)
    refused = [number for number, fate in found.course.fates.items() if fate.refused is not None]
    assert refused
    course = _tried(found, HEAD + "flowControl: {defaultRequestTTL: 0s}\n")
    for number in refused:
        fate = course.fates[number]
        assert fate.dispatched_s is not None
        assert fate.ended_s is not None
        assert fate.ended_s > fate.dispatched_s


def test_a_storm_with_everything_can_be_tried(tmp_path: Path) -> None:
    """Endpoints that come and go, subsets, clients that give up, over several segments: every request has its end."""
    storm(tmp_path / "log", CONFIGS[2], steps=600, segment_bytes=30_000)
    found = decide_again(tmp_path / "log")
    assert found.segments > 1
    course = simulate(
        found, Candidate("x", Recipe(config=CONFIGS[1]).policy(), lambda arrived: arrived.weight)
    )
    assert course.fates.keys() == found.course.fates.keys()


def test_traces_are_the_same_everywhere() -> None:
    """The same specification and seed make the same bytes, in another process with another hash seed too."""
    program = """
from hashlib import sha256
from tests.replay.traces import trace
print(sha256(trace()).hexdigest())
"""
    one, other = replays("1", "4242", program=program)
    assert one == other
    assert trace(seed=1) != trace(seed=2)


def test_made_up_servers_are_as_their_specification_says(tmp_path: Path) -> None:
    """A server never works on more than it has slots, and a request alone takes as long as its speeds say."""
    file = BytesIO()
    spec = "duration: 5s\nendpoints: [{slots: 1, tokensPerSecond: 10, prefillTokensPerSecond: 100}]\n"
    spec += "tenants: [{arrivals: {rate: 0.5}, input: {distribution: fixed, median: 100}, "
    spec += "output: {distribution: fixed, median: 20}}]\n"
    generate(parse_spec(spec, source="x"), Recipe(config="", seed=4), file)
    path = tmp_path / "t.jsonl"
    path.write_bytes(file.getvalue())
    fates = list(decide_again(path).course.fates.values())
    assert len(fates) > 1
    free_s = 0.0
    for fate in fates:
        assert fate.dispatched_s is not None
        assert fate.ended_s == pytest.approx(max(free_s, fate.dispatched_s) + 1.0 + 2.0)
        free_s = fate.ended_s


def _header(config: str, salt: str) -> Header:
    return Header(
        format="x",
        version="x",
        segment=1,
        events_before=0,
        wall_s=0.0,
        monotonic_s=0.0,
        salt=salt,
        recipe=Recipe(config=config),
        fingerprint="",
    )


def _weights(text: str) -> str:
    return HEAD + f"flowControl: {{weights: [{text}]}}\n"


ADA_4 = _weights("{fairnessID: ada, weight: 4}")
PATTERN = _weights("{pattern: 'a*', weight: 8}")


@pytest.mark.parametrize(
    ("recorded", "tried", "salt", "tenant", "was", "weight"),
    [
        ("", ADA_4, "", "ada", 2.0, 4.0),
        ("", ADA_4, "", "bob", 2.0, 2.0),
        (ADA_4, "", "", "ada", 4.0, 1.0),
        (ADA_4, ADA_4, "", "ada", 4.0, 4.0),
        ("", PATTERN, "", "ada", 2.0, 8.0),
        ("", ADA_4, "aa" * 16, "ada", 2.0, 4.0),
        ("", PATTERN, "aa" * 16, "ada", 2.0, 2.0),
    ],
)
def test_weights_are_those_of_the_configuration_that_is_tried(
    recorded: str, tried: str, salt: str, tenant: str, was: float, weight: float
) -> None:
    """Named tenants get its weight, in disguise too; others keep their objective's."""
    header = _header(recorded, salt)
    made = candidate("x", parse_config(tried, source="x"), header)
    name = Pseudonyms(bytes.fromhex(salt)).name(tenant)
    assert made.candidate.weight(Arrived(1, 0, name, 1, weight=was)) == weight
    assert bool(made.notes) == (tried == PATTERN and bool(salt))


def test_the_specification_of_these_tests_overloads_its_pool(tmp_path: Path) -> None:
    """Otherwise nothing above would show anything."""
    assert "duration: 60s" in SPEC
    waits = [fate.waited_s for fate in recording(tmp_path).course.fates.values()]
    assert sum(wait_s > 1 for wait_s in waits) > 50
