"""Our messages against an independent copy of Envoy's API, field by field and byte by byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as ext_proc_filter
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.envoy.type import v3 as envoy_type
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from epp.extproc.wire import ext_proc_pb2 as wire
from protos.compile import TARGETS, compile_protos

ROOT = Path(__file__).resolve().parents[2]

ENVOY_MODULES = (ext_proc, core, envoy_type, ext_proc_filter)
ENVOY_NAMES = {
    "BodySendMode": "ProcessingModeBodySendMode",
    "HeaderAppendAction": "HeaderValueOptionHeaderAppendAction",
}

TYPE_NAMES = {
    FieldDescriptor.TYPE_BOOL: betterproto2.TYPE_BOOL,
    FieldDescriptor.TYPE_BYTES: betterproto2.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM: betterproto2.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE: betterproto2.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING: betterproto2.TYPE_STRING,
}

BYTES_FOR_STRING = {("HeaderValue", "value")}
"""Strings of Envoy's that we read as bytes, on purpose: the same form on the wire, and any bytes are readable."""


def envoy(name: str) -> Any:
    """Envoy's class for one of our messages or enums."""
    name = ENVOY_NAMES.get(name, name)
    return next(getattr(module, name) for module in ENVOY_MODULES if hasattr(module, name))


def all_messages() -> list[Descriptor]:
    """Every message of ours, map entries aside."""
    return list(wire.DESCRIPTOR.message_types_by_name.values())


def all_enums() -> list[EnumDescriptor]:
    """Every enum of ours, nested ones included."""
    nested = [enum for message in all_messages() for enum in message.enum_types]
    return [*wire.DESCRIPTOR.enum_types_by_name.values(), *nested]


@pytest.mark.parametrize("message", all_messages(), ids=lambda message: message.name)
def test_every_field_is_envoys(message: Descriptor) -> None:
    """Each field has the number, the type, the repetition and the oneof that it has in Envoy's API."""
    theirs = {field.name: field.metadata["betterproto"] for field in dataclasses.fields(envoy(message.name))}
    for field in message.fields:
        their = theirs[field.name]
        assert field.number == their.number
        assert (field.containing_oneof.name if field.containing_oneof else None) == their.group
        entry = field.message_type if field.type == FieldDescriptor.TYPE_MESSAGE else None
        if entry is not None and entry.GetOptions().map_entry:
            assert their.proto_type == betterproto2.TYPE_MAP
            assert [part.proto_type for part in their.map_meta] == [
                TYPE_NAMES[entry.fields_by_name[part].type] for part in ("key", "value")
            ]
            continue
        assert field.is_repeated == their.repeated
        ours = TYPE_NAMES[field.type]
        if (message.name, field.name) in BYTES_FOR_STRING:
            assert (ours, their.proto_type) == (betterproto2.TYPE_BYTES, betterproto2.TYPE_STRING)
        else:
            assert ours == their.proto_type


@pytest.mark.parametrize("enum", all_enums(), ids=lambda enum: enum.name)
def test_every_enum_value_is_envoys(enum: EnumDescriptor) -> None:
    """Each value of each enum has the name and the number that it has in Envoy's API."""
    theirs = envoy(enum.name)
    for value in enum.values:
        assert theirs[value.name] == value.number


def test_regenerating_gives_the_same_bytes(tmp_path: Path) -> None:
    """The committed classes are what the committed sources compile to."""
    for written in compile_protos(tmp_path):
        committed = ROOT / written.relative_to(tmp_path)
        assert written.read_bytes() == committed.read_bytes(), f"{committed} is stale: run `make protos`"


def test_every_source_is_compiled() -> None:
    """No `.proto` file is forgotten by the compile script."""
    assert {path.name for path in (ROOT / "protos").glob("*.proto")} == set(TARGETS)


