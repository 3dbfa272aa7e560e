"""Where a log may be written, what it leaves alone there, and what a disk can do to it."""

from __future__ import annotations

import gzip
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from epp.core.endpoint import EndpointSpec
from epp.core.events import EndpointsChanged, Tick
from epp.eventlog.place import PlaceError
from epp.eventlog.spool import Spool, WriterThread, rotated
from epp.replay.recording import decide_again
from tests.core.building import request
from tests.eventlog.tape import AtOnce, Taped, storm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = b'{"format":"epp-event-log/1","version":"1"}\n'


def _claimed(path: Path, *, keep: int = 3) -> Spool:
    spool = Spool(path, keep=keep, worker=AtOnce())
    spool.claim()
    return spool


def _words(path: Path) -> Path:
    path.write_text("a letter\n")
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    (path / "letter").write_text("dear")
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _below_a_file(path: Path) -> Path:
    path.write_text("a letter")
    return path / "log"


def _packed(path: Path) -> Path:
    return path.with_suffix(".gz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_words, "holds something else: name another one"),
        (_folder, "is a folder: name a file in it"),
        (_pipe, "is no regular file"),
        (_below_a_file, "name a file in a folder that can be written to"),
        (_packed, "leave .gz away"),
    ],
)
def test_what_is_not_the_logs_own_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    """At once, with the remedy, and nothing in the folder is another afterwards."""
    path = make(tmp_path / "place")
    before = sorted((each, each.lstat().st_mode, each.lstat().st_size) for each in tmp_path.rglob("*"))
    with pytest.raises(PlaceError, match=message):
        _claimed(path)
    assert (
        sorted((each, each.lstat().st_mode, each.lstat().st_size) for each in tmp_path.rglob("*")) == before
    )


def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the file is there already: segments couldn't be finished."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PlaceError, match="let the picker write there"):
        _claimed(tmp_path / "log")


def test_while_it_runs_nothing_else_is_moved_either(tmp_path: Path) -> None:
    """A file that somebody puts in the log's place, or gives a segment's name, stays as it is."""
    taped = Taped(tmp_path / "log", keep=1)
    _words(tmp_path / "log")
    _words(tmp_path / "log.1.jsonl")
    taped.handle(request(1), 0.0)
    assert (tmp_path / "log").read_text() == "a letter\n"
    assert "holds something else" in taped.warnings[0]
    (tmp_path / "log").unlink()
    storm(tmp_path / "log", "", steps=300, segment_bytes=8000, keep=1)
    assert (tmp_path / "log.1.jsonl").read_text() == "a letter\n"
    assert len(rotated(tmp_path / "log")) == 2


