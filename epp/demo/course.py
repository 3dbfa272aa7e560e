"""The course of the demo: both halves, the verdict, the report, and a stack to try out at the end."""

from __future__ import annotations

import asyncio
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.demo.gauge import QueueGauge
from epp.demo.rehearsal import CalibrationError, Capacity, Plan, calibrate, rehearse
from epp.demo.report import Story, write_report
from epp.demo.screen import Screen
from epp.demo.stack import MODEL, PLACES, PROMPT, SERVERS, TTL_S, Stack
from epp.demo.traffic import schedule, three_classes
from epp.demo.verdict import Half, Verdict, judge
from epp.quickstart.children import Children

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epp.demo.tally import Outcome
    from epp.demo.traffic import TrafficClass
    from epp.quickstart.address import Address
    from epp.quickstart.envoy import BodyMode

PATIENCE_S = 10.0
"""How long a client waits for its first token."""


MAX_DURATION_S = 600.0


class CourseError(Exception):
    """The demo cannot be run like this; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    binary: Path
    """Envoy."""
    directory: Path
    """Where everything is written."""
    duration_s: float
    """Of traffic, in each half; 0 skips both."""
    overload: float
    seed: int
    body_mode: BodyMode
    hold: bool
    """Whether a stack is kept up at the end."""


class Course:
    """One run of the demo."""

    def __init__(self, options: Options, screen: Screen | None = None) -> None:
        idle = options.hold and options.duration_s == 0
        if not idle and not 0 < options.duration_s <= MAX_DURATION_S:
            raise CourseError(
                f"--duration {options.duration_s:g}: give seconds, more than 0 and at most {MAX_DURATION_S:g}"
            )
        try:
            self._classes = three_classes(options.overload)
        except ValueError as error:
            raise CourseError(f"--overload: {error}") from error
        self._options = options
        self._screen = screen if screen is not None else Screen()

    async def run(self) -> bool:
        """Whether the promise was kept; with nothing measured it was not broken."""
        kept = True
        try:
            if self._options.duration_s:
                kept = (await self._measure()).kept
            if self._options.hold:
                await self._hold()
        except CalibrationError as error:
            raise CourseError(str(error)) from error
        return kept

    async def _measure(self) -> Verdict:
        options = self._options
        async with self._children("with-picker") as children:
            stack = self._stack(children, "with-picker")
            self._screen.say(f"Starting {SERVERS} simulated model servers, the picker and Envoy ...")
            servers = await stack.start_servers(seed=options.seed)
            capacity = await children.guard(
                calibrate([f"http://{server}" for server in servers], PROMPT, places=PLACES)
            )
            self._screen.say(
                f"All {SERVERS * PLACES} places taken, a request runs for {capacity.service_time_s:.1f} s: the pool "
                f"completes {capacity.per_s:.1f} per second.\nNow {options.overload:g} times that arrive."
            )
            picker = await stack.start_picker(servers)
            base_url = await stack.start_gateway(picker, options.body_mode)
            plan = self._plan(capacity)
            view = self._screen.half("Through the picker", duration_s=options.duration_s)
            async with QueueGauge(picker.metrics_url) as gauge:
                with view:
                    picked = await children.guard(rehearse(base_url, plan, view, queue=gauge.read))
        async with self._children("envoy-alone") as children:
            stack = self._stack(children, "envoy-alone")
            base_url = await stack.start_baseline(await stack.start_servers(seed=options.seed))
            view = self._screen.half(
                "The same requests through Envoy alone, least request first", duration_s=options.duration_s
            )
            with view:
                alone = await children.guard(rehearse(base_url, plan, view, queue=None))
        return self._conclude(picked, alone, capacity)

    def _plan(self, capacity: Capacity) -> Plan:
        arrivals = schedule(
            self._classes,
            capacity_per_s=capacity.per_s,
            duration_s=self._options.duration_s,
            seed=self._options.seed,
        )
        return Plan(classes=self._classes, arrivals=arrivals, prompt=PROMPT, patience_s=PATIENCE_S)

    def _conclude(self, picked: Sequence[Outcome], alone: Sequence[Outcome], capacity: Capacity) -> Verdict:
        options = self._options
        names = [each.name for each in self._classes]
        picked_half = Half.of(picked, names, arrivals_s=options.duration_s)
        alone_half = Half.of(alone, names, arrivals_s=options.duration_s)
        verdict = judge(
            picked=picked_half,
            alone=alone_half,
            service_time_s=capacity.service_time_s,
            patience_s=PATIENCE_S,
        )
        self._screen.verdict(picked_half, alone_half, verdict)
        story = Story(
            classes=self._classes,
            picked=picked,
            alone=alone,
            picked_half=picked_half,
            alone_half=alone_half,
            verdict=verdict,
            overload=options.overload,
            duration_s=options.duration_s,
            patience_s=PATIENCE_S,
            capacity_per_s=capacity.per_s,
            how=_how(options, self._classes, capacity),
        )
        picture, page = write_report(story, options.directory)
        self._screen.say(f"Report: {page} and {picture}")
        return verdict

    async def _hold(self) -> None:
        async with self._children("hold") as children:
            stack = self._stack(children, "hold")
            servers = await stack.start_servers(seed=self._options.seed)
            picker = await stack.start_picker(servers)
            base_url = await stack.start_gateway(picker, self._options.body_mode)
            self._screen.say(_invitation(base_url, picker.metrics_url, servers))
            await children.guard(_forever())

    def _children(self, name: str) -> Children:
        return Children(logs=self._options.directory / "logs" / name)

    def _stack(self, children: Children, name: str) -> Stack:
        return Stack(
            children, binary=self._options.binary, directory=self._options.directory / "files" / name
        )


async def _forever() -> None:
    await asyncio.Event().wait()


def _how(
    options: Options, classes: Sequence[TrafficClass], capacity: Capacity
) -> tuple[tuple[str, str], ...]:
    shares = ", ".join(f"{each.name} {each.share:g}" for each in classes)
    return (
        ("Model servers", f"{SERVERS} simulated ones on one address, {PLACES} places each"),
        ("Capacity", f"{capacity.per_s:.1f} requests/s, measured"),
        ("Service time", f"{capacity.service_time_s:.2f} s with all places taken"),
        ("Traffic", f"{shares} times the capacity, for {options.duration_s:g} s; seed {options.seed}"),
        ("Patience", f"clients hang up after {PATIENCE_S:g} s without a token"),
        (
            "Picker",
            f"at most {PLACES} requests on a server, refusal after {TTL_S} s; Envoy: {options.body_mode.value}",
        ),
        ("Envoy alone", "least request over the same servers, started anew"),
        ("Machine", f"{os.cpu_count()} cores, Python {platform.python_version()}; everything runs on it"),
    )


def _invitation(base_url: str, metrics_url: str, servers: Sequence[Address]) -> str:
    return f"""
Everything is up. Ctrl-C ends it.

  curl -N {base_url}/v1/chat/completions \\
    -H 'content-type: application/json' -H 'x-llm-d-inference-objective: premium' \\
    -d '{{"model": "{MODEL}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

or with the openai package:

  from openai import OpenAI

  client = OpenAI(base_url="{base_url}/v1", api_key="none")
  answer = client.chat.completions.create(
      model="{MODEL}",
      messages=[{{"role": "user", "content": "Hello"}}],
      extra_headers={{"x-llm-d-inference-objective": "premium"}},
  )
  print(answer.choices[0].message.content)

The picker's metrics: {metrics_url}
The model servers: {", ".join(map(str, servers))}
"""
