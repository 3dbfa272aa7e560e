"""Scenarios from files: overlays, strictness, and messages that say where and what instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from benchmarks.load.plan import Delivery
from benchmarks.plays.measures import Measure
from benchmarks.scenarios.loading import ScenarioError, Size, find, load, shipped
from benchmarks.scenarios.scenario import Burst, HangUp, Kind, Lognormal, Poisson

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = """
name: small
question: Does it load?
story: A file for tests.
duration_s: 10
targets: [picker, "envoy:least-request"]
servers:
  count: 2
  engine: {max_sequences: 4, step_s: 0.05}
  different:
    1: {step_s: 0.5}
picker:
  objectives: {premium: 10, plain: null}
  config:
    apiVersion: llm-d.ai/v1alpha1
    kind: EndpointPickerConfig
    plugins:
    - type: concurrency-detector
      parameters: {maxConcurrency: 4}
    - type: queue-scorer
    - type: max-score-picker
    schedulingProfiles:
    - name: default
      plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
    flowControl:
      saturationDetector: {pluginRef: concurrency-detector}
traffic:
  chat:
    objective: premium
    tenants: [anna, ben]
    prompt_tokens: {kind: lognormal, mean: 40, most: 400}
    arrivals: [{kind: poisson, per_s: 3}]
  batch:
    delivery: whole
    arrivals: [{kind: burst, count: 20, at_s: 1}]
events:
- {do: hang-up, at_s: 5, traffic: chat}
pass:
- says: chats are answered
  kind: behaviour
  traffic: chat
  measure: completed_share
  at_least: 1
- says: chats wait less than batch
  traffic: chat
  measure: ttft_p95_s
  at_most: 0.5
  times: {measure: ttft_p95_s, traffic: batch, target: "envoy:least-request"}
quick: {duration_s: 6}
smoke:
  duration_s: 5.5
  servers: {count: 3}
  traffic:
    chat: {arrivals: [{kind: poisson, per_s: 1}]}
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Write the scenario above, changed, and say where."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        document = yaml.safe_load(TEXT)
        change(document)
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    return write


def problem(path: Path) -> str:
    """The one thing that is wrong with the scenario, without the file's name."""
    with pytest.raises(ScenarioError) as caught:
        load(path, Size.FULL)
    (only,) = caught.value.problems
    assert str(caught.value) == f"{path}: {only}"
    return str(only)


def test_a_file_becomes_a_scenario(written: Callable[..., Path]) -> None:
    """Every kind of part is read as what it is."""
    scenario = load(written(lambda _: None), Size.FULL)
    assert scenario.duration_s == 10
    assert scenario.servers.different == {1: {"step_s": 0.5}}
    assert scenario.picker.objectives == {"premium": 10, "plain": None}
    assert scenario.traffic["chat"].arrivals == [Poisson(per_s=3)]
    assert scenario.traffic["chat"].prompt_tokens == Lognormal(mean=40, most=400)
    assert scenario.traffic["batch"].arrivals == [Burst(count=20, at_s=1)]
    assert scenario.traffic["batch"].delivery is Delivery.WHOLE
    assert scenario.events == [HangUp(at_s=5, traffic="chat")]
    assert scenario.passes[0].kind is Kind.BEHAVIOUR
    assert scenario.passes[1].times is not None
    assert scenario.passes[1].times.measure is Measure.TTFT_P95_S


def test_an_overlay_changes_what_it_names_and_nothing_else(written: Callable[..., Path]) -> None:
    """Mappings are merged key by key, lists are replaced."""
    path = written(lambda _: None)
    assert load(path, Size.QUICK).duration_s == 6
    smoke = load(path, Size.SMOKE)
    assert smoke.duration_s == 5.5
    assert smoke.servers.count == 3
    assert smoke.servers.engine == {"max_sequences": 4, "step_s": 0.05}
    assert smoke.traffic["chat"].arrivals == [Poisson(per_s=1)]
    assert smoke.traffic["chat"].tenants == ["anna", "ben"]
    assert smoke.traffic["batch"] == load(path, Size.FULL).traffic["batch"]


def test_without_an_overlay_a_scenario_is_the_same_in_every_size(written: Callable[..., Path]) -> None:
    """They are optional."""
    path = written(lambda document: (document.pop("quick"), document.pop("smoke")))
    assert load(path, Size.SMOKE) == load(path, Size.FULL)


