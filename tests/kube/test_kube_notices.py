"""Notices: the owner of an object is told what is wrong, without a flood, whatever the API server does."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from epp.api import Note, Problem, Severity
from epp.api.objects import ObjectRef
from epp.kube.connection import Unreachable
from epp.kube.notices import (
    BURST,
    DENIED_PAUSE_S,
    LOOK_AGAIN_S,
    MOST_MESSAGE_BYTES,
    MOST_PENDING,
    MOST_REMEMBERED,
    SAME_S,
    NoticeKind,
    Notices,
    notice_of,
)
from tests.kube.stub import NAMESPACE, StubServer, failure
from tests.kube.virtual import VirtualTime, running

PREMIUM = ObjectRef("llm-d.ai", "InferenceObjective", NAMESPACE, "premium")
POD = ObjectRef("", "Pod", NAMESPACE, "a")


class Reporter:
    """Tells what a test says."""

    def __init__(self, server=None, time=None, *, leads=True):
        self.server = server or StubServer()
        self.time = time or VirtualTime()
        self.leads = leads
        self.notices = Notices(
            self.server,
            namespace=NAMESPACE,
            reporter="epp",
            instance="epp-7d-x2",
            leading=lambda: self.leads,
            clock=self.time.clock,
            wall_clock=self.time.wall_clock,
            sleep=self.time.sleep,
        )

    def tell(self, message="has no effect", ref=PREMIUM, uid="u1", reason="Superseded"):
        self.notices.tell(ref, uid, kind=NoticeKind.WARNING, reason=reason, message=message)

    def lead(self):
        """Leadership begins."""
        self.leads = True
        self.notices.begin_leading()

    @property
    def events(self):
        return list(self.server.events.values())

    @property
    def statistics(self):
        return self.notices.statistics()


@asynccontextmanager
async def a_reporter(*others, **arguments):
    """A reporter that is at work."""
    reporter = Reporter(*others, **arguments)
    async with running(reporter.notices.run()):
        yield reporter


async def test_an_event_is_created():
    """It says of which object, by whom, since when, and what."""
    async with a_reporter() as reporter:
        reporter.tell()
        await reporter.time.settle()
        (event,) = reporter.events
        name = event["metadata"].pop("name")
        assert name.startswith("premium.")
        assert event == {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": NAMESPACE},
            "involvedObject": {
                "apiVersion": "llm-d.ai/v1alpha2",
                "kind": "InferenceObjective",
                "namespace": NAMESPACE,
                "name": "premium",
                "uid": "u1",
            },
            "type": "Warning",
            "reason": "Superseded",
            "message": "has no effect",
            "count": 1,
            "firstTimestamp": "2026-09-21T14:30:00Z",
            "lastTimestamp": "2026-09-21T14:30:00Z",
            "source": {"component": "epp"},
            "reportingComponent": "epp",
            "reportingInstance": "epp-7d-x2",
        }


async def test_the_same_again_raises_the_count():
    """At most once a minute, and in the end the count is right."""
    async with a_reporter() as reporter:
        for _ in range(200):
            reporter.tell()
            await reporter.time.pass_by(1)
        assert len(reporter.server.asked) == 4  # created, and raised after each minute
        await reporter.time.pass_by(60)
        (event,) = reporter.events
        assert event["count"] == 200
        assert event["firstTimestamp"] < event["lastTimestamp"]
        await reporter.time.pass_by(3600)
        assert len(reporter.server.asked) == 5


async def test_told_while_it_waits_to_be_created():
    """One Event with the right count is created."""
    async with a_reporter() as reporter:
        for _ in range(3):
            reporter.tell()
        await reporter.time.pass_by(3600)
        assert [event["count"] for event in reporter.events] == [3]
        assert len(reporter.server.asked) == 1


async def test_told_while_it_is_being_created():
    """The count is raised, but not before a minute has passed."""
    async with a_reporter() as reporter:
        reporter.server.latency = lambda: reporter.time.sleep(0.5)
        reporter.tell()
        await reporter.time.pass_by(0.2)
        reporter.tell()
        await reporter.time.pass_by(59)
        assert [event["count"] for event in reporter.events] == [1]
        await reporter.time.pass_by(3)
        assert [event["count"] for event in reporter.events] == [2]


async def test_told_while_it_waits_for_the_rate():
    """What is counted already by the time that it is created needs no second request."""
    async with a_reporter() as reporter:
        for n in range(BURST + 1):
            reporter.tell(message=str(n))
        await reporter.time.settle()
        reporter.tell(message=str(BURST))
        await reporter.time.pass_by(3600)
        assert reporter.events[-1]["count"] == 2
        assert len(reporter.server.asked) == BURST + 1


async def test_different_things_are_different_events():
    """Another message, reason or object, also one of the same name, is another Event."""
    async with a_reporter() as reporter:
        reporter.tell()
        reporter.tell(message="is wrong")
        reporter.tell(reason="InvalidField")
        reporter.tell(uid="u2")
        reporter.tell(ref=PREMIUM._replace(name="other"))
        await reporter.time.settle()
        assert len(reporter.events) == 5


async def test_after_an_hour_it_is_new():
    """What was not told for an hour is told by a new Event, since the API server has forgotten the old one."""
    async with a_reporter() as reporter:
        reporter.tell()
        reporter.tell()
        await reporter.time.pass_by(3601)
        (old,) = reporter.events
        reporter.server.events.clear()
        reporter.tell()
        await reporter.time.settle()
        (event,) = reporter.events
        assert (old["count"], event["count"]) == (2, 1)
        assert event["firstTimestamp"] > old["lastTimestamp"]


async def test_after_an_hour_it_may_still_be_there():
    """An API server that keeps Events for longer has it told again, and its count goes on from there."""
    async with a_reporter() as reporter:
        reporter.tell()
        reporter.tell()
        await reporter.time.pass_by(3601)
        reporter.tell()
        await reporter.time.settle()
        (event,) = reporter.events
        assert (event["count"], event["lastTimestamp"]) == (2, "2026-09-21T15:30:01Z")
        reporter.tell()
        await reporter.time.pass_by(61)
        (event,) = reporter.events
        assert event["count"] == 3


async def test_an_event_that_is_gone_is_created_again():
    """Somebody deleted it: the count goes on in a new one."""
    async with a_reporter() as reporter:
        reporter.tell()
        await reporter.time.pass_by(61)
        reporter.server.events.clear()
        reporter.tell()
        await reporter.time.settle()
        assert [event["count"] for event in reporter.events] == [2]


async def test_every_name_is_one_that_the_api_server_takes():
    """However long the object's name is, and wherever it is cut."""
    async with a_reporter() as reporter:
        for length in range(225, 253):
            reporter.tell(ref=PREMIUM._replace(name=("a." * 118 + "-a.b" + "c" * 13)[:length]))
        await reporter.time.pass_by(60)
        names = list(reporter.server.events)
        assert len(names) == 28
        for name in names:
            assert len(name) <= 253
            assert ".." not in name
            assert "-." not in name


