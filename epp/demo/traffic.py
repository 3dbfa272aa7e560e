"""Who sends what, and when: an open loop.

Promises:
- The schedule is drawn before the first request is sent, from a seed: the same seed gives the same arrivals, and
  another class or another rate of one class leaves the others' arrivals as they are.
- Open loop: requests leave at their scheduled times, however long earlier ones take. Users don't slow down
  because others are waiting; a load generator that does measures its own politeness.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence


MAX_OVERLOAD = 20.0
"""Beyond it the clients would need more of the machine than the servers."""


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """Requests that share an objective."""

    name: str
    objective: str | None
    """The InferenceObjective that they name; None means that they name none."""
    priority: int
    """What that amounts to."""
    share: float
    """Offered load, as a share of the pool's capacity."""


class Arrival(NamedTuple):
    """One request to come."""

    due_s: float
    """Seconds since the beginning."""
    traffic_class: TrafficClass


def three_classes(overload: float) -> tuple[TrafficClass, ...]:
    """Premium and standard fit into the pool with room to spare; batch takes the load to `overload`.

    So whoever waits behind batch waits because nobody put the requests in order.
    """
    premium, standard = 0.3, 0.5
    if not premium + standard < overload <= MAX_OVERLOAD:
        raise ValueError(
            f"{overload:g} times the capacity: give more than {premium + standard:g}, at most {MAX_OVERLOAD:g}"
        )
    return (
        TrafficClass("premium", "premium", 10, premium),
        TrafficClass("standard", None, 0, standard),
        TrafficClass("batch", "batch", -10, overload - premium - standard),
    )


def schedule(
    classes: Iterable[TrafficClass], *, capacity_per_s: float, duration_s: float, seed: int
) -> tuple[Arrival, ...]:
    """Poisson arrivals of every class, in order of time; the pool can serve `capacity_per_s` requests."""
    arrivals: list[Arrival] = []
    for traffic_class in classes:
        # Its own dice for every class; arrival times need no cryptography.
        dice = random.Random(f"{seed}/{traffic_class.name}")  # noqa: S311
        due_s = dice.expovariate(1.0) / (traffic_class.share * capacity_per_s)
        while due_s < duration_s:
            arrivals.append(Arrival(due_s, traffic_class))
            due_s += dice.expovariate(1.0) / (traffic_class.share * capacity_per_s)
    return tuple(sorted(arrivals, key=lambda arrival: arrival.due_s))


async def play(
    arrivals: Sequence[Arrival], send: Callable[[Arrival, float], Awaitable[None]], *, start_s: float
) -> None:
    """Send every request when it is due, counted from `start_s` on the loop's clock; return when all have ended.

    `send` gets the arrival and its due time on the loop's clock. It should not raise: that ends the play.
    """
    loop = asyncio.get_running_loop()

    async def sent(arrival: Arrival, due_s: float) -> None:
        await send(arrival, due_s)

    async with asyncio.TaskGroup() as requests:
        for arrival in arrivals:
            due_s = start_s + arrival.due_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            requests.create_task(sent(arrival, due_s))
