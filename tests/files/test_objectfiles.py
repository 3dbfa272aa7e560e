"""Real files, changed in all the ways in which people and tools change them."""

import asyncio
import contextlib
import os
import threading

import pytest

from epp.files import ObjectFiles, objectfiles
from epp.files.survey import survey
from tests.files.manifests import POOL, documents, objective, pod

DEADLINE_S = 20.0
"""For a slow machine; what is waited for ends the wait at once."""
EMPTY_LIST = "apiVersion: v1\nkind: List\nitems: []\n"


class Following:
    """What is in use at a path, followed through its changes."""

    def __init__(self, path):
        self.files = ObjectFiles(path, poll_interval_s=0.01)
        self.in_use = {}
        self.problems = []
        self._take(self.files.load())

    def _take(self, delta):
        for ref in delta.deletes:
            del self.in_use[ref]
        self.in_use |= {obj.ref: obj for obj in delta.upserts}
        self.problems += map(str, delta.problems)

    @property
    def priorities(self):
        """The priorities of the objectives in use, by name."""
        return {
            ref.name: obj.priority for ref, obj in self.in_use.items() if ref.kind == "InferenceObjective"
        }

    async def until(self, condition):
        """Take in changes until the condition holds."""
        async with asyncio.timeout(DEADLINE_S), contextlib.aclosing(self.files.changes()) as changes:
            while not condition():
                self._take(await anext(changes))

    async def until_priorities(self, **priorities):
        """Take in changes until exactly these objectives are in use."""
        await self.until(lambda: self.priorities == priorities)

    async def until_problem(self, text):
        """Take in changes until a problem says this."""
        await self.until(lambda: any(text in problem for problem in self.problems))


def replace(file, text):
    """Write beside the file and rename over it, as careful tools do."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def test_changes_are_noticed_within_a_second_by_construction():
    """A poll to notice, a poll to see it keep still, and patience with what never does."""
    assert objectfiles.POLL_INTERVAL_S * (objectfiles._PATIENCE_POLLS + 1) <= 1.0


def test_a_file_is_loaded(tmp_path):
    """All objects at once; what does not change is not told again."""
    (tmp_path / "o.yaml").write_text(documents(POOL, objective("x", 1), pod()))
    files = ObjectFiles(tmp_path / "o.yaml")
    assert [obj.name for obj in files.load().upserts] == ["pool", "x", "a"]
    assert not files.load()


def test_a_folder_is_loaded_in_the_order_of_its_files(tmp_path):
    """Of duplicates the first by (file, document) wins."""
    (tmp_path / "b.yaml").write_text(objective("x", 2))
    (tmp_path / "a.yml").write_text(documents(POOL, objective("x", 1)))
    (tmp_path / "c.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}')
    following = Following(tmp_path)
    assert following.priorities == {"x": 1}
    assert {ref.name for ref in following.in_use} == {"pool", "x", "p"}
    assert len(following.problems) == 2
    assert following.files.where(next(ref for ref in following.in_use if ref.name == "x")).file.endswith(
        "a.yml"
    )


@pytest.mark.parametrize(
    "write", [lambda file, text: file.write_text(text), replace], ids=["in place", "renamed over"]
)
async def test_an_edit_is_noticed(tmp_path, write):
    """In place or renamed over, and again and again."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    following = Following(file)
    for priority in (2, 3):
        write(file, objective("x", priority))
        await following.until_priorities(x=priority)


