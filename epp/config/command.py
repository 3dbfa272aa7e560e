"""Checking a configuration for a person: every problem, every note, and one line that says what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from epp.config.parse import default_config, read_config
from epp.config.problems import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from epp.config.model import EndpointPickerConfig


class Check(NamedTuple):
    """What there is to say of one configuration."""

    problems: tuple[str, ...]
    """`file:line: field: message`; none if it can be used."""
    notes: tuple[str, ...]
    """`file: note: text`."""
    summary: str
    """What it holds; empty if it can't be used."""


def check_config(path: Path | None) -> Check:
    """Check the configuration in a file; without one, that which holds when there is none."""
    try:
        config = default_config() if path is None else read_config(path)
    except ConfigError as error:
        return Check(tuple(f"{error.source}:{problem}" for problem in error.problems), (), "")
    return Check((), tuple(f"{config.source}: note: {note}" for note in config.notes), _summary(config))


def _summary(config: EndpointPickerConfig) -> str:
    scorers = ", ".join(f"{scorer.name} x{scorer.weight:g}" for scorer in config.profile.scorers)
    flow_control = config.flow_control
    bands = ", ".join(str(priority) for priority in sorted(flow_control.bands, reverse=True))
    parts = [
        f"{len(config.plugins)} plugins",
        f"profile {config.profile.name} ({scorers or 'no scorer'}; {config.profile.picker.name})",
        flow_control.capacity.name,
        flow_control.default_band.fairness.name,
        f"bands {bands}" if bands else "no bands of its own",
    ]
    return ", ".join(parts)
