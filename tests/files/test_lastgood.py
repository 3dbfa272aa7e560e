"""What stays and what goes when files change, break and disappear."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epp.api import Severity
from epp.files.lastgood import LastGood
from epp.files.reading import FileReading, FileState, read_text
from tests.files.manifests import POOL, documents, objective, pod

EMPTY_LIST = "apiVersion: v1\nkind: List\nitems: []\n"
BROKEN = "metadata: {name: who knows\n"
UNREADABLE = None
"""In place of a text: a file that is no text."""


class Folder:
    """Files that change, and what is in use after each change."""

    def __init__(self):
        self.texts = {}
        self.good = LastGood()
        self.in_use = {}
        self.delta = None

    def write(self, **texts):
        """Change some files (`a` is a.yaml), read all, and take the delta in."""
        self.texts |= texts
        return self.read()

    def delete(self, *names):
        """Delete some files."""
        for name in names:
            del self.texts[name]
        return self.read()

    def read(self):
        """Read all files and play the delta on what is in use."""
        readings = {
            f"{name}.yaml": FileReading(f"{name}.yaml", FileState.UNREADABLE)
            if text is UNREADABLE
            else read_text(text, name=f"{name}.yaml")
            for name, text in self.texts.items()
        }
        self.good, self.delta = self.good.next(readings)
        for ref in self.delta.deletes:
            del self.in_use[ref]
        for obj in self.delta.upserts:
            assert self.in_use.get(obj.ref) != obj, "only what changed is an upsert"
            self.in_use[obj.ref] = obj
        assert self.in_use == {ref: held.found for ref, held in self.good.held.items()}
        return self

    @property
    def priorities(self):
        """The priorities of the objectives in use, by name."""
        return {
            ref.name: obj.priority for ref, obj in self.in_use.items() if ref.kind == "InferenceObjective"
        }

    @property
    def warnings(self):
        """The new warnings, as text."""
        return [str(one) for one in self.delta.problems if one.problem.severity is Severity.WARNING]


def test_objects_come_change_and_go_with_their_documents():
    """A readable file says exactly what is in use."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)), b=pod())
    assert folder.priorities == {"x": 1, "y": 2}
    assert len(folder.delta.upserts) == 3
    folder.write(a=documents(objective("y", 3), objective("z", 4)))
    assert folder.priorities == {"y": 3, "z": 4}
    assert [obj.name for obj in folder.delta.upserts] == ["y", "z"]
    assert [ref.name for ref in folder.delta.deletes] == ["x"]
    assert not folder.read().delta


def test_an_empty_list_takes_the_last_object_out():
    """After that the file can be deleted without a word."""
    folder = Folder().write(a=objective()).write(a=EMPTY_LIST)
    assert folder.in_use == {}
    assert not folder.delete("a").delta


def test_a_broken_document_keeps_the_last_good_version_of_its_object():
    """The error is told, and so is what stays; mending it takes effect."""
    folder = Folder().write(a=documents(POOL, objective("x", 1), pod()))
    folder.write(a=documents(POOL, objective("x", "ten"), pod("b")))
    assert folder.priorities == {"x": 1}
    assert {ref.name for ref in folder.in_use} == {"pool", "x", "b"}
    assert [one.document for one in folder.delta.problems] == [2, 2]
    assert "InferenceObjective.llm-d.ai x stays in use in its last good version" in folder.warnings[0]
    folder.write(a=documents(POOL, objective("x", 2), pod("b")))
    assert folder.priorities == {"x": 2}
    assert folder.good.problems == ()


def test_a_broken_document_that_is_removed_takes_its_object_along():
    """It was kept only as long as somebody seemed to want it."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)))
    folder.write(a=documents(objective("x", "ten"), objective("y", 2))).write(a=objective("y", 2))
    assert folder.priorities == {"y": 2}


@pytest.mark.parametrize("text", [UNREADABLE, "", "# all commented out\n"])
def test_an_unreadable_or_empty_file_keeps_all_its_objects(text):
    """Until it is readable again, whatever it then says."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)), b=pod())
    folder.write(a=text)
    assert folder.priorities == {"x": 1, "y": 2}
    assert not folder.delta.upserts
    assert folder.write(a=objective("y", 3)).priorities == {"y": 3}


