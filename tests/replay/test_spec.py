"""Specifications of made-up traces: what they say, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.config.problems import ConfigError
from epp.replay.presets import PRESETS
from epp.replay.spec import Process, Shape, parse_spec, read_spec

SMALL = """
duration: 20s
endpoints: [{count: 2, slots: 4}]
tenants:
- name: ada
  priority: 5
  weight: 2.5
  ttl: 3s
  arrivals: {process: bursts, rate: 4, on: 2s, off: 5s}
  input: {distribution: pareto, median: 100, alpha: 1.2, max: 900}
  output: {distribution: fixed, median: 7}
- arrivals: {rate: 1}
"""


def test_a_specification_is_read() -> None:
    """With what it says, and with defaults for what it doesn't."""
    spec = parse_spec(SMALL, source="x")
    ada, other = spec.tenants
    assert (spec.duration_s, spec.servers[0].count, spec.servers[0].slots) == (20.0, 2, 4)
    assert (ada.name, ada.priority, ada.weight, ada.ttl_s) == ("ada", 5, 2.5, 3.0)
    assert (ada.arrivals.process, ada.arrivals.on_s, ada.arrivals.off_s) == (Process.BURSTS, 2.0, 5.0)
    assert (ada.input.shape, ada.input.alpha, ada.input.most) == (Shape.PARETO, 1.2, 900)
    assert (other.name, other.count, other.priority) == ("tenant-2", 1, 0)
    assert (other.arrivals.process, other.output.shape) == (Process.POISSON, Shape.LOGNORMAL)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_good(name: str) -> None:
    """Every specification that comes with the picker can be used."""
    assert read_spec(PRESETS[name]).tenants


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("duration: 20s", "duration: 0s", "x:2: duration: must be longer than nothing"),
        ("duration: 20s", "duration: soon", "x:2: duration:"),
        ("slots: 4", "slots: many", "x:3: endpoints[0].slots: must be a whole number"),
        ("slots: 4", "slotz: 4", "x:3: endpoints[0].slotz: unknown field"),
        ("priority: 5", "priority: high", "x:6: tenants[0].priority:"),
        ("weight: 2.5", "weight: 0", "x:7: tenants[0].weight:"),
        ("ttl: 3s", "ttl: -3s", "x:8: tenants[0].ttl: can't be negative"),
        ("process: bursts", "process: chaos", "x:9: tenants[0].arrivals.process:"),
        ("rate: 4, ", "", "x:9: tenants[0].arrivals.rate: is required"),
        ("alpha: 1.2", "sigma: 1.2", "x:10: tenants[0].input.sigma: unknown field"),
        ("- arrivals: {rate: 1}", "- name: bob", "x:12: tenants[1].arrivals: is required"),
        ("endpoints: [{count: 2, slots: 4}]", "", "endpoints: is required"),
        (SMALL, "", "endpoints: is required"),
        (SMALL, "tenants: [", "x:1:"),
    ],
)
def test_mistakes_are_told_with_line_and_field(before: str, after: str, message: str) -> None:
    """What is wrong, where, and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        parse_spec(SMALL.replace(before, after), source="x")
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing, or no text."""
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        read_spec(tmp_path / "none.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_spec(tmp_path / "odd.yaml")
