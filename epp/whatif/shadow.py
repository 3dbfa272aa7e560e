"""A shadow: another policy beside the live one, on the same events, and what would have become of the same requests.

Rules of this file:

- A shadow only listens. Whatever goes wrong in it ends it, and nothing else; it says why.
- It knows no more than the live core at the same moment. A request that it sends earlier runs as long as its tokens
  make likely, and once the live one has ended, as long as that ran. A run that was evicted teaches nothing: it was cut
  off, and how long it would have run stays unknown.
- One event costs it a bounded number of decisions. What is due beyond that waits for the next event, and so do the
  events that come meanwhile: it falls behind, and yet decides at the times at which things were due.
- Memory is bounded: by the requests that are open on either side and the events that it is behind, which are counted,
  and by the tenants that are told apart, of which those with the smallest differences are forgotten.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

from epp.core import Controller
from epp.core.actions import Dispatch, Evict, Refuse
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Ended,
    EndpointsChanged,
    FirstByte,
    PolicyChanged,
    Scraped,
    Tick,
    forgetful,
)
from epp.whatif.regret import BandRegret, FlowDifference, ShadowStatistics
from epp.whatif.service import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS, ServiceRates, moved_sample
from epp.whatif.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from epp.core.actions import Action
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy

_PATIENCE = 4.0
"""How many times its likely time a request runs here while the live one still runs."""
_LOOK_AGAIN_S = 0.25
"""How often at most a request is looked at whose time is up."""
_DECISIONS_AT_ONCE = 64
"""As many as the live core takes at once."""


@dataclass(slots=True)
class _Regret:
    """What `BandRegret` shows."""

    both: int = 0
    wait_difference_s: float = 0.0
    refused_by_shadow: int = 0
    refused_by_live: int = 0
    refused_by_both: int = 0


class _Open:
    """A request that isn't over on both sides."""

    __slots__ = (
        "flow",
        "live_at_s",
        "live_cut_off",
        "live_first_s",
        "live_key",
        "live_over",
        "live_refused",
        "live_run_s",
        "live_waited_s",
        "shadow_at_s",
        "shadow_over",
        "shadow_refused",
        "shadow_waited_s",
        "tokens",
    )

    def __init__(self, flow: tuple[str, int], tokens: int) -> None:
        self.flow = flow
        self.tokens = tokens
        self.live_at_s: float | None = None
        self.live_waited_s = 0.0
        self.live_key: tuple[str, str] = ("", "")
        self.live_first_s: float | None = None
        self.live_run_s: float | None = None
        self.live_cut_off = False
        self.live_refused = False
        self.live_over = False
        self.shadow_at_s: float | None = None
        self.shadow_waited_s = 0.0
        self.shadow_refused = False
        self.shadow_over = False


class _Heard(NamedTuple):
    """What happened to the live core, and what it did about it."""

    event: Event
    actions: tuple[Action, ...]
    now: float


