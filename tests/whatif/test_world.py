"""Decisions have consequences in a world of their own, each at its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.core.actions import Dispatch, Refuse
from epp.core.events import Ended, EndpointsChanged
from epp.whatif.world import World
from tests.core.building import A, B, controller, request

if TYPE_CHECKING:
    from epp.core.events import Event


class Served:
    """Every request runs for two seconds, and everything is taken down."""

    def __init__(self) -> None:
        self.world: World
        self.log: list[tuple[str, object, float]] = []

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """It ends two seconds later."""
        self.log.append(("sent", action.request_id, now))
        self.world.schedule(now + 2.0, Ended(action.request_id))

    def refused(self, action: Refuse, now: float, /) -> None:
        """Noted."""
        self.log.append((action.reason.value, action.request_id, now))

    def left(self, request_id: int, now: float, /) -> None:
        """Noted."""
        self.log.append(("left", request_id, now))

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """Noted."""
        self.log.append(("asked", key, now))


def made() -> tuple[World, Served]:
    """Two endpoints that take one request each; requests wait three seconds."""
    served = Served()
    served.world = World(controller(ttl_s=3.0), served)
    served.world.tell(EndpointsChanged((A, B)), 0.0)
    return served.world, served


def test_what_is_due_comes_first_and_at_its_time() -> None:
    """Ends and wake-ups that lie before an event happen before it, in their order."""
    world, served = made()
    for number in range(5):
        world.tell(request(number), 0.0)
    world.tell(request(9), 2.5)
    assert served.log == [
        ("sent", 0, 0.0),
        ("sent", 1, 0.0),
        ("left", 0, 2.0),
        ("sent", 2, 2.0),
        ("left", 1, 2.0),
        ("sent", 3, 2.0),
    ]
    world.pass_time(10.0)
    assert ("rejected-ttl-expired", 4, 3.0) in served.log
    assert ("sent", 9, 4.0) in served.log
    assert world.load == {}
    assert world.next_due_s() is None


def test_load_follows_what_runs() -> None:
    """What runs where is counted, and an event of a request that is gone changes nothing."""
    world, served = made()
    world.tell(request(1), 0.0)
    assert sum(world.load.values()) == 1
    world.tell(Ended(1), 0.5)
    world.tell(Ended(1), 0.5)
    assert world.load == {}
    world.pass_time(5.0)
    assert [what for what, _, _ in served.log] == ["sent", "left"]


def test_what_is_due_may_be_made_up_when_its_time_has_come() -> None:
    """A scheduled maker is asked then, and may have nothing to say."""
    world, _ = made()
    asked_at: list[float] = []

    def maker(now: float) -> Event | None:
        asked_at.append(now)
        return None

    world.schedule(1.5, maker)
    world.pass_time(1.0)
    assert asked_at == []
    world.pass_time(9.0)
    assert asked_at == [1.5]
