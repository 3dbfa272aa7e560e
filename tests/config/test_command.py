"""Checking a configuration for a person."""

from __future__ import annotations

from epp.config.command import check_config


def test_a_wrong_file_has_problems_only(tmp_path):
    """Every problem is a line that an editor can jump to."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugin: []\nflowControl: {maxBytes: x}\n"
    )
    check = check_config(path)
    assert [line.partition(": ")[0] for line in check.problems] == [f"{path}:3", f"{path}:4"]
    assert (check.notes, check.summary) == ((), "")


def test_a_right_file_has_notes_and_a_summary(tmp_path):
    """What has no effect is said, and one line tells what the file holds."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
        "plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]\n"
        "featureGates: [flowControl]\n"
        "flowControl: {priorityBands: [{priority: -1}, {priority: 10}]}\n"
    )
    check = check_config(path)
    assert check.problems == ()
    assert len(check.notes) == 1
    assert check.notes[0].startswith(f"{path}: note: plugin 'prefix-cache-scorer' has no effect")
    assert check.summary == (
        "2 plugins, profile default (queue-scorer x1; max-score-picker), utilization-detector, "
        "token-fairness-policy, bands 10, -1"
    )


def test_no_file_is_the_default_configuration():
    """Without a file the configuration that then holds is checked."""
    check = check_config(None)
    assert check.problems == ()
    assert "queue-scorer x2, kv-cache-utilization-scorer x2" in check.summary
    assert check.summary.endswith("no bands of its own")
