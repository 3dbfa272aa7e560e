"""Questions from outside: sizes, tokens and filters, names that may be hashed, and errors that help."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.core.eligibility import Subset
from epp.core.events import Ended, ObjectivesChanged, PolicyChanged
from epp.core.ordering import EdfOrdering
from epp.core.policy import BandPolicy
from epp.core.questions import BadQuestionError, Hashing, Inspector, Question, Topic
from tests.core.building import ROUND_ROBIN, A, B, controller, endpoint, policy, request

if TYPE_CHECKING:
    from epp.core import Controller

LISTS = {
    Topic.BANDS: "bands",
    Topic.FLOWS: "flows",
    Topic.QUEUED: "queued",
    Topic.RUNNING: "running",
    Topic.ENDPOINTS: "endpoints",
}
SECRETS = ("alice@example.com", "bob the builder", "mallory", "überfrau")


def crowded() -> Controller:
    """Two bands of all tenants on three endpoints, some running, most queued, some in an overflow flow."""
    core = controller(*(endpoint(number, uid=f"pod-{number}") for number in (1, 2, 3)), max_flows=3)
    core.handle(ObjectivesChanged(frozenset({7, -3})), 0.0)
    for number in range(1, 41):
        core.handle(request(number, 7 * (number % 2), SECRETS[number % 4]), number / 10)
    return core


def inspector(core: Controller | None = None, salt: bytes = b"salt", **settings: Any) -> Inspector:
    """Of a crowded picker, unless of another one."""
    return Inspector(core or crowded(), salt=salt, **settings)


def answer(asked: Inspector, topic: Topic, **question: Any) -> dict[str, Any]:
    """The answer as plain data, at a minute past."""
    return asdict(asked.answer(topic, Question(**question), 60.0))


def everything(asked: Inspector, topic: Topic, **question: Any) -> list[Any]:
    """All pages of a list, put together."""
    found: list[Any] = []
    token = ""
    while True:
        page = answer(asked, topic, page_token=token, **question)
        found += page[LISTS[topic]]
        token = page["next_page_token"]
        if not token:
            return found


@pytest.mark.parametrize("topic", LISTS)
@pytest.mark.parametrize("hashed", [False, True])
def test_tokens_lead_from_page_to_page(topic: Topic, hashed: bool) -> None:
    """Pages of any size put together are the list, hashed or not."""
    asked = inspector()
    whole = answer(asked, topic, page_size=1000, hash_flow_ids=hashed)
    assert whole["next_page_token"] == ""
    entries = list(whole[LISTS[topic]])
    assert len(entries) >= 3
    for size in (1, 2, 3, 7):
        assert everything(asked, topic, page_size=size, hash_flow_ids=hashed) == entries


@pytest.mark.parametrize("topic", Topic)
@pytest.mark.parametrize("how", [{"hash_flow_ids": True}, {"hashing": Hashing.FORCED}])
def test_no_flow_id_leaks_where_they_are_hashed(topic: Topic, how: dict[str, Any]) -> None:
    """Neither in the entries nor in a token, whether the question or the operator says so."""
    hashing = how.get("hashing", Hashing.ON_REQUEST)
    asked = inspector(hashing=hashing)
    for request_id in (1, 2, 20, 39, 40):
        for size in (1, 2, 1000):
            question = {"page_size": size, "request_id": request_id, "hash_flow_ids": "hash_flow_ids" in how}
            text = json.dumps(answer(asked, topic, **question), default=str, ensure_ascii=False)
            assert not [secret for secret in SECRETS if secret in text]


def test_hashes_are_the_same_everywhere_in_a_process_and_nowhere_else() -> None:
    """So one can follow a flow from list to list, and not look it up."""
    asked = inspector()
    flows = {entry["fairness_id"] for entry in everything(asked, Topic.FLOWS, hash_flow_ids=True)}
    queued = everything(asked, Topic.QUEUED, hash_flow_ids=True)
    assert {entry["flow"] for entry in queued} <= flows
    tenants = {entry["fairness_id"] for entry in queued}
    assert len(tenants) == len(SECRETS)
    assert tenants == {entry["fairness_id"] for entry in everything(asked, Topic.QUEUED, hash_flow_ids=True)}
    other = inspector(salt=b"pepper")
    assert tenants.isdisjoint(
        entry["fairness_id"] for entry in everything(other, Topic.QUEUED, hash_flow_ids=True)
    )


def test_a_hash_can_be_asked_for_as_well_as_the_name() -> None:
    """The filter by tenant takes what was shown; and somebody who knows the name may use that."""
    asked = inspector()
    shown = everything(asked, Topic.QUEUED, hash_flow_ids=True)
    chosen = shown[0]["fairness_id"]
    of_chosen = [entry for entry in shown if entry["fairness_id"] == chosen]
    assert everything(asked, Topic.QUEUED, hash_flow_ids=True, fairness_id=chosen) == of_chosen
    name = everything(asked, Topic.QUEUED)[0]["fairness_id"]
    assert everything(asked, Topic.QUEUED, hash_flow_ids=True, fairness_id=name) == of_chosen


def test_a_story_is_one_of_three() -> None:
    """Queued, running or unknown: the other two are not there."""
    core = controller(A)
    for number in (1, 2, 3):
        core.handle(request(number), 0.0)
    core.handle(Ended(1), 1.0)
    asked = inspector(core)
    for request_id, kind in ((1, "unknown"), (2, "running"), (3, "queued")):
        told = answer(asked, Topic.REQUEST, request_id=request_id)
        assert {each for each in ("queued", "running", "unknown") if told[each] is not None} == {kind}
        assert told["now_s"] == 60.0


@pytest.mark.parametrize(
    ("topic", "question", "field"),
    [
        (Topic.QUEUED, {"page_size": -1}, "page_size"),
        (Topic.BANDS, {"page_size": 1001}, "page_size"),
        (Topic.QUEUED, {"page_token": "nonsense"}, "page_token"),
        (Topic.QUEUED, {"page_token": "flow:7:mallory"}, "page_token"),
        (Topic.QUEUED, {"page_token": "queued:seven"}, "page_token"),
        (Topic.QUEUED, {"page_token": "queued:" + "9" * 5000}, "page_token"),
        (Topic.RUNNING, {"page_token": "running:"}, "page_token"),
        (Topic.BANDS, {"page_token": "band:²"}, "page_token"),
        (Topic.FLOWS, {"page_token": "flow:mallory"}, "page_token"),
        (Topic.ENDPOINTS, {"page_token": "endpoint:10.0.0.1:8000"}, "page_token"),
    ],
)
def test_a_bad_question_is_told_what_to_do(topic: Topic, question: dict[str, Any], field: str) -> None:
    """The field, its value, cut where it is long, and the remedy."""
    with pytest.raises(BadQuestionError) as refused:
        answer(inspector(), topic, **question)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: '")
    assert str(next(iter(question.values())))[:80] in str(refused.value)
    assert len(str(refused.value)) < 250


@given(st.sampled_from(list(LISTS)), st.text(max_size=30), st.integers(-5, 2000))
def test_any_token_is_answered_or_refused(topic: Topic, token: str, size: int) -> None:
    """No question makes the inspector fail in another way."""
    for text in (token, f"{topic.value}:{token}", f"flow:0:{token}", f"endpoint:{token} "):
        with contextlib.suppress(BadQuestionError):
            answer(INSPECTOR, topic, page_token=text, page_size=size)


INSPECTOR = inspector()


def test_a_fairness_id_that_cannot_be_written_down_is_shown_all_the_same() -> None:
    """Half a surrogate pair isn't text that a message or JSON can hold."""
    core = controller(A)
    for number in (1, 2):
        core.handle(request(number, tenant="half \ud83d"), 0.0)
    for hashed in (False, True):
        for topic in Topic:
            said = answer(inspector(core), topic, request_id=2, hash_flow_ids=hashed)
            json.dumps(said, default=str, ensure_ascii=False).encode()


