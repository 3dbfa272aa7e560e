"""`--config-file`, followed while the picker serves: a valid change takes effect, an invalid one changes nothing.

What is promised:

- How requests wait changes live: the `flowControl` section, and whatever it names of `plugins`. The rest
  (see `_needing_restart`) stays as it was at the start; one warning says which section it is.
- A file with any mistake in it is refused as a whole, with one error that names file and line.
- Contents count, not times of change. A mounted ConfigMap's link swap, a file written anew and a file that was gone
  for a while are all alike. A file that changes is read once it has kept still for a poll, so that none is taken that
  is half written; an empty one is never taken for the defaults.
- The file is looked at, read and parsed in a worker thread, which sleeps between its looks by itself. The loop only
  compares, builds and applies, and nothing wakes it while the file stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
import threading
import time
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import structlog

from epp.config.parse import parse_bytes
from epp.config.problems import ConfigError
from epp.files.survey import AGAIN, Stamp, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from epp.config.model import EndpointPickerConfig
    from epp.config.runtime import Runtime

POLL_INTERVAL_S = 1.0
MAX_FILE_BYTES = 4 * 1024 * 1024
_MOST_PROBLEMS = 10
"""More of them in one line of the log help nobody; `epp validate` has them all."""

log = structlog.get_logger()


class ReloadOutcome(Enum):
    """What became of a change of the file."""

    APPLIED = "applied"
    REFUSED = "refused"
    UNCHANGED = "unchanged"
    """It says what holds already, as far as that can change without a restart."""


class _Look(NamedTuple):
    """What the file was at one moment."""

    content: bytes
    trouble: str
    """Why there is no content; empty if there is."""


class ConfigReload:
    """Follows one file."""

    def __init__(
        self,
        path: Path,
        current: EndpointPickerConfig,
        *,
        rebuild: Callable[[EndpointPickerConfig], Runtime],
        apply: Callable[[Runtime, EndpointPickerConfig], None],
        outcome: Callable[[ReloadOutcome], None],
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        """`current` is what holds now, read from `path` some time ago; a change since then is a change like others."""
        self._path = path
        self._in_force = current
        self._rebuild = rebuild
        self._apply = apply
        self._outcome = outcome
        self._poll_interval_s = poll_interval_s
        self._seen: _Look | None = None
        """Not yet judged, since it may still be being written."""
        self._judged: _Look | None = None
        self._said: tuple[str, ...] = current.notes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the file from now on."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Follow it no longer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def look(self) -> None:
        """Look at the file once, and do what follows from it."""
        seen = await asyncio.to_thread(_read, self._path)
        if seen == self._judged:
            self._seen = None
        elif seen != self._seen:
            self._seen = seen
        else:
            is_first = self._judged is None
            self._seen, self._judged = None, seen
            outcome = await self._judge(seen)
            if is_first and outcome is ReloadOutcome.UNCHANGED:
                return  # nothing happened since `current` was read
            self._outcome(outcome)

    async def _follow(self) -> None:
        if await asyncio.to_thread(_is_special, self._path):
            log.info(
                "changes of the configuration are not noticed: it is no regular file", file=str(self._path)
            )
            return
        given_up = threading.Event()
        stamp: Stamp | None = AGAIN
        try:
            while True:
                # Something that was seen once is judged when it has kept still; a file that can't be read may be
                # readable later without looking any different.
                is_unread = stamp is not None and self._judged is not None and bool(self._judged.trouble)
                known = AGAIN if self._seen is not None or is_unread else stamp
                stamp = await asyncio.to_thread(
                    _until_news, self._path, known, self._poll_interval_s, given_up
                )
                await self.look()
        finally:
            given_up.set()

    async def _judge(self, seen: _Look) -> ReloadOutcome:
        if seen.trouble:
            return self._refused([f"{self._path}: {seen.trouble}"])
        try:
            config = await asyncio.to_thread(parse_bytes, seen.content, source=str(self._path))
            return self._take(config)
        except ConfigError as error:
            return self._refused([f"{error.source}:{problem}" for problem in error.problems])
        except Exception:
            # Whatever is wrong with us in this, the picker serves on with what it has.
            log.exception("configuration not reloaded, the one in force stays", file=str(self._path))
            return ReloadOutcome.REFUSED

    def _refused(self, problems: list[str]) -> ReloadOutcome:
        more = len(problems) - _MOST_PROBLEMS
        shown = problems[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        log.error("configuration refused, the one in force stays", problems=" | ".join(shown))
        return ReloadOutcome.REFUSED

    def _take(self, config: EndpointPickerConfig) -> ReloadOutcome:
        """Apply what can change; what can't stays as it is."""
        now = self._in_force
        fixed = _needing_restart(now, config)
        if fixed:
            log.warning(
                "a part of the configuration stays as it was until the picker is restarted",
                file=str(self._path),
                sections=", ".join(fixed),
            )
        wanted = replace(config, profile=now.profile, scrape=now.scrape, parsers=now.parsers)
        outcome = ReloadOutcome.UNCHANGED
        if wanted.flow_control != now.flow_control:
            self._apply(self._rebuild(wanted), wanted)
            outcome = ReloadOutcome.APPLIED
            log.info("configuration reloaded", file=str(self._path))
        self._in_force = wanted
        self._say(wanted.notes)
        return outcome

    def _say(self, notes: tuple[str, ...]) -> None:
        """The notes that are new; the others were said before."""
        for note in notes:
            if note not in self._said:
                log.warning(note)
        self._said = notes


def _needing_restart(now: EndpointPickerConfig, new: EndpointPickerConfig) -> list[str]:
    """The sections that differ and that only a start can change."""
    sections = (
        ("schedulingProfiles (scorers, pickers, filters)", now.profile, new.profile),
        ("dataLayer", now.scrape, new.scrape),
        ("requestHandler", now.parsers, new.parsers),
    )
    return [name for name, before, after in sections if before != after]


def _until_news(
    path: Path, known: Stamp | None, poll_interval_s: float, given_up: threading.Event
) -> Stamp | None:
    """Return the file's stamp when it isn't `known`, or when nobody waits for it any more; None: there is no file."""
    while not given_up.wait(poll_interval_s):
        stamp = _stamp(path)
        if stamp != known:
            return stamp
    return known


def _stamp(path: Path) -> Stamp | None:
    try:
        stamp = stamp_of(path.stat())
    except OSError:
        return None
    # One that is so young may be written again without its stamp showing it.
    return stamp if stamp.is_settled(time.time_ns()) else AGAIN


def _read(path: Path) -> _Look:
    try:
        if _is_special(path):
            return _Look(b"", "is no regular file")
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return _Look(b"", f"can't be read: {error.strerror or error}")
    if len(content) > MAX_FILE_BYTES:
        return _Look(b"", f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    if not content.strip():
        return _Look(b"", "is empty: for the defaults write a file with apiVersion and kind only")
    return _Look(content, "")


def _is_special(path: Path) -> bool:
    """Whether there is something at `path` that can't be read twice, such as a pipe."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
