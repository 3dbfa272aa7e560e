"""The subset hint, and the destination in metadata."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse
from envoy_data_plane.google.protobuf import Struct, Value

from epp.core.eligibility import Eligibility, Subset
from epp.extproc.metadata import set_destination, subset_hint
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway


def hint(metadata: Metadata | None) -> Eligibility | None:
    """What a message with this metadata restricts its request to."""
    message = ProcessingRequest(metadata_context=metadata)
    return subset_hint(wire.ProcessingRequest.FromString(bytes(message)))


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (gateway.listed("10.0.0.1:8000", "10.0.0.2"), {"10.0.0.1:8000", "10.0.0.2"}),
        (Value(string_value="10.0.0.1:8000, 10.0.0.2"), {"10.0.0.1:8000", "10.0.0.2"}),
        (gateway.listed("[fd00::1]:8000", "fd00::2"), {"[fd00::1]:8000", "[fd00::2]"}),
        (gateway.listed(), set()),
        (Value(string_value=""), set()),
        (Value(number_value=7.0), set()),
        (Value(bool_value=True), set()),
        (Value(struct_value=Struct()), set()),
    ],
)
def test_a_hint_that_is_there_restricts(value: Value, entries: set[str]) -> None:
    """A list or a string names endpoints; anything else, and an empty one, names none."""
    assert hint(gateway.subset(value)) == Subset(frozenset(entries))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        Metadata(),
        Metadata(filter_metadata={"envoy.lb": Struct(fields={"a": Value(string_value="b")})}),
        Metadata(filter_metadata={"envoy.lb.subset_hint": Struct(fields={"other": gateway.listed("x")})}),
    ],
)
def test_without_the_key_nothing_is_restricted(metadata: Metadata | None) -> None:
    """Metadata about other things says nothing about endpoints."""
    assert hint(metadata) is None


def test_the_destination_goes_into_the_load_balancers_namespace() -> None:
    """Gateways that read metadata find the same address under the same name as in the header."""
    response = wire.ProcessingResponse()
    set_destination(response, "[fd00::1]:8000")
    read = ProcessingResponse.parse(response.SerializeToString())
    fields = read.dynamic_metadata.fields["envoy.lb"].struct_value.fields
    assert fields["x-gateway-destination-endpoint"].string_value == "[fd00::1]:8000"
