"""Who looks on while the core works: the event log, and policies that are tried out beside the one in force.

They hear every event before the core does and every decision after it. None of them can fail the picker: what goes
wrong in one ends that one, is said once, and shows in the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.config.parse import read_config
from epp.config.problems import ConfigError
from epp.eventlog.log import EventLog, EventLogSettings
from epp.serve.errors import StartError
from epp.whatif.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.eventlog.log import EventLogStatistics
    from epp.serve.configuration import Configuration
    from epp.serve.settings import ServeSettings
    from epp.whatif.shadow import ShadowStatistics


class Recording:
    """Everybody who looks on."""

    def __init__(self, log: EventLog | None, shadows: Sequence[Shadow]) -> None:
        self._log = log
        self._shadows = tuple(shadows)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody looks on at all."""
        return self._log is not None or bool(self._shadows)

    def hears(self, event: Event, now: float) -> None:
        """The core is about to be told of `event`."""
        if self._log is not None:
            self._log.record(event, now)

    def decided(self, event: Event, actions: list[Action], now: float) -> None:
        """This is what the core made of it."""
        if self._log is not None:
            self._log.decided(actions)
        for shadow in self._shadows:
            shadow.observe(event, actions, now)

    def reloaded(self, configuration: Configuration) -> None:
        """Another configuration is about to come into force."""
        if self._log is not None:
            self._log.reloaded(configuration.recipe())

    def log_statistics(self) -> EventLogStatistics | None:
        """Of the event log; None without one."""
        return None if self._log is None else self._log.statistics()

    def shadow_statistics(self) -> tuple[ShadowStatistics, ...]:
        """Of every policy that is tried out."""
        return tuple(shadow.statistics() for shadow in self._shadows)

    def close(self) -> None:
        """Write what is still to be written."""
        if self._log is not None:
            self._log.close()


def recording(
    settings: ServeSettings,
    configuration: Configuration,
    controller: Controller,
    *,
    now: float,
    warn: Callable[[str], None],
) -> Recording:
    """Whoever the flags call. Raises `StartError` for a configuration that can't be tried out."""
    log = None
    if settings.event_log is not None:
        log = EventLog(
            EventLogSettings(
                path=settings.event_log,
                segment_bytes=settings.event_log_size_bytes,
                keep=settings.event_log_segments,
            ),
            controller,
            configuration.recipe(),
            warn=warn,
        )
    shadows = [_shadow(path, configuration, now=now) for path in settings.shadow_configs]
    return Recording(log, shadows)


def _shadow(path: Path, configuration: Configuration, *, now: float) -> Shadow:
    try:
        config = read_config(path)
    except ConfigError as error:
        raise StartError(f"--shadow-config: {error}") from error
    return Shadow(path.stem, configuration.recipe().policy_of(config), now=now)
