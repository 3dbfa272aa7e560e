"""Where an event log is written: a file that is nobody else's, held for as long as the picker writes to it.

A log moves, compresses and deletes files, so it only ever touches what it can tell to be its own: regular files that
begin as a segment does. Whatever else stands in the way is named before the picker starts, and left as it is.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import stat
import zlib
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedWriter
    from pathlib import Path

_PRIVATE = 0o600
_BEGINNING = b'{"format":"epp-event-log/'
"""Of every segment, whatever wrote it; the first field of the header."""


class PlaceError(Exception):
    """The log can't be written there. The message says why and what to do."""


def claim(path: Path) -> tuple[Path, BufferedWriter]:
    """Where the log really is, behind all links, and the live file, empty or of an earlier log, held.

    Raises PlaceError. Nothing that is there is changed.
    """
    try:
        if path.suffix == ".gz":
            raise PlaceError("finished segments are compressed, the live file isn't: leave .gz away")
        place = path.resolve()
        if place.is_dir():
            raise PlaceError(f"is a folder: name a file in it, such as {path / 'events'}")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise PlaceError(
                f"files can't be made in {place.parent}: let the picker write there, or name a file in another folder"
            )
        refuse_strangers(place)
        return place, hold(place)
    except BlockingIOError as error:
        raise PlaceError("another process writes to it: give each picker a file of its own") from error
    except (OSError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise PlaceError(
            f"can't be written: {why}; name a file in a folder that can be written to"
        ) from error


def refuse_strangers(path: Path) -> None:
    """Raises PlaceError if there is anything at `path` but an empty file or a segment."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise PlaceError("is no regular file: name a file that only the log uses")
    if found.st_size and not is_segment(path):
        raise PlaceError("is a file that holds something else: name another one, or move it away")


def is_segment(path: Path) -> bool:
    """Whether this is a regular file that begins as a segment does, compressed or not. Raises OSError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    try:
        with opened(path) as file:
            return file.read(len(_BEGINNING)) == _BEGINNING
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def opened(path: Path) -> IO[bytes]:
    """A segment to read from, compressed or not."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # a GzipFile does all that is asked of it
    return path.open("rb")


def hold(path: Path) -> BufferedWriter:
    """Open the live file to write to its end, for its owner only. Raises OSError, BlockingIOError if it is held."""
    file = private(path, os.O_APPEND)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_same(file, path):
            raise BlockingIOError("the file was moved away while it was opened")
        os.fchmod(file.fileno(), _PRIVATE)
    except OSError:
        file.close()
        raise
    return file


def private(path: Path, flags: int) -> BufferedWriter:
    """A file to write to that only its owner can read; made if there is none."""
    # A pipe would hold the picker up until somebody reads from it.
    flags |= os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags, _PRIVATE), "wb")


def is_same(file: BufferedWriter, path: Path) -> bool:
    """Whether `path` is still the name of this file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
