"""How much memory this process may use: its control groups' limit, or else the machine's."""

from __future__ import annotations

from pathlib import Path

_UNLIMITED = 2**60
"""The first version of control groups says "no limit" with a number near 2**63."""


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The smallest of the limits that apply; None where nothing can be found out. `root` is for tests."""
    limits = [*_group_limits(root), *_physical(root)]
    return min(limits) if limits else None


def _group_limits(root: Path) -> list[int]:
    """The limits of the process's own group and of all groups around it, in either version of control groups."""
    mounted = root / "sys/fs/cgroup"
    limits: list[int] = []
    for line in _lines(root / "proc/self/cgroup"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            limits += _limits_up(mounted, path, "memory.max")
            limits += _limits_up(mounted / "unified", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_up(mounted / "memory", path, "memory.limit_in_bytes")
    return limits


def _limits_up(mount: Path, path: str, file_name: str) -> list[int]:
    """The limits from the group at `path` up to the mount itself.

    Inside of a container the path may be the host's and lead nowhere here; the mount is the container's group then.
    """
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    groups = [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    numbers = [int(line) for group in groups for line in _lines(group / file_name)[:1] if line.isdecimal()]
    return [number for number in numbers if 0 < number < _UNLIMITED]


def _physical(root: Path) -> list[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if name == "MemTotal" and number and number[0].isdecimal():
            return [int(number[0]) * 1024]
    return []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
