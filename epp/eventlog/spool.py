"""The files of an event log: one that grows, and the last few before it, compressed. All of it off the loop.

`PATH` is the live file. When a segment ends it becomes `PATH.<n>.jsonl`, and a compressed `PATH.<n>.jsonl.gz` as soon
as that is complete, so a crash at any moment leaves every line in a file that can be read. What can't be written is
reported and tried again later by whoever asks for the next segment; nothing here ever raises into the caller.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from io import BufferedWriter
    from pathlib import Path

_CHUNK_BYTES = 1024 * 1024


class Worker(Protocol):
    """Does one thing after the other, elsewhere."""

    def submit(self, task: Callable[..., None], /, *args: object) -> Future[None]:
        """Do this next."""

    def shutdown(self) -> None:
        """Finish what was submitted."""


class SpoolStatistics(NamedTuple):
    """What became of what was to be written."""

    written_bytes: int
    """Before compression."""
    pending_bytes: int
    failures: int
    segments: int
    """Segments begun."""


class Spool:
    """Writes segments. Its methods return at once; a thread of its own does the work."""

    pending_bytes: int
    """Appended and not yet written."""
    fault: str | None
    """What went wrong since the segment began, if anything; the segment is lost from there on."""

    def __init__(self, path: Path, *, keep: int, worker: Worker | None = None) -> None:
        self._path = path
        self._keep = keep
        self._worker = worker or ThreadPoolExecutor(1, thread_name_prefix="event-log")
        self._lock = threading.Lock()
        self._file: BufferedWriter | None = None
        self._last_number = 0
        self._written_bytes = 0
        self.pending_bytes = 0
        self._failures = 0
        self._segments = 0
        self.fault: str | None = None

    # ------------------------------------------------------------------ from the loop

    def begin(self) -> None:
        """What is appended from now on is another segment. Clears a fault: it is another attempt."""
        with self._lock:
            self.fault = None
        self._worker.submit(self._guarded, self._begin)

    def append(self, data: bytes) -> None:
        """Write this to the segment, unless something went wrong since it began."""
        with self._lock:
            self.pending_bytes += len(data)
        self._worker.submit(self._append, data)

    def append_json(self, data: object) -> None:
        """The same for a line of plain data, which must not change any more: it is encoded in the thread as well."""
        self._worker.submit(self._append_json, data)

    def statistics(self) -> SpoolStatistics:
        """A snapshot."""
        with self._lock:
            return SpoolStatistics(self._written_bytes, self.pending_bytes, self._failures, self._segments)

    def close(self) -> None:
        """Write what is still to be written; returns when it is."""
        self._worker.submit(self._guarded, self._close)
        self._worker.shutdown()

    # ---------------------------------------------------------------- in the thread

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        file, self._file = self._file, None
        with self._lock:
            self._failures += 1
            self.fault = str(error)
        if file is not None:
            with contextlib.suppress(OSError):  # the same fault once more
                file.close()

    def _append(self, data: bytes) -> None:
        try:
            if self._file is not None:
                self._file.write(data)
                self._file.flush()
                with self._lock:
                    self._written_bytes += len(data)
        except OSError as error:
            self._failed(error)
        finally:
            with self._lock:
                self.pending_bytes -= len(data)

    def _append_json(self, data: object) -> None:
        line = msgspec.json.encode(data) + b"\n"
        with self._lock:
            self.pending_bytes += len(line)
        self._append(line)

    def _begin(self) -> None:
        self._close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for _, old in rotated(self._path):
            _finish(old)
        numbers = [number for number, _ in rotated(self._path)]
        self._last_number = max([self._last_number, *numbers])
        finished = None
        if self._path.exists() and self._path.stat().st_size:
            self._last_number += 1
            finished = self._path.with_name(f"{self._path.name}.{self._last_number}.jsonl")
            self._path.rename(finished)
        self._prune()
        self._file = self._path.open("wb")
        with self._lock:
            self._segments += 1
        if finished is not None:
            _finish(finished)

    def _prune(self) -> None:
        files = rotated(self._path)
        for _, path in files[: max(0, len(files) - self._keep)]:
            path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The segments before the live one, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d+)\.jsonl(\.gz)?\Z")
    found: dict[int, Path] = {}
    for each in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        match = pattern.match(each.name)
        if match is not None:  # what is compressed already comes later in this order, and wins
            found[int(match[1])] = each
    return sorted(found.items())


def _finish(path: Path) -> None:
    """Compress a segment that has ended, if it isn't yet."""
    if path.suffix == ".gz":
        path.with_suffix("").unlink(missing_ok=True)
        return
    packed = path.with_name(path.name + ".gz")
    partial = path.with_name(path.name + ".gz.partial")
    with path.open("rb") as source, gzip.open(partial, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
    partial.replace(packed)
    path.unlink()
