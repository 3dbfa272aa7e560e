"""One file: which objects it gives, what is wrong with it, and that nothing in it does harm."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.api import Severity
from epp.files import reading
from epp.files.reading import MAX_PROBLEMS, FileState, read_file, read_text
from epp.files.tree import line_of
from tests.files.manifests import CONFIG_MAP, OBJECTIVE, POD, POOL, REWRITE, documents


def indented(text):
    """A document as an item of a list."""
    return "".join(f"{'- ' if n == 0 else '  '}{line}\n" for n, line in enumerate(text.splitlines()))


def names(read):
    """The names of the objects that a file gives."""
    return [item.found.name for item in read.items if item.found is not None]


def severities(read):
    """The severities of its problems, in order."""
    return [problem.problem.severity for problem in read.problems]


def test_all_documents_of_a_file_are_read():
    """In order, with their numbers and lines; other kinds are noted only."""
    read = read_text(documents(POOL, CONFIG_MAP, OBJECTIVE, POD), name="o.yaml")
    assert read.state is FileState.READ
    assert names(read) == ["pool", "premium", "a"]
    assert [item.position for item in read.items] == [(1, 0), (3, 0), (4, 0)]
    assert [line_of(item.lines) for item in read.items] == [1, 14, 23]
    assert line_of(read.items[1].lines, ("spec", "poolRef", "name")) == 21
    assert severities(read) == [Severity.DEBUG]


def test_a_list_as_kubectl_prints_it_is_read():
    """Every item is an object, and its problems say which item and line."""
    items = indented(POOL) + indented(OBJECTIVE.replace("10", "ten")) + indented(POD)
    text = f"apiVersion: v1\nitems:\n{items}kind: List\n"
    read = read_text(text, name="o.yaml")
    assert names(read) == ["pool", "a"]
    assert [item.position for item in read.items] == [(1, 0), (1, 1), (1, 2)]
    (problem,) = read.problems
    assert str(problem).startswith(
        'o.yaml:16: document 1: items[1].spec.priority: "ten": must be a whole number'
    )


def test_a_typed_list_of_the_api_server_is_read():
    """Its items leave out what the list says of itself."""
    item = POD.split("\n", 2)[2]
    read = read_text(f"apiVersion: v1\nkind: PodList\nitems:\n{indented(item)}", name="o.yaml")
    assert names(read) == ["a"]
    assert read.problems == ()


@pytest.mark.parametrize("group", ["llm-d.ai", "inference.networking.x-k8s.io"])
def test_rewrites_are_read_alone_and_in_lists(group):
    """As every other kind, in both of their groups."""
    text = REWRITE.replace("llm-d.ai", group)
    item = text.split("\n", 2)[2]
    listing = f"apiVersion: {group}/v1alpha2\nkind: InferenceModelRewriteList\nitems:\n{indented(item)}"
    alone, listed = read_text(text, name="o.yaml"), read_text(listing, name="o.yaml")
    assert names(alone) == names(listed) == ["aliases"]
    assert alone.problems == listed.problems == ()
    assert alone.items[0].found == listed.items[0].found
    assert alone.items[0].found.group == group


@pytest.mark.parametrize("items", ["items: []", "items:", ""])
def test_an_empty_list_holds_nothing_on_purpose(items):
    """That is how the last object is taken out of a file."""
    read = read_text(f"apiVersion: v1\nkind: List\n{items}\n", name="o.yaml")
    assert (read.state, read.items, read.problems) == (FileState.READ, (), ())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("items: 5", "items: 5: must be a list of objects"),
        ("items: {a: b}", "items: a mapping: must be a list of objects"),
        ("items: [{kind: List, apiVersion: v1, items: []}]", "items[0]: is a list in a list"),
        ("items: [5]", "items[0]: 5: a manifest must be a mapping"),
    ],
)
def test_a_broken_list_is_told(items, message):
    """What is no list of objects is an error at its place."""
    read = read_text(f"apiVersion: v1\nkind: List\n{items}\n", name="o.yaml")
    assert message in str(read.problems[0])
    assert severities(read) == [Severity.ERROR]
    assert names(read) == []


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing here\n", "---\n", "---\n# c\n---\n", "\ufeff"])
def test_a_file_without_documents_is_empty(text):
    """That is told, with the way to mean it."""
    read = read_text(text.removeprefix("\ufeff"), name="o.yaml")
    assert read.state is FileState.EMPTY
    assert severities(read) == [Severity.WARNING]
    assert "kind: List, items: []" in str(read.problems[0])


def test_a_broken_document_costs_only_itself():
    """Its error has file, document, line, field, value and remedy; the others are used."""
    bad = OBJECTIVE.replace("priority: 10", "priority: 3000000000")
    read = read_text(documents(POOL, bad, POD), name="o.yaml")
    assert names(read) == ["pool", "a"]
    (problem,) = read.problems
    assert (problem.file, problem.document, problem.line) == ("o.yaml", 2, 15)
    assert str(problem) == (
        "o.yaml:15: document 2: spec.priority: 3000000000: must be a whole number from -2147483648 to 2147483647"
    )
    broken = read.items[1]
    assert (broken.found, broken.identity.name) == (None, "premium")
    assert broken.errors == (problem.problem,)


def test_a_syntax_error_costs_only_its_document():
    """What could be read before the error says whom it describes."""
    read = read_text(documents(POOL, OBJECTIVE + "   x: [\n", POD), name="o.yaml")
    assert names(read) == ["pool", "a"]
    assert read.items[1].identity.name == "premium"
    assert "is not valid YAML" in str(read.problems[0])


@pytest.mark.parametrize("kind", ["List", "PodList"])
def test_a_list_cut_short_is_in_doubt(kind):
    """Nobody knows what else was in it."""
    (item,) = read_text(f"apiVersion: v1\nkind: {kind}\nitems:\n{indented(POD)}- [\n", name="o.yaml").items
    assert (item.found, item.identity) == (None, None)
    assert item.errors


def test_a_broken_document_of_another_kind_is_told_but_is_no_item():
    """A half-read Secret gives no object and leaves none in doubt."""
    read = read_text(f"{POD}---\napiVersion: v1\nkind: Secret\ndata: {{a: hunter2\n", name="o.yaml")
    assert len(read.items) == 1
    assert severities(read) == [Severity.ERROR]
    assert "hunter2" not in str(read.problems)


def test_a_pod_without_address_gets_a_warning():
    """In a cluster it gets one later; in a file somebody forgot it."""
    read = read_text(POD.replace("podIP: 10.0.0.1", "phase: Running"), name="o.yaml")
    assert names(read) == ["a"]
    assert str(read.problems[0]).startswith("o.yaml:6: document 1: status.podIP: is missing")
    assert severities(read) == [Severity.WARNING]


def test_json_is_read_by_name_and_by_sight():
    """A .json file must be JSON; a .yaml file may be."""
    text = (
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},\n\t"status": {"podIP": "10.0.0.1"}}'
    )
    assert names(read_text(text, name="o.json")) == ["a"]
    assert names(read_text(text, name="o.yaml")) == ["a"]
    assert "is not valid JSON" in str(read_text(POD, name="o.json").problems[0])
    assert names(read_text("{apiVersion: v1, kind: Pod, metadata: {name: flow}}", name="o.yml")) == ["flow"]
    assert read_text("  \n", name="o.json").state is FileState.EMPTY


def test_the_worst_of_too_many_problems_are_kept():
    """An error is not lost among thousands of notes."""
    text = documents(*[CONFIG_MAP] * 500, OBJECTIVE.replace("10", "ten"), *[CONFIG_MAP] * 500)
    read = read_text(text, name="o.yaml")
    assert len(read.problems) == MAX_PROBLEMS
    assert Severity.ERROR in severities(read)
    assert [problem.document for problem in read.problems] == sorted(
        problem.document for problem in read.problems
    )


def test_too_many_documents_are_refused(monkeypatch):
    """A file of tiny documents can't fill the memory."""
    monkeypatch.setattr(reading, "MAX_DOCUMENTS", 3)
    assert len(read_text(documents(*[POD] * 3), name="o.yaml").items) == 3
    read = read_text(documents(*[POD] * 4), name="o.yaml")
    assert (read.state, read.items) == (FileState.UNREADABLE, ())
    assert "holds more than 3 documents" in str(read.problems[0])


