"""The event log and the policies that are only tried out, as their own rooms describe them."""

from __future__ import annotations

from epp.eventlog.log import EventLogStatistics
from epp.whatif.regret import BandRegret, ShadowStatistics
from tests.observe.surroundings import World

LOG = EventLogStatistics(
    events=7, lost_events=3, bytes=900, pending_bytes=40, segments=2, failures=1, is_recording=True
)


def shadow(name="a.yaml", bands=(), dropped_because=None):
    """One shadow's snapshot."""
    return ShadowStatistics(
        name=name,
        events=9,
        queued_requests=4,
        running_requests=2,
        bands=tuple(bands),
        flows=(),
        dropped_because=dropped_because,
    )


def test_without_a_log_and_a_shadow_nothing_of_them_is_shown(world):
    """Whoever sees a series knows that it is on."""
    page = world.metrics.page().decode()
    assert "epp_event_log" not in page
    assert "epp_shadow" not in page


def test_how_the_event_log_gets_on(world):
    """What it took down, what it lost, and whether it goes on."""
    world.event_log = LOG
    shown = {
        "recording": 1,
        "events_total": 7,
        "lost_events_total": 3,
        "bytes_total": 900,
        "pending_bytes": 40,
        "segments_total": 2,
        "failures_total": 1,
    }
    assert {name: world.value(f"epp_event_log_{name}") for name in shown} == shown
    world.event_log = LOG._replace(is_recording=False)
    assert world.value("epp_event_log_recording") == 0


def test_what_a_shadow_would_have_done(world):
    """Each by its name, with what both sides decided of each priority."""
    world.shadows = (
        shadow(bands=[BandRegret(10, 5, -1.5, 1, 2, 3), BandRegret(0, 6, 4.0, 0, 0, 0)]),
        shadow("b.yaml", dropped_because="ValueError: no"),
    )
    assert world.value("epp_shadow_active", shadow="a.yaml") == 1
    assert world.value("epp_shadow_active", shadow="b.yaml") == 0
    assert world.value("epp_shadow_events_total", shadow="a.yaml") == 9
    assert world.value("epp_shadow_queue_size", shadow="a.yaml") == 4
    assert world.value("epp_shadow_running_requests", shadow="a.yaml") == 2
    of_band = {"shadow": "a.yaml", "priority": "10"}
    decisions = {"sent_by_both": 5, "refused_by_shadow": 1, "refused_by_live": 2, "refused_by_both": 3}
    for decision, count in decisions.items():
        assert world.value("epp_shadow_decisions_total", decision=decision, **of_band) == count
    assert world.value("epp_shadow_wait_difference_seconds", **of_band) == -1.5


def test_priorities_without_a_name_of_their_own_are_added_up():
    """Two samples with the same labels would void the whole page."""
    world = World(label_limit=2)
    world.shadows = (shadow(bands=[BandRegret(priority, 1, 1.0, 0, 0, 0) for priority in range(5)]),)
    rows = {labels["priority"]: value for labels, value in world.rows("epp_shadow_wait_difference_seconds")}
    assert rows == {"0": 1.0, "1": 1.0, "other": 3.0}
