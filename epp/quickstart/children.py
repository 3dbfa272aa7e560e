"""Child processes that never outlive the block that started them.

Promises:
- When `async with Children(...)` is left, by whatever way, every child and whatever it started is gone:
  SIGTERM to its process group, newest child first, then SIGKILL to whoever is left after the grace period.
- If this process is killed outright, the kernel kills the children (`leash`; Linux).
- Ctrl-C reaches this process only: children have sessions of their own, so that their end is in our hands.
- A child that ends by itself while something depends on it is an error that shows its last words.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TypeVar

from epp.quickstart import leash

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_T = TypeVar("_T")

GRACE_S = 5.0
"""How long a child may take to end by itself."""

_REMEMBERED_LINES = 200
_SHOWN_LINES = 15
_MAX_LINE_BYTES = 8192
_READ_BYTES = 65_536


class ChildError(Exception):
    """A child ended, or did not do in time what was expected of it; the message shows its last lines."""

    def __init__(self, child: Child, what: str) -> None:
        last_lines = child.last_lines()
        words = "\n".join(f"  {line}" for line in last_lines) if last_lines else "  (it said nothing)"
        super().__init__(f"{child.name} {what}. Its last lines (all of them: {child.log_path}):\n{words}")
        self.child_name = child.name
        self.last_lines = last_lines


class Child:
    """One running process. Its standard output and error go to its log, line by line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self.pid = process.pid
        self._process = process
        self._lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._listeners: list[Callable[[str], None]] = []
        self._ended = asyncio.ensure_future(self._follow())

    @property
    def ended(self) -> asyncio.Future[int]:
        """Done with the exit status (negative: the signal that ended it) once the process is gone."""
        return self._ended

    def last_lines(self, count: int = _SHOWN_LINES) -> tuple[str, ...]:
        """The last lines that it wrote."""
        return tuple(self._lines)[-count:]

    async def announcement(self, find: Callable[[str], _T | None], *, within_s: float) -> _T:
        """What `find` makes of the first line for which it isn't None; ChildError if none comes."""
        found: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

        def listen(line: str) -> None:
            value = find(line)
            if value is not None and not found.done():
                found.set_result(value)

        for line in tuple(self._lines):
            listen(line)
        self._listeners.append(listen)
        try:
            return await self.depend(_result_of(found), within_s=within_s, on="an announcement")
        finally:
            self._listeners.remove(listen)

    async def depend(self, work: Coroutine[Any, Any, _T], *, within_s: float, on: str) -> _T:
        """The result of `work`, or ChildError as soon as this child ends or the time is up."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._ended}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self._ended.done():
                raise ChildError(self, f"ended early ({_status_text(self._ended.result())})")
            raise ChildError(self, f"did not get ready within {within_s:g} s (waiting for {on})")
        finally:
            await _cancelled(task)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and whatever it started; none if all of them are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _follow(self) -> int:
        stream = self._process.stdout
        assert stream is not None
        with self.log_path.open("wb") as log:
            rest = b""
            while data := await stream.read(_READ_BYTES):
                log.write(data)
                log.flush()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._heard(line)
                rest = rest[-_MAX_LINE_BYTES:]
            if rest:
                self._heard(rest)
        return await self._process.wait()

    def _heard(self, raw: bytes) -> None:
        line = raw[:_MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
        self._lines.append(line)
        for listener in tuple(self._listeners):
            listener(line)


class Children:
    """The children of one block; see the module's promises."""

    def __init__(self, *, logs: Path, grace_s: float = GRACE_S) -> None:
        self._logs = logs
        self._grace_s = grace_s
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(
        self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a process; `name` is for people, and names its log file."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", leash.__file__, str(os.getpid())),
            *(str(word) for word in command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
        child = Child(name, process, self._logs / f"{name}.log")
        self._children.append(child)
        return child

    async def guard(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, or ChildError as soon as any child ends by itself."""
        task = asyncio.ensure_future(work)
        try:
            pending: list[asyncio.Future[Any]] = [task, *(child.ended for child in self._children)]
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                gone = next(child for child in self._children if child.ended.done())
                raise ChildError(gone, f"ended early ({_status_text(gone.ended.result())})")
            return task.result()
        finally:
            await _cancelled(task)

    async def stop(self, *children: Child) -> None:
        """End these children in the order given; returns when they are gone."""
        for child in children:
            self._children.remove(child)
        await _finish(children, self._grace_s)

    async def close(self) -> None:
        """End all children, the newest first; cancelling this does not stop it."""
        children, self._children = self._children[::-1], []
        await _uncancellable(_finish(children, self._grace_s))


async def _finish(children: Sequence[Child], grace_s: float) -> None:
    if not children:
        return
    for child in children:
        child.send(signal.SIGTERM)
    ended = [child.ended for child in children]
    await asyncio.wait(ended, timeout=grace_s)
    for child in children:
        child.send(signal.SIGKILL)  # also whoever a child left behind in its process group
    _, deaf = await asyncio.wait(ended, timeout=grace_s)
    for follower in deaf:  # someone who left the process group still holds the pipe
        await _cancelled(follower)


async def _uncancellable(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _cancelled(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


async def _result_of(future: asyncio.Future[_T]) -> _T:
    return await future


def _status_text(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
