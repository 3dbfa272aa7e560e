"""Views of endpoints, made with only what a test is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from epp.core.endpoint import EndpointSpec, EndpointView, EngineSample, Knowledge

MakeView = Callable[..., EndpointView]


@pytest.fixture
def make_view() -> MakeView:
    """A maker of views; an endpoint is idle and freshly sampled unless the test says otherwise."""

    def make(
        name: str = "a",
        *,
        own: int = 0,
        foreign: int = 0,
        knowledge: Knowledge = Knowledge.FRESH,
        waiting: int = 0,
        running: float = 0,
        kv: float = 0.0,
        sent: int = 0,
    ) -> EndpointView:
        return EndpointView(
            spec=EndpointSpec(address=f"{name}:8000"),
            own_requests=own,
            own_tokens=own * 100,
            foreign_requests=foreign,
            knowledge=knowledge,
            sample=EngineSample(waiting, running, kv),  # type: ignore[arg-type]  # odd samples are the point
            proven_requests=0,
            sent_since_sample=sent,
        )

    return make
