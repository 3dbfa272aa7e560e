"""Text as a tree with lines: YAML, JSON, and what neither should hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.config.document import Listing, Mapping, Scalar, is_null, load_document
from epp.config.problems import ConfigError, Findings, Problem


def load(text: str):
    """The tree of a text that must be right."""
    findings = Findings()
    node = load_document(text, findings)
    findings.raise_if_any("test")
    return node


def failures(text: str) -> tuple[Problem, ...]:
    """The problems of a text that must be wrong."""
    findings = Findings()
    load_document(text, findings)
    with pytest.raises(ConfigError) as caught:
        findings.raise_if_any("test")
    return caught.value.problems


def plain(node):
    """The tree without its lines, every scalar as text."""
    match node:
        case Scalar():
            return node.text
        case Listing():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def test_lines_are_those_of_the_text():
    """Keys and values know their lines, comments and blank lines counted."""
    tree = load("# a comment\n\na: 1\nb:\n  - x\n  - c:\n      2\n")
    assert tree.entries["a"].line == 3
    assert tree.entries["b"].value.items[0].line == 5
    assert tree.entries["b"].value.items[1].entries["c"].line == 6
    assert tree.entries["b"].value.items[1].entries["c"].value.line == 7


def test_scalars_keep_their_text():
    """No type is guessed: not the Norwegian one, nor octals, nor sixtieths."""
    assert plain(load("[no, 010, 1:30, 1e6, ~, 'no']")) == ["no", "010", "1:30", "1e6", "~", "no"]


def test_quotes_are_known():
    """A number in quotes can be told from a number, and null in quotes is text."""
    nulls = load("[null, 'null', ~, '', \"~\"]").items
    assert [is_null(item) for item in nulls] == [True, False, True, False, False]


json_values = st.recursive(
    st.text(st.characters(codec="utf-8"), max_size=5) | st.integers(-9, 9).map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    value=st.dictionaries(st.text("abc", min_size=1, max_size=4), json_values, max_size=3),
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_json_is_read(value, indent):
    """JSON of any layout, tabs included, is the tree that it says."""
    assert plain(load(json.dumps(value, indent=indent))) == value


def test_aliases_and_merge_keys_unfold():
    """An anchor's value stands wherever its alias does; own keys win over merged ones, and the first of a list."""
    tree = load(
        "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nsame: *base\n"
        "one: {<<: *base, b: 9}\nmany: {<<: [*other, *base]}\n"
    )
    assert plain(tree)["same"] == {"a": "1", "b": "2"}
    assert plain(tree)["one"] == {"a": "1", "b": "9"}
    assert plain(tree)["many"] == {"a": "1", "b": "3", "c": "4"}


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n", "---\n"])
def test_nothing_is_no_document(text):
    """Neither blanks nor comments are a problem; `---` alone is an empty value."""
    node = load(text)
    assert node is None or is_null(node)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\na: 2\n", 2, "is given twice, first on line 1: keep one"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
        ("a: [1, 2\nb: 3\n", 2, "failed to decode configuration JSON/YAML: while parsing a flow sequence"),
        ("a: b: c\n", 1, "failed to decode configuration JSON/YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, "failed to decode configuration JSON/YAML"),
        ("a: *nowhere\n", 1, "found undefined alias 'nowhere'"),
        (
            "a: !!python/object:os.system x\n",
            1,
            "the YAML tag 'tag:yaml.org,2002:python/object:os.system' is not supp",
        ),
        ("a: &a [1, *a]\n", 1, "an alias stands inside of what it repeats"),
        ("? [a, b]\n: 1\n", 1, "a key must be a name"),
        ("a: {<<: 3}\n", 1, "what << merges must be a mapping"),
        ("a: 1\nb: \0\n", 2, "special characters are not allowed"),
        ("[" * 2_000, 1, "it is nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, line, message):
    """Each fault of a text is one clear problem on the right line, and never an exception."""
    problem = failures(text)[0]
    assert problem.line == line
    assert message in problem.message


def test_aliases_cannot_unfold_without_end():
    """Twenty lines that would unfold to a million values are refused before they do."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 21)]
    assert "unfold to more than" in failures("\n".join(lines))[0].message


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_tree_or_problems(text):
    """Nothing in a text raises."""
    findings = Findings()
    node = load_document(text, findings)
    assert node is None or isinstance(node, Scalar | Listing | Mapping)
