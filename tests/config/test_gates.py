"""The `featureGates` section."""

from __future__ import annotations

import pytest

NOT_ENABLED = "feature gate flowControl is not enabled: upstream would not queue requests"


@pytest.mark.parametrize(
    "gates", ["[flowControl]", "[flowControl=true]", "['flowControl= TRUE ']", "[flowControl=1]"]
)
def test_flow_control_needs_no_note(parsed, gates):
    """The gate in any of upstream's spellings asks for what happens anyway."""
    assert parsed(f"featureGates: {gates}").notes == ()


@pytest.mark.parametrize(
    "gates", ["[]", "[flowControl=false]", "[flowControl=F]", "[flowControl, flowControl=0]", "null"]
)
def test_without_the_gate_the_difference_is_noted_once(parsed, gates):
    """One line says that upstream would not have queued, and what becomes of negative priorities."""
    (note,) = parsed(f"featureGates: {gates}").notes
    assert note.startswith(NOT_ENABLED)
    assert "negative priorities wait instead of being shed at once" in note


@pytest.mark.parametrize("gate", ["dataLayer", "enableLegacyMetrics", "haPopulateNonLeaderDatastore"])
def test_other_gates_are_accepted_without_effect(parsed, gate):
    """Gates of upstream that decide nothing here are noted, on or off."""
    for suffix in ("", "=false"):
        (note,) = parsed(f"featureGates: [flowControl, {gate}{suffix}]").notes
        assert note.startswith(f"feature gate {gate} has no effect: ")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            "flowControll",
            "feature gate 'flowControll' is unknown or unregistered; did you mean 'flowControl'?",
        ),
        (
            "turbo",
            (
                "feature gate 'turbo' is unknown or unregistered; "
                "known are flowControl, dataLayer, enableLegacyMetrics, haPopulateNonLeaderDatastore"
            ),
        ),
        (
            "flowControl=maybe",
            (
                "maybe is not a valid value for the feature gate flowControl: "
                "write flowControl=true or flowControl=false"
            ),
        ),
        (
            "'flowControl='",
            " is not a valid value for the feature gate flowControl: write flowControl=true or flowControl=false",
        ),
        ("{flowControl: true}", "must be text, got a mapping"),
    ],
)
def test_wrong_gates(problems, gate, message):
    """Upstream's words, and the nearest name or all of them."""
    (problem,) = problems(f"featureGates:\n- dataLayer\n- {gate}\n")
    assert problem == (5, "featureGates[1]", message)