def test_a_name_is_a_shipped_scenario_and_a_path_is_a_file(tmp_path: Path) -> None:
    """The two can't be taken for one another."""
    assert find("held-5000").name == "held-5000.yaml"
    assert find("./held-5000.yaml") == Path("held-5000.yaml")
    assert find(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"
    with pytest.raises(ScenarioError, match=r"helt-5000: there is no scenario .* did you mean 'held-5000'"):
        load("helt-5000", Size.FULL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        (b"name: \xff", "is not UTF-8 at byte 6"),
        (b"name: [", r"small\.yaml:1: is no YAML"),
        (b"- name", "holds no scenario"),
        (
            b"name: a\nseed: 1\nname: b\n",
            r"small\.yaml:3: is no YAML: the key 'name' stands here a second time",
        ),
        (b"name: \x00", r"small\.yaml:1: is no YAML"),
        (b"smoke: 3", "smoke: is 3: expected a mapping"),
    ],
)
def test_what_is_no_scenario_at_all_is_said_to_be_none(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """Whatever the file is, nothing crashes."""
    path = tmp_path / "small.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        load(path, Size.FULL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(durations_s=3),
            "durations_s: there is no such field; did you mean 'duration_s'?",
        ),
        (
            lambda d: d["traffic"]["batch"].update(prompt_token=3),
            "traffic.batch.prompt_token: there is no such field; did you mean 'prompt_tokens'?",
        ),
        (
            lambda d: d["traffic"]["batch"]["arrivals"][0].update(counts=3),
            "traffic.batch.arrivals[0].counts: there is no such field; did you mean 'count'?",
        ),
        (
            lambda d: d["traffic"]["chat"]["arrivals"][0].update(per_s="3"),
            "traffic.chat.arrivals[0].per_s: is '3': expected a number",
        ),
        (
            lambda d: d["traffic"]["chat"]["arrivals"][0].update(kind="posson"),
            "traffic.chat.arrivals[0].kind: is 'posson'; did you mean 'poisson'?",
        ),
        (
            lambda d: d["traffic"]["batch"]["arrivals"][0].pop("kind"),
            "traffic.batch.arrivals[0].kind: is required: one of poisson, burst, ramp, trace",
        ),
        (
            lambda d: d["traffic"]["chat"]["prompt_tokens"].update(kind="lognorm"),
            "traffic.chat.prompt_tokens.kind: is 'lognorm'; did you mean 'lognormal'?",
        ),
        (
            lambda d: d["traffic"]["chat"].update(prompt_tokens=3.5),
            "traffic.chat.prompt_tokens: is 3.5: expected a whole number or a mapping",
        ),
        (
            lambda d: d["pass"][1].update(measure="ttft_p95"),
            "pass[1].measure: is 'ttft_p95'; did you mean 'ttft_p95_s'?",
        ),
        (
            lambda d: d["pass"][1]["times"].update(class_name="chat"),
            "pass[1].times.class_name: there is no such field; known are measure, traffic, target",
        ),
        (
            lambda d: d["pass"][0].update(kind="behavior"),
            "pass[0].kind: is 'behavior'; did you mean 'behaviour'?",
        ),
        (lambda d: d["events"][0].update(do="hangup"), "events[0].do: is 'hangup'; did you mean 'hang-up'?"),
        (
            lambda d: d["servers"]["different"].update({"one": {}}),
            "servers.different: has keys that don't belong there: expected `int`, got `str`",
        ),
        (
            lambda d: d["servers"]["different"][1].update(step_s="slow"),
            "servers.different.1.step_s: is 'slow': expected a number",
        ),
        (
            lambda d: d["picker"]["objectives"].update(premium="high"),
            "picker.objectives.premium: is 'high': expected a whole number or null",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_path_its_value_and_a_remedy(
    written: Callable[..., Path], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Also below a mapping, whose keys msgspec doesn't tell."""
    assert problem(written(change)) == message


@pytest.mark.parametrize("size", Size)
@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_load_in_every_size(name: str, size: Size) -> None:
    """Each says what it is, promises something of both kinds, and is short where it should be."""
    scenario = load(name, size)
    assert scenario.name == name
    assert {line.kind for line in scenario.passes} == set(Kind)
    assert scenario.targets[0] == "picker"
    assert size is not Size.SMOKE or scenario.duration_s <= 5


@pytest.mark.parametrize("name", shipped())
def test_what_shipped_scenarios_promise_of_behaviour_is_about_one_play(name: str) -> None:
    """So it can be judged where only the picker is played, without Envoy alone beside it."""
    for line in load(name, Size.SMOKE).passes:
        if line.kind is Kind.BEHAVIOUR:
            assert line.times is None or line.times.target in {None, line.target}, line.says
