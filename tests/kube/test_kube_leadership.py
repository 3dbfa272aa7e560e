"""Candidates and one Lease: in virtual time with every kind of trouble, then with a fake and a real API server."""

import asyncio
import functools
import itertools
import json
import random
import selectors
import time
from contextlib import asynccontextmanager, suppress
from copy import deepcopy

import pytest
from structlog.testing import capture_logs

from epp.kube.connection import ApiServer, Reply, Unreachable
from epp.kube.leadership import Leadership, lease_name, own_identity
from epp.kube.lease import LeaseLoss, LeaseTerms, Standing

NAMESPACE = "team"
NAME = lease_name(NAMESPACE, "pool")
FOLDER = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEADING, UNCONFIRMED, STANDBY, FENCED = Standing
WALL_S = 1767225600.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where nothing is left to do, time goes on to the next timer at once."""

    def __init__(self):
        loop = self
        self.now_s = 1000.0

        class Selector(selectors.DefaultSelector):
            def select(self, timeout=None):
                assert timeout is not None, "everybody waits, and nothing will ever happen"
                loop.now_s += max(timeout, 0.0)
                return super().select(0)

        super().__init__(Selector())

    def time(self):
        return self.now_s


def virtual(test):
    """Run an async test in virtual time, and see that it leaves no task behind."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        async def whole():
            await test(*args, **kwargs)
            for _ in range(3):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(whole())

    return run


def now_s():
    """Seconds since the test began."""
    return asyncio.get_running_loop().time() - 1000.0


def failure(status, message="", *, retry_after_s=None):
    """A refusal as API servers make them."""
    return Reply(status, json.dumps({"kind": "Status", "message": message}).encode(), retry_after_s)


class Leases:
    """The API server's part: versions, conflicts, watches."""

    def __init__(self):
        self.lease = None
        self.versions = itertools.count(1)
        self.queues = []

    def change(self, lease):
        """The Lease is now this; None deletes it."""
        gone, self.lease = self.lease, lease
        if lease is not None:
            lease["metadata"]["resourceVersion"] = str(next(self.versions))
        kind = "DELETED" if lease is None else "MODIFIED" if gone else "ADDED"
        for queue in self.queues:
            queue.put_nowait(event(kind, lease or gone))

    def edit(self, **spec):
        """Somebody changes fields of the spec by hand."""
        lease = deepcopy(self.lease)
        lease["spec"] |= spec
        self.change(lease)

    def label(self, **labels):
        """Somebody labels the Lease."""
        lease = deepcopy(self.lease)
        lease["metadata"]["labels"] = labels
        self.change(lease)

    def serve(self, method, path, body, content_type):
        """The answer to a request."""
        if method == "POST":
            assert path == FOLDER
            assert body["metadata"] == {"namespace": NAMESPACE, "name": NAME}
            if self.lease is not None:
                return failure(409, "already exists")
            self.change(deepcopy(body))
            return Reply(201, json.dumps(self.lease).encode(), None)
        assert path == f"{FOLDER}/{NAME}"
        if self.lease is None:
            return failure(404, "not found")
        if method == "PATCH":
            assert content_type == "application/merge-patch+json"
            if body["metadata"] != {"resourceVersion": self.lease["metadata"]["resourceVersion"]}:
                return failure(409, "the object has been modified")
            self.edit(**body["spec"])
        return Reply(200, json.dumps(self.lease).encode(), None)

    @property
    def holder(self):
        """Who holds it."""
        return self.lease["spec"]["holderIdentity"]


def event(kind, lease):
    """A line of a watch."""
    return json.dumps({"type": kind, "object": lease}).encode()


class Wire(asyncio.Queue):
    """The lines of a watch on their way; once it is deaf none arrive any more, and nobody is told."""

    deaf = False

    def put_nowait(self, line):
        if not self.deaf:
            super().put_nowait(line)


class Stream:
    """An open watch, or the refusal of one."""

    def __init__(self, queue=None, reply=None):
        self.status = 200 if reply is None else reply.status
        self._queue = queue
        self._reply = reply

    async def reply(self):
        return self._reply

    async def line(self, *, timeout_s):
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError as error:
            raise Unreachable(f"silent for {timeout_s:g}s") from error


