"""Reading by schema: every breach is found, and what is accepted is what msgspec accepts."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api.manifest import (
    Manifest,
    ObjectiveManifest,
    PodManifest,
    PoolManifest,
)
from epp.api.problem import Severity
from epp.api.schema import MAX_PROBLEMS, nearest, read
from tests.api.documents import EXAMPLES, OBJECTIVE, POD, POOL, changed, odd_values, paths_of


@pytest.mark.parametrize(("shape", "document"), EXAMPLES)
def test_a_right_document_is_read_as_msgspec_reads_it(shape, document):
    """No problems, and the same value as by msgspec's own conversion."""
    value, problems = read(document, shape)
    assert problems == ()
    assert value == msgspec.convert(document, shape)


@given(data=st.data())
def test_what_is_accepted_msgspec_accepts_too(data):
    """With any one value replaced: either errors are reported, or msgspec makes the same value of it."""
    shape, document = data.draw(st.sampled_from(EXAMPLES))
    path = data.draw(st.sampled_from(list(paths_of(document))))
    document = changed(document, path, data.draw(odd_values))
    value, problems = read(document, shape)
    assert (value is None) == any(problem.severity is Severity.ERROR for problem in problems)
    if value is not None and not problems:
        assert value == msgspec.convert(as_served(document), shape)


@given(data=st.data())
def test_what_msgspec_refuses_is_an_error_at_that_place(data):
    """With one value replaced so that msgspec refuses, what is reported points at or into the replaced value."""
    shape, document = data.draw(st.sampled_from(EXAMPLES))
    path = data.draw(st.sampled_from(list(paths_of(document))))
    document = changed(document, path, data.draw(odd_values))
    try:
        msgspec.convert(as_served(document), shape)
    except msgspec.ValidationError:
        _, problems = read(document, shape)
        assert problems
        assert all(each.path[: len(path)] == path[: len(each.path)] for each in problems)


def as_served(value):
    """The document as an API server gives it: a field that is null is absent, and 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: as_served(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [as_served(inner) for inner in value]
    return value


def test_every_breach_is_reported_with_its_path():
    """Four mistakes in one document make four errors."""
    document = changed(POOL, ("metadata", "name"), "Bad_Name")
    document = changed(document, ("spec", "targetPorts", 1, "number"), 70000)
    document = changed(document, ("spec", "appProtocol"), "ftp")
    document = changed(document, ("spec", "selector", "matchLabels", "app"), 7)
    _, problems = read(document, PoolManifest)
    assert {problem.field: problem.value for problem in problems} == {
        "metadata.name": '"Bad_Name"',
        "spec.targetPorts[1].number": "70000",
        "spec.appProtocol": '"ftp"',
        "spec.selector.matchLabels.app": "7",
    }


def test_a_number_where_text_belongs_says_to_quote_it():
    """The commonest mistake with labels in YAML has its remedy in the message."""
    _, problems = read(changed(POOL, ("metadata", "labels", "a"), True), PoolManifest)
    assert "quotes" in problems[0].message


def test_an_unknown_field_of_a_closed_part_is_a_warning_with_the_nearest_name():
    """A misspelt field does not pass silently, and the object stays usable, as in Kubernetes."""
    document = {"metadata": {"name": "a"}, "spec": {"priorty": 10, "poolRef": {"name": "pool"}}}
    value, (problem,) = read(document, ObjectiveManifest)
    assert value is not None
    assert problem.severity is Severity.WARNING
    assert problem.field == "spec.priorty"
    assert "did you mean priority?" in problem.message


def test_unknown_fields_of_open_parts_are_nobodys_business():
    """Pods and metadata have many fields that we don't declare."""
    document = changed(POD, ("spec",), {"containers": []})
    document = changed(document, ("metadata", "ownerReferences"), [])
    assert read(document, PodManifest)[1] == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "targetPorts"), [{"number": "x"}] * 100_000),
        (("metadata", "labels"), {str(number): number for number in range(100_000)}),
        (("spec", "selector", "matchLabels"), {str(number): number for number in range(100_000)}),
    ],
)
def test_the_number_of_problems_is_bounded(path, value):
    """A hostile mapping or list makes a handful of problems, not one for each of its entries."""
    value, problems = read(changed(POOL, path, value), PoolManifest)
    assert value is None
    assert 0 < len(problems) <= MAX_PROBLEMS


def test_unknown_fields_are_bounded_too():
    """Unknown fields of a closed part are reported up to the bound."""
    document = changed(
        OBJECTIVE, ("spec",), {**OBJECTIVE["spec"], **{f"x{number}": 1 for number in range(1000)}}
    )
    assert len(read(document, ObjectiveManifest)[1]) == MAX_PROBLEMS


def test_a_type_that_no_reader_knows_is_refused_at_once():
    """A manifest class with an unsupported field type is a programming error, told when it is first read."""

    class Strange(Manifest, frozen=True):
        """Has a field that YAML can't hold."""

        data: bytes

    with pytest.raises(TypeError, match="BytesType"):
        read({}, Strange)


def test_the_nearest_name_is_offered_or_all_of_them():
    """One close name is proposed; otherwise all that are known; nothing if there are none."""
    assert nearest("priorty", ["priority", "poolRef"]) == "; did you mean priority?"
    assert nearest("zzz", ["priority", "poolRef"]) == "; known are priority, poolRef"
    assert nearest("zzz", []) == ""
