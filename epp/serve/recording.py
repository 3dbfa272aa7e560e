"""Who looks on while the core works: the event log, and policies that are tried out beside the one in force.

They hear every event before the core does and every decision after it. None of them can fail the picker: what goes
wrong in one ends that one, is said once, and shows in the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.config.parse import read_config
from epp.config.problems import ConfigError
from epp.eventlog.log import EventLog, EventLogSettings
from epp.eventlog.place import PlaceError
from epp.eventlog.spool import Spool
from epp.observe.labels import LONGEST_VALUE
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
    from epp.whatif.regret import ShadowStatistics


class Recording:
    """Everybody who looks on."""

    def __init__(
        self, log: EventLog | None, shadows: Sequence[Shadow], *, warn: Callable[[str], None]
    ) -> None:
        self._log = log
        self._shadows = tuple(shadows)
        self._going = list(shadows)
        self._warn = warn

    @property
    def is_wanted(self) -> bool:
        """Whether anybody looks on at all."""
        return self._log is not None or bool(self._shadows)

    @property
    def wants_first_bytes(self) -> bool:
        """Whether a policy that is tried out goes by them, whatever the live one does."""
        return any(shadow.wants_first_bytes for shadow in self._going)

    def hears(self, event: Event, now: float) -> None:
        """The core is about to be told of `event`."""
        if self._log is not None:
            self._log.record(event, now)

    def decided(self, event: Event, actions: list[Action], now: float) -> None:
        """This is what the core made of it."""
        if self._log is not None:
            self._log.decided(actions)
        for shadow in self._going:
            shadow.observe(event, actions, now)
        if any(shadow.dropped_because is not None for shadow in self._going):
            self._part()

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

    def _part(self) -> None:
        """Say of every shadow that has ended why it has, once."""
        ended = [shadow for shadow in self._going if shadow.dropped_because is not None]
        self._going = [shadow for shadow in self._going if shadow.dropped_because is None]
        for shadow in ended:
            why = shadow.dropped_because
            self._warn(
                f"--shadow-config: {shadow.name} is not tried out any more: {why}; restart to try it again"
            )

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
    """Whoever the flags call. Raises `StartError` for what can't be tried out, or can't be written."""
    paths = settings.shadow_configs
    shadows = [
        _shadow(name, path, configuration, now=now) for name, path in zip(_names(paths), paths, strict=True)
    ]
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
            spool=_spool(settings.event_log, keep=settings.event_log_segments),
        )
    return Recording(log, shadows, warn=warn)


def _spool(path: Path, *, keep: int) -> Spool:
    spool = Spool(path, keep=keep)
    try:
        spool.claim()
    except PlaceError as error:
        raise StartError(f"--event-log {path}: {error}") from error
    return spool


def _names(paths: Sequence[Path]) -> list[str]:
    """What shadows are known by: short, and told apart also where labels are cut.

    Raises `StartError` for a file that is named twice.
    """
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise StartError(f"--shadow-config: {paths[number]} is named twice: name it once")
    short = [path.stem[-LONGEST_VALUE:] for path in paths]
    whole = [str(path)[-LONGEST_VALUE:] for path in paths]
    said = [*short, *whole]
    return [one if said.count(one) == 1 else other for one, other in zip(short, whole, strict=True)]


def _shadow(name: str, path: Path, configuration: Configuration, *, now: float) -> Shadow:
    try:
        config = read_config(path)
    except ConfigError as error:
        raise StartError(f"--shadow-config: {error}") from error
    policy = configuration.recipe().policy_of(config)
    return Shadow(name, policy, now=now, weight_of=config.flow_control.weights.of)
