"""The status writer: says what is true, once, and bears with everything that an API server does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from epp.api.objects import ObjectRef
from epp.api.verdict import Acceptance, Verdict
from epp.kube.connection import Unreachable
from epp.kube.status import BURST, DENIED_PAUSE_S, LOOK_AGAIN_S, StatusFailure, StatusWriter
from tests.kube.stub import NAMESPACE, StubServer, condition, failure
from tests.kube.virtual import VirtualTime, running

GROUP = "llm-d.ai"
LEGACY_GROUP = "inference.networking.x-k8s.io"
POOL = "InferencePool team/pool"
YES = Verdict(Acceptance.ACCEPTED, "accepted")
NO = Verdict(Acceptance.POOL_NOT_FOUND, "there is no pool")


def objective(name="premium", group=GROUP):
    """An objective's identity."""
    return ObjectRef(group, "InferenceObjective", NAMESPACE, name)


def rewrite(name="alias", group=GROUP):
    """A rewrite's identity."""
    return ObjectRef(group, "InferenceModelRewrite", NAMESPACE, name)


PREMIUM = objective()


class Picker:
    """A picker that judges as the test says, and writes to a server that others may write to as well."""

    def __init__(self, server=None, time=None, *, leads=True):
        self.server = server or StubServer()
        self.time = time or VirtualTime()
        self.verdicts = {}
        self.leads = leads
        self.writer = StatusWriter(
            self.server,
            pool=lambda: POOL,
            verdict=self.verdicts.get,
            written=self.server.written,
            leading=lambda: self.leads,
            clock=self.time.clock,
            wall_clock=self.time.wall_clock,
            sleep=self.time.sleep,
        )

    def judge(self, ref, verdict):
        """There is a verdict now, or none any more."""
        self.verdicts[ref] = verdict
        self.writer.touch([ref])

    def see(self, ref):
        """The watch brings an object."""
        self.server.see(ref)
        self.writer.touch([ref])

    def lead(self, leads):
        """Leadership begins or ends."""
        self.leads = leads
        if leads:
            self.writer.touch_all()

    @property
    def failures(self):
        return {kind: count for kind, count in self.writer.statistics().failures.items() if count}


@asynccontextmanager
async def a_picker(**arguments):
    """A picker that is at work, with one accepted objective that has not been written yet."""
    picker = Picker(**arguments)
    if not picker.server.objects:
        picker.server.put(PREMIUM)
    picker.judge(PREMIUM, YES)
    async with running(picker.writer.run()):
        yield picker


async def test_a_verdict_is_written():
    """Accepted appears with the generation and the time, written once though the watch brings it back."""
    async with a_picker() as picker:
        await picker.time.settle()
        assert picker.server.accepted(PREMIUM) == {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "accepted",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-09-21T14:30:00Z",
        }
        picker.see(PREMIUM)
        await picker.time.pass_by(3600)
        assert len(picker.server.asked) == 1
        statistics = picker.writer.statistics()
        assert (statistics.written, statistics.unchanged, statistics.pending) == (1, 1, 0)


@pytest.mark.parametrize("group", [GROUP, LEGACY_GROUP])
@pytest.mark.parametrize("make", [objective, rewrite])
async def test_both_kinds_in_both_groups(make, group):
    """The path names the kind's plural and its own group."""
    ref = make(group=group)
    async with a_picker() as picker:
        picker.server.put(ref)
        picker.judge(ref, NO)
        await picker.time.settle()
        assert picker.server.accepted(ref)["reason"] == "PoolNotFound"


async def test_other_kinds_are_never_written():
    """A pool's status belongs to the gateways."""
    async with a_picker() as picker:
        await picker.time.settle()
        picker.judge(ObjectRef("inference.networking.k8s.io", "InferencePool", NAMESPACE, "pool"), YES)
        await picker.time.settle()
        assert picker.server.count("PATCH") == 1


async def test_touched_often_written_once():
    """What changes a hundred times while it waits is written once, as it is then."""
    async with a_picker(leads=False) as picker:
        for turn in range(100):
            picker.judge(PREMIUM, Verdict(Acceptance.ACCEPTED, f"turn {turn}"))
            await picker.time.settle()
        picker.lead(True)
        await picker.time.pass_by(10)
        assert len(picker.server.asked) == 1
        assert picker.server.accepted(PREMIUM)["message"] == "turn 99"


