"""docs/configuration.md: its examples work, and nothing of flow control is missing from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.config import default_config, parse_config
from epp.config.catalogue import IGNORED
from epp.config.document import Mapping
from epp.config.fields import Fields
from epp.config.flowcontrol import read_flow_control
from epp.config.plugins import CapacityPlugin, CeilingPlugin, FairnessPlugin, OrderingPlugin
from epp.config.problems import Findings
from epp.config.registry import ALWAYS_THERE, REGISTRY
from epp.config.roster import Roster
from epp.core.ceilings import ExplicitCeilings
from epp.core.eviction import EvictionPolicy
from epp.core.learning import LearnedLimitPolicy

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
EXAMPLES = {
    part.partition("\n")[0]: block.partition("```")[0]
    for part in PAGE.split("\n## ")[1:]
    for block in part.split("```yaml\n")[1:]
}


class Recorded(Fields):
    """Takes down which keys are asked for; those of lists as if each had one entry."""

    asked: set[str]

    def _entry(self, key):
        self.asked.add(key)
        return super()._entry(key)

    def section(self, key, *, preface=""):
        self.asked.add(key)
        return self._inner(key)

    def sections(self, key):
        self.asked.add(key)
        return [self._inner(key)]

    def _inner(self, key):
        made = Recorded(Mapping(1), line=1, path=key, findings=self.findings)
        made.asked = self.asked
        return made


def recorded() -> Recorded:
    """An empty mapping that takes down what is asked of it."""
    fields = Recorded(Mapping(1), line=1, path="", findings=Findings())
    fields.asked = set()
    return fields


def test_every_example_is_found():
    """Each YAML block of the page is one of the examples, under its heading."""
    assert len(EXAMPLES) == PAGE.count("```yaml") >= 6


@pytest.mark.parametrize("heading", EXAMPLES)
def test_every_example_is_a_configuration_without_a_note(heading):
    """Whoever copies one gets what it shows, and nothing in it is without effect."""
    assert parse_config(EXAMPLES[heading], source=heading).notes == ()


def example(heading: str):
    """The flow control of the example under this heading."""
    return parse_config(EXAMPLES[heading], source=heading).flow_control


def test_the_defaults_are_the_defaults():
    """What the page calls defaults is what holds without them."""
    assert example("Every key, with its default") == default_config().flow_control
    assert example("Evicting what runs").eviction == EvictionPolicy()
    assert example("Learning the limit").learning == LearnedLimitPolicy()


def test_the_examples_do_what_their_words_say():
    """Weights, budgets and ceilings come out as the text around them tells."""
    weights = example("Two tenants with weights").weights
    assert [weights.of(name, 1.0) for name in ("gold", "trial-7", "anybody")] == [4.0, 0.5, 1.0]
    budgets = example("Per-band budgets")
    assert budgets.max_request_ttl_s == 600.0
    assert (budgets.bands[100].ttl_s, budgets.bands[100].hold_s) == (5.0, 30.0)
    batch = budgets.bands[-10]
    assert (batch.ttl_s, batch.hold_s, batch.flow_max_in_flight) == (3600.0, 3600.0, 10)
    assert example("Holdback").ceiling == ExplicitCeilings(((100, 1.0), (0, 0.9), (-10, 0.6)))


def test_every_key_of_the_section_is_on_the_page():
    """A key that is read and not documented turns this red."""
    document = recorded()
    read_flow_control(document, Roster())
    names = document.asked - {"flowControl", "pluginRef"}
    assert len(names) > 40
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE and f"{name}:" not in PAGE] == []


def test_every_plugin_of_flow_control_is_on_the_page():
    """With all of its parameters; those that need no entry are in bold."""
    roles = FairnessPlugin | OrderingPlugin | CapacityPlugin | CeilingPlugin
    found = set()
    for name, reader in REGISTRY.items():
        fields = recorded()
        if isinstance(reader(fields), roles):
            found.add(name)
            assert (f"**`{name}`**" in PAGE) == (name in ALWAYS_THERE)
            hidden = {"inFlightLoadProducerName"}  # of upstream's inside
            inside = {"label", "value"}  # of entries of maxConcurrencyByLabel, which are shown as a whole
            for parameter in fields.asked - hidden - inside:
                assert f"`{parameter}`" in PAGE, (name, parameter)
    assert len(found) >= 12
    assert all(f"`{name}`" in PAGE for name in IGNORED if "eviction" in name)
