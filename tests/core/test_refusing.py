"""An endpoint on whose port nobody listens must not swallow the queue."""

from __future__ import annotations

from epp.core.actions import Dispatch
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import Ended, EndpointsChanged, Scraped
from tests.core.building import A, B, controller, request

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
