"""YAML: values as kubectl takes them, lines that are right, mistakes that stay local, bombs that don't go off."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from epp.files.tree import MAX_ALIASED_VALUES, MAX_DEPTH, MAX_ERRORS, line_of
from epp.files.yamltext import plain, read_yaml


def only(text):
    """The one document of a text."""
    (document,) = read_yaml(text)
    return document


def value_of(text):
    """The value of a text's one document, which must be right."""
    document = only(text)
    assert document.errors == ()
    return document.value


def complaints(text):
    """Line and message of everything that is wrong in a text's one document."""
    return [(error.line, error.message) for error in only(text).errors]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("yes", True),
        ("Off", False),
        ("nO", "nO"),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("1_000", 1000),
        ("0", 0),
        ("0x1F", 31),
        ("017", 15),
        ("0o17", 15),
        ("0b101", 5),
        ("08", 8.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("2001-12-14", "2001-12-14"),
        ("12:30", "12:30"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("0x", "0x"),
        ("0x_", "0x_"),
        ("v1", "v1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_an_unquoted_scalar_is_what_kubectl_takes_it_for(text, value):
    """YAML 1.1 without dates, times of day and numbers that nobody means."""
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_quoted_and_tagged_scalars():
    """Quotes and `!!str` make text, other tags of YAML say what they say."""
    text = "a: '1'\nb: \"yes\"\nc: !!str 5\nd: !!int '5'\nf: |\n  x\n"
    assert value_of(text) == {"a": "1", "b": "yes", "c": "5", "d": 5, "f": "x\n"}


def test_keys_are_always_text():
    """As in JSON, whatever they look like."""
    assert value_of("1: a\nyes: b\n'2': c\n") == {"1": "a", "yes": "b", "2": "c"}


# YAML 1.1 folds these three away at places, as line breaks of long ago.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=20)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values=st.lists(plain_values, min_size=1, max_size=3), flow=st.booleans())
def test_what_pyyaml_writes_is_read_back(values, flow):
    """Any values, in block or in flow style, in any number of documents."""
    text = yaml.safe_dump_all(values, default_flow_style=flow, explicit_start=True, allow_unicode=True)
    documents = list(read_yaml(text))
    assert [document.errors for document in documents] == [()] * len(values)
    assert [document.value for document in documents] == values


@given(text=st.text() | st.text(alphabet="-:[]{}&*!|>'\"#%@,? \n\tab0<"))
def test_no_text_raises(text):
    """Documents come out, broken or not, and every complaint has a line that exists."""
    for document in read_yaml(text):
        for error in document.errors:
            assert 1 <= error.line <= text.count("\n") + 2
            assert error.message


def test_lines_are_those_of_the_file():
    """Across documents, comments, nested mappings and lists, every field is found where its key stands."""
    text = "# license\n\n---\na:\n  b: 1\n  c:\n  - x\n  - d: 2\n---\n# second\ne: 3\n"
    first, second = read_yaml(text)
    assert line_of(first.lines, ("a",)) == 4
    assert line_of(first.lines, ("a", "b")) == 5
    assert line_of(first.lines, ("a", "c")) == 6
    assert line_of(first.lines, ("a", "c", 0)) == 7
    assert line_of(first.lines, ("a", "c", 1, "d")) == 8
    assert line_of(second.lines, ("e",)) == 11


def test_a_missing_field_is_where_its_parent_is():
    """The innermost thing that exists gives the line."""
    lines = only("a:\n  b: 1\n  c: [1]\n").lines
    assert line_of(lines, ("a", "nothing")) == 1
    assert line_of(lines, ("a", "b", "deeper")) == 2
    assert line_of(lines, ("a", "c", 7)) == 3
    assert line_of(lines, ("a", "c", "x")) == 3


def test_a_mistake_stays_in_its_document():
    """The documents before and after it are read, and it has its own number and line."""
    documents = list(read_yaml("a: 1\n---\nb: [\n---\nc: 3\n...\n---\nd: 4\n"))
    assert [document.value for document in documents] == [{"a": 1}, {"b": []}, {"c": 3}, {"d": 4}]
    assert [bool(document.errors) for document in documents] == [False, True, False, False]
    assert documents[1].errors[0].line == 4


def test_what_was_read_before_a_mistake_is_there():
    """It tells whom the document is about."""
    document = only("kind: Pod\nmetadata:\n  name: x\n  labels: {a: b\nspec:\n  y: 1\n")
    assert document.errors
    assert document.value["kind"] == "Pod"
    assert document.value["metadata"]["name"] == "x"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("# only a comment\n", 0),
        ("---\n", 1),
        ("%YAML 1.1\n# c\n---\na: 1\n", 1),
        ("---\na: 1\n--- # text\nb: 2\n", 2),
        ("a: |\n  ---\n  x\n", 1),
        ("a: 1\n----\n", 1),
        ("--- a\n--- b\n", 2),
        ("a: 1\n...\nb: 2\n", 2),
    ],
)
def test_documents_are_counted_as_yaml_counts_them(text, count):
    """Only a line that begins with three dashes and a blank or nothing separates."""
    assert len(list(read_yaml(text))) == count


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\na: 2\n", 2, "a is given twice in one mapping"),
        ("a: {b: 1, b: 2}\n", 1, "b is given twice in one mapping"),
        ("x: 1\na: !!python/object:os.system x\n", 2, 'python/object:os.system" is not known'),
        ("a: !mine\n  b: 1\n", 1, 'tag "!mine" is not known'),
        ("a: *nobody\n", 1, 'alias "nobody" has no complete anchor before it'),
        ("a: &a\n  b: *a\n", 2, 'alias "a" has no complete anchor before it'),
        ("a: 1\n? [x]\n: 2\n", 2, "a key must be text"),
        ("a: 1\nb: [\n", 3, "is not valid YAML: did not find expected node content"),
        ("a: 1\nb: \x01\n", 2, "is not valid YAML: control characters are not allowed"),
        ("a: 1\n b: 2\n", 2, "is not valid YAML: mapping values are not allowed"),
        ("a: 'x\n\n\n", 4, "is not valid YAML: found unexpected end of stream"),
        ("<<: 5\na: 1\n", 1, "<< takes a mapping or a list of mappings"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, line, message):
    """Duplicate keys, foreign tags, aliases of nothing and plain syntax errors."""
    assert any(where == line and message in what for where, what in complaints(text)), complaints(text)


def test_a_complaint_does_not_quote_the_text():
    """It may be a Secret's."""
    text = "kind: Secret\ndata:\n  password: 'hunter2\n"
    assert "hunter2" not in str(complaints(text))


def test_anchors_and_merges_are_resolved():
    """Aliases share, `<<` takes over what is not given, and of several sources the first wins."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\nd: *a\ne: {'<<': 1}\n"
    value = value_of(text)
    assert value["c"] == {"x": 3, "y": 1, "z": 2}
    assert value["d"] == {"x": 1, "y": 1}
    assert value["e"] == {"<<": 1}
    assert line_of(only(text).lines, ("c", "z")) == 2


def test_scalars_can_be_anchors_too():
    """A number or a text can stand for itself elsewhere, at the line of the alias."""
    document = only("a: &port 8000\nb:\n  c: *port\n")
    assert document.value == {"a": 8000, "b": {"c": 8000}}
    assert line_of(document.lines, ("b", "c")) == 3


def test_an_alias_bomb_is_refused_at_once():
    """A billion values in ten lines cost neither time nor memory."""
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    before = time.process_time()
    assert any(f"more than {MAX_ALIASED_VALUES} values" in message for _, message in complaints(text))
    assert time.process_time() - before < 5


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening):
    """A hundred thousand levels are refused without a stack to overflow, and a hundred are fine."""
    (error,) = complaints(opening * 100_000)
    assert f"nested deeper than {MAX_DEPTH}" in error[1]
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_many_values_are_refused(monkeypatch):
    """A file of tiny values can't fill the memory."""
    monkeypatch.setattr("epp.files.tree.MAX_VALUES", 1000)
    assert "holds more than 1000 values" in complaints(f"[{'0,' * 1000}]")[0][1]


def test_the_complaints_of_one_document_are_bounded():
    """A key that is given a thousand times is told a few times."""
    assert len(complaints("a: 1\n" * 1000)) == MAX_ERRORS


def test_without_libyaml_the_result_is_the_same(monkeypatch):
    """PyYAML's own parser gives the same events."""
    text = "a: &x [1, 'b', {c: d}]\ne: *x\n---\nf: |\n  g\n"
    fast = [(document.value, document.lines) for document in read_yaml(text)]
    monkeypatch.setattr("epp.files.yamltext._LOADER", yaml.SafeLoader)
    assert [(document.value, document.lines) for document in read_yaml(text)] == fast
