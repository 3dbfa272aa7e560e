"""The files of an event log: one that grows, and the last few before it, compressed. All of it off the loop.

`PATH` is the live file. When a segment ends it becomes `PATH.<n>.jsonl`, and a compressed `PATH.<n>.jsonl.gz` as soon
as that is complete, so a crash at any moment leaves every line in a file that can be read. What can't be written is
reported and tried again later by whoever asks for the next segment; nothing here ever raises into the caller, but for
`claim`, before anything was written.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from epp.eventlog.place import claim, hold, is_same, is_segment, private, refuse_strangers

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter
    from pathlib import Path

_CHUNK_BYTES = 1024 * 1024
_LAST_WORDS_S = 5.0
"""How long an end waits for a disk."""


class Worker(Protocol):
    """Does one thing after the other, elsewhere."""

    def submit(self, task: Callable[..., None], /, *args: object) -> object:
        """Do this next. It doesn't raise."""

    def shutdown(self) -> None:
        """Finish what was submitted, as far as that takes no longer than an end may."""


class WriterThread:
    """A thread that nobody has to wait for: a disk that answers no more doesn't keep the process from its end."""

    def __init__(self, *, patience_s: float = _LAST_WORDS_S) -> None:
        self._patience_s = patience_s
        self._tasks: SimpleQueue[tuple[Callable[..., None], tuple[object, ...]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[..., None], /, *args: object) -> None:
        """Do this next."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="event-log", daemon=True)
            self._thread.start()
        self._tasks.put((task, args))

    def shutdown(self) -> None:
        """Finish what was submitted, if the disk still answers."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join(self._patience_s)

    def _work(self) -> None:
        while (what := self._tasks.get()) is not None:
            task, args = what
            task(*args)


class SpoolStatistics(NamedTuple):
    """What became of what was to be written."""

    written_bytes: int
    """Before compression."""
    pending_bytes: int
    failures: int
    segments: int
    """Segments begun."""
    lost_events: int
    """Appended, and not written since writing failed."""


class Spool:
    """Writes segments. Its methods return at once; a thread of its own does the work."""

    pending_bytes: int
    """Appended and not yet written."""
    fault: str | None
    """What went wrong since the segment began, if anything; the segment is lost from there on."""
    is_open: bool
    """Whether the segment that was begun last has got its file."""

    def __init__(self, path: Path, *, keep: int, worker: Worker | None = None) -> None:
        self._path = path
        self._keep = keep
        self._worker = worker or WriterThread()
        self._lock = threading.Lock()
        self._file: BufferedWriter | None = None
        self._last_number = 0
        self._written_bytes = 0
        self.pending_bytes = 0
        self._failures = 0
        self._segments = 0
        self._lost_events = 0
        self.fault: str | None = None
        self.is_open = False
        self._closing = False

    # ------------------------------------------------------------------ from the loop

    def claim(self) -> None:
        """Make sure, before anything is written, that the log can be written here. Raises PlaceError."""
        self._path, self._file = claim(self._path)

    def begin(self) -> None:
        """What is appended from now on is another segment. Clears a fault: it is another attempt."""
        with self._lock:
            self.fault = None
            self.is_open = False
        self._worker.submit(self._guarded, self._begin)

    def append(self, data: bytes, *, events: int = 0) -> None:
        """Write this, with so many events, to the segment, unless something went wrong since it began."""
        with self._lock:
            self.pending_bytes += len(data)
        self._worker.submit(self._append, data, events)

    def append_json(self, data: object) -> None:
        """The same for a line of plain data, which must not change any more: it is encoded in the thread as well."""
        self._worker.submit(self._append_json, data)

    def statistics(self) -> SpoolStatistics:
        """A snapshot."""
        with self._lock:
            return SpoolStatistics(
                self._written_bytes, self.pending_bytes, self._failures, self._segments, self._lost_events
            )

    def close(self) -> None:
        """Write what is still to be written; returns when it is, or when the disk takes too long. Nothing is packed."""
        self._closing = True
        self._worker.submit(self._guarded, self._close)
        self._worker.shutdown()

    # ---------------------------------------------------------------- in the thread

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        file, self._file = self._file, None
        with self._lock:
            self._failures += 1
            self.fault = str(error) or type(error).__name__
            self.is_open = False
        if file is not None:
            with contextlib.suppress(OSError):  # the same fault once more
                file.close()

    def _append(self, data: bytes, events: int) -> None:
        try:
            if self._file is None:
                with self._lock:
                    self._lost_events += events
            else:
                self._file.write(data)
                self._file.flush()
                with self._lock:
                    self._written_bytes += len(data)
        except Exception as error:
            self._failed(error)
            with self._lock:
                self._lost_events += events
        finally:
            with self._lock:
                self.pending_bytes -= len(data)

    def _append_json(self, data: object) -> None:
        try:
            line = msgspec.json.encode(data) + b"\n"
        except Exception as error:
            self._failed(error)
            return
        with self._lock:
            self.pending_bytes += len(line)
        self._append(line, 0)

    def _begin(self) -> None:
        before, self._file = self._file, None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # The file before is let go of last, so that no other process finds the place empty in between.
            self._step_aside()
            self._prune()
            if before is not None and is_same(before, self._path):
                self._file, before = before, None
            else:
                self._file = hold(self._path)
        finally:
            if before is not None:
                before.close()
        with self._lock:
            self._segments += 1
            self.is_open = True
        self._pack()

    def _step_aside(self) -> None:
        """The live file, if anything is in it, becomes a finished segment."""
        refuse_strangers(self._path)
        if not self._path.exists() or not self._path.stat().st_size:
            return
        self._last_number = max([self._last_number, *(number for number, _ in rotated(self._path))]) + 1
        self._path.rename(self._path.with_name(f"{self._path.name}.{self._last_number}.jsonl"))

    def _prune(self) -> None:
        """First of all, so that there is room for what follows."""
        for each in self._path.parent.iterdir():
            if _pattern(self._path, r"\.gz\.partial").match(each.name):
                each.unlink(missing_ok=True)
        files = self._own()
        for path in files[: max(0, len(files) - self._keep)]:
            path.unlink(missing_ok=True)

    def _own(self) -> list[Path]:
        """Finished segments, oldest first. Files that happen to have such a name are left alone."""
        return [path for _, path in rotated(self._path) if is_segment(path)]

    def _pack(self) -> None:
        """Compress what has ended, if it isn't yet. Where that fails it stays as it is until the next time."""
        try:
            for path in self._own():
                if self._closing:
                    return
                if path.suffix == ".gz":
                    path.with_suffix("").unlink(missing_ok=True)
                else:
                    self._compress(path)
        except Exception:  # the live file is not concerned, so this is no fault of the segment
            with self._lock:
                self._failures += 1

    def _compress(self, path: Path) -> None:
        packed, partial = path.with_name(path.name + ".gz"), path.with_name(path.name + ".gz.partial")
        try:
            with (
                path.open("rb") as source,
                private(partial, os.O_TRUNC) as target,
                gzip.GzipFile("", "wb", 6, target) as packing,
            ):
                while chunk := source.read(_CHUNK_BYTES):
                    if self._closing:
                        return
                    packing.write(chunk)
            partial.replace(packed)
            path.unlink()
        finally:
            partial.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The segments before the live one, oldest first."""
    pattern = _pattern(path, r"(\.gz)?")
    found: dict[int, Path] = {}
    for each in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        match = pattern.match(each.name)
        if match is not None:  # what is compressed already comes later in this order, and wins
            found[int(match[1])] = each
    return sorted(found.items())


def _pattern(path: Path, ending: str) -> re.Pattern[str]:
    return re.compile(re.escape(path.name) + r"\.(\d+)\.jsonl" + ending + r"\Z")