def test_the_policy_in_force_is_told_by_name_and_number() -> None:
    """What the configuration says, whatever its policies are, and what went wrong with them."""
    tight = BandPolicy(ROUND_ROBIN.fairness, EdfOrdering(), max_requests=7, flow_max_in_flight=3)
    core = controller(A, B, bands={4: tight, 9: ROUND_ROBIN}, max_bytes=12345, default_negative_band=tight)
    told = answer(inspector(core), Topic.POLICY)["policy"]
    assert told["capacity"]["name"] == "concurrency-detector"
    assert told["capacity"]["parameters"]["max_concurrency"] == "1"
    assert told["ceiling"] == {"name": "static-usage-limit-policy", "parameters": {"threshold": "1.0"}}
    assert told["caps"]["max_bytes"] == "12345"
    assert told["caps"]["max_requests"] == "unlimited"
    assert told["caps"]["early_refusal"] == "off"
    assert told["caps"]["eviction"] == "none"
    assert [each["priority"] for each in told["bands"]] == [9, 4]
    assert told["bands"][1]["ordering"]["name"] == "edf-ordering-policy"
    assert told["bands"][1]["caps"]["flow_max_in_flight"] == "3"
    assert told["default_negative_band"]["caps"]["max_requests"] == "7"
    assert told["default_band"]["priority"] is None
    assert told["faults"] == {}


def test_the_policy_in_force_follows_a_change() -> None:
    """What is told is what holds now."""
    core = controller(A)
    core.handle(PolicyChanged(replace(policy(), max_requests=5)), 1.0)
    assert answer(inspector(core), Topic.POLICY)["policy"]["caps"]["max_requests"] == "5"


def test_a_restricted_request_counts_only_its_endpoints() -> None:
    """Of two endpoints it may use one, and that one is full."""
    core = controller(A, B)
    for number in (1, 2):
        core.handle(request(number, eligibility=Subset.of([A.address])), 0.0)
    (entry,) = everything(inspector(core), Topic.QUEUED)
    assert (entry["eligible_endpoints"], entry["endpoints_with_room"]) == (1, 0)