header_values = st.builds(
    core.HeaderValue,
    key=st.text(max_size=20),
    value=st.text(max_size=20),
    raw_value=st.binary(max_size=20),
)
header_maps = st.builds(core.HeaderMap, headers=st.lists(header_values, max_size=4))
bodies = st.builds(ext_proc.HttpBody, body=st.binary(max_size=40), end_of_stream=st.booleans())
http_headers = st.builds(ext_proc.HttpHeaders, headers=header_maps, end_of_stream=st.booleans())
modes = st.sampled_from(list(ext_proc_filter.ProcessingModeBodySendMode))
configurations = st.builds(ext_proc.ProtocolConfiguration, request_body_mode=modes, response_body_mode=modes)
requests = st.one_of(
    st.builds(
        ext_proc.ProcessingRequest, request_headers=http_headers, protocol_config=st.none() | configurations
    ),
    st.builds(ext_proc.ProcessingRequest, response_headers=http_headers),
    st.builds(ext_proc.ProcessingRequest, request_body=bodies),
    st.builds(ext_proc.ProcessingRequest, response_body=bodies),
    st.builds(ext_proc.ProcessingRequest, request_trailers=st.builds(ext_proc.HttpTrailers)),
    st.builds(ext_proc.ProcessingRequest, response_trailers=st.builds(ext_proc.HttpTrailers)),
)


def read_headers(headers: wire.HttpHeaders | ext_proc.HttpHeaders) -> tuple[Any, ...]:
    """The same values from either implementation's headers."""
    listed = headers.headers.headers if headers.headers is not None else []
    values = [
        (entry.key, entry.value if isinstance(entry.value, bytes) else entry.value.encode(), entry.raw_value)
        for entry in listed
    ]
    return (values, headers.end_of_stream)


@given(requests)
def test_reads_what_envoys_classes_write(theirs: ext_proc.ProcessingRequest) -> None:
    """Any request message that the independent implementation writes means the same to ours."""
    ours = wire.ProcessingRequest.FromString(bytes(theirs))
    kind = ours.WhichOneof("request")
    their_part = getattr(theirs, str(kind))
    our_part = getattr(ours, str(kind))
    assert their_part is not None
    if str(kind).endswith("_headers"):
        assert read_headers(our_part) == read_headers(their_part)
    elif str(kind).endswith("_body"):
        assert (our_part.body, our_part.end_of_stream) == (their_part.body, their_part.end_of_stream)
    assert ours.HasField("protocol_config") == (theirs.protocol_config is not None)
    if theirs.protocol_config is not None:
        assert ours.protocol_config.request_body_mode == theirs.protocol_config.request_body_mode
        assert ours.protocol_config.response_body_mode == theirs.protocol_config.response_body_mode


@given(requests)
def test_writes_what_envoys_classes_read(theirs: ext_proc.ProcessingRequest) -> None:
    """A message that went through our classes is the same message for the independent implementation."""
    through_ours = wire.ProcessingRequest.FromString(bytes(theirs)).SerializeToString()
    assert ext_proc.ProcessingRequest.parse(through_ours) == theirs


@given(st.binary(max_size=100), st.booleans(), st.text(max_size=10), st.binary(max_size=20))
def test_envoys_classes_read_our_answers(body: bytes, end: bool, name: str, value: bytes) -> None:
    """Bodies, header changes and immediate responses that we write arrive as such."""
    ours = wire.ProcessingResponse()
    streamed = ours.response_body.response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = body, end
    piece = ext_proc.ProcessingResponse.parse(ours.SerializeToString())
    assert piece.response_body.response.body_mutation.streamed_response == ext_proc.StreamedBodyResponse(
        body=body, end_of_stream=end
    )

    ours = wire.ProcessingResponse()
    ours.immediate_response.status.code = wire.TooManyRequests
    ours.immediate_response.body = body
    option = ours.immediate_response.headers.set_headers.add()
    option.header.key, option.header.raw_value = name, value
    option.append_action = wire.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    ours.immediate_response.headers.remove_headers.append(name)
    answer = ext_proc.ProcessingResponse.parse(ours.SerializeToString()).immediate_response
    assert answer.status.code is envoy_type.StatusCode.TooManyRequests
    assert answer.body == body
    (set_header,) = answer.headers.set_headers
    assert (set_header.header.key, set_header.header.raw_value) == (name, value)
    assert set_header.append_action is core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    assert answer.headers.remove_headers == [name]
