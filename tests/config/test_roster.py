"""The `plugins` section, and references to what is in it."""

from __future__ import annotations

import pytest

from epp.config.registry import REGISTRY
from epp.config.roster import with_defaults

REQUIRED = {
    "by-label": "{label: a, validValues: [b]}",
    "priority-holdback-policy": "{minCeiling: 0.5}",
}
"""Types that have parameters without a default."""


@pytest.mark.parametrize("type_name", sorted(REGISTRY))
def test_every_type_of_ours_can_be_listed(parsed, type_name):
    """Each type can be listed, under its own name or another."""
    parameters = REQUIRED.get(type_name, "{}")
    for name in ("", "name: mine, "):
        config = parsed(f"plugins: [{{{name}type: {type_name}, parameters: {parameters}}}]")
        assert config.plugins == ("mine" if name else type_name,)


@pytest.mark.parametrize("type_name", sorted(set(REGISTRY) - set(REQUIRED)))
def test_defaults_are_what_an_empty_entry_gives(type_name):
    """A plugin without parameters is the same each time, so sharing it is safe."""
    assert with_defaults(type_name) == with_defaults(type_name)


@pytest.mark.parametrize(
    ("plugins", "line", "field", "message"),
    [
        ("- name: x", 4, "plugins[0].type", "plugin 'x' is missing a type: name one, such as queue-scorer"),
        ("- {}", 4, "plugins[0].type", "plugin '' is missing a type: name one, such as queue-scorer"),
        (
            "- type: queue-scorer\n- type: queue-scorer",
            5,
            "plugins[1].type",
            "duplicate plugin name 'queue-scorer', first on line 4: give one of them a name of its own",
        ),
        (
            "- type: queue-scorer\n- type: random-picker\n  name: queue-scorer",
            6,
            "plugins[1].name",
            "duplicate plugin name 'queue-scorer', first on line 4: give one of them a name of its own",
        ),
        (
            "- type: quue-scorer",
            4,
            "plugins[0].type",
            "plugin type 'quue-scorer' is not registered; did you mean 'queue-scorer'?",
        ),
        (
            "- type: edf-ordering-polcy",
            4,
            "plugins[0].type",
            "plugin type 'edf-ordering-polcy' is not registered; did you mean 'edf-ordering-policy'?",
        ),
        ("- type: [queue-scorer]", 4, "plugins[0].type", "must be text, got a list"),
        ("- queue-scorer", 4, "plugins[0]", 'must be a mapping, got "queue-scorer"'),
    ],
)
def test_wrong_entries(problems, plugins, line, field, message):
    """Each fault of an entry in upstream's words, with its line and a remedy."""
    (problem,) = problems(f"plugins:\n{plugins}\n")
    assert problem == (line, field, message)


def test_a_type_that_resembles_nothing_lists_ours(problems):
    """Without a near name the message says which types there are."""
    (problem,) = problems("plugins: [{type: zzz}]")
    assert problem.message == f"plugin type 'zzz' is not registered; known are {', '.join(REGISTRY)}"


def test_a_wrong_plugin_is_wrong_once(problems):
    """A reference to a plugin that is wrong itself is not a second problem."""
    (problem,) = problems(
        """
        plugins: [{type: program-aware-fairness, parameters: {strategy: turn-priority}}]
        flowControl:
          defaultPriorityBand: {fairnessPolicyRef: program-aware-fairness}
        """
    )
    assert problem.field == "plugins[0].parameters.strategy"


def test_what_an_alias_repeats_is_wrong_where_it_is_written(problems):
    """Both uses of a wrong part are named, on the one line that needs mending."""
    found = problems(
        """
        flowControl:
          defaultPriorityBand: &band {maxBytes: 1GB}
          defaultNegativePriorityBand: *band
        """
    )
    assert [(problem.line, problem.field) for problem in found] == [
        (4, "flowControl.defaultPriorityBand.maxBytes"),
        (4, "flowControl.defaultNegativePriorityBand.maxBytes"),
    ]