async def test_the_newest_state_wins_while_waiting_for_the_rate():
    """An object whose turn has not come is written as it is when its turn comes."""
    async with a_picker() as picker:
        refs = [objective(f"o{n:02}") for n in range(BURST)]
        for ref in refs:
            picker.server.put(ref)
            picker.judge(ref, YES)
        await picker.time.settle()
        assert picker.server.count("PATCH") == BURST  # the first of all, and all but the last of these
        picker.judge(refs[-1], NO)
        await picker.time.pass_by(1)
        assert picker.server.count("PATCH") == BURST + 1
        assert picker.server.accepted(refs[-1])["status"] == "False"


async def test_writes_are_rate_limited():
    """After a burst of twenty, ten a second."""
    async with a_picker() as picker:
        for n in range(100):
            picker.server.put(objective(f"o{n:02}"))
            picker.judge(objective(f"o{n:02}"), YES)
        await picker.time.settle()
        assert picker.server.count("PATCH") == 20
        await picker.time.pass_by(3.01)
        assert picker.server.count("PATCH") == 50
        assert picker.writer.statistics().pending in {50, 51}
        await picker.time.pass_by(10)
        assert picker.server.count("PATCH") == 101


async def test_only_the_leader_writes():
    """A standby asks nothing of the API server, and writes everything when it becomes the leader."""
    async with a_picker(leads=False) as picker:
        await picker.time.pass_by(60)
        assert not picker.server.asked
        picker.lead(True)
        await picker.time.settle()
        assert picker.server.accepted(PREMIUM)["status"] == "True"


async def test_leadership_that_nobody_announces_is_noticed():
    """Also a lapse between two looks, of which nobody was told, ends by itself within seconds."""
    async with a_picker(leads=False) as picker:
        await picker.time.pass_by(60)
        picker.leads = True
        await picker.time.pass_by(LOOK_AGAIN_S)
        assert picker.server.accepted(PREMIUM)["status"] == "True"


async def test_writing_goes_on_with_what_is_touched():
    """Who may not write for a moment only, such as while much comes at once, does so as soon as it is over."""
    async with a_picker(leads=False) as picker:
        await picker.time.pass_by(3)
        picker.leads = True
        picker.writer.touch([])
        await picker.time.settle()
        assert picker.server.accepted(PREMIUM)["status"] == "True"


async def test_a_leader_that_is_one_no_more_stops():
    """Leadership that ends while objects wait for their turn ends the writing."""
    async with a_picker() as picker:
        for n in range(50):
            picker.server.put(objective(f"o{n:02}"))
            picker.judge(objective(f"o{n:02}"), YES)
        await picker.time.settle()
        picker.lead(False)
        await picker.time.pass_by(60)
        assert picker.server.count("PATCH") == 20
        picker.lead(True)
        await picker.time.pass_by(60)
        assert picker.server.count("PATCH") == 51


async def test_a_conflict_is_resolved_from_what_is_there():
    """Somebody else's condition, written since, survives; ours joins it, though the watch has brought neither."""
    async with a_picker() as picker:
        picker.server.set_conditions(PREMIUM, [condition(type="Seen")])
        await picker.time.pass_by(1)
        assert [each["type"] for each in picker.server.conditions(PREMIUM)] == ["Seen", "Accepted"]
        assert [each[0] for each in picker.server.asked] == ["PATCH", "GET", "PATCH"]
        assert picker.writer.statistics().conflicts == 1


async def test_a_view_that_lags_is_no_reason_to_write_again():
    """After a conflict, neither what the view held before nor what comes in between makes a request."""
    async with a_picker() as picker:
        picker.server.set_conditions(PREMIUM, [condition(type="Seen")])
        between = StubServer()
        between.objects = {path: json.loads(json.dumps(obj)) for path, obj in picker.server.objects.items()}
        between.see(PREMIUM)
        await picker.time.pass_by(1)
        assert len(picker.server.asked) == 3
        picker.writer.touch([PREMIUM])
        await picker.time.pass_by(1)
        picker.server._cache[PREMIUM] = between.written(PREMIUM)
        picker.writer.touch([PREMIUM])
        await picker.time.pass_by(1)
        picker.see(PREMIUM)
        await picker.time.pass_by(60)
        assert len(picker.server.asked) == 3


