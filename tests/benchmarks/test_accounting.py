"""What other processes use."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.accounting import cpu_s, resident_bytes, until_quiet

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
SPINNER = "print('up', flush=True)\nwhile True: pass"
HOARDER = "hoard = b'x' * 64_000_000; print('up', flush=True); import time; time.sleep(600)"


@contextlib.contextmanager
def running(code: str) -> Iterator[int]:
    """A child that has said that it is up; its pid."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            yield child.pid
        finally:
            child.kill()


def test_work_shows_in_the_cpu_of_the_process_that_does_it() -> None:
    """A spinning child's clock advances while we look."""
    with running(SPINNER) as pid:
        before_s = cpu_s(pid)
        while cpu_s(pid) < before_s + 0.02:
            pass


def test_the_cpu_of_a_process_that_is_gone_is_an_error() -> None:
    """Never a number of somebody else."""
    with running(SLEEPER) as pid:
        pass
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_s(pid)


def test_memory_is_that_of_the_process_that_holds_it() -> None:
    """64 MB more in the one that hoards."""
    with running(SLEEPER) as modest, running(HOARDER) as hoarder:
        assert resident_bytes(hoarder) - resident_bytes(modest) > 50_000_000


async def test_a_sleeping_process_is_quiet() -> None:
    """The wait ends by itself."""
    with running(SLEEPER) as pid:
        await until_quiet(pid, within_s=60.0)


async def test_a_busy_process_never_is() -> None:
    """The wait ends with an error that says so."""
    with running(SPINNER) as pid, pytest.raises(TimeoutError, match="still busy"):
        await until_quiet(pid, within_s=0.5)
