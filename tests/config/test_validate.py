"""`epp validate`: what it prints, and what it returns."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from epp import validate

CONFIG = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\n"
POOL = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: demo}
spec:
  selector: {matchLabels: {app: vllm}}
  targetPorts: [{number: 8000}]
"""
POD = """\
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: vllm}}
status: {podIP: 10.0.0.1}
"""
OBJECTIVE = """\
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: premium}
spec: {priority: 10, poolRef: {name: demo}}
"""


@pytest.fixture
def epp_validate(capsys):
    """Runs the command with these words; gives its exit status and the lines that it printed."""

    def run(*words: object) -> tuple[int, list[str]]:
        parser = argparse.ArgumentParser()
        validate.add_arguments(parser)
        status = validate.run(parser.parse_args([str(word) for word in words]))
        return status, capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def write(tmp_path):
    """Writes a file of the test's own and gives its path."""

    def write_text(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_right_files_are_ok(epp_validate, write):
    """One line each says what was found, and the status is 0."""
    config, objects = write("config.yaml", CONFIG), write("objects.yaml", POOL + POD + OBJECTIVE)
    status, lines = epp_validate("--config-file", config, "--objects", objects)
    assert status == 0
    assert lines == [
        (
            f"ok: {config}: 0 plugins, profile default (no scorer; max-score-picker), utilization-detector, "
            "token-fairness-policy, no bands of its own"
        ),
        f"ok: {objects}: 1 InferenceObjective, 1 InferencePool, 1 Pod; pool default/demo with 1 endpoint",
    ]


def test_every_problem_of_both_is_printed(epp_validate, write):
    """Wrong lines of either file fail the check, each with its file, line, field and message."""
    config = write("config.yaml", CONFIG + "flowControll: {}\nparser: {pluginRef: nope}\n")
    objects = write("objects.yaml", POOL + OBJECTIVE.replace("10", "ten"))
    status, lines = epp_validate("--config-file", config, "--objects", objects)
    assert status == 1
    assert [line.partition(" ")[0] for line in lines[:3]] == [
        f"{config}:4:",
        f"{config}:5:",
        f"{objects}:11:",
    ]
    assert "unknown field \"flowControll\"; did you mean 'flowControl'?" in lines[0]
    assert "spec.priority" in lines[2]
    assert not any(mark in line for line in lines[:3] for mark in ("warning:", "note:"))
    assert lines[-1] == "failed: 3 problems"


def test_a_warning_fails_as_well(epp_validate, write):
    """A misspelt field in a manifest is ignored in service, so it is here that it must be found."""
    objects = write("objects.yaml", POOL.replace("targetPorts", "targetPort: 1\n  targetPorts") + POD)
    status, lines = epp_validate("--objects", objects)
    assert status == 1
    assert lines[0].startswith(f"{objects}:6: warning: ")
    assert "did you mean targetPorts?" in lines[0]
    assert lines[1:] == ["failed: 1 problem"]


def test_what_is_worth_knowing_fails_nothing(epp_validate, write):
    """A pool without pods is fine for a cluster: a line, and status 0."""
    objects = write("objects.yaml", POOL)
    status, lines = epp_validate("--objects", objects)
    assert status == 0
    assert lines[0].startswith(f"{objects}: note: ")
    assert "has no endpoint" in lines[0]
    assert lines[1] == f"ok: {objects}: 1 InferencePool; pool default/demo with 0 endpoints"


def test_notes_of_a_configuration_are_marked_and_cost_nothing(epp_validate, write):
    """What has no effect in it is said behind its name, and it can be used all the same."""
    config = write("config.yaml", CONFIG + "plugins: [{type: prefix-cache-scorer}]\n")
    status, lines = epp_validate("--config-file", config)
    assert status == 0
    assert lines[0].startswith(f"{config}: note: plugin 'prefix-cache-scorer' has no effect")
    assert lines[-1].startswith("ok: ")


def test_a_wrong_annotation_is_a_warning(epp_validate, write):
    """The pod would serve without it, so its owner has to find it here."""
    pod = POD.replace("labels:", "annotations: {epp/models: 'a,,b'}, labels:")
    status, lines = epp_validate("--objects", write("objects.yaml", POOL + pod))
    assert status == 1
    assert ": warning: " in lines[0]
    assert "epp/models" in lines[0]


def test_objects_without_the_pool_serve_nobody(epp_validate, write):
    """Neither a missing InferencePool nor a pool name that nobody has can be meant."""
    for words in (
        ["--objects", write("pods.yaml", POD)],
        ["--objects", write("all.yaml", POOL + POD), "--pool-name", "zzz"],
    ):
        status, lines = epp_validate(*words)
        assert status == 1
        assert "InferencePool" in lines[0]
        assert lines[-1] == "failed: 1 problem"


def test_without_files_the_default_configuration_is_checked(epp_validate):
    """The command alone says what holds without a configuration."""
    status, lines = epp_validate()
    assert status == 0
    assert lines[-1].startswith("ok: default configuration: 6 plugins, profile default (queue-scorer x2")


def test_missing_files_are_problems(epp_validate, tmp_path):
    """Neither file being there fails the check, with both named."""
    config, objects = tmp_path / "config.yaml", tmp_path / "objects.yaml"
    status, lines = epp_validate("--config-file", config, "--objects", objects)
    assert status == 1
    assert lines[0] == f"{config}:1: can't be read: No such file or directory"
    assert lines[1].startswith(str(objects))


def test_one_of_several_pools_can_be_named(epp_validate, write):
    """With two pools in the files the name says which one is meant."""
    objects = write("objects.yaml", POOL + "---\n" + POOL.replace("demo", "other") + POD)
    assert epp_validate("--objects", objects)[0] == 1
    status, lines = epp_validate("--objects", objects, "--pool-name", "other")
    assert status == 0
    assert lines[-1].endswith("pool default/other with 1 endpoint")
