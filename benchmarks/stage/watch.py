"""Watches one round and makes its evidence.

Promises:
- What was before the round, the warm-up included, is not in it: counts are differences, and peaks begin with the round.
- The engines' idle time is that of the time in which requests arrived, whenever exactly the engines were asked.
- Looking is cheap: engines and Envoy are asked at the beginning and at the end, only the picker's queue in between.
- What a picker or Envoy doesn't tell is None, with a note; never a guess.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from benchmarks.stage.evidence import EngineFacts, Evidence
from benchmarks.stage.usage import Meter

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from benchmarks.stage.evidence import Usage
    from benchmarks.stage.gateway import ExtProcCounts, Gateway
    from benchmarks.stage.picker import Picker, PickerState
    from benchmarks.stage.servers import Reading, SimulatedServers

LOOK_EVERY_S = 0.2
"""How often the picker's queue is looked at."""
STANDSTILL_S = 2.0
"""Once everybody has gone, streams close and requests leave the queue; when nothing has moved for so long, what is left
is left. A busy machine may take its time, so there is no other limit."""
_SETTLING_LOOK_S = 0.05

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Who is watched."""

    servers: SimulatedServers
    picker: Picker | None
    """Ours, if it plays."""
    asking: Gateway | None
    """The Envoy that asks a picker, ours or another, if it does."""
    roles: Mapping[str, Sequence[int]]
    """The processes whose cost is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What everybody said at one moment."""

    engines: Reading
    gateway: ExtProcCounts | None
    picker: PickerState | None


@dataclass(slots=True)
class Watch:
    """One round, for whoever plays it."""

    _evidence: Evidence | None = field(default=None, init=False)

    @property
    def evidence(self) -> Evidence:
        """Once the round is over."""
        if self._evidence is None:
            raise RuntimeError("there is no evidence of a round that isn't over, or broke off")
        return self._evidence

    def complete(self, evidence: Evidence) -> None:
        """It is over."""
        self._evidence = evidence


class Observer:
    """Collects what the evidence is made from: `begin`, then `look` and `arrivals_end` beside the round, then `end`."""

    def __init__(self, watched: Watched, *, duration_s: float) -> None:
        self._watched = watched
        self._duration_s = duration_s
        self._queued_max = 0
        self._before: Moment | None = None
        self._arrivals_end: Reading | None = None
        self._meter: Meter | None = None

    async def begin(self) -> None:
        """The round begins as soon as this returns."""
        gateway, picker = await self._sides()
        self._before = Moment(engines=await self._watched.servers.begin(), gateway=gateway, picker=picker)
        self._meter = Meter.begin(self._watched.roles)

    async def look(self) -> None:
        """Look at the picker's queue again and again."""
        while self._watched.picker is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            state = await _told(self._watched.picker.state())
            if state is not None:
                self._queued_max = max(self._queued_max, state.queued_requests)

    async def arrivals_end(self) -> None:
        """Wait until no more requests arrive, and see what the engines did until then."""
        await asyncio.sleep(self._duration_s)
        self._arrivals_end = await self._watched.servers.read()

    async def end(self, *, notes: Mapping[str, str]) -> Evidence:
        """Everybody has gone."""
        assert self._before is not None
        assert self._arrivals_end is not None
        assert self._meter is not None
        gateway, picker = await self._settled()
        usage, missing = self._meter.read()
        silent = [
            who
            for who, asked, told in (
                ("envoy", self._watched.asking, gateway),
                ("picker", self._watched.picker, picker),
            )
            if asked is not None and told is None
        ]
        return evidence_of(
            before=self._before,
            arrivals_end=self._arrivals_end,
            after=Moment(engines=await self._watched.servers.read(), gateway=gateway, picker=picker),
            slots=[model.max_sequences for model in self._watched.servers.models],
            duration_s=self._duration_s,
            queued_max=self._queued_max,
            usage=usage,
            notes={**notes, **missing, **dict.fromkeys(silent, "it didn't say how it was at the end")},
        )

    async def _settled(self) -> tuple[ExtProcCounts | None, PickerState | None]:
        """How gateway and picker are once nothing is left in them, or what is left moves no more.

        Whoever doesn't answer is asked again: that he is silent doesn't mean that he has nothing.
        """
        loop = asyncio.get_running_loop()
        last_left: tuple[int | None, int | None] | None = None
        moved_s = loop.time()
        while True:
            gateway, picker = await self._sides()
            in_gateway = None if gateway is None else gateway.open_streams
            in_picker = None if picker is None else picker.queued_requests + picker.running_requests
            left = (
                0 if self._watched.asking is None else in_gateway,
                0 if self._watched.picker is None else in_picker,
            )
            if left != last_left:
                last_left, moved_s = left, loop.time()
            if left == (0, 0) or loop.time() > moved_s + STANDSTILL_S:
                return gateway, picker
            await asyncio.sleep(_SETTLING_LOOK_S)

    async def _sides(self) -> tuple[ExtProcCounts | None, PickerState | None]:
        gateway, picker = self._watched.asking, self._watched.picker
        return (
            None if gateway is None else await _told(gateway.counts()),
            None if picker is None else await _told(picker.state()),
        )


def evidence_of(
    *,
    before: Moment,
    arrivals_end: Reading,
    after: Moment,
    slots: Sequence[int],
    duration_s: float,
    queued_max: int,
    usage: Mapping[str, Usage],
    notes: Mapping[str, str],
) -> Evidence:
    """What the round did."""
    counts = None if before.gateway is None or after.gateway is None else (before.gateway, after.gateway)
    states = None if before.picker is None or after.picker is None else (before.picker, after.picker)
    return Evidence(
        usage=MappingProxyType(dict(usage)),
        engines=_engines(before.engines, arrivals_end, after.engines, slots=slots, duration_s=duration_s),
        extproc_sent=counts and counts[1].sent - counts[0].sent,
        extproc_received=counts and counts[1].received - counts[0].received,
        streams_at_end=counts and counts[1].open_streams,
        queued_max=states and max(queued_max, states[1].queued_requests),
        queued_at_end=states and states[1].queued_requests,
        idle_eligible_slot_s=states and states[1].idle_eligible_slot_s - states[0].idle_eligible_slot_s,
        notes=MappingProxyType(dict(notes)),
    )


def _engines(
    before: Reading, arrivals_end: Reading, after: Reading, *, slots: Sequence[int], duration_s: float
) -> tuple[EngineFacts, ...]:
    facts = []
    for began, until, ended, places in zip(
        before.accounts, arrivals_end.accounts, after.accounts, slots, strict=True
    ):
        # The engine was asked a moment late, on a busy machine; what it says is of the time between the questions.
        idle_share = (until.idle_slot_s - began.idle_slot_s) / ((until.now_s - began.now_s) * places)
        facts.append(
            EngineFacts(
                slots=places,
                submitted=ended.submitted - began.submitted,
                max_waiting=ended.max_waiting,
                max_running=ended.max_running,
                idle_slot_s=idle_share * places * duration_s,
                kv_peak_share=ended.max_kv_utilization,
            )
        )
    return tuple(facts)


async def _told(question: Coroutine[object, object, _T]) -> _T | None:
    """The answer, or None if it can't be had just now: who ended is noticed elsewhere."""
    try:
        return await question
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
