"""How evidence is made from what everybody says."""

from __future__ import annotations

import asyncio
import json
import os
from types import MappingProxyType

import psutil
import pytest

from benchmarks.stage.evidence import Evidence, Usage
from benchmarks.stage.gateway import ExtProcCounts, read_counts
from benchmarks.stage.picker import PickerState
from benchmarks.stage.servers import Account, Reading
from benchmarks.stage.usage import Meter, peak_bytes
from benchmarks.stage.watch import Moment, Observer, Watch, Watched, evidence_of
from tests.kube.virtualloop import virtual

PAGE = {
    "stats": [
        {"name": "http.gateway.ext_proc.stream_msgs_sent", "value": 928},
        {"name": "http.gateway.ext_proc.stream_msgs_received", "value": 886},
        {"name": "cluster.picker.upstream_rq_active", "value": 1},
    ]
}


def account(now_s: float, idle_slot_s: float, **counts: float) -> Account:
    """One engine's."""
    told = {"max_waiting": 0, "max_running": 0, "max_kv_utilization": 0.0, "submitted": 0} | counts
    return Account(
        now_s=now_s,
        idle_slot_s=idle_slot_s,
        max_waiting=int(told["max_waiting"]),
        max_running=int(told["max_running"]),
        max_kv_utilization=told["max_kv_utilization"],
        submitted=int(told["submitted"]),
    )


def moment(
    engine: Account,
    *,
    sent: int = 0,
    received: int = 0,
    still_open: int = 0,
    queued: int = 0,
    idle: float = 0.0,
) -> Moment:
    """With one engine, a picker and an Envoy."""
    return Moment(
        engines=Reading((engine,)),
        gateway=ExtProcCounts(sent=sent, received=received, failed_streams=0, open_streams=still_open),
        picker=PickerState(queued_requests=queued, running_requests=0, idle_eligible_slot_s=idle),
    )


def test_evidence_is_the_difference() -> None:
    """What was before the round is taken off; peaks and what is left at the end are as they were told last."""
    evidence = evidence_of(
        before=moment(account(100.0, 50.0, submitted=8), sent=40, received=30, idle=0.5),
        arrivals_end=Reading((account(110.0, 62.0, submitted=90, max_waiting=1),)),
        after=moment(
            account(130.0, 99.0, submitted=108, max_waiting=7, max_running=4, max_kv_utilization=0.25),
            sent=1040,
            received=1020,
            still_open=2,
            queued=3,
            idle=2.0,
        ),
        slots=[4],
        duration_s=10.0,
        queued_max=55,
        usage={"envoy": Usage(cpu_s=1.0, peak_bytes=2)},
        notes={"picker": "hello"},
    )
    (engine,) = evidence.engines
    assert (engine.slots, engine.submitted, engine.max_waiting, engine.max_running) == (4, 100, 7, 4)
    assert engine.kv_peak_share == 0.25
    assert engine.idle_slot_s == pytest.approx(12.0)
    assert (evidence.extproc_sent, evidence.extproc_received, evidence.streams_at_end) == (1000, 990, 2)
    assert (evidence.queued_max, evidence.queued_at_end, evidence.idle_eligible_slot_s) == (55, 3, 1.5)
    assert evidence.usage == {"envoy": Usage(cpu_s=1.0, peak_bytes=2)}
    assert evidence.notes == {"picker": "hello"}


def test_an_engine_that_was_asked_late_is_not_more_idle() -> None:
    """Idle for all of 12.5 s is idle for all of the 10 s in which requests arrived."""
    evidence = evidence_of(
        before=moment(account(100.0, 0.0)),
        arrivals_end=Reading((account(112.5, 50.0),)),
        after=moment(account(112.5, 50.0)),
        slots=[4],
        duration_s=10.0,
        queued_max=0,
        usage={},
        notes={},
    )
    assert evidence.engines[0].idle_slot_s == pytest.approx(40.0)


def test_what_nobody_tells_is_unknown() -> None:
    """Without a picker, or one that didn't answer at the end, its figures are None instead of 0."""
    told = moment(account(100.0, 0.0))
    silent = Moment(engines=Reading((account(101.0, 0.0),)), gateway=None, picker=None)
    evidence = evidence_of(
        before=told,
        arrivals_end=silent.engines,
        after=silent,
        slots=[4],
        duration_s=1.0,
        queued_max=5,
        usage={},
        notes={},
    )
    assert (evidence.extproc_sent, evidence.extproc_received, evidence.streams_at_end) == (None, None, None)
    assert (evidence.queued_max, evidence.queued_at_end, evidence.idle_eligible_slot_s) == (None, None, None)


def test_there_is_no_evidence_before_the_end() -> None:
    """Asking for it is an error, not a guess."""
    with pytest.raises(RuntimeError, match="isn't over"):
        _ = Watch().evidence


def test_envoys_page_is_read_by_name() -> None:
    """What it leaves out is 0: it has had no reason to count it."""
    counts = read_counts(json.dumps(PAGE).encode())
    assert counts == ExtProcCounts(sent=928, received=886, failed_streams=0, open_streams=1)


