"""Following a large namespace: what the first sync costs, how long it holds up the loop, how fast a change arrives.

    python -m benchmarks.costs.sync --kubeconfig PATH --pods N --changes M

Everything is there that takes objects in when a picker runs: the reflectors, the reconciler, the core. The scraper
is not, since there is nobody to scrape.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.accounting import resident_bytes
from benchmarks.costs.apiserver import NAMESPACE, POOL
from benchmarks.program import RESULT, run, say
from epp.api.manifest import POOL_GROUP
from epp.api.pool import PoolReconciler
from epp.config.build import build
from epp.config.parse import default_config
from epp.core import Controller
from epp.core.events import EndpointsChanged
from epp.kube.connection import ApiServer
from epp.kube.source import ClusterObjects
from epp.serve import garbage
from epp.serve.objects import Objects

if TYPE_CHECKING:
    from epp.api.changes import Note
    from epp.core.events import Event

_OBJECTIVES = f"/apis/llm-d.ai/v1alpha2/namespaces/{NAMESPACE}/inferenceobjectives"
_MERGE = "application/merge-patch+json"
_PAGE = 500


class _Source(ClusterObjects):
    """As in the picker's shell, which says in the same words where an object is."""

    def locate(self, note: Note) -> str:
        """An object's name says it."""
        return str(note)


class Follower:
    """What a picker does with objects, without the rest of it."""

    def __init__(self, server: ApiServer) -> None:
        loop = asyncio.get_running_loop()
        runtime = build(default_config(), seed=0, refresh_interval_s=0.2, memory_limit_bytes=None)
        self.core = Controller(runtime.policy, now=loop.time())
        source = _Source(
            server, namespace=NAMESPACE, pool=POOL, pool_group=POOL_GROUP, clock=loop.time, rng=Random(0)
        )
        reconciler = PoolReconciler(pool_name=POOL, pool_namespace=NAMESPACE, pool_group=POOL_GROUP)
        self.objects = Objects(source, reconciler, admits=lambda _: True, label=POOL)
        self.objects.connect(feed=self._feed, scraper=None, changed=self._changed, owners=None)
        self.changed = asyncio.Event()
        self.endpoints = 0

    def _feed(self, event: Event) -> None:
        if isinstance(event, EndpointsChanged):
            self.endpoints = len(event.endpoints)
        self.core.handle(event, asyncio.get_running_loop().time())

    def _changed(self) -> None:
        self.changed.set()


class Ticker:
    """Takes every turn of the loop, and remembers the most that others did between two of its own."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before_s)


async def _plain_s(server: ApiServer) -> float:
    """CPU seconds of reading the same pages as plain documents, the least that any Python client does."""
    pages: list[bytes] = []
    query = {"limit": str(_PAGE)}
    while True:
        reply = await server.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", query=query)
        pages.append(reply.body)
        following = json.loads(reply.body)["metadata"].get("continue")
        if not following:
            break
        query["continue"] = following
    started_s = time.thread_time()
    for page in pages:
        json.loads(page)
    return time.thread_time() - started_s


async def _measure(kubeconfig: Path, pods: int, changes: int) -> None:
    server = await ApiServer.connect(kubeconfig)
    plain_s = await _plain_s(server)
    follower, ticker = Follower(server), Ticker()
    gc.collect()
    resident, started_s, cpu_s = resident_bytes(os.getpid()), time.monotonic(), time.process_time()
    garbage.settle()
    ticking = asyncio.create_task(ticker.run())
    following = asyncio.create_task(follower.objects.follow())
    while follower.objects.why_not_ready() is not None or follower.endpoints < pods:
        follower.changed.clear()
        await follower.changed.wait()
    synced_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
    ticking.cancel()
    latencies = [await _change_s(server, follower, number) for number in range(changes)]
    gc.collect()
    say(
        RESULT,
        synced_s=synced_s,
        sync_cpu_s=cpu_s,
        plain_s=plain_s,
        longest_s=ticker.longest_s,
        bytes_per_pod=(resident_bytes(os.getpid()) - resident) / pods,
        latencies_s=latencies,
    )
    following.cancel()
    await asyncio.gather(following, ticking, return_exceptions=True)
    await server.close()


async def _change_s(server: ApiServer, follower: Follower, number: int) -> float:
    """From the API server's answer to a change until a request would get the new priority, in seconds."""
    priority = 1000 + number
    started_s = time.monotonic()
    await server.request(
        "PATCH",
        f"{_OBJECTIVES}/objective-0000",
        body={"spec": {"priority": priority}},
        content_type=_MERGE,
    )
    while (found := follower.objects.objective("objective-0000")) is None or found.priority != priority:
        follower.changed.clear()
        await follower.changed.wait()
    return time.monotonic() - started_s


def main(argv: list[str] | None = None) -> None:
    """Measure once, in this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs.sync")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--changes", type=int, required=True)
    args = parser.parse_args(argv)
    run(_measure(args.kubeconfig, args.pods, args.changes))


if __name__ == "__main__":
    main()