async def test_an_event_that_comes_and_goes():
    """One that was there when it was to be created, and is gone when it is to be raised, is created."""
    async with a_reporter() as reporter:
        reporter.server.faults = [failure(409, "already exists")]
        reporter.tell()
        await reporter.time.settle()
        assert [method for method, _, _ in reporter.server.asked] == ["POST", "PATCH", "POST"]
        assert [event["count"] for event in reporter.events] == [1]


async def test_pods_and_strangers_get_none():
    """Only the kinds whose owners we speak to."""
    async with a_reporter() as reporter:
        reporter.tell(ref=POD)
        await reporter.time.settle()
        assert not reporter.server.asked


async def test_a_standby_tells_what_it_was_told_when_it_leads():
    """Nobody may have led until then; it says since when and how often, and nothing is asked before."""
    async with a_reporter(leads=False) as reporter:
        for _ in range(2):
            reporter.tell()
        reporter.tell(message="is wrong")
        await reporter.time.pass_by(600)
        assert not reporter.server.asked
        reporter.lead()
        await reporter.time.settle()
        assert [(event["message"], event["count"]) for event in reporter.events] == [
            ("has no effect", 2),
            ("is wrong", 1),
        ]
        assert {event["lastTimestamp"] for event in reporter.events} == {"2026-09-21T14:30:00Z"}
        assert (reporter.statistics.dropped, reporter.statistics.failures) == (0, 0)


async def test_leadership_that_nobody_announces_is_noticed():
    """Within seconds, though nobody rang."""
    async with a_reporter(leads=False) as reporter:
        reporter.tell()
        await reporter.time.pass_by(60)
        reporter.leads = True
        await reporter.time.pass_by(LOOK_AGAIN_S)
        assert len(reporter.events) == 1