async def test_a_write_right_after_the_reading_is_noticed(tmp_path):
    """Same size, same file and perhaps the same clock tick: the stamp may not show it, so it is read again."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    os.utime(file, ns=(1, 1))
    following = Following(file)
    file.write_text(objective("x", 2))
    os.utime(file, ns=(1, 1))
    await following.until_priorities(x=2)


async def test_a_config_map_swap_is_noticed(tmp_path):
    """The kubelet swaps the `..data` link to a new folder, and removes the old one."""

    def publish(version, text):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "o.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    publish(1, objective("x", 1))
    (tmp_path / "o.yaml").symlink_to("..data/o.yaml")
    whole, single = Following(tmp_path), Following(tmp_path / "o.yaml")
    assert whole.priorities == single.priorities == {"x": 1}
    publish(2, objective("x", 2))
    (tmp_path / "..1" / "o.yaml").unlink()
    (tmp_path / "..1").rmdir()
    await whole.until_priorities(x=2)
    await single.until_priorities(x=2)
    assert whole.problems == []


async def test_a_path_that_comes_later_is_noticed(tmp_path):
    """A file, a folder and a file in it may all be missing at the start, which is told."""
    following = Following(tmp_path / "folder")
    assert "there is no such file or folder yet" in following.problems[0]
    (tmp_path / "folder").mkdir()
    await following.until_problem("the folder holds no file")
    (tmp_path / "folder" / "o.yaml").write_text(objective("x", 1))
    await following.until_priorities(x=1)
    (tmp_path / "folder" / "p.yaml").write_text(objective("y", 2))
    await following.until_priorities(x=1, y=2)
    single = Following(tmp_path / "q.yaml")
    (tmp_path / "q.yaml").write_text(objective("z", 3))
    await single.until_priorities(z=3)


async def test_a_deleted_file_keeps_its_objects_and_comes_back(tmp_path):
    """That it is gone is told; what it says when it is back counts."""
    for path in (tmp_path, tmp_path / "o.yaml"):
        (tmp_path / "o.yaml").write_text(documents(objective("x", 1), objective("y", 2)))
        following = Following(path)
        (tmp_path / "o.yaml").unlink()
        await following.until_problem("is gone, but 2 objects")
        assert following.priorities == {"x": 1, "y": 2}
        (tmp_path / "o.yaml").write_text(objective("y", 3))
        await following.until_priorities(y=3)
        assert following.files.problems == ()


async def test_a_deleted_folder_keeps_everything(tmp_path):
    """As when a volume is unmounted."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "o.yaml").write_text(objective("x", 1))
    following = Following(folder)
    (folder / "o.yaml").unlink()
    folder.rmdir()
    await following.until_problem("there is no such file or folder")
    assert following.priorities == {"x": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no document"),
        (b"# later\n", "holds no document"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"{", "is not valid YAML"),
        (b"- a\n- b\n", "a manifest must be a mapping"),
    ],
)
async def test_a_file_that_breaks_keeps_its_objects(tmp_path, content, told):
    """Empty, commented out, binary, cut short or something else: told, and mended by the next edit."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    following = Following(file)
    file.write_bytes(content)
    await following.until_problem(told)
    assert following.priorities == {"x": 1}
    file.write_text(EMPTY_LIST)
    await following.until_priorities()
    assert following.files.problems == ()


async def test_a_broken_document_keeps_its_object_while_the_others_go_on(tmp_path):
    """The last good version stays until the document is mended."""
    file = tmp_path / "o.yaml"
    file.write_text(documents(objective("x", 1), objective("y", 2)))
    following = Following(file)
    replace(file, documents(objective("x", "ten"), objective("y", 3)))
    await following.until_priorities(x=1, y=3)
    assert any("spec.priority" in problem for problem in following.problems)
    replace(file, documents(objective("x", 4), objective("y", 3)))
    await following.until_priorities(x=4, y=3)


async def test_only_files_that_changed_are_read_again(tmp_path, monkeypatch):
    """An edit of one file costs one reading, and no edit none."""
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(objective(name, 1))
        os.utime(tmp_path / f"{name}.yaml", ns=(1, 1))
    monkeypatch.setattr("epp.files.survey._COARSEST_CLOCK_NS", -1)
    following = Following(tmp_path)
    read = []
    original = objectfiles.read_file

    def counted(path, *, name):
        read.append(path.name)
        return original(path, name=name)

    monkeypatch.setattr(objectfiles, "read_file", counted)
    replace(tmp_path / "b.yaml", objective("b", 2))
    await following.until_priorities(a=1, b=2, c=1)
    assert read == ["b.yaml"]


async def test_a_file_that_never_keeps_still_is_read_all_the_same(tmp_path, monkeypatch):
    """Patience has an end: what is written all the time is read now and then."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    following = Following(file)
    file.write_text(objective("x", 2))
    times = iter(range(10, 10_000_000))

    def restless(path):
        os.utime(file, ns=(0, next(times)))
        return survey(path)

    monkeypatch.setattr(objectfiles, "survey", restless)
    await following.until_priorities(x=2)


async def test_a_reading_that_failed_is_tried_again(tmp_path, monkeypatch):
    """Although nothing about the file has changed."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    refused = []
    original = type(file).open

    def refuse_twice(path, mode):
        if len(refused) < 2:
            refused.append(path)
            raise OSError(116, "Stale file handle")
        return original(path, mode)

    monkeypatch.setattr(type(file), "open", refuse_twice)
    monkeypatch.setattr("epp.files.survey._COARSEST_CLOCK_NS", -1)
    following = Following(file)
    assert "Stale file handle" in following.problems[0]
    await following.until_priorities(x=1)


async def test_the_wait_is_cancelled_at_once_and_can_begin_again(tmp_path, monkeypatch):
    """Even while the file system does not answer; the event loop goes on, and no change is lost."""
    file = tmp_path / "o.yaml"
    file.write_text(objective("x", 1))
    following = Following(file)
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hanging(path):
        assert threading.current_thread() is not threading.main_thread(), "the event loop would hang"
        loop.call_soon_threadsafe(asked.set)
        answer.wait(DEADLINE_S)
        return survey(path)

    with monkeypatch.context() as patched:
        patched.setattr(objectfiles, "survey", hanging)
        waiting = asyncio.ensure_future(following.until_priorities(x=2))
        await asyncio.wait_for(asked.wait(), DEADLINE_S)
        file.write_text(objective("x", 2))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not answer.is_set()
        answer.set()
    await following.until_priorities(x=2)


def test_nothing_runs_on_when_the_loop_is_closed(tmp_path):
    """No thread and no task outlives the wait."""
    (tmp_path / "o.yaml").write_text(objective("x", 1))
    before = threading.active_count()

    async def follow_a_while():
        following = Following(tmp_path)
        waiting = asyncio.ensure_future(following.until_priorities(x=2))
        (tmp_path / "o.yaml").write_text(objective("x", 2))
        await waiting
        waiting = asyncio.ensure_future(following.until_priorities(x=3))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(follow_a_while())
    assert threading.active_count() == before


async def test_the_loop_sleeps_while_files_stay_as_they_are(tmp_path, monkeypatch):
    """However often they are looked at: what isn't news is the thread's business."""
    (tmp_path / "o.yaml").write_text(objective("x", 1))
    looks = threading.Semaphore(0)
    hops = []
    to_thread = asyncio.to_thread

    def look(path):
        looks.release()
        return survey(path)

    async def hop(work, *arguments):
        hops.append(work)
        return await to_thread(work, *arguments)

    following = Following(tmp_path)
    await asyncio.sleep(0.15)  # a file this young is read again whatever its stamp says
    following.files.load()
    monkeypatch.setattr(objectfiles, "survey", look)
    monkeypatch.setattr(asyncio, "to_thread", hop)
    waiting = asyncio.create_task(anext(following.files.changes()))
    for _ in range(10):
        assert await to_thread(looks.acquire, timeout=DEADLINE_S)
    assert len(hops) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
