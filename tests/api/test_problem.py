"""Problems read well, stay short, and show nothing that could upset a terminal."""

import pytest

from epp.api.problem import SHOWN_CHARACTERS, Problem, Severity, describe, format_path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec", "targetPorts", 0, "number"), "spec.targetPorts[0].number"),
        (("metadata", "annotations", "epp/queue-ttl"), 'metadata.annotations["epp/queue-ttl"]'),
        (("items", 3, "kind"), "items[3].kind"),
        (("a\nb",), '["a\\nb"]'),
    ],
)
def test_paths_are_written_as_people_write_them(path, text):
    """Keys are joined with dots, positions and odd keys stand in brackets."""
    assert format_path(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", '"x"'),
        ("é", '"é"'),
        ("\x1b[31m\u202e", '"\\u001b[31m\\u202e"'),
        ("\ud800", '"\\ud800"'),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (1.5, "1.5"),
        ({"password": "hunter2"}, "a mapping"),
        (["hunter2"], "a list"),
        (object(), "object"),
    ],
)
def test_values_are_shown_without_harm(value, text):
    """Control characters are escaped, containers and huge numbers are named and not printed."""
    assert describe(value) == text


def test_a_number_that_python_refuses_to_print_is_named():
    """Thousands of digits can't be turned into text without an exception."""
    assert describe(2**100_000) == describe(-(2**100_000)) == "a very large number"


def test_long_values_and_keys_are_cut():
    """A megabyte of text makes a short message, as a value and as a key."""
    assert len(describe("x" * 1_000_000)) < 2 * SHOWN_CHARACTERS
    assert len(format_path(("x" * 1_000_000,))) < 2 * SHOWN_CHARACTERS


def test_a_problem_names_field_value_and_remedy():
    """As text it is all three, and only those that there are."""
    problem = Problem(Severity.ERROR, ("spec", "priority"), "99", "must be smaller")
    assert str(problem) == "spec.priority: 99: must be smaller"
    assert str(problem._replace(value="")) == "spec.priority: must be smaller"
    assert str(problem._replace(path=(), value="")) == "must be smaller"
    assert problem.under(3).under("items").field == "items[3].spec.priority"
    assert problem.level == "error"