class Link:
    """One candidate's way to the API server."""

    def __init__(self, leases):
        self.leases = leases
        self.latency_s = 0.002
        self.hangs = False
        self.refuses = False
        self.losing = 0
        """Answers that get lost, after what was asked for is done."""
        self.forbidden = set()
        self.under_way = False
        self.answers = []
        """What the next requests get."""
        self.asked = []
        self.queue = None
        self.opened = asyncio.Event()
        self.streams = 0
        """Watches that are open."""

    async def request(
        self, method, path, *, query=None, body=None, content_type="application/json", timeout_s=15.0
    ):
        assert not query
        self.asked.append((now_s(), method))
        assert json.dumps(body) is not None
        assert not self.under_way, "one step after the other"
        self.under_way = True
        try:
            async with asyncio.timeout(timeout_s):
                await self.travel()
                reply = self.answer(method, path, body, content_type)
                await self.travel()
        except TimeoutError as error:
            raise Unreachable(f"no answer within {timeout_s:.3g}s") from error
        finally:
            self.under_way = False
        if self.losing:
            self.losing -= 1
            raise Unreachable("connection reset")
        return reply

    def answer(self, method, path, body, content_type):
        if self.answers:
            return self.answers.pop(0)
        if method in self.forbidden:
            return failure(403, f"may not {method}")
        return self.leases.serve(method, path, body, content_type)

    async def travel(self):
        if self.refuses:
            raise Unreachable("connection refused")
        if self.hangs:
            await asyncio.sleep(1e6)
        await asyncio.sleep(self.latency_s)

    @asynccontextmanager
    async def watch(self, path, *, query, connect_timeout_s):
        assert path == FOLDER
        assert query["fieldSelector"] == f"metadata.name={NAME}"
        self.asked.append((now_s(), "WATCH"))
        try:
            async with asyncio.timeout(connect_timeout_s):
                await self.travel()
        except TimeoutError as error:
            raise Unreachable("no answer") from error
        if "WATCH" in self.forbidden:
            yield Stream(reply=failure(403, "may not watch"))
            return
        queue = self.queue = Wire()
        self.leases.queues.append(queue)
        self.streams += 1
        self.opened.set()
        if self.leases.lease is not None:
            queue.put_nowait(event("ADDED", self.leases.lease))
        try:
            yield Stream(queue)
        finally:
            self.leases.queues.remove(queue)
            self.streams -= 1

    def cut_off(self):
        """Nothing gets through any more, and what is open stays silent."""
        self.hangs = True
        self.queue.deaf = True

    def count(self, method, since_s=0.0):
        """How many requests of that kind were sent."""
        return sum(each == method and at_s >= since_s for at_s, each in self.asked)


