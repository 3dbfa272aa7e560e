"""Label rules: which endpoints a profile uses at all."""

from __future__ import annotations

import pytest

from epp.core.endpoint import EndpointSpec
from epp.picking.labels import (
    DECODE_ROLES,
    ENCODE_ROLES,
    EVERY_ENDPOINT,
    PREFILL_ROLES,
    LabelRequirement,
    LabelRule,
    Operator,
)


def endpoint(**labels: str) -> EndpointSpec:
    """An endpoint with these labels."""
    return EndpointSpec("10.0.0.1:8000", labels=tuple(sorted(labels.items())))


def with_role(role: str | None) -> EndpointSpec:
    """An endpoint with this role, or with none."""
    return EndpointSpec("10.0.0.1:8000", labels=() if role is None else (("llm-d.ai/role", role),))


@pytest.mark.parametrize(
    ("operator", "values", "admitted"),
    [
        (Operator.IN, {"a100", "h100"}, {"a100"}),
        (Operator.NOT_IN, {"a100"}, {"l4", None}),
        (Operator.EXISTS, set(), {"a100", "l4"}),
        (Operator.DOES_NOT_EXIST, set(), {None}),
        (Operator.IN_OR_ABSENT, {"l4"}, {"l4", None}),
    ],
)
def test_operators_follow_kubernetes(operator, values, admitted):
    """Each operator admits exactly the values it should of: a100, l4, and no such label."""
    rule = LabelRule((LabelRequirement("gpu", operator, frozenset(values)),))
    labelled = {"a100": endpoint(gpu="a100"), "l4": endpoint(gpu="l4"), None: endpoint(zone="x")}
    assert {name for name, spec in labelled.items() if rule.admits(spec)} == admitted


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        (DECODE_ROLES, {None, "decode", "prefill-decode", "both", "encode-prefill-decode"}),
        (PREFILL_ROLES, {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"}),
        (ENCODE_ROLES, {"encode", "encode-prefill", "encode-prefill-decode"}),
        (
            EVERY_ENDPOINT,
            {None, "encode", "prefill", "decode", "both", "encode-prefill", "prefill-decode"}
            | {"encode-prefill-decode", "router"},
        ),
    ],
    ids=["decode", "prefill", "encode", "every"],
)
def test_roles_are_upstreams(rule, admitted):
    """The role filters admit the roles that upstream's do; only decode takes pods without a role."""
    roles = [None, "encode", "prefill", "decode", "both", "encode-prefill", "prefill-decode"]
    roles += ["encode-prefill-decode", "router"]
    assert {role for role in roles if rule.admits(with_role(role))} == admitted


def test_rules_add_up():
    """Two filters in one profile: an endpoint must pass both."""
    gpu = LabelRule((LabelRequirement("gpu", Operator.EXISTS),))
    zone = LabelRule((LabelRequirement("zone", Operator.IN, frozenset({"a"})),))
    both = gpu & zone
    assert both.admits(endpoint(gpu="l4", zone="a"))
    assert not both.admits(endpoint(gpu="l4", zone="b"))
    assert not both.admits(endpoint(zone="a"))
