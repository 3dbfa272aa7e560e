"""JSON: values as the standard library reads them, lines that are right, mistakes with their place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.files.jsontext import read_json
from epp.files.tree import line_of

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values, indent=st.sampled_from([None, 2, "\t"]), ascii_only=st.booleans())
def test_any_json_is_read_back(value, indent, ascii_only):
    """Whatever the layout and the escapes."""
    document = read_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert document.errors == ()
    assert document.value == value


@given(text=st.text() | st.text(alphabet='{}[]:,"\\ue0123-.truefalsn \n'))
def test_no_text_raises_and_what_is_valid_is_decided_by_the_standard_library(text):
    """Either the value that json.loads gives, or a complaint."""
    document = read_json(text)
    try:
        value = json.loads(text)
    except ValueError:
        assert document.errors
    else:
        assert document.errors or document.value == value or value != value  # NaN


def test_lines_are_those_of_the_file():
    """Every field is found where its key stands."""
    document = read_json('{\n "a": {\n  "b":\n   1,\n  "c": [\n   2,\n   {"d": 3}\n  ]\n }\n}')
    assert [
        line_of(document.lines, path) for path in (("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1, "d"))
    ] == [
        2,
        4,
        6,
        7,
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{\n"a": 1,\n}', 3, "is not valid JSON"),
        ('{"a": NaN}', 1, "NaN is not a JSON number"),
        ('{"a": 1,\n"a": 2}', 2, "a is given twice"),
        ('{\n"a": "\\ud800"}', 2, "half of a surrogate pair"),
        ("[" * 100_000, 1, "nested deeper than 100 levels"),
        ("[" * 200 + "]" * 200, 1, "nested deeper than 100 levels"),
        ("{} {}", 1, "Extra data"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, line, message):
    """Syntax, constants that are not JSON, duplicate keys, text that can't be encoded, depth."""
    errors = read_json(text).errors
    assert errors[0].line == line
    assert message in errors[0].message


def test_a_number_of_thousands_of_digits_is_no_accident():
    """Python refuses to convert it; here it is a number that is too large for anything."""
    document = read_json('{"a": ' + "9" * 5000 + "}")
    assert document.errors == ()
    assert document.value == {"a": float("inf")}