def test_a_missing_file_keeps_all_its_objects():
    """With a warning that names them and the way to remove them; when it is back, it says what is in use."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)), b=pod())
    folder.delete("a")
    assert folder.priorities == {"x": 1, "y": 2}
    (warning,) = folder.warnings
    assert warning.startswith(
        "a.yaml: is gone, but 2 objects (InferenceObjective.llm-d.ai x, InferenceObjective"
    )
    assert "empty List" in warning
    assert not folder.read().delta
    assert folder.write(a=objective("y", 2)).priorities == {"y": 2}


def test_all_files_missing_keep_everything():
    """Also a folder that is unmounted for a while."""
    folder = Folder().write(a=objective("x", 1), b=pod()).delete("a", "b")
    assert len(folder.in_use) == 2


def test_a_file_can_be_renamed():
    """What is really there wins over what a missing file keeps, and the old name is forgotten."""
    folder = Folder().write(a=objective("x", 1))
    del folder.texts["a"]
    folder.write(b=objective("x", 2))
    assert folder.priorities == {"x": 2}
    assert folder.warnings == []
    assert folder.write(b=EMPTY_LIST).priorities == {}


def test_a_document_can_move_to_another_file():
    """In whichever direction of the alphabet."""
    folder = Folder().write(a=objective("x", 1), b=pod())
    folder.write(a=EMPTY_LIST, b=documents(pod(), objective("x", 1)))
    assert not folder.delta.upserts
    assert not folder.delta.deletes
    assert folder.write(a=objective("x", 1), b=pod()).priorities == {"x": 1}


def test_a_document_that_can_not_be_told_apart_keeps_what_its_file_gave():
    """One of the objects that are gone is the one; what is still there is followed."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2), objective("z", 3)), b=pod())
    folder.write(a=documents(BROKEN, objective("z", 4)), b=EMPTY_LIST)
    assert folder.priorities == {"x": 1, "y": 2, "z": 4}
    assert {ref.name for ref in folder.in_use} == {"x", "y", "z"}
    assert "so 2 objects (" in folder.warnings[0]
    assert folder.write(a=documents(objective("y", 2), objective("z", 4))).priorities == {"y": 2, "z": 4}


def test_a_document_that_stays_broken_does_not_keep_what_is_removed_later():
    """It was told apart from those before."""
    folder = Folder().write(a=documents(objective("x", 1), BROKEN, objective("y", 2)))
    assert folder.write(a=documents(BROKEN, objective("y", 2))).priorities == {"y": 2}


def test_what_is_kept_in_doubt_stays_while_the_doubt_lasts():
    """Other changes of the file go on meanwhile."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)))
    folder.write(a=documents(BROKEN, objective("y", 2)))
    folder.write(a=documents(BROKEN, objective("y", 3), objective("z", 4)))
    assert folder.priorities == {"x": 1, "y": 3, "z": 4}
    assert folder.write(a=documents(BROKEN, objective("z", 4))).priorities == {"x": 1, "z": 4}
    assert folder.write(a=objective("z", 4)).priorities == {"z": 4}


def test_a_doubt_is_remembered_while_the_file_is_unreadable():
    """The same broken document is still the same afterwards."""
    folder = Folder().write(a=documents(objective("x", 1), BROKEN, objective("y", 2)))
    assert folder.write(a=UNREADABLE).priorities == {"x": 1, "y": 2}
    assert folder.write(a=documents(BROKEN, objective("y", 2))).priorities == {"y": 2}


def test_what_is_broken_in_its_own_right_is_not_kept_by_a_doubt():
    """It goes with its own document, though another one in the file is still in doubt."""
    folder = Folder().write(a=documents(objective("x", 1), objective("y", 2)))
    folder.write(a=documents(BROKEN, objective("x", "ten")))
    assert folder.priorities == {"x": 1, "y": 2}
    assert folder.write(a=BROKEN).priorities == {"y": 2}


def test_a_readable_file_wins_over_a_later_unreadable_one():
    """What is kept has its old place in the order of files, and no better one."""
    folder = Folder().write(b=objective("x", 1))
    assert folder.write(a=objective("x", 2), b=UNREADABLE).priorities == {"x": 2}


def test_a_name_that_is_broken_on_the_way_keeps_the_old_object():
    """Renamed to something invalid, nobody can tell that it is the same object, so the old one stays."""
    folder = Folder().write(a=objective("x", 1)).write(a=objective("X Y", 1))
    assert folder.priorities == {"x": 1}


def test_a_broken_document_breaks_in_one_file_only():
    """Doubt in one file keeps nothing of another."""
    folder = Folder().write(a=objective("x", 1), b=documents(objective("y", 2), objective("z", 3)))
    folder.write(a=BROKEN, b=objective("z", 3))
    assert folder.priorities == {"x": 1, "z": 3}


def test_of_duplicates_the_first_by_file_and_document_wins():
    """The loser gets a warning that names the winner's place, and takes over when the winner leaves."""
    folder = Folder().write(b=objective("x", 2), a=documents(objective("x", 1), objective("x", 7)))
    assert folder.priorities == {"x": 1}
    assert folder.warnings == [
        f'{place}: metadata.name: "x": InferenceObjective.llm-d.ai x is given in a.yaml:1 (document 1) already, '
        "which is used; remove one of the two"
        for place in ("a.yaml:13: document 2", "b.yaml:4: document 1")
    ]
    assert folder.write(a=EMPTY_LIST).priorities == {"x": 2}


def test_a_broken_first_duplicate_keeps_its_last_good_version():
    """The second does not slip in while the first is being mended."""
    folder = Folder().write(a=objective("x", 1), b=objective("x", 2))
    assert folder.write(a=objective("x", "ten")).priorities == {"x": 1}
    assert folder.write(a=UNREADABLE).priorities == {"x": 1}


