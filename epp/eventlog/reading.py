"""Reading a log back: its segments in order, each with its header, its snapshot and its events.

A process that was killed leaves a last line that is cut off, or a segment that ends before its snapshot; that is
reported and ignored. Anything else that is wrong is an error that names the file and the line.
"""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from epp.eventlog.codec import Decoder, LineError
from epp.eventlog.header import FORMAT, Header
from epp.eventlog.place import opened
from epp.eventlog.spool import rotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from epp.eventlog.codec import Recorded, Truth
    from epp.eventlog.digest import Checkpoint


class LogError(Exception):
    """The log can't be read; the message says where and why."""


class TornError(LogError):
    """A segment ends before anything in it can be decided."""


class Segment:
    """One file of a log. Iterate over it once for its events and checkpoints."""

    def __init__(self, path: Path) -> None:
        """Raises LogError."""
        self.path = path
        self.line = 0
        """The last one that was read."""
        self.torn: str | None = None
        """What is missing at its end, known after the iteration."""
        self._lines = self._read()
        self.header = self._header()
        self.snapshot = self._snapshot()

    def __iter__(self) -> Iterator[Recorded | Checkpoint | Truth]:
        """Events and checkpoints in order. Raises LogError."""
        decoder = Decoder()
        for line in self._lines:
            try:
                yield decoder.line(line)
            except LineError as error:
                raise LogError(f"{self.path}:{self.line}: {error}") from error

    def _header(self) -> Header:
        line = next(self._lines, None)
        if line is None:
            if self.torn:
                raise TornError(self.torn)
            raise LogError(f"{self.path}: is empty; is it an event log?")
        try:
            header = msgspec.json.decode(line, type=Header)
            bytes.fromhex(header.salt)
        except (msgspec.MsgspecError, ValueError) as error:
            raise LogError(f"{self.path}:1: is not the beginning of an event log: {error}") from error
        if header.format != FORMAT:
            raise LogError(
                f"{self.path}:1: is of format {header.format!r}, written by epp {header.version}; "
                f"this version reads {FORMAT}"
            )
        return header

    def _snapshot(self) -> dict[str, Any]:
        line = next(self._lines, None)
        if line is None:
            raise TornError(
                f"{self.path}: ends before the snapshot it begins with, so there is nothing to decide in it"
            )
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError) as error:
            raise LogError(f"{self.path}:2: is no snapshot: {error}") from error

    def _read(self) -> Iterator[bytes]:
        """Complete lines."""
        try:
            with opened(self.path) as file:
                for line in file:
                    self.line += 1
                    if not line.endswith(b"\n"):
                        self.torn = f"{self.path}:{self.line}: the last line is cut off and was ignored"
                        return
                    yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.torn = f"{self.path}:{self.line}: the rest of the file is missing or damaged: {error}"
        except OSError as error:
            raise LogError(f"{self.path}: can't be read: {error.strerror or error}") from error


def segments(path: Path, *, skipped: Callable[[str], None]) -> Iterator[Segment]:
    """The segments of a log, oldest first; of one finished segment, only itself. Raises LogError.

    `skipped` is told of those with nothing in them to decide; a log of nothing else can't be read.
    """
    path = path.resolve() if path.is_symlink() else path  # a log is where its live file really is
    files = [each for _, each in rotated(path)]
    if path.exists() and (path.stat().st_size or not files):
        files.append(path)
    if not files:
        raise LogError(f"{path}: there is no such file, and no finished segment of it")
    torn: TornError | None = None
    is_whole = False
    for each in files:
        try:
            segment = Segment(each)
        except TornError as error:
            torn = error
            skipped(f"{error} (skipped)")
            continue
        is_whole = True
        yield segment
    if torn is not None and not is_whole:
        raise torn
