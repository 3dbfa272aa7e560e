"""The conditions to write: ours is right, those of others are left alone, and nothing is written twice."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api.conditions import (
    MOST_CONDITIONS,
    MOST_MESSAGE_BYTES,
    SCHEMA_DEFAULT,
    next_conditions,
    no_room,
)
from epp.api.verdict import Acceptance, Verdict
from epp.api.written import Condition, Written

POOL = "InferencePool team/pool"
NOW = "2026-09-01T12:00:00Z"
LATER = "2026-09-01T13:00:00Z"
REWRITE_DEFAULT = Condition(
    type="Accepted",
    status="Unknown",
    reason="Pending",
    message="Waiting for controller",
    last_transition_time="1970-01-01T00:00:00Z",
)
YES = Verdict(Acceptance.ACCEPTED, "priority 10 of pool team/pool")
NO = Verdict(Acceptance.POOL_NOT_FOUND, "there is no pool team/pool")

names = st.sampled_from(["Accepted", "Ready", "Programmed", "example.com/Seen", "A", "B", "C", "D", "E", "F"])
conditions = st.one_of(
    st.just(SCHEMA_DEFAULT),
    st.just(REWRITE_DEFAULT),
    st.builds(
        Condition,
        type=names,
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=st.sampled_from(["Pending", "Accepted", "Ours"]),
        message=st.sampled_from(["", "Waiting for controller", "fine"]),
        observed_generation=st.integers(0, 3),
        last_transition_time=st.sampled_from(["1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]),
    ),
)
writtens = st.builds(
    Written,
    uid=st.just("u"),
    resource_version=st.just("7"),
    generation=st.integers(1, 3),
    conditions=st.lists(conditions, max_size=10, unique_by=lambda one: one.type).map(tuple),
)
verdicts = st.none() | st.builds(
    Verdict, st.sampled_from(Acceptance), st.sampled_from(["fine", "no pool", ""])
)


def written(*given_conditions, generation=1):
    """An object with these conditions."""
    return Written(uid="u", resource_version="7", generation=generation, conditions=given_conditions)


def after(before, result):
    """The object once the result was written."""
    return Written(
        uid=before.uid,
        resource_version="8",
        generation=before.generation,
        conditions=before.conditions if result is None else result,
    )


def the(result, name="Accepted"):
    """The condition of that type; there must be exactly one."""
    (one,) = (each for each in result if each.type == name)
    return one


@given(before=writtens, verdict=verdicts)
def test_nothing_is_written_twice(before, verdict):
    """After one write there is nothing to write, even later."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    assert result != before.conditions
    assert next_conditions(after(before, result), verdict, now=LATER, pool=POOL) is None


@given(before=writtens, verdict=verdicts)
def test_conditions_of_others_stay_in_their_order(before, verdict):
    """Everything but Accepted and the schema's default Ready is kept, unchanged and in the same order."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    if result is not None:
        foreign = [each for each in before.conditions if each.type != "Accepted" and each != SCHEMA_DEFAULT]
        assert [each for each in result if each.type != "Accepted"] == foreign


@given(before=writtens, verdict=verdicts)
def test_ours_keeps_its_place(before, verdict):
    """An Accepted that is there is replaced where it stands; a new one comes last."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    if result is not None:
        there = [each.type for each in before.conditions if each != SCHEMA_DEFAULT]
        expected = there if "Accepted" in there else [*there, "Accepted"]
        assert [each.type for each in result] == expected


@given(before=writtens, verdict=verdicts)
def test_never_more_than_the_schema_allows(before, verdict):
    """Nothing that the API server would refuse for its length is asked for; a full list is told apart."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    assert result is None or len(result) <= MOST_CONDITIONS
    assert not (no_room(before) and result is not None)


@given(before=writtens, verdict=verdicts)
def test_the_transition_time_tells_of_transitions_only(before, verdict):
    """It is now if the status changed or is new, and as it was otherwise."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    if result is not None:
        old = next((each for each in before.conditions if each.type == "Accepted"), None)
        same = old is not None and old.status == the(result).status
        assert the(result).last_transition_time == (old.last_transition_time if same else NOW)


@given(before=writtens, verdict=verdicts.filter(lambda one: one is not None))
def test_what_is_written_is_the_verdict(before, verdict):
    """Where there is room, Accepted says what the verdict says, of the generation that was judged."""
    result = next_conditions(before, verdict, now=NOW, pool=POOL)
    if not no_room(before):
        ours = the(before.conditions if result is None else result)
        assert (ours.status, ours.reason, ours.message) == (
            verdict.status,
            verdict.reason.value,
            verdict.message,
        )
        assert ours.observed_generation == before.generation