class Candidate:
    """A picker that competes."""

    def __init__(self, leases, name="one", *, on_loss=LeaseLoss.KEEP, terms=None, seed=0):
        self.name = name
        self.link = Link(leases)
        self.told = []
        self.shift_s = 0.0
        loop = asyncio.get_running_loop()
        self.leadership = Leadership(
            self.link,
            namespace=NAMESPACE,
            name=NAME,
            identity=name,
            terms=terms or LeaseTerms(),
            on_loss=on_loss,
            clock=lambda: loop.time() + self.shift_s,
            wall_clock=lambda: WALL_S + loop.time(),
            rng=random.Random(seed),
            sleep=asyncio.sleep,
            changed=self.changed,
        )
        self.task = None

    def changed(self, standing):
        assert standing is self.leadership.standing
        self.told.append((pytest.approx(now_s(), abs=0.02), standing))

    def start(self):
        self.task = asyncio.create_task(self.leadership.run())
        return self

    async def stop(self):
        """End it, as a process that is killed does: the lease stays as it is."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    @property
    def standings(self):
        return [standing for _, standing in self.told]

    @property
    def standing(self):
        return self.leadership.standing

    def since_s(self):
        """When it came to stand as it does."""
        return self.told[-1][0].expected


@asynccontextmanager
async def candidates(*names, **settings):
    """Some that compete for one Lease; the first has it when the block begins."""
    leases = Leases()
    everybody = []
    for number, name in enumerate(names):
        everybody.append(Candidate(leases, name, seed=number, **settings).start())
        await asyncio.sleep(0.1)
    try:
        yield leases, *everybody
    finally:
        for each in everybody:
            await each.stop()
        assert not leases.queues


def lines(logs):
    """What was logged, and how loud."""
    return [(entry["log_level"], entry["event"]) for entry in logs]


# --------------------------------------------------------------------------------- while all is well


def test_names_are_those_of_upstream_and_of_this_process():
    """The Lease is named after namespace and pool; no two processes have one identity, also in the same pod."""
    assert lease_name("ns", "pool") == "epp-ns-pool.llm-d.ai"
    first, second = own_identity({"POD_NAME": "pod-1"}), own_identity({"POD_NAME": "pod-1"})
    assert first.startswith("pod-1_")
    assert first != second
    assert own_identity({}).rpartition("_")[0]


@virtual
async def test_the_first_leads_at_once_and_renews_every_retry_period():
    """One write to begin with, one every two seconds, and the others wait."""
    with capture_logs() as logs:
        async with candidates("one", "two") as (leases, one, two):
            assert (one.standing, two.standing) == (LEADING, STANDBY)
            assert leases.lease["spec"] | {"renewTime": ""} == {
                "holderIdentity": "one",
                "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-01T00:16:40.004000Z",
                "renewTime": "",
                "leaseTransitions": 0,
            }
            await asyncio.sleep(600)
            assert one.told == [(0, LEADING)]
            assert two.told == []
            assert 300 <= one.link.count("PATCH") <= 301
            assert one.link.count("GET") == 1
            assert 240 < two.link.count("GET") < 380
            assert two.link.count("PATCH") == two.link.count("POST") == 0
            assert (two.leadership.holder, two.leadership.transitions) == ("one", 0)
            assert one.leadership.renewal_age_s() < 2.01
            assert two.leadership.renewal_age_s() is None
    assert lines(logs) == [("info", "leading"), ("info", "standby; the lease is held by one")]


@virtual
async def test_of_many_that_start_together_one_leads():
    """All find no Lease and create it: one succeeds, the others read who did."""
    leases = Leases()
    everybody = [Candidate(leases, f"c{n}", seed=n).start() for n in range(8)]
    await asyncio.sleep(0.1)
    leaders = [each for each in everybody if each.standing is LEADING]
    assert [each.name for each in leaders] == [leases.holder]
    assert {each.leadership.holder for each in everybody} == {leases.holder}
    assert sum(each.link.count("POST") for each in everybody) == 8
    for each in everybody:
        await each.stop()


@virtual
async def test_what_others_write_on_the_lease_is_kept():
    """A label makes the next renewal a conflict; it is read, renewed, and the label is still there."""
    async with candidates("one") as (leases, one):
        leases.label(team="a")
        leases.edit(preferredHolder="nobody")
        await asyncio.sleep(4)
        assert leases.lease["metadata"]["labels"] == {"team": "a"}
        assert leases.lease["spec"]["preferredHolder"] == "nobody"
        assert one.standings == [LEADING]
        assert one.link.count("GET") == 2


# ------------------------------------------------------------------------------------- handing over


@virtual
async def test_a_released_lease_is_taken_over_within_milliseconds():
    """The releaser stands by before it tells anybody, and never competes again."""
    with capture_logs() as logs:
        async with candidates("one", "two", "three") as (leases, one, two, three):
            await asyncio.sleep(5)
            began_s = now_s()
            await one.leadership.release()
            assert one.told[-1] == (began_s, STANDBY)
            assert one.link.count("PATCH", began_s) == 1
            await asyncio.sleep(0.1)
            (next_one,) = (each for each in (two, three) if each.standing is LEADING)
            assert next_one.since_s() - began_s < 0.05
            assert leases.lease["spec"]["leaseTransitions"] == 1
            await asyncio.sleep(60)
            assert one.standings == [LEADING, STANDBY]
            assert one.leadership.holder == next_one.name
            assert one.link.count("POST", began_s) == 0
            assert one.link.count("PATCH", began_s) == 1
            await two.leadership.release()
            await three.leadership.release()
            await asyncio.sleep(60)
            assert leases.holder == ""
    events = [line for _, line in lines(logs)]
    assert events.count("released the lease") == 2
    assert {level for level, _ in lines(logs)} == {"info"}


@virtual
async def test_a_holder_that_vanishes_is_succeeded_when_its_lease_expires():
    """Not before its duration is over, and not a retry period later either."""
    async with candidates("one", "two") as (_, one, two):
        await asyncio.sleep(20)
        await one.stop()
        vanished_s = now_s()
        await asyncio.sleep(30)
        assert two.standings == [LEADING]
        assert 12.9 < two.since_s() - vanished_s < 15.0 + 2.4
        assert two.leadership.transitions == 1


@virtual
async def test_a_release_without_the_watch_is_noticed_by_the_next_try():
    """Where watching is forbidden the periodic tries stand in, and the log says once what to allow."""
    with capture_logs() as logs:
        async with candidates("one") as (leases, one):
            two = Candidate(leases, "two")
            two.link.forbidden = {"WATCH"}
            two.start()
            await asyncio.sleep(100)
            began_s = now_s()
            await one.leadership.release()
            await asyncio.sleep(3)
            assert two.standing is LEADING
            assert two.since_s() - began_s < 2.5
            assert two.link.count("WATCH") < 25
            await two.stop()
    (warning,) = (line for level, line in lines(logs) if level == "warning")
    assert "can't watch the lease: may not watch" in warning
    assert "get, watch, create and patch leases" in warning
    assert "in namespace team" in warning


@virtual
async def test_a_watch_that_is_forbidden_for_a_moment_is_no_news():
    """API servers forbid everything while they start: only what lasts is worth a warning."""
    with capture_logs() as logs:
        leases = Leases()
        one = Candidate(leases)
        one.link.forbidden = {"WATCH"}
        one.start()
        await asyncio.sleep(1)
        one.link.forbidden = set()
        await asyncio.sleep(60)
        assert one.link.streams == 1
        await one.stop()
    assert lines(logs) == [("info", "leading")]


@virtual
async def test_who_does_not_hold_the_lease_releases_nothing():
    """A standby, and one that never ran, send nothing; the standby does not compete afterwards."""
    async with candidates("one", "two") as (leases, one, two):
        asked = len(two.link.asked)
        await two.leadership.release()
        assert len(two.link.asked) == asked
        idle = Candidate(leases, "idle")
        await idle.leadership.release()
        assert (idle.link.asked, idle.told) == ([], [])
        await one.stop()
        await asyncio.sleep(60)
        assert two.told == []
        assert leases.holder == "one"


@pytest.mark.parametrize("hanging_s", [0.0, 1.9, 2.1])
@virtual
async def test_a_release_takes_two_seconds_at_most(hanging_s):
    """Also when a renewal hangs as well; then the log says when others can take the lease."""
    with capture_logs() as logs:
        async with candidates("one") as (_, one):
            one.link.cut_off()
            await asyncio.sleep(hanging_s)
            began_s = now_s()
            await one.leadership.release()
            assert now_s() - began_s == pytest.approx(2.0, abs=0.01)
            assert one.standing is STANDBY
    assert "can't release the lease: the API server did not answer within 2s" in lines(logs)[-1][1]
    assert "others can take it 15s after our last renewal" in lines(logs)[-1][1]


@virtual
async def test_a_release_after_a_lost_answer_reads_first():
    """A renewal was written and its answer lost: the release finds the lease in our name and frees it."""
    async with candidates("one") as (leases, one):
        one.link.losing = 1
        await asyncio.sleep(2.0)
        assert one.link.losing == 0
        await one.leadership.release()
        assert leases.holder == ""
        assert leases.lease["spec"]["leaseTransitions"] == 0


@virtual
async def test_a_release_whose_answer_is_lost_or_that_conflicts_is_repeated():
    """It is looked at again until the Lease does not name us."""
    async with candidates("one") as (leases, one):
        leases.label(team="a")
        await one.leadership.release()
        assert leases.holder == ""
        assert leases.lease["metadata"]["labels"] == {"team": "a"}


@pytest.mark.parametrize(("renewing", "latency_s"), [(False, 3.0), (True, 1.25)])
@virtual
async def test_a_release_that_came_to_nothing_is_done_later(renewing, latency_s):
    """As long as it runs it gives back what is in its name, so that nobody waits for the lease to expire."""
    async with candidates("one", "two") as (_, one, two):
        one.link.latency_s = latency_s
        await asyncio.sleep(2.2 if renewing else 1.8)
        assert one.link.under_way is renewing
        began_s = now_s()
        await one.leadership.release()
        assert now_s() - began_s == pytest.approx(2.0, abs=0.01)
        one.link.latency_s = 0.002
        await asyncio.sleep(5)
        assert two.standing is LEADING
        assert two.since_s() - began_s < 5
        patches = one.link.count("PATCH", began_s)
        await asyncio.sleep(60)
        assert one.link.count("PATCH", began_s) == patches, "it is given back once"
        assert one.standings == [LEADING, STANDBY]


@virtual
async def test_a_renewal_that_comes_after_the_release_is_given_back_at_once():
    """The answer names us as the holder, and nobody else would do anything about it for a whole duration."""
    async with candidates("one", "two") as (_, one, two):
        one.link.latency_s = 1.25
        await asyncio.sleep(2.0)
        assert one.link.under_way
        await one.leadership.release()
        one.link.latency_s = 0.002
        await asyncio.sleep(0.7)
        assert two.standing is LEADING


# ------------------------------------------------------------------------- the API server is away


@pytest.mark.parametrize("way", ["hangs", "refuses"])
@pytest.mark.parametrize(
    ("on_loss", "after", "says"),
    [
        (LeaseLoss.KEEP, UNCONFIRMED, "still dispatching (--lease-loss=keep)"),
        (LeaseLoss.STOP, FENCED, "not dispatching until it is renewed (--lease-loss=stop)"),
    ],
)
@virtual
async def test_without_the_api_server_a_leader_keeps_or_stops_at_its_deadline(on_loss, after, says, way):
    """Ten seconds after the last renewal was sent, to the point; when the API server is back it leads on."""
    with capture_logs() as logs:
        async with candidates("one", "two", on_loss=on_loss) as (leases, one, two):
            await asyncio.sleep(4.5)
            sent_s = one.link.asked[-1][0]
            for each in (one, two):
                setattr(each.link, way, True)
            await asyncio.sleep(120)
            assert one.told == [(0, LEADING), (sent_s + 10, after)]
            assert one.leadership.renewal_age_s() > 110
            assert two.told == []
            for each in (one, two):
                setattr(each.link, way, False)
            await asyncio.sleep(4)
            assert one.standings == [LEADING, after, LEADING]
            assert two.told == []
            assert leases.lease["spec"]["leaseTransitions"] == 0
    told = [line for _, line in lines(logs)]
    (loss,) = (line for line in told if line.startswith("can't renew the lease: "))
    assert "the API server doesn't answer" in loss
    assert loss.endswith(says)
    assert len(told) == 6, "leading, standby; both are in trouble; leading, standby"


@pytest.mark.parametrize(("on_loss", "after"), [(LeaseLoss.KEEP, UNCONFIRMED), (LeaseLoss.STOP, FENCED)])
@virtual
async def test_a_leader_that_alone_is_cut_off_yields_when_it_reads_its_successor(on_loss, after):
    """With STOP it has stopped before the successor leads; with KEEP both lead until it is back."""
    async with candidates("one", "two", on_loss=on_loss) as (leases, one, two):
        await asyncio.sleep(5)
        one.link.cut_off()
        await asyncio.sleep(40)
        assert one.standing is after
        assert two.standings == [LEADING]
        assert two.since_s() > one.since_s() + 4
        one.link.hangs = False
        await asyncio.sleep(6)
        assert one.standings == [LEADING, after, STANDBY]
        assert one.leadership.holder == leases.holder == "two"


@virtual
async def test_an_api_server_that_is_away_at_the_start_is_waited_for():
    """Nobody leads by default, the log says so once, and the first answer is enough to lead."""
    with capture_logs() as logs:
        leases = Leases()
        one = Candidate(leases)
        one.link.refuses = True
        one.start()
        await asyncio.sleep(300)
        assert one.told == []
        assert one.link.count("WATCH") == 0
        assert 100 < one.link.count("GET") < 200
        one.link.refuses = False
        await asyncio.sleep(3)
        assert one.standing is LEADING
        await one.stop()
    assert lines(logs) == [
        ("warning", "standby; can't try for the lease: the API server doesn't answer: connection refused"),
        ("info", "leading"),
    ]


@virtual
async def test_a_renewal_that_takes_long_is_tried_again_before_the_deadline():
    """One hanging request costs no leadership."""
    async with candidates("one", on_loss=LeaseLoss.STOP) as (_, one):
        one.link.hangs = True
        await asyncio.sleep(5.0)
        one.link.hangs = False
        await asyncio.sleep(5.5)
        assert one.standings == [LEADING]


@virtual
async def test_an_answer_that_is_lost_is_read_and_renewed():
    """The renewal was written although nothing came back; the next step reads, and leads on."""
    async with candidates("one", on_loss=LeaseLoss.STOP) as (leases, one):
        one.link.losing = 2
        await asyncio.sleep(9)
        assert one.standings == [LEADING]
        assert leases.lease["spec"]["leaseTransitions"] == 0


@virtual
async def test_standing_is_true_when_the_event_loop_was_held_up():
    """Whoever asks learns that the deadline has passed, before any timer had its turn."""
    async with candidates("one", on_loss=LeaseLoss.STOP) as (_, one):
        one.shift_s = 30.0
        assert one.standing is FENCED
        await asyncio.sleep(3)
        assert one.standing is LEADING


@virtual
async def test_a_lapse_that_a_late_renewal_ends_is_told():
    """Whoever asked in between has acted on it, and must hear that it is over."""
    async with candidates("one", on_loss=LeaseLoss.STOP) as (_, one):
        one.link.latency_s = 0.5
        await asyncio.sleep(2.2)
        assert one.link.under_way
        one.shift_s = 8.5  # the loop is held up beyond the old deadline, not beyond that of this renewal
        assert one.standing is FENCED
        await asyncio.sleep(1)
        assert one.standings == [LEADING, FENCED, LEADING]


# -------------------------------------------------------------------- the API server says otherwise


@virtual
async def test_missing_rights_are_one_warning_that_names_them():
    """It stands by, keeps trying, and leads as soon as it may."""
    with capture_logs() as logs:
        leases = Leases()
        one = Candidate(leases)
        one.link.forbidden = {"GET", "PATCH", "POST", "WATCH"}
        one.start()
        await asyncio.sleep(120)
        assert one.told == []
        one.link.forbidden = set()
        await asyncio.sleep(3)
        assert one.standing is LEADING
        await one.stop()
    (warning,) = (line for level, line in lines(logs) if level == "warning")
    assert warning == (
        "standby; can't try for the lease: the API server says 403: may not GET; allow the picker's service account "
        "to get, watch, create and patch leases (API group coordination.k8s.io) in namespace team"
    )


@virtual
async def test_rights_that_are_withdrawn_from_a_leader_are_like_a_lost_api_server():
    """A 403 may be the API server starting up: what counts is who holds the lease."""
    async with candidates("one") as (_, one):
        one.link.forbidden = {"GET", "PATCH"}
        await asyncio.sleep(60)
        assert one.standings == [LEADING, UNCONFIRMED]
        one.link.forbidden = set()
        await asyncio.sleep(3)
        assert one.standings == [LEADING, UNCONFIRMED, LEADING]


@pytest.mark.parametrize(
    "nonsense",
    [
        Reply(200, b"<html>sign in</html>", None),
        Reply(200, b"", None),
        Reply(200, b'{"metadata":{}}', None),
        Reply(500, b'{"x":' + b"[" * 200_000, None),
        Reply(302, b"", None),
        failure(500, "etcd is unwell"),
        failure(401, "Unauthorized"),
    ],
)
@virtual
async def test_answers_that_make_no_sense_change_nothing(nonsense):
    """Neither a candidate nor a leader takes them for more than a failed try."""
    leases = Leases()
    one = Candidate(leases)
    one.link.answers = [nonsense] * 3
    one.start()
    await asyncio.sleep(4)
    assert one.told == []
    await asyncio.sleep(6)
    assert one.standings == [LEADING]
    one.link.answers = [nonsense] * 2
    await asyncio.sleep(10)
    assert one.standings == [LEADING]
    await one.stop()


@virtual
async def test_the_namespace_may_be_missing():
    """A 404 on creation is no reason to begin anew at once."""
    with capture_logs() as logs:
        leases = Leases()
        one = Candidate(leases)
        one.link.answers = [failure(404, "not found"), failure(404, 'namespaces "team" not found')] * 3
        one.start()
        await asyncio.sleep(1)
        assert len(one.link.asked) == 3, "two requests, and a watch"
        await asyncio.sleep(9)
        assert one.standing is LEADING
        await one.stop()
    assert 'namespaces "team" not found' in lines(logs)[0][1]


@pytest.mark.parametrize(("retry_after_s", "pause_s"), [(None, 0.5), (1.5, 1.5), (3600.0, 2.0)])
@virtual
async def test_a_busy_api_server_is_given_the_time_it_asks_for(retry_after_s, pause_s):
    """But not more than a retry period, since a lease has to be renewed; and a slow one is given a quarter of that."""
    async with candidates("one") as (_, one):
        one.link.latency_s = 1.0
        one.link.answers = [failure(429, "busy", retry_after_s=retry_after_s)]
        await asyncio.sleep(8)
        sent_s, again_s = (
            next(at_s for at_s, each in one.link.asked if each == method and at_s > 1)
            for method in ("PATCH", "GET")
        )
        assert again_s - (sent_s + 2.0) == pytest.approx(pause_s, abs=0.001)
        assert one.standings == [LEADING]


@virtual
async def test_a_release_waits_for_the_renewal_that_is_under_way():
    """Then it builds on what the renewal made."""
    async with candidates("one") as (leases, one):
        one.link.latency_s = 0.3
        await asyncio.sleep(2.1)
        assert one.link.under_way
        await one.leadership.release()
        assert leases.holder == ""
        assert one.standings == [LEADING, STANDBY]


# ------------------------------------------------------------------------------- hands in the Lease


@virtual
async def test_a_deleted_lease_is_made_again_by_its_holder_at_once():
    """It never stops leading, and the standby does not jump in."""
    async with candidates("one", "two") as (leases, one, two):
        leases.edit(leaseTransitions=7)
        await asyncio.sleep(5)
        leases.change(None)
        await asyncio.sleep(0.1)
        assert leases.holder == "one"
        assert leases.lease["spec"]["leaseTransitions"] == 7
        await asyncio.sleep(30)
        assert one.standings == [LEADING]
        assert two.told == []


@virtual
async def test_a_lease_that_vanished_with_its_holder_is_made_by_a_standby():
    """It waits as long as the holder could still have led."""
    async with candidates("one", "two") as (leases, one, two):
        await asyncio.sleep(5)
        await one.stop()
        deleted_s = now_s()
        leases.change(None)
        await asyncio.sleep(10)
        assert two.told == []
        await asyncio.sleep(10)
        assert two.standings == [LEADING]
        assert two.since_s() - deleted_s < 15.1


@virtual
async def test_a_leader_that_is_deposed_by_hand_stands_by_at_once():
    """The watch tells it, and it reads before it believes."""
    async with candidates("one") as (leases, one):
        await asyncio.sleep(5)
        leases.edit(holderIdentity="stranger")
        deposed_s = now_s()
        await asyncio.sleep(0.1)
        assert one.told[-1] == (deposed_s, STANDBY)
        await asyncio.sleep(20)
        assert one.standing is LEADING, "the stranger never renewed"


# ----------------------------------------------------------------------------------------- the watch


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","code":410}}',
        b"{half",
        b'{"type":"ADDED","object":[]}',
        b'{"type":"NEW","object":{}}',
        b"\xff",
        None,
    ],
)
@virtual
async def test_a_watch_that_ends_or_makes_no_sense_is_opened_again(line):
    """Soon, but not in a hot loop when it happens every time."""
    async with candidates("one") as (_, one):
        for _ in range(20):
            await one.link.opened.wait()
            one.link.opened.clear()
            one.link.queue.put_nowait(line)
            await asyncio.sleep(0.01)
        assert now_s() > 60
        assert one.standings == [LEADING]


@virtual
async def test_a_watch_that_is_silent_is_opened_again():
    """A connection that a middlebox forgot says nothing for ever."""
    async with candidates("one", "two") as (_, _, two):
        await asyncio.sleep(1)
        two.link.queue.deaf = True
        await asyncio.sleep(65)
        assert two.link.count("WATCH") == 2


@virtual
async def test_old_news_on_the_watch_mislead_nobody():
    """What an earlier holder did is a reason to look, and no more."""
    async with candidates("one") as (leases, one):
        old = deepcopy(leases.lease)
        old["spec"]["holderIdentity"] = "earlier"
        asked = len(one.link.asked)
        for kind in ("MODIFIED", "DELETED"):
            one.link.queue.put_nowait(event(kind, old))
            await asyncio.sleep(0.1)
        assert one.standings == [LEADING]
        assert 1 <= len(one.link.asked) - asked <= 3


@virtual
async def test_a_storm_on_the_watch_is_no_storm_of_requests():
    """However often the holder flips, there is a shortest pause between two tries."""
    async with candidates("one") as (leases, one):
        asked = len(one.link.asked)
        other = deepcopy(leases.lease)
        other["spec"]["holderIdentity"] = "other"
        for _ in range(1000):
            one.link.queue.put_nowait(event("MODIFIED", other))
            await asyncio.sleep(0.001)
        assert len(one.link.asked) - asked < 60


# ------------------------------------------------------------------------------------ cancellation


@pytest.mark.parametrize("turns", range(0, 60, 2))
@virtual
async def test_cancelled_anywhere_it_leaves_nothing_behind(turns):
    """No task, no watch; and a release afterwards frees whatever it had got hold of."""
    leases = Leases()
    one = Candidate(leases)
    one.link.latency_s = 0
    one.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    await one.stop()
    assert one.link.streams == 0
    await one.leadership.release()
    assert leases.lease is None or leases.holder == ""


@pytest.mark.parametrize("turns", range(8))
@virtual
async def test_a_release_that_is_cancelled_leaves_nothing_behind(turns):
    """It stands by all the same, and a second release does what the first did not."""
    async with candidates("one") as (leases, one):
        one.link.latency_s = 0
        release = asyncio.create_task(one.leadership.release())
        for _ in range(turns):
            await asyncio.sleep(0)
        release.cancel()
        with suppress(asyncio.CancelledError):
            await release
        await one.leadership.release()
        assert leases.holder == ""
        assert one.standings == [LEADING, STANDBY]


# ------------------------------------------------------------------------------------- API servers

PATIENCE_S = 20.0
MERGE_PATCH = "application/merge-patch+json"
LEASE_RULES = [{"verbs": ["create"]}, {"verbs": ["get", "watch", "patch"], "resourceNames": [NAME]}]
"""What the role that is installed allows, and no more."""


class Pickers:
    """Candidates that an API server decides between, in real time."""

    def __init__(self, server):
        self.server = server
        self.folder = f"/apis/coordination.k8s.io/v1/namespaces/{server.namespace}/leases"
        self.path = f"{self.folder}/{NAME}"
        self.told = asyncio.Queue()
        self.tasks = []

    def start(self, name):
        """One more. The lease lasts ten minutes: nobody gets it by waiting."""
        leadership = Leadership(
            self.server,
            namespace=self.server.namespace,
            name=NAME,
            identity=name,
            terms=LeaseTerms(duration_s=600, renew_deadline_s=60, retry_s=0.2),
            on_loss=LeaseLoss.STOP,
            clock=time.monotonic,
            wall_clock=time.time,
            rng=random.Random(name),
            sleep=asyncio.sleep,
            changed=lambda standing: self.told.put_nowait((name, standing)),
        )
        self.tasks.append(asyncio.create_task(leadership.run()))
        return leadership

    async def next(self):
        """What changes next."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.told.get()

    async def lease(self, fits):
        """The Lease, as soon as it is as it should be."""
        query = {"watch": "1", "fieldSelector": f"metadata.name={NAME}"}
        async with self.server.watch(self.folder, query=query, connect_timeout_s=PATIENCE_S) as stream:
            while line := await stream.line(timeout_s=PATIENCE_S):
                change = json.loads(line)
                if change["type"] != "DELETED" and fits(change["object"]):
                    return change["object"]
        raise AssertionError("the watch ended")

    async def renewal(self, of):
        """The Lease, once it is renewed."""
        return await self.lease(lambda lease: lease["spec"]["renewTime"] > of["spec"]["renewTime"])


