"""What another process has used, by the operating system's accounting: CPU seconds and resident memory.

CPU comes from the process's own clock, to the nanosecond and with all its threads, ended ones included; `/proc` shows
the same count in hundredths of a second, which is too coarse for short bursts.
"""

from __future__ import annotations

import asyncio
import time

import psutil

_PROCESS_CLOCK = 2
"""The kernel's CPUCLOCK_SCHED: exact run time, all threads."""
_QUIET_SHARE = 0.02
"""Of a core. Timers and housekeeping stay below it; work doesn't."""
_LOOK_EVERY_S = 0.1
_QUIET_LOOKS = 4


def cpu_s(pid: int) -> float:
    """CPU seconds that the process has used so far, user and system."""
    # A process's clock id is made of its pid: clock_getcpuclockid(3), which Python has for threads only.
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM."""
    return int(psutil.Process(pid).memory_info().rss)


async def until_quiet(pid: int, *, within_s: float = 120.0) -> None:
    """Return when the process has worked off everything: it has used next to no CPU for a while."""
    deadline_s = time.monotonic() + within_s
    quiet_looks = 0
    while quiet_looks < _QUIET_LOOKS:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {pid} was still busy after {within_s:g} s")
        used_s, looked_s = cpu_s(pid), time.monotonic()
        await asyncio.sleep(_LOOK_EVERY_S)
        share = (cpu_s(pid) - used_s) / (time.monotonic() - looked_s)
        quiet_looks = quiet_looks + 1 if share < _QUIET_SHARE else 0