def test_an_earlier_log_goes_on_behind_a_link(tmp_path: Path) -> None:
    """The link stays one, and everything is where it points to."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "events").write_bytes(HEADER)
    (tmp_path / "log").symlink_to(tmp_path / "disk" / "events")
    taped = Taped(tmp_path / "log")
    taped.log._spool = _claimed(tmp_path / "log")
    taped.handle(request(1), 0.0)
    taped.log.close()
    assert (tmp_path / "log").is_symlink()
    assert sorted(each.name for each in (tmp_path / "disk").iterdir()) == ["events", "events.1.jsonl.gz"]
    (tmp_path / "disk" / "events.1.jsonl.gz").unlink()
    assert decide_again(tmp_path / "log").events == 1


def test_two_pickers_do_not_share_a_file(tmp_path: Path) -> None:
    """The second one is refused for as long as the first one writes, whatever segment it is at."""
    first = Taped(tmp_path / "log", segment_bytes=1)
    first.log._spool = _claimed(tmp_path / "log")
    for number in range(3):
        with pytest.raises(PlaceError, match="another process writes to it"):
            _claimed(tmp_path / "log")
        first.handle(request(number), 0.0)
    first.log.close()
    _claimed(tmp_path / "log").close()


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    """The live file, also one that was there before, and the compressed ones."""
    (tmp_path / "log").write_bytes(HEADER)
    (tmp_path / "log").chmod(0o644)
    storm(tmp_path / "log", "", steps=300, segment_bytes=8000)
    files = list(tmp_path.iterdir())
    assert len(files) > 2
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


# -------------------------------------------------------------------------------- disks


def test_a_disk_without_room_to_compress_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording goes on, old segments still go, nothing half done lies about, and it is made up for later."""

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "log.1.jsonl.gz.partial").write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(gzip.GzipFile, "write", full)
        taped = storm(tmp_path / "log", "", steps=600, segment_bytes=8000, keep=2)
    statistics = taped.log.statistics()
    assert (statistics.lost_events, taped.warnings) == (0, [])
    assert statistics.failures > 2
    assert len([each.name for each in tmp_path.iterdir() if each.name.endswith(".jsonl")]) == 2
    assert len(list(tmp_path.iterdir())) == 3
    storm(tmp_path / "log", "", steps=10, keep=2)
    assert len([each.name for each in tmp_path.iterdir() if each.name.endswith(".jsonl.gz")]) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_whatever_goes_wrong_in_the_thread_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is no fault of the disk; it costs events, which are counted, and nobody an answer."""
    monkeypatch.setattr("epp.eventlog.log.dump", lambda *_, **__: {"set": object()})
    taped = Taped(tmp_path / "log")
    for number in range(5):
        taped.handle(request(number), number * 2.0)
    assert "events are lost" in taped.warnings[0]
    assert taped.log.statistics().failures == 1
    assert (taped.log.statistics().events, taped.log.statistics().lost_events) == (0, 5)


def test_no_snapshot_is_taken_in_vain_for_a_disk_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the picker up, so each attempt opens its file first."""
    taken: list[object] = []
    monkeypatch.setattr("epp.eventlog.log.dump", lambda *_, **__: taken.append(1) or {})

    class Later(AtOnce):
        """Does nothing until it is told to."""

        def __init__(self) -> None:
            self.left: list[Callable[[], None]] = []

        # Nobody here wants the future that an executor gives.
        def submit(self, task: Callable[..., None], /, *args: object) -> None:  # type: ignore[override]
            self.left.append(lambda: task(*args))

        def work(self) -> None:
            while self.left:
                self.left.pop(0)()

    worker = Later()
    (tmp_path / "place").write_text("no folder")
    taped = Taped(tmp_path / "place" / "log", retry_s=10.0)
    taped.log._spool = Spool(tmp_path / "place" / "log", keep=3, worker=worker)
    for number in range(100):
        taped.handle(request(number), float(number))
        if number % 3 == 0:
            worker.work()
    assert len(taken) <= 1
    (tmp_path / "place").unlink()
    for number in range(100, 130):
        taped.handle(request(number), float(number))
        worker.work()
    assert len(taken) <= 2
    assert taped.log.statistics().is_recording
    taped.log.close()
    worker.work()


def test_lost_events_include_those_that_were_about_to_be_written(tmp_path: Path) -> None:
    """What was taken down and what was lost come to all that was heard."""

    class Broken(Spool):
        def _append(self, data: bytes, events: int) -> None:
            if events and self._file is not None:
                self._file.close()
            super()._append(data, events)

    taped = Taped(tmp_path / "log", retry_s=1e9)
    taped.log._spool = Broken(tmp_path / "log", keep=3, worker=AtOnce())
    for number in range(10):
        taped.handle(request(number), 0.1 * number)
    taped.handle(Tick(), 5.0)
    taped.handle(Tick(), 6.0)
    statistics = taped.log.statistics()
    assert (statistics.events, statistics.lost_events) == (0, 12)


def test_a_disk_that_answers_no_more_does_not_keep_the_picker_from_its_end() -> None:
    """The thread is left behind after so long."""
    answer, began = threading.Event(), threading.Event()
    worker = WriterThread(patience_s=0.01)

    def stuck() -> None:
        began.set()
        answer.wait()

    worker.submit(stuck)
    began.wait()
    worker.shutdown()
    thread = worker._thread
    assert thread is not None
    assert thread.is_alive()
    assert thread.daemon
    answer.set()
    thread.join()


def test_nothing_is_compressed_at_the_end(tmp_path: Path) -> None:
    """What is left is for the next start."""
    path = tmp_path / "log"
    path.write_bytes(HEADER)
    spool = Spool(path, keep=3, worker=AtOnce())
    spool._closing = True
    spool.begin()
    spool.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1.jsonl"]


def test_a_segment_that_ends_before_its_snapshot_is_skipped(tmp_path: Path) -> None:
    """The others count; if there are no others, that is an error."""
    taped = Taped(tmp_path / "log")
    taped.handle(EndpointsChanged((EndpointSpec("10.0.0.1:80"),)), 0.0)
    taped.log.close()
    whole = (tmp_path / "log").read_bytes()
    header = whole.splitlines(keepends=True)[0]
    for rest in (header, header[:50], whole[: len(header) + 20]):
        (tmp_path / "log.1.jsonl").write_bytes(rest)
        again = decide_again(tmp_path / "log")
        assert (again.events, again.difference) == (1, None)
        assert "log.1.jsonl" in again.notes[0]
        assert "(skipped)" in again.notes[0]
