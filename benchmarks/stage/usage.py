"""What the processes of a stage use during a round, by role.

A role may be several processes; its CPU is their sum, and its peak the sum of their peaks, which need not have been at
the same moment: an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.accounting import cpu_s
from benchmarks.stage.evidence import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PEAK = "VmHWM:"
_KIB = 1024


def peak_bytes(pid: int) -> int:
    """The most memory that the process ever had in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(_PEAK):
            return int(line.split()[1]) * _KIB
    raise ProcessLookupError(f"process {pid} has ended")


@dataclass(frozen=True, slots=True)
class Meter:
    """Reads the difference since it was made."""

    roles: Mapping[str, Sequence[int]]
    """Process ids."""
    began_s: Mapping[str, float]

    @classmethod
    def begin(cls, roles: Mapping[str, Sequence[int]]) -> Meter:
        """From now on. Raises `OSError` if there is no such process."""
        return cls(roles, {role: _cpu_s(pids) for role, pids in roles.items()})

    def read(self) -> tuple[dict[str, Usage], dict[str, str]]:
        """What each role has used so far, and why a role is missing."""
        usage: dict[str, Usage] = {}
        missing: dict[str, str] = {}
        for role, pids in self.roles.items():
            try:
                usage[role] = Usage(
                    cpu_s=_cpu_s(pids) - self.began_s[role], peak_bytes=sum(map(peak_bytes, pids))
                )
            except OSError as error:
                missing[role] = f"its cost isn't known: {error}"
        return usage, missing


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(map(cpu_s, pids))