@given(text=st.text() | st.text(alphabet="-:[]{}&*!|>'\"#, \nkinditemsPodLstaVr0"), json=st.booleans())
def test_no_text_raises(text, json):
    """Whatever a file holds, it is read to the end and its problems can be printed."""
    read = read_text(text, name="o.json" if json else "o.yaml")
    assert all(str(problem).encode() for problem in read.problems)


# ---- real files


def test_a_file_is_read_with_its_byte_order_mark(tmp_path):
    """Windows editors write one."""
    file = tmp_path / "o.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + POD.encode())
    assert names(read_file(file, name="o.yaml")) == ["a"]
    file.write_bytes(b'\xef\xbb\xbf{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}')
    assert names(read_file(file, name="o.json")) == ["b"]


def test_what_is_not_utf8_is_unreadable(tmp_path):
    """The line of the first wrong byte is told."""
    file = tmp_path / "o.yaml"
    file.write_bytes(POD.encode() + b"# caf\xe9\n")
    read = read_file(file, name="o.yaml")
    assert read.state is FileState.UNREADABLE
    assert str(read.problems[0]) == "o.yaml:8: is not UTF-8 text; whatever it gave before stays in use"


def test_a_file_that_is_too_large_is_unreadable(tmp_path, monkeypatch):
    """It is not even parsed."""
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 1 << 20)
    file = tmp_path / "o.yaml"
    file.write_bytes(b"#" * ((1 << 20) + 1))
    read = read_file(file, name="o.yaml")
    assert read.state is FileState.UNREADABLE
    assert "is larger than 1 MiB" in str(read.problems[0])
    file.write_bytes(b"#" * (1 << 20))
    assert read_file(file, name="o.yaml").state is FileState.EMPTY


def test_a_pipe_is_not_waited_for(tmp_path):
    """Only regular files are opened."""
    os.mkfifo(tmp_path / "o.yaml")
    (tmp_path / "d.yaml").mkdir()
    for name in ("o.yaml", "d.yaml"):
        read = read_file(tmp_path / name, name=name)
        assert read.state is FileState.UNREADABLE
        assert "is not a regular file" in str(read.problems[0])


def test_a_file_that_can_not_be_opened_has_failed(tmp_path, monkeypatch):
    """The operating system's reason is told."""
    file = tmp_path / "o.yaml"
    file.write_text(POD)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", refuse)
    read = read_file(file, name="o.yaml")
    assert read.state is FileState.FAILED
    assert "can't be read: Permission denied" in str(read.problems[0])


def test_ten_thousand_pods_are_workable(tmp_path):
    """They are read in time that grows with their number, not faster."""

    def seconds(count):
        file = tmp_path / f"{count}.yaml"
        file.write_text(documents(*(POD.replace("name: a", f"name: p{n}") for n in range(count))))
        before = time.process_time()
        read = read_file(file, name="o.yaml")
        assert len(read.items) == count
        return time.process_time() - before

    few = min(seconds(1000), seconds(1001))
    assert seconds(10_000) < 10 * few * 3