@pytest.mark.parametrize("broken_file", ["a", "c"])
def test_a_broken_duplicate_that_never_was_good_keeps_nothing(broken_file):
    """The good document is followed, wherever the broken one stands."""
    folder = Folder().write(**{"b": objective("x", 1), broken_file: objective("x", "ten")})
    assert folder.write(b=objective("x", 2)).priorities == {"x": 2}
    assert not any("last good version" in warning for warning in folder.warnings)


def test_a_document_that_moves_and_breaks_at_once_keeps_its_object():
    """Its identity is enough."""
    folder = Folder().write(a=documents(pod(), objective("x", 1)), b=POOL)
    assert folder.write(a=pod(), b=documents(objective("x", "ten"), POOL)).priorities == {"x": 1}


def test_two_items_of_one_list_are_told_apart():
    """A broken first item does not hold back a good second one for the same object."""

    def listing(priority):
        head = "{apiVersion: llm-d.ai/v1alpha2, kind: InferenceObjective, metadata: {name: x}, "
        items = [
            f"- {head}spec: {{priority: {one}, poolRef: {{name: pool}}}}}}\n" for one in ("ten", priority)
        ]
        return "apiVersion: v1\nkind: List\nitems:\n" + "".join(items)

    folder = Folder().write(a=listing(1))
    assert folder.write(a=listing(2)).priorities == {"x": 2}


def test_a_problem_is_new_once():
    """It is told when it appears, stays in the list, and is told again only after it was gone."""
    folder = Folder().write(a=objective("x", "ten"))
    assert len(folder.delta.problems) == 1
    assert folder.write(b=pod()).delta.problems == ()
    assert len(folder.good.problems) == 1
    assert folder.write(a=objective("x", 1)).good.problems == ()
    assert len(folder.write(a=objective("x", "ten")).delta.problems) == 2


def test_an_object_is_found_in_its_file():
    """By its identity, to the line of a field; of pods only the document's first line is known."""
    folder = Folder().write(a=documents(pod(), objective("x", 1)))
    refs = {ref.name: ref for ref in folder.in_use}
    assert folder.good.where(refs["x"]) == ("a.yaml", 2, 9)
    assert folder.good.where(refs["x"], ("spec", "poolRef", "name")) == ("a.yaml", 2, 16)
    assert folder.good.where(refs["a"], ("status", "podIP")) == ("a.yaml", 1, 1)
    assert folder.good.where(refs["a"]._replace(name="b")) is None


good_documents = st.builds(objective, st.sampled_from(["x", "y", "z"]), st.integers(1, 3))
any_documents = st.one_of(
    good_documents,
    good_documents,
    st.builds(objective, st.sampled_from(["x", "y", "z"]), st.just("ten")),
    st.sampled_from([BROKEN, "kind: 5\n", pod("x")]),
)
good_files = st.lists(good_documents, min_size=1, max_size=4).map(lambda texts: documents(*texts))
any_files = st.one_of(
    good_files,
    st.lists(any_documents, min_size=1, max_size=4).map(lambda texts: documents(*texts)),
    st.sampled_from(["", UNREADABLE, EMPTY_LIST]),
)
steps = st.dictionaries(st.sampled_from("abc"), any_files | st.just("deleted"), min_size=1)


def play(folder, step):
    """Write and delete files in one step."""
    for name, text in step.items():
        if text == "deleted":
            folder.texts.pop(name, None)
        else:
            folder.texts[name] = text
    folder.read()


def first_good(texts):
    """The first good version of every objective, by (file, document), as plain text says."""
    found = {}
    for name in sorted(texts):
        for text in (texts[name] or "").split("---\n"):
            lines = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)
            if lines.get("kind") == "InferenceObjective" and lines["priority"].isdigit():
                found.setdefault(text.split("name: ")[1].split("\n")[0], int(lines["priority"]))
    return found


@settings(max_examples=300, deadline=None)
@given(history=st.lists(steps, max_size=8), last=st.dictionaries(st.sampled_from("abc"), good_files))
def test_nothing_that_is_readable_is_lost_and_nothing_stays_once_all_is_readable(history, last):
    """After any history: every readable object is in use, and when all files are good, nothing else is."""
    folder = Folder()
    for step in history:
        before = folder.priorities
        play(folder, step)
        now = first_good(folder.texts)
        assert now.keys() <= folder.priorities.keys()
        for name, priority in folder.priorities.items():
            assert priority in {now.get(name), before.get(name)}, (
                "either what is written now, or the last good version"
            )
    play(folder, dict.fromkeys("abc", EMPTY_LIST) | last)
    assert folder.priorities == first_good(folder.texts)
    assert folder.good.problems == () or all(
        "already, which is used" in str(one) for one in folder.good.problems
    )
    play(folder, dict.fromkeys("abc", EMPTY_LIST))
    assert folder.in_use == {}


@settings(max_examples=100, deadline=None)
@given(first=good_files, breakage=st.sampled_from(["", UNREADABLE, BROKEN, "deleted"]))
def test_breaking_a_file_as_a_whole_changes_nothing(first, breakage):
    """However it breaks, everything that it gave stays as it was."""
    folder = Folder().write(a=first)
    before = dict(folder.in_use)
    play(folder, {"a": breakage})
    assert folder.in_use == before
    assert not folder.delta.upserts
    assert not folder.delta.deletes