async def test_a_standby_keeps_the_newest():
    """What it keeps is bounded, and what it does not keep is no loss: the leader has told it."""
    async with a_reporter(leads=False) as reporter:
        for n in range(MOST_PENDING + 50):
            reporter.tell(message=str(n))
        reporter.lead()
        await reporter.time.pass_by(100)
        assert [event["message"] for event in reporter.events] == [
            str(n) for n in range(50, MOST_PENDING + 50)
        ]
        assert reporter.statistics.dropped == 0


async def test_a_standby_does_not_tell_what_is_too_old():
    """What it was told more than an hour ago may not be true any more, and that is no loss either."""
    async with a_reporter(leads=False) as reporter:
        reporter.tell()
        await reporter.time.pass_by(SAME_S - 10)
        reporter.tell(message="is wrong")
        await reporter.time.pass_by(20)
        reporter.lead()
        await reporter.time.pass_by(60)
        assert [event["message"] for event in reporter.events] == ["is wrong"]
        assert (reporter.statistics.dropped, reporter.statistics.pending) == (0, 0)


async def test_a_successor_does_not_tell_it_twice():
    """What the former leader told is found there, with its count, from which the successor goes on."""
    async with a_reporter() as former, a_reporter(former.server, former.time, leads=False) as successor:
        for _ in range(3):
            former.tell()
        successor.tell()
        await former.time.pass_by(60)
        former.leads = False
        successor.lead()
        await former.time.pass_by(120)
        assert [event["count"] for event in former.events] == [3]
        successor.tell()
        await former.time.pass_by(1)
        assert [event["count"] for event in former.events] == [4]
        assert successor.statistics.failures == 0
        asked = len(former.server.asked)
        await former.time.pass_by(SAME_S)
        assert len(former.server.asked) == asked


async def test_told_while_it_is_found_there():
    """What is told while the API server says how often it was told before, is counted, too."""
    async with a_reporter() as former, a_reporter(former.server, former.time, leads=False) as successor:
        former.tell()
        await former.time.pass_by(60)
        successor.tell()
        former.server.latency = lambda: former.time.sleep(1)
        successor.lead()
        await former.time.pass_by(1.5)
        successor.tell()
        await former.time.pass_by(120)
        assert [event["count"] for event in former.events] == [2]


async def test_leadership_that_ends_ends_the_telling():
    """What waits for its turn is kept, for when it leads again."""
    async with a_reporter() as reporter:
        for n in range(2 * BURST):
            reporter.tell(message=str(n))
        await reporter.time.settle()
        reporter.leads = False
        await reporter.time.pass_by(60)
        assert len(reporter.server.asked) == BURST
        assert (reporter.statistics.dropped, reporter.statistics.pending) == (0, BURST)
        reporter.lead()
        await reporter.time.pass_by(60)
        assert len(reporter.events) == 2 * BURST


async def test_events_are_rate_limited():
    """After a burst of twenty, five a second."""
    async with a_reporter() as reporter:
        for n in range(100):
            reporter.tell(message=str(n))
        await reporter.time.settle()
        assert len(reporter.events) == 20
        await reporter.time.pass_by(2.01)
        assert len(reporter.events) == 30


async def test_too_much_at_once_loses_the_oldest():
    """What is kept is bounded; the newest is told, and the loss is counted."""
    reporter = Reporter()
    for n in range(MOST_PENDING + 50):
        reporter.tell(message=str(n))
    assert (reporter.statistics.pending, reporter.statistics.dropped) == (MOST_PENDING, 50)
    async with running(reporter.notices.run()):
        await reporter.time.pass_by(100)
        assert reporter.events[0]["message"] == "50"
        assert reporter.events[-1]["message"] == str(MOST_PENDING + 49)


async def test_what_was_told_is_forgotten_in_the_end():
    """The memory of what was told is bounded."""
    async with a_reporter() as reporter:
        for n in range(2 * MOST_REMEMBERED):
            reporter.tell(message=str(n))
            await reporter.time.pass_by(0.2)
        assert len(reporter.notices._events) == MOST_REMEMBERED
        assert len(reporter.events) == 2 * MOST_REMEMBERED