@asynccontextmanager
async def pickers(kubeconfig):
    """Candidates with one connection."""
    server = await ApiServer.connect(kubeconfig)
    everybody = Pickers(server)
    try:
        yield everybody
    finally:
        for task in everybody.tasks:
            task.cancel()
        await asyncio.gather(*everybody.tasks, return_exceptions=True)
        await server.close()


async def test_an_api_server_decides_who_leads(api_server, tmp_path):
    """First come, labelled, released, deleted: with a real API server as with the fake."""
    async with pickers(api_server.kubeconfig(tmp_path)) as everybody:
        server, path = everybody.server, everybody.path
        one = everybody.start("one")
        assert await everybody.next() == ("one", LEADING)
        two = everybody.start("two")
        first = await everybody.renewal(await everybody.lease(lambda _: True))

        label = {"metadata": {"labels": {"team": "a"}}}
        reply = await server.request("PATCH", path, body=label, content_type=MERGE_PATCH)
        renewed = await everybody.renewal(json.loads(reply.body))
        assert renewed["metadata"]["labels"] == {"team": "a"}

        stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "spec": {}}
        reply = await server.request("PATCH", path, body=stale, content_type=MERGE_PATCH)
        assert reply.status == 409

        await one.release()
        assert {await everybody.next(), await everybody.next()} == {("one", STANDBY), ("two", LEADING)}
        taken = await everybody.lease(lambda lease: lease["spec"]["holderIdentity"] == "two")
        assert taken["spec"]["leaseTransitions"] == 1

        await server.request("DELETE", path)
        anew = await everybody.lease(lambda lease: lease["metadata"]["uid"] != taken["metadata"]["uid"])
        assert anew["spec"]["holderIdentity"] == "two"
        assert anew["spec"]["leaseTransitions"] == 1
        assert two.standing is LEADING
        assert everybody.told.empty()


