"""A run that was never made: two targets, two rounds, one class that suffers, words that would like to be markup."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.costs.table import Bound, Failure, Line, Unit
from benchmarks.load.histograms import ClassHistograms, Which
from benchmarks.load.outcome import Outcome, Result
from benchmarks.plays.judge import judge
from benchmarks.plays.play import Play
from benchmarks.plays.runner import Failed, Run, Skipped
from benchmarks.reports import gathering
from benchmarks.reports.report import Report, Situation
from benchmarks.scenarios.loading import Size, load
from benchmarks.scenarios.scenario import Kind, Scenario
from benchmarks.stage.evidence import Evidence, Usage
from tests.benchmarks.plays.played import answered, engine, failed, play

PICKER, ENVOY = "picker", "envoy:least-request"

YAML = """
name: sample
question: Who waits <longest> & why?
story: A chat | and a batch.
duration_s: 10
servers: {count: 2}
picker:
  objectives: {batch: -10}
  config: {apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig}
traffic:
  chat: {tenants: [ada, bob], arrivals: [{kind: poisson, per_s: 2}]}
  batch: {objective: batch, arrivals: [{kind: burst, count: 40, at_s: 2}], delivery: whole}
targets: [picker, "envoy:least-request"]
events:
- {do: scale, at_s: 3, to: 1}
- {do: hang-up, at_s: 5, traffic: batch, share: 0.5}
pass:
- {says: nothing <breaks>, kind: behaviour, measure: broken, at_most: 0}
- says: chat waits at most half as long as without a picker
  traffic: chat
  measure: ttft_p95_s
  at_most: 0.5
  times: {measure: ttft_p95_s, traffic: chat, target: "envoy:least-request"}
- {says: batch is quick as well, traffic: batch, measure: ttft_p95_s, at_most: 0.1}
- {says: the pool is never idle beside work, kind: behaviour, measure: idle_eligible_slot_s, at_most: 0.5}
"""


def scenario(folder: Path) -> Scenario:
    """Read from a file, as every scenario is."""
    path = folder / "sample.yaml"
    path.write_text(YAML)
    return load(path, Size.FULL)


def histograms(outcomes: tuple[Outcome, ...]) -> dict[str, ClassHistograms]:
    """As a player would have made them."""
    found: dict[str, ClassHistograms] = {}
    for outcome in outcomes:
        mine = found.setdefault(outcome.class_name, ClassHistograms())
        mine.record(Which.TTFT, outcome.ttft_s)
        mine.record(Which.LATENCY, outcome.latency_s)
        mine.record(Which.GAP, 0.05, count=max(0, outcome.output_tokens - 1))
    return found


@functools.cache
def one(target: str, number: int) -> Play:
    """A round: chat is quick at the picker and slow elsewhere; batch is refused there and slow elsewhere."""
    slower = 1.0 if target == PICKER else 4.0
    chat = tuple(
        answered(0.1 * slower * number + 0.001 * n, tenant="ada" if n % 2 else "bob", due_s=n / 2)
        for n in range(20)
    )
    batch = tuple(
        failed(Result.REFUSED, class_name="batch")._replace(status=429, detail="rejected <ttl>", due_s=2.0)
        if target == PICKER and n % 2
        else answered(3.0 + 0.1 * n, class_name="batch", due_s=2.0, takes_s=6.0)
        for n in range(40)
    )
    outcomes = chat + batch
    usage = {"envoy": Usage(cpu_s=0.06, peak_bytes=80_000_000)}
    if target == PICKER:
        usage["picker"] = Usage(cpu_s=0.12, peak_bytes=90_000_000)
    evidence = Evidence(
        usage=usage,
        engines=(engine(), engine()),
        idle_eligible_slot_s=0.0 if target == PICKER else None,
        notes={"picker": "said <something>"} if target == PICKER else {},
    )
    return play(
        *outcomes, target=target, round_number=number, histograms=histograms(outcomes), evidence=evidence
    )


def run(folder: Path, *targets: str, rounds: int = 2) -> Run:
    """All plays."""
    made = Run(scenario(folder))
    made.plays = [
        one(target, number) for number in range(1, rounds + 1) for target in targets or (PICKER, ENVOY)
    ]
    return made


def situation(folder: Path, *targets: str, kinds: frozenset[Kind] = frozenset(Kind)) -> Situation:
    """Judged and gathered."""
    made = run(folder, *targets)
    return gathering.situation(
        made, judge(made.scenario, made.plays, kinds=kinds), kinds=kinds, rounds_asked=2
    )


def told_by(folder: Path, told: Mapping[str, Evidence], *, lines: Sequence[str]) -> Situation:
    """One round at each of these targets, judged by these pass lines alone."""
    path = folder / "told.yaml"
    path.write_text("\n- ".join([YAML.partition("\npass:")[0] + "\npass:", *lines]))
    made = Run(load(path, Size.FULL))
    made.plays = [play(answered(), target=target, evidence=evidence) for target, evidence in told.items()]
    verdicts = judge(made.scenario, made.plays, kinds=Kind)
    return gathering.situation(made, verdicts, kinds=Kind, rounds_asked=1)


def troubled(folder: Path) -> Situation:
    """One in which nothing could be played."""
    made = Run(scenario(folder))
    made.failed = [Failed(PICKER, 1, "it <ended> early\nwith two lines")]
    made.skipped = [Skipped("direct", "there is no pool")]
    return gathering.situation(made, judge(made.scenario, [], kinds=Kind), kinds=Kind, rounds_asked=2)


def report(*situations: Situation) -> Report:
    """With a cost table of which one row is kept, one is missed, and one failed."""
    lines = [
        Line(
            row="request",
            what="CPU per request",
            bound=Bound(1.3, Unit.RATIO, "the bare server"),
            rounds=(1.2, 1.1),
        ),
        Line(
            row="chunk",
            what="CPU per <chunk>",
            bound=Bound(1.1, Unit.RATIO),
            rounds=(1.5,),
            facts={"ours": "60 us"},
        ),
    ]
    return Report(
        finished="2026-01-02T03:04:05+00:00",
        command="python -m benchmarks <all>",
        size="full",
        machine={"cpu": "A <fast> one", "cores": 2, "python": "3.11.0"},
        situations=list(situations),
        costs=gathering.costs(lines, [Failure("held", "the child is gone")]),
        left_out=["Something <else>"],
    )