def test_a_role_is_the_sum_of_its_processes() -> None:
    """CPU since the beginning, and the peaks of all of them; nobody else's figures suffer from one that has gone."""
    me = os.getpid()
    gone = 2**22 + 1  # more than the kernel gives out
    began_s = {"one": 0.0, "two": 0.0, "gone": 0.0}
    usage, missing = Meter(MappingProxyType({"one": (me,), "two": (me, me), "gone": (gone,)}), began_s).read()
    assert usage["two"].cpu_s >= 2 * usage["one"].cpu_s > 0
    assert usage["two"].peak_bytes >= 2 * usage["one"].peak_bytes > 2 * 10_000_000
    assert set(usage) == {"one", "two"}
    assert list(missing) == ["gone"]


def test_a_peak_does_not_go_down() -> None:
    """Memory that was given back is in it; the kernel counts it within a few pages per thread."""
    size = 64 * 1024 * 1024
    block = bytearray(os.urandom(1)) * size
    with_block = psutil.Process().memory_info().rss
    del block
    assert psutil.Process().memory_info().rss < with_block - size / 2
    assert peak_bytes(os.getpid()) > with_block - size / 4


# -------------------------------------------------------------------------------- when everybody has gone


class Slow:
    """An Envoy in which something is left; with every look it is one less, down to `stuck`."""

    def __init__(self, left: int, *, stuck: int) -> None:
        self.left = left
        self.stuck = stuck
        self.looks = 0

    async def counts(self) -> ExtProcCounts:
        """As it is now."""
        self.looks += 1
        self.left = max(self.stuck, self.left - 1)
        await asyncio.sleep(1.0)
        return ExtProcCounts(sent=0, received=0, failed_streams=0, open_streams=self.left)


async def evidence_at_the_end(
    *, envoy: Slow | Hesitant | None = None, picker: Hesitant | None = None
) -> tuple[Evidence, float]:
    """What the observer found, and how long the end took."""
    observer = Observer(
        Watched(servers=Mute(), picker=picker, asking=envoy, roles={}),  # type: ignore[arg-type] # they act like it
        duration_s=0.5,
    )
    await observer.begin()
    await observer.arrivals_end()
    began_s = asyncio.get_running_loop().time()
    evidence = await observer.end(notes={})
    return evidence, asyncio.get_running_loop().time() - began_s


class Hesitant:
    """Envoy or picker: it is silent at the first `silent` questions of the end; one thing is left in it for good."""

    def __init__(self, *, silent: int) -> None:
        self.silent = range(2, 2 + silent)  # the first question is that of the beginning
        self.asked = 0

    async def counts(self) -> ExtProcCounts:
        """As Envoy."""
        self._ask()
        return ExtProcCounts(sent=0, received=0, failed_streams=0, open_streams=1)

    async def state(self) -> PickerState:
        """As the picker."""
        self._ask()
        return PickerState(queued_requests=1, running_requests=0, idle_eligible_slot_s=0.0)

    def _ask(self) -> None:
        self.asked += 1
        if self.asked in self.silent:
            raise TimeoutError


class Mute:
    """Servers: none."""

    models = ()

    async def read(self) -> Reading:
        """Nothing."""
        return Reading(())

    begin = read


@virtual
async def test_what_still_goes_is_waited_for() -> None:
    """However long it takes, as long as something moves."""
    evidence, waited_s = await evidence_at_the_end(envoy=Slow(50, stuck=0))
    assert evidence.streams_at_end == 0
    assert waited_s > 45


@virtual
async def test_what_stands_still_is_what_is_left() -> None:
    """A leak is found within seconds."""
    evidence, waited_s = await evidence_at_the_end(envoy=Slow(5, stuck=3))
    assert evidence.streams_at_end == 3
    assert waited_s < 10


@virtual
async def test_who_is_silent_once_is_asked_again() -> None:
    """One answer that didn't come is neither an empty gateway nor an empty queue, and no end of asking."""
    evidence, _ = await evidence_at_the_end(envoy=Hesitant(silent=1), picker=Hesitant(silent=0))
    assert (evidence.streams_at_end, evidence.queued_at_end) == (1, 1)
    assert evidence.notes == {}
    for envoy, picker, left in (
        (Hesitant(silent=1), None, (1, None)),
        (None, Hesitant(silent=1), (None, 1)),
    ):
        evidence, _ = await evidence_at_the_end(envoy=envoy, picker=picker)
        assert (evidence.streams_at_end, evidence.queued_at_end) == left
        assert evidence.notes == {}


@virtual
async def test_who_stays_silent_is_given_up() -> None:
    """Within seconds, and the evidence says who it was."""
    evidence, waited_s = await evidence_at_the_end(envoy=Hesitant(silent=10_000))
    assert evidence.streams_at_end is None
    assert list(evidence.notes) == ["envoy"]
    assert waited_s < 10
