"""The messages: compiled from their source, and able to say all that the core says."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from epp.core import insight, questions
from epp.introspect.wire import introspection_pb2 as wire
from protos.compile import compile_protos

ROOT = Path(__file__).parents[2]

TWINS = {
    "ListBandsResponse": questions.BandsAnswer,
    "ListFlowsResponse": questions.FlowsAnswer,
    "ListQueuedResponse": questions.QueuedAnswer,
    "ListRunningResponse": questions.RunningAnswer,
    "ListEndpointsResponse": questions.EndpointsAnswer,
    "GetRequestResponse": questions.RequestAnswer,
    "GetPolicyResponse": questions.PolicyAnswer,
    "Band": insight.BandEntry,
    "Flow": insight.FlowEntry,
    "QueuedRequest": insight.QueuedEntry,
    "RunningRequest": insight.RunningEntry,
    "Endpoint": insight.EndpointEntry,
    "Room": insight.RoomEntry,
    "QueuedStory": insight.QueuedStory,
    "UnknownStory": insight.UnknownStory,
    "PolicyInForce": insight.PolicyInForce,
    "Policy": insight.PolicyEntry,
    "BandRules": insight.BandRules,
}


def test_the_classes_are_those_of_their_source(tmp_path: Path) -> None:
    """What is committed is what the compiler makes of `protos/`."""
    for written in compile_protos(tmp_path):
        committed = ROOT / written.relative_to(tmp_path)
        assert committed.read_bytes() == written.read_bytes(), committed


@pytest.mark.parametrize("message", TWINS)
def test_a_message_has_the_fields_of_its_value(message: str) -> None:
    """By name, so that whoever reads the core's values knows the service, and nothing is lost on the way."""
    described = wire.DESCRIPTOR.message_types_by_name[message]
    assert {field.name for field in described.fields} == {field.name for field in fields(TWINS[message])}


@pytest.mark.parametrize("message", TWINS)
def test_what_may_be_missing_can_be_left_out(message: str) -> None:
    """A value that may be None is a field that may be unset, and no other is."""
    described = wire.DESCRIPTOR.message_types_by_name[message]
    optional = {field.name for field in described.fields if field.containing_oneof is not None}
    assert optional == {each.name for each in fields(TWINS[message]) if "None" in str(each.type)}


def test_every_question_can_be_asked() -> None:
    """The fields of requests are those of a question, with its types."""
    known = {each.name for each in fields(questions.Question)}
    asked: set[str] = set()
    for described in wire.DESCRIPTOR.message_types_by_name.values():
        if described.name.endswith("Request") and described.name not in {"QueuedRequest", "RunningRequest"}:
            asked |= {field.name for field in described.fields}
    assert asked == known


def test_the_package_is_our_own() -> None:
    """Nobody else's messages in the same process can clash with them."""
    module: Any = importlib.import_module("epp.introspect.wire.introspection_pb2")
    assert module.DESCRIPTOR.package == "epp.introspection.v1"
    assert module.DESCRIPTOR.name == "epp/introspect/wire/introspection.proto"
