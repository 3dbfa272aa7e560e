"""The hooks of the gateways' conformance tests, and that nobody else can use them."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest
from envoy_data_plane.google.protobuf import Struct, Value

from epp.core.eligibility import ANY, Eligibility, Subset
from epp.core.endpoint import EndpointSpec
from epp.extproc.headers import Conformance
from epp.extproc.request import ConversationSettings
from tests.extproc import gateway
from tests.extproc.gateway import ADDRESS, LEAN
from tests.extproc.talk import Talk

ON = ConversationSettings(conformance=Conformance.ON)
SELECTION = "test-epp-endpoint-selection"
SERVED = "x-conformance-test-served-endpoint"
POOL = [
    EndpointSpec(address)
    for address in ("10.0.0.1:3000", "10.0.0.1:3002", "10.0.0.2:3000", "10.0.0.2:3002", "[fd00::1]:3000")
]


def served(value: Value) -> Metadata:
    """What a gateway says of where a response came from."""
    fields = {"x-gateway-destination-endpoint-served": value}
    return Metadata(filter_metadata={"envoy.lb": Struct(fields=fields)})


def response(metadata: Metadata | None = None, claim: str = "") -> ProcessingRequest:
    """The beginning of a response, with metadata."""
    message = gateway.response_headers({SERVED: claim} if claim else None)
    message.metadata_context = metadata
    return message


def echoed(talk: Talk) -> str | None:
    """The endpoint that the response is said to come from."""
    return gateway.set_headers(talk.heard[-1].response_headers.response.header_mutation).get(SERVED)


@pytest.mark.parametrize(
    ("selection", "admitted"),
    [
        ("10.0.0.1", [0, 1]),
        ("10.0.0.1:3002", [1]),
        (" 10.0.0.1:3000 , 10.0.0.2:3002,", [0, 3]),
        ("10.0.0.1,10.9.9.9,10.9.9.8:3000", [0, 1]),
        ("fd00::1", [4]),
        ("[fd00::1]:3000", [4]),
        ("256.256.256.256", []),
        (",", []),
    ],
)
def test_a_test_selects_endpoints(selection: str, admitted: list[int]) -> None:
    """By address or by address and port, among those of the pool; a foreign one is as good as none."""
    talk = Talk(ON).say(gateway.request_headers({SELECTION: selection}), gateway.request_body())
    eligibility: Eligibility = talk.facts.eligibility
    assert [number for number, spec in enumerate(POOL) if eligibility.admits(spec)] == admitted


@pytest.mark.parametrize("end", [False, True])
def test_a_selection_overrides_the_subset(end: bool) -> None:
    """Whichever message the gateway's own subset comes with, GET requests included."""
    metadata = gateway.subset(gateway.listed("10.0.0.9"))
    talk = Talk(ON).say(gateway.request_headers({SELECTION: "10.0.0.1"}, metadata=metadata, end=end))
    if not end:
        talk.say(gateway.request_body(metadata=metadata))
    assert talk.facts.eligibility == Subset.of(["10.0.0.1"])


@pytest.mark.parametrize("headers", [{}, {SELECTION: ""}])
def test_without_a_selection_the_subset_counts(headers: dict[str, str]) -> None:
    """No selection, or an empty one, leaves everything as it is."""
    metadata = gateway.subset(gateway.listed("10.0.0.9"))
    talk = Talk(ON).say(gateway.request_headers(headers, metadata=metadata, end=True))
    assert talk.facts.eligibility == Subset.of(["10.0.0.9"])
    assert Talk(ON).say(gateway.request_headers(headers, end=True)).facts.eligibility == ANY


def test_the_gateways_word_is_echoed() -> None:
    """The client learns which endpoint it was, by the gateway's account if it gives one."""
    talk = Talk(ON).say(gateway.request_headers(), gateway.request_body()).dispatch()
    talk.say(response(served(Value(string_value="10.0.0.2:3000")), claim="10.6.6.6:1"))
    assert echoed(talk) == "10.0.0.2:3000"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        Metadata(filter_metadata={"envoy.lb": Struct(fields={"other": Value(string_value="x")})}),
        Metadata(filter_metadata={"other": Struct()}),
        served(Value(number_value=7.0)),
    ],
)
@pytest.mark.parametrize("config", [None, LEAN])
def test_a_gateway_that_does_not_tell_is_found_out(metadata: Metadata | None, config: object) -> None:
    """What we chose proves nothing of the gateway, so the suite gets to know that it said nothing."""
    talk = Talk(ON).say(gateway.request_headers(config=LEAN if config else None), gateway.request_body())
    talk.dispatch(waited_s=0.25).say(response(metadata))
    assert echoed(talk) == "fail: the gateway did not say which endpoint served"
    mutation = talk.heard[-1].response_headers.response.header_mutation
    assert gateway.set_headers(mutation)["x-llm-d-flow-queue-duration-ms"] == "250"
    assert mutation.remove_headers == []


def test_an_answer_of_the_gateways_own_names_no_endpoint() -> None:
    """What no endpoint answered is not said to come from one."""
    talk = Talk(ON).say(gateway.request_headers(), response())
    assert talk.heard[-1].response_headers.response.header_mutation is None


def test_without_the_switch_the_headers_mean_nothing() -> None:
    """Both pass through like any others: no client steers, and none is told of endpoints."""
    talk = Talk().say(gateway.request_headers({SELECTION: "10.0.0.1"}), gateway.request_body()).dispatch()
    assert talk.facts.eligibility == ANY
    mutation = talk.heard[0].request_headers.response.header_mutation
    assert mutation.remove_headers == []
    talk.say(response(served(Value(string_value="10.0.0.2:3000")), claim="10.6.6.6:1"))
    assert talk.heard[-1].response_headers.response.header_mutation is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_requests_without_a_body_take_the_same_way(method: str) -> None:
    """As the conformance tests send them: queued on their headers, answered at dispatch, ended by the response."""
    talk = Talk(ON).say(gateway.request_headers({":method": method}, path="/primary", end=True))
    assert (talk.facts.need, talk.facts.path, talk.heard) == (0, "/primary", [])
    talk.dispatch()
    assert talk.kinds == ["request_headers"]
    assert gateway.set_headers(talk.heard[0].request_headers.response.header_mutation) == {
        "x-gateway-destination-endpoint": ADDRESS
    }
    talk.say(gateway.response_headers(end=True))
    assert echoed(talk).startswith("fail: ")
    assert talk.heard[-1].response_headers.response.header_mutation.remove_headers == []
    assert talk.names == ["Submit", "Ended"]
