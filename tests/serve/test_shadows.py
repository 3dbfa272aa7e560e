"""The policies that are tried out beside the live one, as `serve` sets them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from epp.config.parse import parse_config
from epp.core import Controller
from epp.core.events import Tick
from epp.serve.configuration import Configuration
from epp.serve.errors import StartError
from epp.serve.recording import Recording, recording
from epp.whatif import Shadow
from tests.core.building import policy, request
from tests.serve.test_settings import _read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def _recording(*paths: Path, warn: Callable[[str], None] = print) -> Recording:
    settings = _read(f"--shadow-config={','.join(map(str, paths))}")
    configuration = Configuration(settings, parse_config(HEADER, source="x"))
    controller = Controller(configuration.runtime.policy, now=0.0)
    return recording(settings, configuration, controller, now=0.0, warn=warn)


def _written(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER + text, encoding="utf-8")
    return path


def test_shadows_have_names_of_their_own(tmp_path: Path) -> None:
    """The file's name without its ending, and its whole path where another one would be called the same."""
    alone, one, other = (_written(tmp_path, name) for name in ("alone.yaml", "a/fair.yaml", "b/fair.yaml"))
    found = _recording(alone, one, other).shadow_statistics()
    assert [each.name for each in found] == ["alone", str(one), str(other)]


def test_names_stay_apart_in_metrics(tmp_path: Path) -> None:
    """Labels are cut to a length, so paths that are alike up to there are told apart by what comes last."""
    deep = tmp_path / ("x" * 150)
    deep.mkdir()
    one, other = (_written(deep, name) for name in ("a/fair.yaml", "b/fair.yaml"))
    first, second = (each.name for each in _recording(one, other).shadow_statistics())
    assert first[:128] != second[:128]


def test_the_same_file_twice_is_a_mistake(tmp_path: Path) -> None:
    """It would tell the same thing twice."""
    path = _written(tmp_path, "fair.yaml")
    again = path.parent / "elsewhere" / ".." / path.name
    (path.parent / "elsewhere").mkdir()
    with pytest.raises(StartError, match=r"--shadow-config: .*fair\.yaml is named twice: name it once"):
        _recording(path, again)


def test_a_shadow_goes_by_its_own_configurations_weights(tmp_path: Path) -> None:
    """What it says of a tenant holds; where it says nothing, the arrival's weight."""
    named = "flowControl: {weights: [{fairnessID: acme, weight: 3}]}\n"
    witnesses = _recording(_written(tmp_path, "fair.yaml", named))
    for number, tenant in enumerate(("acme", "other")):
        witnesses.decided(request(number, tenant=tenant, weight=2.0), [], 0.0)
    items = witnesses._shadows[0]._world._controller._waiting.items  # type: ignore[attr-defined]
    assert [each.view.weight for each in items.values()] == [3.0, 2.0]


def test_first_bytes_are_wanted_if_any_shadow_wants_them(tmp_path: Path) -> None:
    """Whatever the live policy makes of them."""
    plain = _written(tmp_path, "plain.yaml")
    evicting = _written(tmp_path, "evicting.yaml", "flowControl: {enableEviction: true}\n")
    assert not _recording(plain).wants_first_bytes
    assert _recording(plain, evicting).wants_first_bytes


def test_a_shadow_that_ends_says_why_once() -> None:
    """By its name, with the reason and what to do; the others go on."""
    said: list[str] = []
    small, large = (Shadow(f"s{most}", policy(), now=0.0, most_open=most) for most in (1, 9))
    witnesses = Recording(None, [small, large], warn=said.append)
    for number in range(4):
        witnesses.decided(request(number), [], 0.0)
    witnesses.decided(Tick(), [], 1.0)
    assert said == [
        "--shadow-config: s1 is not tried out any more: more than 1 requests are open; restart to try it again"
    ]
    assert [each.events for each in witnesses.shadow_statistics()] == [2, 5]
