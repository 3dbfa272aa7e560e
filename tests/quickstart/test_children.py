"""Child processes: their output, their end, and that none is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from epp.quickstart import leash
from epp.quickstart.children import Child, ChildError, Children

DEADLINE_S = 60.0

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
PARENT = (
    "import subprocess, sys, time\n"
    "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('grandchild', grandchild.pid, flush=True)\n"
    "time.sleep(600)\n"
)


def python(code: str) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-c", code]


def is_ready(line: str) -> str | None:
    """Finds the line by which the children here say that they are up."""
    return line if line == "ready" else None


async def started(children: Children, name: str, code: str = SLEEPER) -> Child:
    """A child that is up."""
    child = await children.start(name, python(code))
    await child.announcement(is_ready, within_s=DEADLINE_S)
    return child


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int) -> None:
    """Return when a process that is not our child has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(DEADLINE_S)


async def test_leaving_the_block_ends_all_children(tmp_path: Path) -> None:
    """Two children are running inside the block and gone after it."""
    async with Children(logs=tmp_path) as children:
        pids = [(await started(children, name)).pid for name in ("one", "two")]
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)


async def test_an_error_in_the_block_ends_all_children(tmp_path: Path) -> None:
    """The error passes, the child does not stay."""
    pids = []

    async def fail() -> None:
        async with Children(logs=tmp_path) as children:
            pids.append((await started(children, "one")).pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert len(pids) == 1
    assert not is_running(pids[0])


async def test_cancelling_twice_still_ends_all_children(tmp_path: Path) -> None:
    """Somebody who cancels again during the clean-up does not interrupt it."""
    up: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with Children(logs=tmp_path, grace_s=0.3) as children:
            up.set_result((await started(children, "deaf", DEAF)).pid)
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    pid = await asyncio.wait_for(up, DEADLINE_S)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(pid)


async def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    """After the grace period there is no more asking."""
    async with Children(logs=tmp_path, grace_s=0.1) as children:
        child = await started(children, "deaf", DEAF)
    assert child.ended.result() == -signal.SIGKILL


async def test_a_polite_child_is_not_killed(tmp_path: Path) -> None:
    """A child that ends on SIGTERM gets the time to do so."""
    async with Children(logs=tmp_path, grace_s=DEADLINE_S) as children:
        child = await started(children, "polite")
    assert child.ended.result() == -signal.SIGTERM


async def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    """The whole process group ends, not only its leader."""

    def grandchild(line: str) -> int | None:
        word, _, pid = line.partition(" ")
        return int(pid) if word == "grandchild" else None

    async with Children(logs=tmp_path) as children:
        child = await children.start("parent", python(PARENT))
        pid = await child.announcement(grandchild, within_s=DEADLINE_S)
        assert is_running(pid)
    wait_until_gone(pid)
    assert not is_running(pid)


async def test_stopping_some_leaves_the_others(tmp_path: Path) -> None:
    """`stop` ends what it is given, and the block ends the rest."""
    async with Children(logs=tmp_path) as children:
        one, two = await started(children, "one"), await started(children, "two")
        await children.stop(one)
        assert not is_running(one.pid)
        assert is_running(two.pid)
    assert not is_running(two.pid)


async def test_output_goes_to_the_log(tmp_path: Path) -> None:
    """Both streams arrive, whole, also without a last newline and with a line of a megabyte."""
    code = "import sys; print('x' * 1_000_000); print('to stderr', file=sys.stderr, flush=True); print('end', end='')"
    async with Children(logs=tmp_path / "logs") as children:
        child = await children.start("talker", python(code))
        assert await asyncio.wait_for(child.ended, DEADLINE_S) == 0
        assert sorted((tmp_path / "logs" / "talker.log").read_text().split("\n")) == [
            "end",
            "to stderr",
            "x" * 1_000_000,
        ]
        assert set(child.last_lines(2)) == {"to stderr", "end"}


async def test_an_early_end_is_an_error_with_the_last_words(tmp_path: Path) -> None:
    """Who waits for a child that dies hears how it died and what it said, not a time-out."""
    code = "import sys; print('cannot open the port'); sys.exit(3)"
    async with Children(logs=tmp_path) as children:
        child = await children.start("server", python(code))
        with pytest.raises(
            ChildError, match=r"(?s)server ended early \(exit status 3\).*cannot open the port"
        ):
            await child.announcement(is_ready, within_s=DEADLINE_S)


async def test_a_command_that_does_not_exist_is_an_early_end(tmp_path: Path) -> None:
    """The message names the command and the reason."""
    async with Children(logs=tmp_path) as children:
        child = await children.start("ghost", ["/no/such/program"])
        with pytest.raises(
            ChildError, match=r"(?s)exit status 127.*cannot start /no/such/program: No such file"
        ):
            await child.announcement(is_ready, within_s=DEADLINE_S)


async def test_a_silent_child_is_not_waited_for_forever(tmp_path: Path) -> None:
    """When the time is up the error says what was awaited."""
    async with Children(logs=tmp_path) as children:
        child = await started(children, "silent")
        with pytest.raises(
            ChildError, match=r"did not get ready within 0\.01 s \(waiting for an announcement\)"
        ):
            await child.announcement(lambda line: None, within_s=0.01)


async def test_an_announcement_of_the_past_counts(tmp_path: Path) -> None:
    """What a child said before somebody asked is found as well."""
    async with Children(logs=tmp_path) as children:
        child = await started(children, "early")
        assert await child.announcement(is_ready, within_s=DEADLINE_S) == "ready"


async def test_guarded_work_gives_its_result_or_its_error(tmp_path: Path) -> None:
    """While the children live, the guard is transparent."""

    async def fail() -> None:
        raise KeyError("of the work")

    async with Children(logs=tmp_path) as children:
        await started(children, "one")
        assert await children.guard(asyncio.sleep(0, "result")) == "result"
        with pytest.raises(KeyError):
            await children.guard(fail())


async def test_guarded_work_is_cancelled_when_a_child_dies(tmp_path: Path) -> None:
    """The death of any child ends the work at once, and is the error."""
    cancelled = False

    async def work(victim: Child) -> None:
        nonlocal cancelled
        os.kill(victim.pid, signal.SIGKILL)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    async with Children(logs=tmp_path) as children:
        await started(children, "bystander")
        victim = await started(children, "victim")
        with pytest.raises(ChildError, match=r"victim ended early \(signal SIGKILL\)"):
            await asyncio.wait_for(children.guard(work(victim)), DEADLINE_S)
    assert cancelled


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_a_killed_supervisor_leaves_nothing(tmp_path: Path) -> None:
    """After `kill -9` of the supervisor its child is gone, although no code of ours could run."""
    supervisor = (
        "import asyncio, pathlib, sys\n"
        "from epp.quickstart.children import Children\n"
        "async def main():\n"
        f"    async with Children(logs=pathlib.Path({str(tmp_path)!r})) as children:\n"
        f"        child = await children.start('one', [sys.executable, '-c', {SLEEPER!r}])\n"
        "        await child.announcement(lambda line: line, within_s=60)\n"
        "        print(child.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(leash.__file__).parents[2]
    with subprocess.Popen(python(supervisor), stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            assert is_running(pid)
        finally:
            process.kill()
    wait_until_gone(pid)
    assert not is_running(pid)


def test_a_child_whose_parent_is_already_gone_does_not_start(tmp_path: Path) -> None:
    """The leash checks that its parent is the one that it was meant for."""
    marker = tmp_path / "started"
    command = [sys.executable, leash.__file__, str(os.getpid() + 1), "touch", str(marker)]
    assert subprocess.run(command, check=False).returncode == 127
    assert not marker.exists()