async def test_conflicts_without_end_are_met_with_growing_pauses():
    """A status that changes before every write of ours is no reason to hurry."""
    async with a_picker() as picker:
        picker.server.before_patch += [lambda: picker.server.change(PREMIUM, labels={})] * 1000
        await picker.time.pass_by(3600)
        assert 60 < picker.server.count("PATCH") < 150
        picker.server.before_patch.clear()
        await picker.time.pass_by(61)
        assert picker.server.accepted(PREMIUM)
        picker.server.change(PREMIUM, labels={})
        picker.judge(PREMIUM, NO)
        await picker.time.pass_by(1)
        assert picker.server.accepted(PREMIUM)["status"] == "False"  # one conflict is soon over again


async def test_a_generation_that_was_not_judged_is_left_alone():
    """A newer spec found on a conflict is not called accepted until the watch brought it and it was judged."""
    async with a_picker() as picker:
        picker.server.change(PREMIUM, generation=2)
        await picker.time.pass_by(60)
        assert picker.server.accepted(PREMIUM) is None
        assert len(picker.server.asked) == 2
        picker.verdicts[PREMIUM] = NO
        picker.see(PREMIUM)
        await picker.time.settle()
        assert (
            picker.server.accepted(PREMIUM)["status"],
            picker.server.accepted(PREMIUM)["observedGeneration"],
        ) == (
            "False",
            2,
        )


async def test_another_object_of_the_same_name():
    """One that was deleted and created again is not judged by what its predecessor was."""
    async with a_picker() as picker:
        await picker.time.settle()
        seen = picker.server.written(PREMIUM)
        picker.server.put(PREMIUM, uid="u2")
        assert picker.server.written(PREMIUM) != seen
        picker.judge(PREMIUM, None)  # the new one is for another pool
        await picker.time.settle()
        assert picker.server.conditions(PREMIUM) == []


async def test_one_that_was_replaced_unseen_is_left_alone():
    """The conflict shows another uid: what is to be said of that one is not known yet."""
    async with a_picker() as picker:
        cached = picker.server.written(PREMIUM)
        picker.server.put(PREMIUM, uid="u2")
        picker.server._cache[PREMIUM] = cached
        await picker.time.pass_by(60)
        assert picker.server.conditions(PREMIUM) == []
        picker.see(PREMIUM)
        await picker.time.settle()
        assert picker.server.accepted(PREMIUM)["status"] == "True"


async def test_one_that_is_gone_is_forgotten():
    """A 404 ends it, and so does a deletion that the watch brings first."""
    async with a_picker() as picker:
        picker.server.delete(PREMIUM)
        await picker.time.pass_by(60)
        assert len(picker.server.asked) == 1
        assert picker.failures == {StatusFailure.GONE: 1}
        picker.see(PREMIUM)
        await picker.time.pass_by(60)
        assert (len(picker.server.asked), picker.writer.statistics().pending) == (1, 0)


async def test_one_that_moves_away_gets_a_last_word():
    """It becomes unknown, once; what happens to it later is not our business."""
    async with a_picker() as picker:
        await picker.time.settle()
        picker.server.change(PREMIUM, generation=2)
        picker.server.see(PREMIUM)
        picker.judge(PREMIUM, None)
        await picker.time.settle()
        last = picker.server.accepted(PREMIUM)
        assert (last["status"], last["reason"], last["observedGeneration"]) == ("Unknown", "Pending", 2)
        assert POOL in last["message"]
        picker.see(PREMIUM)
        picker.server.change(PREMIUM, generation=3)
        picker.see(PREMIUM)
        await picker.time.pass_by(3600)
        assert picker.server.count("PATCH") == 2


async def test_one_that_was_never_ours_is_never_written():
    """An objective for another pool is not looked at."""
    async with a_picker() as picker:
        picker.server.put(objective("theirs"))
        picker.judge(objective("theirs"), None)
        await picker.time.pass_by(60)
        assert picker.server.conditions(objective("theirs")) == []


async def test_the_next_leader_says_the_last_word():
    """An object that moved away while nobody led is told by who leads next."""
    async with a_picker(leads=False) as picker:
        picker.server.change(PREMIUM, generation=2)
        picker.server.see(PREMIUM)
        picker.judge(PREMIUM, None)
        await picker.time.pass_by(60)
        assert not picker.server.asked
        picker.lead(True)
        await picker.time.settle()
        assert picker.server.accepted(PREMIUM)["status"] == "Unknown"