class Shadow:
    """One policy that is tried beside the live one. Give it every event and what the live core did about it.

    `weight_of` says what the policy's own configuration makes of a tenant. Arrivals carry the weight that is in force,
    in which an objective's own can't be told from the live configuration's: it holds for tenants of whom `weight_of`
    says nothing, so those that only the live configuration names keep its weight here, too.
    """

    def __init__(
        self,
        name: str,
        policy: FlowControlPolicy,
        *,
        now: float,
        weight_of: Callable[[str, float], float] | None = None,
        most_open: int = 100_000,
        most_flows: int = 1024,
        shown_flows: int = 10,
    ) -> None:
        self.name = name
        self._policy = policy
        self._weight_of = weight_of
        self._world = World(Controller(policy, now=now), self)
        self._most_open = most_open
        self._most_flows = most_flows
        self._shown_flows = shown_flows
        self._rates = ServiceRates()
        self._late: deque[_Heard] = deque()
        self._open: dict[int, _Open] = {}
        self._live_load: dict[tuple[str, str], int] = {}
        self._most_running: dict[tuple[str, str], int] = {}
        self._regrets: dict[int, _Regret] = {}
        self._differences: dict[tuple[str, int], int] = {}
        self._events = 0
        self._dropped_because: str | None = None

    @property
    def wants_first_bytes(self) -> bool:
        """Whether its policy makes anything of a `FirstByte`."""
        return self._dropped_because is None and self._policy.wants_first_bytes

    @property
    def dropped_because(self) -> str | None:
        """Why it has ended; None while it goes on."""
        return self._dropped_because

    def observe(self, event: Event, actions: Iterable[Action], now: float) -> None:
        """The live core heard `event` and answered with `actions`. Never raises."""
        if self._dropped_because is not None:
            return
        try:
            self._events += 1
            heard = forgetful(event) if isinstance(event, Arrived) else event
            self._late.append(_Heard(heard, tuple(actions), now))
            self._catch_up()
        except Exception as error:
            self._drop(_fault(error))
        if len(self._open) > self._most_open:
            self._drop(f"more than {self._most_open} requests are open")
        elif len(self._late) > self._most_open:
            self._drop(f"it is more than {self._most_open} events behind")

    def statistics(self) -> ShadowStatistics:
        """A snapshot."""
        shown = nlargest(self._shown_flows, self._differences.items(), key=lambda entry: abs(entry[1]))
        waiting = sum(each.shadow_at_s is None and not each.shadow_over for each in self._open.values())
        return ShadowStatistics(
            name=self.name,
            events=self._events,
            queued_requests=waiting,
            running_requests=len(self._world.running),
            bands=tuple(
                BandRegret(
                    priority,
                    each.both,
                    each.wait_difference_s,
                    each.refused_by_shadow,
                    each.refused_by_live,
                    each.refused_by_both,
                )
                for priority, each in sorted(self._regrets.items(), reverse=True)
            ),
            flows=tuple(
                FlowDifference(fairness_id, priority, tokens)
                for (fairness_id, priority), tokens in shown
                if tokens
            ),
            dropped_because=self._dropped_because,
        )

    # --------------------------------------------------------------- what is heard

    def _catch_up(self) -> None:
        """Work through what was heard, as far as one event may take it."""
        world, late = self._world, self._late
        enough = world.work + _DECISIONS_AT_ONCE
        while late and world.work < enough and world.pass_time(late[0].now, until_work=enough):
            event, actions, now = late.popleft()
            self._hear(event, now)
            self._watch(actions, now)
            world.pass_time(now, until_work=enough)

    def _hear(self, event: Event, now: float) -> None:
        """All that was due before has happened."""
        match event:
            case Tick() | PolicyChanged():
                pass
            case Arrived():
                tokens = (event.input_tokens or event.body_bytes // BYTES_PER_TOKEN) + (
                    DEFAULT_OUTPUT_TOKENS
                    if event.max_output_tokens is None
                    else min(DEFAULT_OUTPUT_TOKENS, event.max_output_tokens)
                )
                self._open[event.request_id] = _Open((event.fairness_id, event.priority), max(1, tokens))
                weight_of = self._weight_of
                if weight_of is not None:
                    event = event._replace(weight=weight_of(event.fairness_id, event.weight))
                self._world.tell(event, now)
            case Ended():
                self._live_ended(event, now)
            case Cancelled() | DeliveryFailed():
                self._live_gone(event, now)
            case FirstByte():
                self._live_began(event, now)
            case Scraped():
                self._world.tell(self._moved(event), now)
            case EndpointsChanged(endpoints):
                keys = {spec.key for spec in endpoints}
                self._rates.forget(keys)
                self._most_running = {key: n for key, n in self._most_running.items() if key in keys}
                self._world.tell(event, now)
            case _:
                self._world.tell(event, now)

    def _live_began(self, event: FirstByte, now: float) -> None:
        request = self._open.get(event.request_id)
        if request is None or request.live_at_s is None:
            return
        # One that was to be evicted, and begins nevertheless, was spared.
        request.live_cut_off = False
        request.live_first_s = now - request.live_at_s
        if (
            self.wants_first_bytes
            and event.request_id in self._world.running
            and request.shadow_at_s is not None
        ):
            self._world.schedule(max(now, request.shadow_at_s + request.live_first_s), event)

    def _live_ended(self, event: Ended, now: float) -> None:
        request = self._open.get(event.request_id)
        if request is None:
            return
        self._live_leaves(request)
        request.live_over = True
        if request.live_at_s is not None and not request.live_cut_off:
            request.live_run_s = now - request.live_at_s
            if event.input_tokens is not None and event.output_tokens is not None:
                actual = max(1, event.input_tokens + event.output_tokens)
                # What was counted as sent so far follows what it took.
                for sign, at_s in ((1, request.shadow_at_s), (-1, request.live_at_s)):
                    if at_s is not None:
                        self._count_tokens(request.flow, sign * (actual - request.tokens))
                request.tokens = actual
            self._rates.learn(request.live_key, request.tokens, request.live_run_s)
            if event.request_id in self._world.running and request.shadow_at_s is not None:
                self._world.schedule(max(now, request.shadow_at_s + request.live_run_s), event)
        self._close_if_over(event.request_id, request)

    def _live_gone(self, event: Cancelled | DeliveryFailed, now: float) -> None:
        request = self._open.pop(event.request_id, None)
        if request is not None:
            self._live_leaves(request)
            if isinstance(event, DeliveryFailed):
                self._undo_tokens(request)
        self._world.tell(event, now)

    def _undo_tokens(self, request: _Open) -> None:
        """Nothing was sent after all; nor would the shadow have sent it, unless it would be done with it."""
        if request.live_at_s is not None:
            self._count_tokens(request.flow, request.tokens)
        if request.shadow_at_s is not None and not request.shadow_over:
            self._count_tokens(request.flow, -request.tokens)

    def _live_leaves(self, request: _Open) -> None:
        if request.live_at_s is None or request.live_over:
            return
        left = self._live_load.get(request.live_key, 0) - 1
        if left > 0:
            self._live_load[request.live_key] = left
        else:
            self._live_load.pop(request.live_key, None)

    def _moved(self, event: Scraped) -> Scraped:
        """What the engine would have said, had it what the shadow sent there."""
        sample = event.sample
        if sample is None:
            return event
        if sample.waiting:
            self._most_running[event.key] = max(sample.running, self._most_running.get(event.key, 0))
        more = self._world.load.get(event.key, 0) - self._live_load.get(event.key, 0)
        if not more:
            return event
        moved = moved_sample(sample, more=more, most_running=self._most_running.get(event.key, 0))
        return Scraped(event.key, event.sent_s, event.received_s, moved, event.contact)

    def _watch(self, actions: Iterable[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                request = self._open.get(action.request_id)
                if request is not None:
                    request.live_at_s = now
                    request.live_waited_s = action.waited_s
                    request.live_key = action.endpoint.key
                    self._live_load[action.endpoint.key] = self._live_load.get(action.endpoint.key, 0) + 1
                    self._count_tokens(request.flow, -request.tokens)
                    self._compare(request)
            elif isinstance(action, Refuse):
                request = self._open.get(action.request_id)
                if request is not None:
                    request.live_refused = request.live_over = True
                    self._compare(request)
                    self._close_if_over(action.request_id, request)
            elif isinstance(action, Evict):
                request = self._open.get(action.request_id)
                if request is not None:
                    request.live_cut_off = True

    # ----------------------------------------------------------- what is decided here

    def dispatched(self, action: Dispatch, now: float, /) -> None:
        """The shadow would have sent it: it runs as long as the live one did, or is likely to."""
        request = self._open.get(action.request_id)
        if request is None:
            self._world.schedule(now, Ended(action.request_id))
            return
        request.shadow_at_s = now
        request.shadow_waited_s = action.waited_s
        self._count_tokens(request.flow, request.tokens)
        self._compare(request)
        if request.live_first_s is not None and self.wants_first_bytes:
            self._world.schedule(now + request.live_first_s, FirstByte(action.request_id))
        if request.live_run_s is not None:
            self._world.schedule(now + request.live_run_s, Ended(action.request_id))
            return
        self._end_when_likely(action.request_id, request, action.endpoint.key, now)

    def _end_when_likely(self, request_id: int, request: _Open, key: tuple[str, str], begun_s: float) -> None:
        """The live one hasn't ended it: it runs as long as others of its size, and longer while the live one runs."""

        def due(at_s: float) -> Event | None:
            likely_s = self._rates.run_s(key, request.tokens)
            if not self._rates.has_learned:
                again_s = at_s + max(_LOOK_AGAIN_S, (at_s - begun_s) / 4)
            elif request.live_at_s is not None and not request.live_over:
                again_s = min(begun_s + _PATIENCE * likely_s, at_s + max(_LOOK_AGAIN_S, likely_s / 4))
            else:
                again_s = begun_s + likely_s
            if again_s <= at_s:
                return Ended(request_id)
            self._world.schedule(again_s, due)
            return None

        self._world.schedule(begun_s + self._rates.run_s(key, request.tokens), due)

    def refused(self, action: Refuse, now: float, /) -> None:
        """The shadow would have refused it."""
        del now
        request = self._open.get(action.request_id)
        if request is not None:
            request.shadow_refused = request.shadow_over = True
            self._compare(request)
            self._close_if_over(action.request_id, request)

    def left(self, request_id: int, now: float, /) -> None:
        """It would be over."""
        del now
        request = self._open.get(request_id)
        if request is not None:
            request.shadow_over = True
            self._close_if_over(request_id, request)

    def asked(self, key: tuple[str, str], now: float, /) -> None:
        """Nobody is asked for a shadow's sake."""

    # ---------------------------------------------------------------- what is counted

    def _compare(self, request: _Open) -> None:
        """Book the request once both sides have decided."""
        live_sent, shadow_sent = request.live_at_s is not None, request.shadow_at_s is not None
        if not (live_sent or request.live_refused) or not (shadow_sent or request.shadow_refused):
            return
        regret = self._regrets.setdefault(request.flow[1], _Regret())
        if live_sent and shadow_sent:
            regret.both += 1
            regret.wait_difference_s += request.shadow_waited_s - request.live_waited_s
        elif live_sent:
            regret.refused_by_shadow += 1
        elif shadow_sent:
            regret.refused_by_live += 1
        else:
            regret.refused_by_both += 1

    def _count_tokens(self, flow: tuple[str, int], tokens: int) -> None:
        self._differences[flow] = self._differences.get(flow, 0) + tokens
        if len(self._differences) > self._most_flows:
            kept = nlargest(self._most_flows // 2, self._differences.items(), key=lambda entry: abs(entry[1]))
            self._differences = dict(kept)

    def _close_if_over(self, request_id: int, request: _Open) -> None:
        if request.live_over and request.shadow_over:
            self._open.pop(request_id, None)

    def _drop(self, why: str) -> None:
        self._dropped_because = why
        self._late.clear()
        self._open.clear()
        self._differences.clear()
        self._live_load.clear()
        self._world = World(Controller(self._policy, now=0.0), self)


def _fault(error: Exception) -> str:
    """What went wrong, and where. Not what it says: that may name a tenant."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return type(error).__name__
    module = place.tb_frame.f_globals.get("__name__", "?")
    return f"{type(error).__name__} in {module}, line {place.tb_lineno}"
