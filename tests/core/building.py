"""What core tests are made of: endpoints, policies, requests, with the defaults that most tests want."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epp.core import Controller
from epp.core.actions import Dispatch, Refuse, ScrapeNow, WakeAt
from epp.core.capacity import ConcurrencyDetector
from epp.core.ceilings import StaticCeiling
from epp.core.endpoint import EndpointSpec, EngineSample
from epp.core.events import Arrived, EndpointsChanged, Scraped
from epp.core.fairness import GlobalStrictFairness, RoundRobinFairness
from epp.core.ordering import FcfsOrdering
from epp.core.policy import BandPolicy, FlowControlPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from epp.core.actions import Action, Reason
    from epp.core.endpoint import EndpointView

ROUND_ROBIN = BandPolicy(RoundRobinFairness(), FcfsOrdering())
GLOBAL_STRICT = BandPolicy(GlobalStrictFairness(), FcfsOrdering())


class LeastLoaded:
    """The choice that most tests use."""

    def choose(self, candidates: Sequence[EndpointView], facts: object, /) -> EndpointView:
        """The endpoint with the least on it, the first of equals."""
        del facts
        return min(candidates, key=lambda view: view.load)


def endpoint(number: int, *, uid: str = "", max_concurrency: int | None = None) -> EndpointSpec:
    """The pool's endpoint of that number."""
    return EndpointSpec(f"10.0.0.{number}:8000", uid=uid, max_concurrency=max_concurrency)


A, B, C, D = (endpoint(number) for number in (1, 2, 3, 4))


def policy(**changes: Any) -> FlowControlPolicy:
    """Flow control with one request at a time per endpoint, unless said otherwise."""
    settings: dict[str, Any] = {
        "capacity": ConcurrencyDetector(max_concurrency=1),
        "ceiling": StaticCeiling(),
        "choice": LeastLoaded(),
        "default_band": ROUND_ROBIN,
    }
    return FlowControlPolicy(**(settings | changes))


def controller(*endpoints: EndpointSpec, now: float = 0.0, **changes: Any) -> Controller:
    """A controller with these endpoints."""
    built = Controller(policy(**changes), now=now)
    if endpoints:
        built.handle(EndpointsChanged(endpoints), now)
    return built


def request(
    request_id: int, priority: int = 0, tenant: str = "tenant", *, size_bytes: int = 10, **fields: Any
) -> Arrived:
    """The arrival of a request; `charge_tokens` is for one whose size is known exactly."""
    charge_tokens = fields.pop("charge_tokens", 1)
    return Arrived(
        request_id,
        priority,
        tenant,
        size_bytes,
        **{"input_tokens": charge_tokens, "max_output_tokens": 0, **fields},
    )


def sample(waiting: int = 0, running: int = 0, kv_utilization: float = 0.1) -> EngineSample:
    """What an engine's metrics say."""
    return EngineSample(waiting, running, kv_utilization)


def scraped(spec: EndpointSpec, at_s: float, **metrics: Any) -> Scraped:
    """A scrape that was answered in no time."""
    return Scraped(spec.key, at_s, at_s, sample(**metrics))


def dispatched(actions: Iterable[Action]) -> list[int]:
    """Who was sent, in order."""
    return [action.request_id for action in actions if isinstance(action, Dispatch)]


def destinations(actions: Iterable[Action]) -> dict[int, str]:
    """Who was sent where."""
    return {a.request_id: a.endpoint.address for a in actions if isinstance(a, Dispatch)}


def refused(actions: Iterable[Action]) -> dict[int, Reason]:
    """Who was refused, and why."""
    return {action.request_id: action.reason for action in actions if isinstance(action, Refuse)}


def asked(actions: Iterable[Action]) -> list[tuple[str, str]]:
    """Which endpoints are to be scraped at once."""
    return [action.key for action in actions if isinstance(action, ScrapeNow)]


def wake_s(actions: Iterable[Action]) -> float | None:
    """When the core wants to be called again."""
    return next((action.at_s for action in actions if isinstance(action, WakeAt)), None)
