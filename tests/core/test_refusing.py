"""An endpoint on whose port nobody listens must not swallow the queue."""

from __future__ import annotations

import random

import pytest

from epp.core.actions import Dispatch
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import Ended, EndpointsChanged, Scraped
from tests.core.building import A, B, controller, endpoint, request

IDLE = EngineSample(0, 0, 0.0)


def refused(spec: EndpointSpec, at_s: float) -> Scraped:
    """A scrape that nobody answered."""
    return Scraped(spec.key, at_s, at_s, None, Contact.REFUSED)


def destinations(actions: list[object]) -> list[str]:
    """Where requests went."""
    return [action.endpoint.address for action in actions if isinstance(action, Dispatch)]


def test_nothing_goes_where_nobody_listens_while_somebody_else_does() -> None:
    """Not a single request, however full the other one is; bodiless requests neither."""
    core = controller(A, B)
    core.handle(Scraped(A.key, 0.0, 0.0, IDLE), 0.0)
    core.handle(refused(B, 0.0), 0.0)
    went = [core.handle(request(number), 0.1) for number in range(300)]
    went.append(core.handle(request(300, need=0), 0.1))
    assert {where for actions in went for where in destinations(actions)} == {A.address}
    core.check()


def test_it_is_used_again_with_the_first_sign_of_life() -> None:
    """One answer, even one without a sample, and what waits goes there in the same call."""
    core = controller(A, B)
    core.handle(Scraped(A.key, 0.0, 0.0, IDLE), 0.0)
    core.handle(refused(B, 0.0), 0.0)
    for number in range(300):
        core.handle(request(number), 0.1)
    assert B.address in destinations(core.handle(Scraped(B.key, 0.2, 0.2, None), 0.2))
    core.check()


def test_if_all_refuse_none_is_believed_to_be_dead() -> None:
    """The fault may be on our side: dispatch goes on by our own accounting."""
    core = controller(A, B)
    core.handle(refused(A, 0.0), 0.0)
    core.handle(refused(B, 0.0), 0.0)
    went = [core.handle(request(number), 0.1) for number in range(4)]
    assert {where for actions in went for where in destinations(actions)} == {A.address, B.address}
    core.check()


def test_the_last_one_that_answers_leaves_and_the_rest_is_tried() -> None:
    """Who is shunned depends on the others, so it follows when they come and go."""
    core = controller(A, B)
    core.handle(refused(B, 0.0), 0.0)
    for number in range(300):
        core.handle(request(number), 0.1)
    assert destinations(core.handle(EndpointsChanged((B,)), 0.2))
    core.check()
    core.handle(EndpointsChanged((A, B)), 0.3)
    core.check()
    core.handle(Ended(0), 0.4)
    core.check()


@pytest.mark.parametrize("seed", range(4))
def test_over_a_long_history_nobody_is_sent_to_a_closed_port(seed: int) -> None:
    """Endpoints come, go, refuse and answer again at random, and check() holds after every one of 3,000 steps."""
    rng = random.Random(seed)
    pool = [endpoint(number, max_concurrency=3) for number in range(4)]
    core, listed, refusing, running = controller(*pool), set(pool), set(), []
    for step in range(3000):
        now = step / 64
        spec = rng.choice(pool)
        match rng.choice(["arrive", "arrive", "end", "end", "scrape", "enlist"]):
            case "arrive":
                event = request(step, priority=rng.choice((-1, 0, 1)), need=rng.choice((0, 1, 1, 1)))
            case "end" if running:
                event = Ended(running.pop(rng.randrange(len(running))))
            case "enlist":
                listed = set(rng.sample(pool, rng.randint(1, 4)))
                refusing &= listed
                event = EndpointsChanged(tuple(sorted(listed, key=lambda each: each.key)))
            case _:
                contact = rng.choice(list(Contact))
                if spec in listed:
                    refusing = refusing | {spec} if contact is Contact.REFUSED else refusing - {spec}
                event = Scraped(spec.key, now, now, None, contact)
        actions = core.handle(event, now)
        core.check()
        sent = [action for action in actions if isinstance(action, Dispatch)]
        running += [action.request_id for action in sent]
        if refusing != listed:
            assert {action.endpoint for action in sent}.isdisjoint(refusing)
