"""The shadow of a controller: what is queued, running and known, followed event by event in plain tables.

It takes in the events that the controller takes in, and the decisions that the controller made, and keeps the scene
right. It decides nothing; the oracle asks the scene whether what was decided was right.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, assert_never

from epp.core.bands import LINGER_S
from epp.core.endpoint import Contact
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
)
from epp.core.eviction import Begun
from tests.core import naive
from tests.core.naive import Site, Waiting
from tests.core.scene import OVERFLOW, Dispatched, Scene, lane_of
from tests.core.tags import BandTags, settle, undo

if TYPE_CHECKING:
    from epp.core.endpoint import EndpointSpec
    from epp.core.events import Event
    from epp.core.policy import FlowControlPolicy
    from tests.core.scene import Room
    from tests.core.tags import History


class Shadow(Scene):
    """A scene that follows."""

    def __init__(self, policy: FlowControlPolicy, *, now: float, room: Room) -> None:
        super().__init__(policy, now=now, room=room)
        self.bands.there = self.provided()
        self._sequence = 0

    def advance(self, now: float) -> None:
        """Time passes: whoever is queued waits, samples grow old, idle bands fall out of use."""
        elapsed_s = max(0.0, now - self.now)
        if elapsed_s:
            for waiting in self.queued.values():
                self.queued_s[waiting.request.priority] += elapsed_s
        self.now = max(self.now, now)
        if elapsed_s:
            busy, since_s = self.busy(), self.bands.idle_since_s
            self.bands.used = {
                each for each in self.bands.used if each in busy or since_s[each] + LINGER_S > self.now
            }
        self._age()

    def _age(self) -> None:
        for site in self.sites.values():
            is_old = self.now >= site.sample_received_s + self.policy.staleness_s
            if site.is_fresh and is_old:
                site.go_stale()

    def apply(self, event: Event) -> Waiting | None:
        """Something happens; an arrival is queued in any case, and returned."""
        newcomer: Waiting | None = None
        match event:
            case Arrived():
                newcomer = self._queue(event)
            case Cancelled(request_id) | DeliveryFailed(request_id):
                if request_id in self.queued:
                    self.leave(self.queued[request_id])
                    self.ends[request_id] = "cancelled"
                self._release(event)
            case Ended():
                self._release(event)
            case FirstByte(request_id):
                if request_id in self.running:
                    self._begin(self.running[request_id])
                    self._leave_prefill(self.running[request_id])
            case Scraped():
                site = self.sites.get(event.key)
                if site is not None and site.listed and event.sent_s > site.sample_sent_s:
                    site.refuses = event.contact is Contact.REFUSED
                    site.learn(event, self.now)
            case EndpointsChanged(specs):
                self._enlist({spec.key: spec for spec in specs})
            case ObjectivesChanged(priorities):
                self.wanted = priorities
                self._provide()
            case PolicyChanged(policy):
                self._change_policy(policy)
            case Draining():
                self.draining = True
            case Resumed():
                self.draining = False
            case Tick():
                pass
            case _:
                assert_never(event)
        self._adopt_next()
        return newcomer

    # ------------------------------------------------------------------- requests

    def _queue(self, event: Arrived) -> Waiting:
        self._sequence += 1
        rules, priority = self.rules(event.priority), event.priority
        busy_s, empty_s = naive.budgets(self.policy, rules, event)
        view = naive.item_view(event, self._sequence, self.now, busy_s)
        busy_now_s, empty_now_s = self.clocks()
        waiting = Waiting(
            event,
            self._sequence,
            self.now,
            self.flow_of(event),
            lane_of(event),
            view,
            naive.order_key(rules, view),
            busy_now_s + busy_s,
            empty_now_s + empty_s,
        )
        if not self.draining and not self.can_never_run(event):
            self.bands.there.add(priority)
            self.bands.used.add(priority)
            self.tags[priority].queue(waiting.flow, waiting.lane, self.pool.values(), self._kept(priority))
        self.queued[event.request_id] = waiting
        return waiting

    def _kept(self, priority: int) -> object:
        half_life_s = getattr(self.rules(priority).fairness, "half_life_s", inf)

        def kept(flow: History) -> float:
            if half_life_s == inf:
                return 1.0
            return float(0.5 ** ((self.now - flow.rested_s) / half_life_s))

        return kept

    def leave(self, waiting: Waiting) -> None:
        """A request goes from the queue. A band without any forgets whose turn it was."""
        priority, lane = waiting.request.priority, waiting.lane
        del self.queued[waiting.request.request_id]
        left = [other for other in self.queued.values() if other.request.priority == priority]
        if not left:
            self.tags.pop(priority, None)
            if priority not in self.busy():
                self.bands.idle_since_s[priority] = self.now
            return
        tags = self.tags[priority]
        flow = tags.flow(waiting.flow)
        mine = [other.lane for other in left if other.flow == waiting.flow]
        if not mine and lane in flow.lanes:  # it isn't, of a newcomer that was turned away at once
            flow.rested_s = self.now
            tags.rest(flow, lane)
        if lane not in mine:
            flow.lanes.pop(lane, None)
            if all(other.lane != lane for other in left):
                tags.lanes.pop(lane, None)

    def send(self, waiting: Waiting, site: Site, prefill: Site | None) -> None:
        """A queued request is dispatched."""
        request, charge = waiting.request, None
        if request.need:
            fairness = self.rules(request.priority).fairness
            if self.knows_turns(fairness):
                tags = self.tags[request.priority]
                charge = tags.charge(waiting.flow, waiting.lane, site, fairness, waiting.view)
        held = Dispatched(waiting, site, prefill, charge, sent_s=self.now)
        self.running[request.request_id] = held
        site.take(request, waiting.view.charge_tokens, self.now)
        if prefill is not None:
            prefill.take(request, waiting.view.input_tokens, self.now)
        flow = self.tags[request.priority].flow(waiting.flow)
        if request.need and self._has_just_reached_its_cap(waiting):
            self.tags[request.priority].rest(flow, next(iter(flow.lanes)))
        self.leave(waiting)

    def _has_just_reached_its_cap(self, waiting: Waiting) -> bool:
        priority = waiting.request.priority
        most = self.rules(priority).flow_max_in_flight
        return self.in_flight(priority, waiting.flow) == most and waiting.flow != OVERFLOW

    def _release(self, event: Ended | Cancelled | DeliveryFailed) -> None:
        held = self.running.get(event.request_id)
        if held is None:
            return
        waiting = held.waiting
        priority = waiting.request.priority
        was_held = self.is_at_cap(priority, waiting.flow)
        del self.running[event.request_id]
        self.ends[event.request_id] = "ended"
        self._give_back(held.site, event.request_id)
        self._leave_prefill(held)
        if priority not in self.busy():
            self.bands.idle_since_s[priority] = self.now
        if held.charge is not None:
            match event:
                case DeliveryFailed():
                    undo(held.charge)
                case Ended(_, int(input_tokens), output_tokens):
                    settle(held.charge, (input_tokens, output_tokens or 0))
                case Ended() | Cancelled():
                    settle(held.charge, None)
        if was_held and not self.is_at_cap(priority, waiting.flow):
            self.tags[priority].release(waiting.flow)

    def _begin(self, held: Dispatched) -> None:
        rules = self.policy.eviction
        if held.evicted and not held.begun and rules is not None and rules.begun is Begun.SPARED:
            held.evicted = False  # it began before it could be ended, and is spared
        held.begun = True

    def _leave_prefill(self, held: Dispatched) -> None:
        if held.prefill is not None:
            self._give_back(held.prefill, held.waiting.request.request_id)
            held.prefill = None

    def _give_back(self, site: Site, request_id: int) -> None:
        site.give_back(request_id, self.now)
        self._drop_if_gone(site)

    # ------------------------------------------------------------------ endpoints

    def _enlist(self, wanted: dict[tuple[str, str], EndpointSpec]) -> None:
        left = [self.pool.pop(key) for key in list(self.pool) if key not in wanted]
        described = [site for key, site in self.pool.items() if site.spec != wanted[key]]
        described.sort(key=lambda site: list(wanted).index(site.spec.key))
        for site in left:
            site.listed = site.refuses = False
            self._drop_if_gone(site)
        joined = []
        for key, spec in wanted.items():
            site = self.sites.setdefault(key, Site(spec, self.now))
            site.spec, site.listed, site.stated = spec, True, naive.stated_limit(self.policy, spec)
            if key not in self.pool:
                joined.append(site)
        self.pool.update((site.spec.key, site) for site in joined)
        for tags in self.tags.values():
            tags.enlist(joined=joined, left=left, described=described)
        if self.pool_is_empty() is not self.was_empty:
            self.closed_s[self.was_empty] += self.now - self.regime_since_s
            self.regime_since_s, self.was_empty = self.now, not self.was_empty

    def _drop_if_gone(self, site: Site) -> None:
        if not site.listed and not site.own and self.sites.get(site.spec.key) is site:
            del self.sites[site.spec.key]

    # ------------------------------------------------------------------- the rules

    def _provide(self) -> None:
        self.bands.there |= self.provided()
        self.retire()

    def retire(self) -> None:
        """Bands go that nothing provides for, once nothing of them is queued or running."""
        bands = self.bands
        bands.there &= self.busy() | self.provided()
        bands.used &= bands.there
        bands.former = {each: rules for each, rules in bands.former.items() if each in bands.there}

    def _change_policy(self, policy: FlowControlPolicy) -> None:
        self.same_policy = self.same_policy and policy is self.policy
        bands = self.bands
        busy = {waiting.request.priority for waiting in self.queued.values()}
        bands.former = {each: self.rules(each) for each in busy}
        bands.to_adopt = sorted(busy, reverse=True)
        self.policy = policy
        for site in self.sites.values():
            site.stated = naive.stated_limit(policy, site.spec)
        self._age()
        self._provide()

    def _adopt_next(self) -> None:
        """One band takes over the policy in force."""
        bands = self.bands
        while bands.to_adopt:
            priority = bands.to_adopt.pop(0)
            if priority in bands.there:
                self._adopt(priority)
                break

    def _adopt(self, priority: int) -> None:
        former = self.bands.former.pop(priority, None)
        mine = [w for w in self.queued.values() if w.request.priority == priority]
        if former is None or not mine:
            return
        rules = self.rules(priority)
        if rules.ordering != former.ordering:
            for waiting in mine:
                waiting.order_key = naive.order_key(rules, waiting.view)
        if rules.fairness != former.fairness:
            self.tags[priority] = BandTags()
            for waiting in sorted(mine, key=lambda each: each.view.sequence):
                self.tags[priority].queue(waiting.flow, waiting.lane, self.pool.values(), lambda _: 1.0)
        most = former.flow_max_in_flight
        for flow in dict.fromkeys(waiting.flow for waiting in mine):
            was_held = most is not None and self.in_flight(priority, flow) >= most and flow != OVERFLOW
            is_held = self.is_at_cap(priority, flow)
            tags = self.tags[priority]
            if was_held and not is_held:
                tags.release(flow)
            elif is_held and not was_held:
                tags.rest(tags.flow(flow), next(iter(tags.flow(flow).lanes)))
