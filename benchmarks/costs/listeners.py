"""What runs beside the core in a picker: the event log and shadow policies, set up as a benchmark wants them."""

from __future__ import annotations

import sys
from time import sleep
from typing import TYPE_CHECKING, Protocol

from epp.eventlog import EventLog, EventLogSettings, Recipe
from epp.whatif import Shadow

if TYPE_CHECKING:
    from pathlib import Path

    from epp.core import Controller
    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

_BUFFERED_BYTES = 64 * 1024
"""What the event log keeps before it hands it over."""


class Listener(Protocol):
    """Hears of everything that the core does, as the picker's event log and its shadows do."""

    def before(self, event: Event, now: float, /) -> None:
        """The core is about to hear of an event."""

    def after(self, event: Event, actions: list[Action], now: float, /) -> None:
        """It has decided."""

    def catch_up(self) -> None:
        """Wait until what was handed to others is done, so that their work is counted with the rest."""

    def close(self) -> None:
        """It hears no more. Raises RuntimeError if it has missed anything."""


class Logged:
    """The event log. Its only snapshot was taken when nobody was queued, as a busy picker's would be."""

    def __init__(self, controller: Controller, path: Path) -> None:
        settings = EventLogSettings(path=path, segment_bytes=1 << 40, pending_bytes=1 << 40)
        self._log = EventLog(settings, controller, Recipe(config=""), warn=_complain)

    def before(self, event: Event, now: float, /) -> None:
        """See Listener."""
        self._log.record(event, now)

    def after(self, event: Event, actions: list[Action], now: float, /) -> None:
        """See Listener."""
        del event, now
        self._log.decided(actions)

    def catch_up(self) -> None:
        """Wait for the writer."""
        while self._log.statistics().pending_bytes > _BUFFERED_BYTES:
            sleep(0.001)

    def close(self) -> None:
        """See Listener: all is on disk once this returns."""
        self._log.close()
        lost = self._log.statistics().lost_events
        if lost:
            raise RuntimeError(f"the event log lost {lost} events")


class Shadowed:
    """A shadow of another fairness policy."""

    def __init__(self, policy: FlowControlPolicy) -> None:
        self._shadow = Shadow("round robin", policy, now=0.0, most_open=10_000_000)

    def before(self, event: Event, now: float, /) -> None:
        """Shadows hear afterwards."""

    def after(self, event: Event, actions: list[Action], now: float, /) -> None:
        """See Listener."""
        self._shadow.observe(event, actions, now)

    def catch_up(self) -> None:
        """It works on the spot."""

    def close(self) -> None:
        """See Listener."""
        why = self._shadow.statistics().dropped_because
        if why is not None:
            raise RuntimeError(f"the shadow has ended: {why}")


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