async def test_the_role_that_is_installed_is_enough(rbac_api_server, tmp_path):
    """Without it a candidate stands by and says why; as soon as it is there it leads, renews, watches and releases."""
    namespace = "lease-roles"
    group = "rbac.authorization.k8s.io"

    async def post(path, **document):
        status, answer = await asyncio.to_thread(rbac_api_server.call, "POST", path, document)
        assert status == 201, answer
        return answer

    async def allow():
        roles = f"/apis/{group}/v1/namespaces/{namespace}"
        rules = [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]} | rule for rule in LEASE_RULES
        ]
        metadata = {"name": "lease"}
        await post(f"{roles}/roles", metadata=metadata, rules=rules)
        subject = {"kind": "ServiceAccount", "name": "picker", "namespace": namespace}
        reference = {"apiGroup": group, "kind": "Role", "name": "lease"}
        await post(f"{roles}/rolebindings", metadata=metadata, roleRef=reference, subjects=[subject])

    await post("/api/v1/namespaces", metadata={"name": namespace})
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await post(accounts, metadata={"name": "picker"})
    answer = await post(f"{accounts}/picker/token", spec={})
    kubeconfig = rbac_api_server.kubeconfig(tmp_path, namespace=namespace, token=answer["status"]["token"])
    with capture_logs() as logs:
        async with pickers(kubeconfig) as everybody:
            one = everybody.start("one")
            reply = await everybody.server.request("GET", everybody.path)
            assert reply.status == 403
            await allow()
            assert await everybody.next() == ("one", LEADING)
            everybody.start("two")
            await everybody.renewal(await everybody.lease(lambda _: True))
            await one.release()
            assert {await everybody.next(), await everybody.next()} == {("one", STANDBY), ("two", LEADING)}
    (warning,) = (line for level, line in lines(logs) if level == "warning")
    assert "get, watch, create and patch leases" in warning
    assert f"in namespace {namespace}" in warning
