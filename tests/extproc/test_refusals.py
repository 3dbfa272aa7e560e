"""How refusals look to clients."""

from __future__ import annotations

import json

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from epp.core.actions import Reason
from epp.extproc.ingress import Explanation, Refusal
from epp.extproc.refusals import refusal_message, refusal_status
from tests.extproc import gateway

STATUSES = {
    Reason.SATURATED: 429,
    Reason.NO_ENDPOINTS: 503,
    Reason.TTL_EXPIRED: 429,
    Reason.CONTEXT_CANCELLED: 503,
    Reason.SHUTTING_DOWN: 503,
    Reason.WOULD_EXPIRE: 429,
    Reason.QUEUE_PRESSURE: 429,
    Reason.EVICTED: 429,
    Reason.TOO_LARGE: 413,
    Reason.MALFORMED: 400,
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_a_complete_answer(reason: Reason) -> None:
    """Each reason has its status, its name in a header, and an error in the OpenAI API's form."""
    refusal = Refusal(reason, retry_after_s=7, message="", waited_s=0.0)
    answer = ProcessingResponse.parse(refusal_message(refusal).SerializeToString()).immediate_response
    assert int(answer.status.code) == STATUSES[reason] == refusal_status(reason)
    headers = gateway.set_headers(answer.headers)
    assert headers == {
        "content-type": "application/json",
        "x-llm-d-request-dropped-reason": reason.value,
        "retry-after": "7",
    }
    error = json.loads(answer.body)["error"]
    assert error["code"] == reason.value
    assert error["message"]
    assert error["type"].endswith("_error")
    assert error["param"] is None
    assert " " not in answer.details


def test_where_waiting_cannot_help_clients_are_told_so() -> None:
    """Without a time to come back there is no Retry-After, and clients that ask are told not to try."""
    answer = refusal_message(Refusal(Reason.SATURATED, None, "", 0.0))
    headers = gateway.set_headers(
        ProcessingResponse.parse(answer.SerializeToString()).immediate_response.headers
    )
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers


def test_a_message_replaces_the_usual_one_and_a_wait_is_shown() -> None:
    """What the picker has to say goes to the client, with how long it waited to hear it."""
    answer = refusal_message(Refusal(Reason.TTL_EXPIRED, 1, 'Too "long".', 2.5))
    read = ProcessingResponse.parse(answer.SerializeToString()).immediate_response
    assert json.loads(read.body)["error"]["message"] == 'Too "long".'
    assert gateway.set_headers(read.headers)["x-llm-d-flow-queue-duration-ms"] == "2500"


@pytest.mark.parametrize("waited_s", [0.0, 2.5])
def test_a_refusal_explains_itself_where_asked_to(waited_s: float) -> None:
    """With an explanation the client learns its priority, its place in the queue and what stood in its way."""
    refusal = Refusal(Reason.TTL_EXPIRED, 1, "", waited_s, Explanation(-5, 17, "no_room"))
    read = ProcessingResponse.parse(refusal_message(refusal).SerializeToString()).immediate_response
    headers = gateway.set_headers(read.headers)
    told = {name: value for name, value in headers.items() if name.startswith("x-llm-d-flow-")}
    waited = {"x-llm-d-flow-queue-duration-ms": "2500"} if waited_s else {}
    assert told == waited | {
        "x-llm-d-flow-priority": "-5",
        "x-llm-d-flow-position": "17",
        "x-llm-d-flow-blocked-by": "no_room",
    }
