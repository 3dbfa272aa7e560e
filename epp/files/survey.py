"""Which files there are and whether they changed: a look at names and stamps, never at contents.

Polling is the only way that notices every kind of change alike: renames over a file, the swap of a ConfigMap's
`..data` link, files that appear later, network file systems. A stamp is taken through all links, and holds everything
that any of these changes. A file whose stamp is as young as a file system's clock is coarse may change again without
its stamp showing it: `is_settled` says so.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")
_COARSEST_CLOCK_NS = 100_000_000


class Stamp(NamedTuple):
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def is_settled(self, now_ns: int) -> bool:
        """Whether a later change is sure to show, if the file was read at `now_ns` (wall clock)."""
        return abs(now_ns - self.changed_ns) > _COARSEST_CLOCK_NS


AGAIN = Stamp(-1, -1, -1, -1, -1)
"""Equals no file's stamp: remembered for a file that has to be read again whatever its stamp."""


class Survey(NamedTuple):
    """All manifest files of a path at one moment."""

    files: Mapping[str, Stamp | None]
    """By name; None for one that can't even be looked at."""
    trouble: str
    """What is wrong with the path as a whole; empty if nothing is."""


def survey(path: Path) -> Survey:
    """The manifest file at `path`, or those of the folder at `path`: not its subfolders, and no hidden files."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return Survey({str(path): stamp_of(status)}, "")
        found = sorted(
            file for file in path.iterdir() if file.name.endswith(SUFFIXES) and not file.name.startswith(".")
        )
    except FileNotFoundError:
        return Survey({}, "there is no such file or folder yet; it is read as soon as there is")
    except OSError as error:
        return Survey({}, f"can't be read: {error.strerror or error}")
    files: dict[str, Stamp | None] = {}
    for file in found:
        try:
            files[str(file)] = stamp_of(file.stat())
        except OSError as error:
            if error.errno != errno.ENOENT:  # a link to nothing is a file that is missing
                files[str(file)] = None
    return Survey(files, "" if files else f"the folder holds no file that ends in {', '.join(SUFFIXES)}")


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file with this status."""
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