def test_an_objective_as_the_api_server_made_it():
    """The schema's Ready makes way for Accepted."""
    assert next_conditions(written(SCHEMA_DEFAULT), YES, now=NOW, pool=POOL) == (
        Condition(
            type="Accepted",
            status="True",
            reason="Accepted",
            message="priority 10 of pool team/pool",
            observed_generation=1,
            last_transition_time=NOW,
        ),
    )


def test_a_rewrite_as_the_api_server_made_it():
    """Its schema's default is an Accepted already, which becomes ours."""
    result = next_conditions(written(REWRITE_DEFAULT), NO, now=NOW, pool=POOL)
    assert [(each.type, each.status, each.reason) for each in result] == [
        ("Accepted", "False", "PoolNotFound")
    ]
    assert the(result).last_transition_time == NOW


@pytest.mark.parametrize(
    "changed",
    [
        {"message": "Waiting"},
        {"reason": "Waiting"},
        {"status": "True"},
        {"observed_generation": 1},
        {"last_transition_time": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_ready_that_somebody_wrote_stays(changed):
    """Ready goes only while all of it is the schema's default."""
    fields = {name: getattr(SCHEMA_DEFAULT, name) for name in SCHEMA_DEFAULT.__struct_fields__}
    ready = Condition(**(fields | changed))
    assert next_conditions(written(ready), YES, now=NOW, pool=POOL)[0] == ready


def test_a_new_generation_is_acknowledged():
    """The same verdict of a later generation is written, without a transition."""
    first = next_conditions(written(SCHEMA_DEFAULT), YES, now=NOW, pool=POOL)
    second = next_conditions(written(*first, generation=2), YES, now=LATER, pool=POOL)
    assert the(second).observed_generation == 2
    assert the(second).last_transition_time == NOW


def test_one_that_moved_away_is_told_once():
    """It becomes unknown, and the message names the pool that let it go; after that, nothing."""
    first = next_conditions(written(SCHEMA_DEFAULT), YES, now=NOW, pool=POOL)
    moved = written(*first, generation=2)
    last = next_conditions(moved, None, now=LATER, pool=POOL)
    assert (the(last).status, the(last).reason, the(last).observed_generation) == ("Unknown", "Pending", 2)
    assert the(last).last_transition_time == LATER
    assert POOL in the(last).message
    assert next_conditions(after(moved, last), None, now=LATER, pool=POOL) is None


def test_one_that_moved_away_and_was_judged_there_is_left_alone():
    """Whoever wrote the present generation has the word."""
    theirs = Condition(type="Accepted", status="True", reason="Accepted", observed_generation=2)
    assert next_conditions(written(theirs, generation=2), None, now=NOW, pool=POOL) is None


def test_no_room_for_ours():
    """Eight conditions of others leave none for us, seven and the default leave one."""
    others = tuple(Condition(type=name, status="True") for name in "ABCDEFGH")
    assert no_room(written(*others))
    assert next_conditions(written(*others), YES, now=NOW, pool=POOL) is None
    assert not no_room(written(*others[:7], SCHEMA_DEFAULT))
    assert len(next_conditions(written(*others[:7], SCHEMA_DEFAULT), YES, now=NOW, pool=POOL)) == 8


@given(message=st.text(st.sampled_from("a…𝄞é\ud800"), max_size=5).map(lambda text: text * 9000))
def test_a_message_is_cut_to_what_the_api_server_takes(message):
    """By bytes, between characters, and with a sign of it."""
    ours = the(next_conditions(written(), Verdict(Acceptance.INVALID, message), now=NOW, pool=POOL))
    assert len(ours.message.encode()) <= MOST_MESSAGE_BYTES
    whole = message.encode(errors="replace").decode()
    assert ours.message == whole or (ours.message[-1] == "…" and whole.startswith(ours.message[:-1]))
    assert len(whole.encode()) > MOST_MESSAGE_BYTES or ours.message == whole


@pytest.mark.parametrize("reason", Acceptance)
def test_every_reason_is_one_that_the_api_server_takes(reason):
    """They keep the pattern of metav1.Condition."""
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", reason.value)


def test_a_condition_that_is_there_twice_is_there_once_afterwards():
    """Two Accepted, which no schema of ours lets through, become one, where the first was."""
    seen = Condition(type="Seen", status="True")
    result = next_conditions(written(REWRITE_DEFAULT, seen, REWRITE_DEFAULT), YES, now=NOW, pool=POOL)
    assert [each.type for each in result] == ["Accepted", "Seen"]


def test_a_missing_transition_time_is_mended():
    """A condition without one, which metav1 requires, gets it."""
    timeless = Condition(type="Accepted", status="True", reason="Accepted", observed_generation=1)
    result = next_conditions(written(timeless), Verdict(Acceptance.ACCEPTED, ""), now=NOW, pool=POOL)
    assert the(result).last_transition_time == NOW