async def test_the_next_leader_does_not_repeat_the_last_word():
    """A standby that saw the leader say it says nothing itself, whatever becomes of the object later."""
    leader = Picker()
    leader.server.put(PREMIUM)
    standby = Picker(server=leader.server, time=leader.time, leads=False)
    async with running(leader.writer.run()), running(standby.writer.run()):
        for picker in (leader, standby):
            picker.judge(PREMIUM, YES)
        await leader.time.settle()
        leader.server.change(PREMIUM, generation=2)
        leader.server.see(PREMIUM)
        for picker in (leader, standby):
            picker.judge(PREMIUM, None)
        await leader.time.settle()
        for picker in (leader, standby):
            picker.see(PREMIUM)
        leader.server.change(PREMIUM, generation=3)
        for picker in (leader, standby):
            picker.see(PREMIUM)
        leader.lead(False)
        standby.lead(True)
        await leader.time.pass_by(60)
        assert leader.server.count("PATCH") == 2


async def test_two_leaders_end_in_agreement():
    """Two that write at the same time conflict, look again, and find that all is said."""
    first = Picker()
    first.server.put(PREMIUM)
    second = Picker(server=first.server, time=first.time)
    async with running(first.writer.run()), running(second.writer.run()):
        for picker in (first, second):
            picker.judge(PREMIUM, YES)
        await first.time.pass_by(60)
        assert first.server.accepted(PREMIUM)["status"] == "True"
        assert [each[0] for each in first.server.asked] == ["PATCH", "PATCH", "GET"]


async def test_forbidden_is_told_once_and_tried_again_silently():
    """One warning names the rule that is missing; after ten minutes one request tries again; then all is written."""
    async with a_picker(leads=False) as picker:
        refs = [PREMIUM, objective("second"), rewrite()]
        for ref in refs[1:]:
            picker.server.put(ref)
            picker.judge(ref, YES)
        picker.server.forbidden.add("/status")
        with capture_logs() as logged:
            picker.lead(True)
            await picker.time.pass_by(DENIED_PAUSE_S - 1)
            assert picker.server.count("PATCH") == 2  # one of each kind
            await picker.time.pass_by(3 * DENIED_PAUSE_S)
            assert picker.server.count("PATCH") == 8
            assert picker.writer.statistics().pending == 3
            (line,) = logged
            assert line["log_level"] == "warning"
            assert "inferenceobjectives/status" in line["remedy"]
            assert "inferencemodelrewrites/status" in line["remedy"]
        picker.server.forbidden.clear()
        await picker.time.pass_by(DENIED_PAUSE_S)
        assert all(picker.server.accepted(ref) for ref in refs)
        picker.server.forbidden.add("/status")
        with capture_logs() as logged:
            picker.judge(PREMIUM, NO)
            await picker.time.pass_by(1)
        assert len(logged) == 1  # it was allowed in between


async def test_one_kind_forbidden_does_not_hold_up_the_other():
    """A role that knows objectives only has objectives written."""
    async with a_picker() as picker:
        picker.server.forbidden.add("inferencemodelrewrites")
        picker.server.put(rewrite())
        picker.judge(rewrite(), YES)
        await picker.time.pass_by(1)
        picker.judge(PREMIUM, NO)
        await picker.time.pass_by(1)
        assert picker.server.accepted(PREMIUM)["status"] == "False"


async def test_a_refused_status_is_told_once_per_generation():
    """What the API server finds invalid is not sent again until something changed."""
    async with a_picker() as picker:
        with capture_logs() as logged:
            picker.server.faults = [failure(422, "no such field")] * 3
            for _ in range(5):
                picker.writer.touch([PREMIUM])
                await picker.time.pass_by(60)
            assert picker.server.count("PATCH") == 1
            picker.server.change(PREMIUM, labels={})
            picker.see(PREMIUM)
            await picker.time.settle()
            assert (picker.server.count("PATCH"), len(logged)) == (2, 1)
            picker.server.change(PREMIUM, generation=2)
            picker.see(PREMIUM)
            await picker.time.settle()
            assert [line["why"] for line in logged] == ["no such field"] * 2
        assert picker.failures == {StatusFailure.REFUSED: 3}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Unreachable("connection refused"), StatusFailure.UNREACHABLE),
        (failure(500, "etcd"), StatusFailure.UNAVAILABLE),
        (failure(503, "starting"), StatusFailure.UNAVAILABLE),
        (failure(401, "token"), StatusFailure.UNAVAILABLE),
        (failure(429, "too many"), StatusFailure.THROTTLED),
    ],
)
async def test_trouble_is_waited_out(fault, kind):
    """Pauses grow to a minute; the log has one line for the beginning and one for the end."""
    picker = Picker()
    picker.server.faults = [fault] * 1000
    with capture_logs() as logged:
        async with a_picker(server=picker.server, time=picker.time) as picker:
            await picker.time.pass_by(3600)
            asked = len(picker.server.asked)
            assert 60 < asked < 150
            assert picker.failures == {kind: asked}
            picker.server.faults.clear()
            await picker.time.pass_by(61)
            assert picker.server.accepted(PREMIUM)["status"] == "True"
            picker.server.faults.append(fault)
            picker.judge(PREMIUM, NO)
            await picker.time.pass_by(1)
            assert picker.server.accepted(PREMIUM)["status"] == "False"
    assert [line["log_level"] for line in logged] == ["warning", "info"] * 2