async def test_forbidden_is_told_once_and_tried_again_silently():
    """One warning names the rule; meanwhile everything is dropped and nothing is asked."""
    async with a_reporter() as reporter:
        reporter.server.forbidden.add("/events")
        with capture_logs() as logged:
            for _ in range(int(3.5 * DENIED_PAUSE_S)):
                reporter.tell()
                await reporter.time.pass_by(1)
            assert len(reporter.server.asked) == 4
            (line,) = logged
            assert "create and patch on events" in line["remedy"]
        reporter.server.forbidden.clear()
        await reporter.time.pass_by(DENIED_PAUSE_S)
        reporter.tell()
        await reporter.time.settle()
        assert len(reporter.events) == 1
        reporter.server.forbidden.add("/events")
        with capture_logs() as logged:
            for n in range(10):
                reporter.tell(message=str(n))
            await reporter.time.pass_by(60)
        assert len(logged) == 1  # it was allowed in between
        assert len(reporter.server.asked) == 6


async def test_a_refused_event_is_told_once():
    """The log hears once of each reason; the rest goes on."""
    async with a_reporter() as reporter:
        with capture_logs() as logged:
            reporter.server.faults = [failure(422, "no"), failure(422, "no")]
            for n in range(3):
                reporter.tell(message=str(n))
            await reporter.time.settle()
        assert len(logged) == 1
        assert [event["message"] for event in reporter.events] == ["2"]


@pytest.mark.parametrize(
    "fault", [Unreachable("refused"), failure(500, "etcd"), failure(429, "later"), failure(401, "token")]
)
async def test_trouble_is_waited_out(fault):
    """Ever longer pauses, one line when it begins and one when it ends, and nothing lost."""
    async with a_reporter() as reporter:
        with capture_logs() as logged:
            reporter.server.faults = [fault] * 1000
            reporter.tell()
            await reporter.time.pass_by(1800)
            assert len(reporter.server.asked) < 100
            reporter.server.faults.clear()
            await reporter.time.pass_by(61)
        assert len(reporter.events) == 1
        assert [line["log_level"] for line in logged] == ["warning", "info"]


async def test_what_is_too_old_is_not_told():
    """An hour of trouble makes a notice worthless."""
    async with a_reporter() as reporter:
        reporter.server.faults = [failure(500, "etcd")] * 1000
        reporter.tell()
        await reporter.time.pass_by(3700)
        reporter.server.faults.clear()
        await reporter.time.pass_by(600)
        assert not reporter.events
        assert reporter.statistics.dropped == 1


async def test_a_long_message_is_cut():
    """To what is shown anyway."""
    async with a_reporter() as reporter:
        reporter.tell(message="…" * 1000)
        await reporter.time.settle()
        assert len(reporter.events[0]["message"].encode()) <= MOST_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("severity", "path", "reason"),
    [
        (Severity.WARNING, ("spec", "poolRef", "group"), "InvalidPoolRef"),
        (Severity.ERROR, ("spec", "poolRef"), "InvalidPoolRef"),
        (Severity.WARNING, ("metadata", "name"), "Superseded"),
        (Severity.ERROR, ("metadata", "name"), "InvalidField"),
        (Severity.WARNING, ("metadata", "annotations", "epp/weight"), "InvalidAnnotation"),
        (Severity.ERROR, ("spec", "priority"), "InvalidField"),
        (Severity.WARNING, (), "NeedsMending"),
    ],
)
def test_a_note_becomes_a_notice(severity, path, reason):
    """The field decides on the reason; the message is the problem as the log has it."""
    problem = Problem(severity, path, '"x"', "is wrong")
    notice = notice_of(Note(PREMIUM, problem))
    assert (notice.ref, notice.kind, notice.reason) == (PREMIUM, NoticeKind.WARNING, reason)
    assert notice.message == str(problem)


@pytest.mark.parametrize(
    "note",
    [
        Note(None, Problem(Severity.ERROR, (), "", "there is no pool")),
        Note(POD, Problem(Severity.ERROR, (), "", "has no address")),
        Note(PREMIUM, Problem(Severity.INFO, (), "", "is of another pool")),
        Note(PREMIUM, Problem(Severity.DEBUG, (), "", "is not ours")),
    ],
)
def test_other_notes_are_not_worth_an_event(note):
    """Nothing that is not wrong, and nothing about an object whose owner is somebody else."""
    assert notice_of(note) is None
