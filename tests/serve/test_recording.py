"""What `serve` records with: the place that is refused, and a recipe that a reload keeps true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from epp.config.parse import parse_config
from epp.core import Controller
from epp.eventlog.recipe import fingerprint
from epp.serve.configuration import Configuration
from epp.serve.errors import StartError
from epp.serve.recording import recording
from epp.serve.reload import ConfigReload
from tests.serve.test_settings import _read

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
ONE = (
    HEADER
    + "plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]\n"
)
OTHER = (
    HEADER
    + "plugins: [{type: random-picker}]\nschedulingProfiles: [{name: a, plugins: [{pluginRef: random-picker}]}]\n"
    + "flowControl: {defaultRequestTTL: 7s}\n"
)


def _configuration(text: str, *flags: str) -> tuple[Any, Configuration]:
    settings = _read(*flags)
    return settings, Configuration(settings, parse_config(text, source="x"))


def test_a_place_that_is_not_the_logs_own_keeps_the_picker_from_starting(tmp_path: Path) -> None:
    """The flag, the path and the remedy are named, and the folder is where it was."""
    (tmp_path / "data").mkdir()
    settings, configuration = _configuration(ONE, f"--event-log={tmp_path / 'data'}")
    controller = Controller(configuration.runtime.policy, now=0.0)
    with pytest.raises(StartError, match=rf"--event-log {tmp_path / 'data'}: is a folder: name a file in it"):
        recording(settings, configuration, controller, now=0.0, warn=print)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_a_log_that_can_be_written_is_the_pickers_from_the_start(tmp_path: Path) -> None:
    """A second picker is refused before the first one has had a request, and not after its end."""
    settings, configuration = _configuration(ONE, f"--event-log={tmp_path / 'log'}")
    controller = Controller(configuration.runtime.policy, now=0.0)
    first = recording(settings, configuration, controller, now=0.0, warn=print)
    with pytest.raises(StartError, match="another process writes to it"):
        recording(settings, configuration, controller, now=0.0, warn=print)
    first.close()
    recording(settings, configuration, controller, now=0.0, warn=print).close()


async def test_a_reload_that_changes_profiles_too_can_be_replayed(tmp_path: Path) -> None:
    """The choice of endpoints stays that of the start, in the picker and in what the log says of it."""
    path = tmp_path / "config.yaml"
    path.write_text(OTHER, encoding="utf-8")
    _, configuration = _configuration(ONE)
    reload = ConfigReload(
        path,
        configuration.config,
        rebuild=configuration.rebuild,
        apply=configuration.adopt,
        outcome=lambda _: None,
    )
    assert configuration.recipe().profile_config is None
    for _ in range(3):
        await reload.look()
    policy = configuration.runtime.policy
    assert configuration.config.flow_control.ttl_s == 7.0
    assert fingerprint(configuration.recipe().policy()) == fingerprint(policy)
    again = configuration.recipe().policy()
    assert repr(type(again.choice)) == repr(type(policy.choice))
    # A choice policy need not have these; the profile of the configuration has.
    assert again.choice.picker == policy.choice.picker  # type: ignore[attr-defined]
    assert again.choice.scorers == policy.choice.scorers  # type: ignore[attr-defined]