async def test_retry_after_is_obeyed():
    """What the API server asks for is the least that is waited."""
    async with a_picker() as picker:
        picker.server.faults = [failure(429, "too many", retry_after_s=30.0)]
        await picker.time.pass_by(29.9)
        assert len(picker.server.asked) == 1
        await picker.time.pass_by(0.2)
        assert picker.server.accepted(PREMIUM)


async def test_an_object_that_always_fails_does_not_hold_up_the_others():
    """The failing one goes to the end of the queue."""
    async with a_picker() as picker:
        picker.server.faults = [failure(500, "webhook")]
        picker.server.put(objective("second"))
        picker.judge(objective("second"), YES)
        await picker.time.pass_by(1)
        assert [each[1].split("/")[-2] for each in picker.server.asked] == ["premium", "second", "premium"]


async def test_somebody_who_undoes_it_is_met_with_growing_pauses():
    """A controller that fights for the condition is told of in one line, and can't cause a storm."""
    async with a_picker() as picker:
        with capture_logs() as logged:
            for _ in range(3600):
                await picker.time.pass_by(1)
                if picker.server.accepted(PREMIUM):
                    picker.server.set_conditions(PREMIUM, [])
                    picker.see(PREMIUM)
        assert 8 < picker.server.count("PATCH") < 20
        assert [line["object"] for line in logged] == [str(PREMIUM)]


async def test_a_status_that_is_full_is_left_alone():
    """Eight conditions of others: nothing is written, and the log is told once."""
    full = [condition(type=name) for name in "ABCDEFGH"]
    picker = Picker()
    picker.server.put(PREMIUM, conditions=full)
    with capture_logs() as logged:
        async with a_picker(server=picker.server, time=picker.time) as picker:
            for _ in range(3):
                picker.writer.touch([PREMIUM])
                await picker.time.settle()
    assert not picker.server.asked
    assert len(logged) == 1


async def test_conditions_of_others_are_sent_back_whole():
    """Every field that metav1 requires is there, also where it is empty."""
    theirs = condition(type="Seen", message="", observedGeneration=7)
    picker = Picker()
    picker.server.put(PREMIUM, conditions=[theirs])
    async with a_picker(server=picker.server, time=picker.time) as picker:
        await picker.time.settle()
        assert picker.server.conditions(PREMIUM)[0] == theirs


async def test_what_is_remembered_is_bounded_by_what_exists():
    """Objects that came and went while a standby stood by leave nothing behind."""
    async with a_picker(leads=False) as picker:
        for n in range(5000):
            ref = objective(f"o{n}")
            picker.server.put(ref)
            picker.judge(ref, YES)
            del picker.server.objects[next(reversed(picker.server.objects))]
            picker.server.see(ref)  # gone, and nobody says so
        assert len(picker.writer._objects) < 1100
        assert picker.writer.statistics().pending < 1100


async def test_one_that_went_unseen_is_forgotten_by_the_next_leader():
    """An object that nobody said was gone is off the list as soon as somebody leads."""
    async with a_picker(leads=False) as picker:
        picker.server.delete(PREMIUM)
        picker.server.see(PREMIUM)
        picker.lead(True)
        await picker.time.settle()
        assert not picker.writer._objects
        assert not picker.server.asked


async def test_a_new_leader_does_not_hold_up_the_loop():
    """Thousands of objects whose status is right are looked at between other things."""
    server = StubServer()
    first = Picker(server=server)
    refs = [objective(f"o{n}") for n in range(2000)]
    said = condition(type="Accepted", reason="Accepted", message="accepted")
    for ref in refs:
        server.put(ref, conditions=[said])
        first.judge(ref, YES)
    turns = 0
    async with running(first.writer.run()):
        while first.writer.statistics().pending:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 1000
    assert not server.asked
