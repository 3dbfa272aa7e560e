"""What types can't tell of a scenario is found before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benchmarks.scenarios.checks import check, engine_model
from benchmarks.scenarios.loading import Size, load
from benchmarks.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable


def found(change: Callable[[dict[str, Any]], object], *, name: str = "overload-by-class") -> list[str]:
    """Everything that is wrong with a shipped scenario after this change."""
    document = msgspec.to_builtins(load(name, Size.FULL))
    document["duration_s"] = 30
    change(document)
    return [
        str(problem) for problem in check(msgspec.convert(document, Scenario), folder=Path(__file__).parent)
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(duration_s=0), "duration_s: is 0: expected a number above 0"),
        (lambda d: d.update(rounds=0), "rounds: is 0: there must be at least 1"),
        (lambda d: d.update(question=" "), "question: is empty: say it"),
        (lambda d: d["servers"].update(count=0), "servers.count: is 0: there must be at least 1"),
        (
            lambda d: d["servers"]["engine"].update(max_sequence=3),
            "servers.engine.max_sequence: there is no such field of an engine; did you mean 'max_sequences'?",
        ),
        (
            lambda d: d["servers"]["engine"].update(max_sequences=2.5),
            "servers.engine.max_sequences: is 2.5: expected a whole number",
        ),
        (
            lambda d: d["servers"]["engine"].update(blocks=2),
            "servers.engine: blocks is 2: it must be a finite number of at least 512",
        ),
        (
            lambda d: d["servers"].update(different={4: {"step_s": 1}}),
            "servers.different.4: there is no server 4: they are numbered from 0 to 3",
        ),
        (
            lambda d: d["picker"]["config"]["flowControl"].update(defaultRequestTTl="3s"),
            (
                'picker.config.flowControl.defaultRequestTTl: unknown field "defaultRequestTTl"; '
                "did you mean 'defaultRequestTTL'?"
            ),
        ),
        (
            lambda d: d["traffic"]["batch"].update(objective="bulk"),
            "traffic.batch.objective: 'bulk' is not among picker.objectives; known are premium, batch",
        ),
        (
            lambda d: d["traffic"]["batch"].update(tenants=["a", "b", "a"]),
            "traffic.batch.tenants: 'a' stands there more than once: keep one",
        ),
        (
            lambda d: d["traffic"]["batch"].update(patience_s=0),
            "traffic.batch.patience_s: is 0: expected a number above 0",
        ),
        (
            lambda d: d["traffic"]["batch"].update(arrivals=[]),
            "traffic.batch.arrivals: is empty: nothing would be sent",
        ),
        (
            lambda d: d["traffic"]["batch"].update(output_tokens=0),
            "traffic.batch.output_tokens: goes from 0 to 0 tokens: expected 1 or more, the least first",
        ),
        (
            lambda d: d["traffic"]["batch"].update(output_tokens=8190),
            (
                "traffic.batch: prompt and output have up to 8240 tokens together, but servers take 8192: shorten them "
                "(a lognormal has `most`), or raise servers.engine.max_model_tokens"
            ),
        ),
        (
            lambda d: d["traffic"]["batch"].update(arrivals=[{"kind": "poisson", "per_s": float("nan")}]),
            "traffic.batch.arrivals[0].per_s: is nan: expected a number above 0",
        ),
        (
            lambda d: d["traffic"]["batch"].update(
                arrivals=[{"kind": "poisson", "per_s": 1, "from_s": 5, "until_s": 4}]
            ),
            "traffic.batch.arrivals[0].until_s: is 4: it must be after from_s, which is 5",
        ),
        (
            lambda d: d["traffic"]["batch"].update(arrivals=[{"kind": "burst", "count": 3, "at_s": 31}]),
            "traffic.batch.arrivals[0].at_s: is 31: the run goes from 0 to duration_s, which is 30",
        ),
        (
            lambda d: d["traffic"]["batch"].update(
                arrivals=[{"kind": "ramp", "from_per_s": 0, "to_per_s": 0}]
            ),
            "traffic.batch.arrivals[0]: goes from 0 to 0 requests per second: raise one of them",
        ),
        (
            lambda d: d.update(events=[{"do": "fault", "at_s": 1, "servers": [9]}]),
            "events[0].servers: there is no server 9: they are numbered from 0 to 3",
        ),
        (
            lambda d: d.update(events=[{"do": "fault", "at_s": 1, "servers": [0], "metrics": "late"}]),
            "events[0]: metrics is 'late': expected one of none, garbage, error, slow",
        ),
        (
            lambda d: d.update(events=[{"do": "scale", "at_s": 1, "to": 5}]),
            "events[0].to: is 5: there are 4 servers, so 0 to that many",
        ),
        (
            lambda d: d.update(events=[{"do": "scale", "at_s": 99, "to": 1}]),
            "events[0].at_s: is 99: the run goes from 0 to duration_s, which is 30",
        ),
        (
            lambda d: d.update(events=[{"do": "set-objective", "at_s": 1, "name": "premum", "priority": 3}]),
            "events[0].name: 'premum' is not among picker.objectives; did you mean 'premium'?",
        ),
        (
            lambda d: d.update(events=[{"do": "hang-up", "at_s": 1, "traffic": "batches"}]),
            "events[0].traffic: there is no class 'batches' in traffic; did you mean 'batch'?",
        ),
        (
            lambda d: d.update(events=[{"do": "hang-up", "at_s": 1, "traffic": "batch", "share": 1.5}]),
            "events[0].share: is 1.5: expected more than 0 and at most 1",
        ),
        (
            lambda d: d["targets"].append("picker"),
            "targets[2]: 'picker' stands there a second time: keep one",
        ),
        (
            lambda d: d["pass"][0].update(traffic="premum"),
            "pass[0].traffic: there is no class 'premum' in traffic; did you mean 'premium'?",
        ),
        (lambda d: d["pass"][0].pop("at_least"), "pass[0]: has no bound: give at_most or at_least"),
        (lambda d: d["pass"][0].update(at_most=2), "pass[0]: has two bounds: make two lines of it"),
        (lambda d: d["pass"][0].update(at_least=-1), "pass[0].at_least: is -1: expected 0 or more"),
        (
            lambda d: d["pass"][0].update(target="envoy:round-robin"),
            "pass[0].target: is 'envoy:round-robin', which is not among targets; known are picker, envoy:least-request",
        ),
        (
            lambda d: d["pass"][-1]["times"].update(target="direct"),
            "pass[8].times.target: is 'direct', which is not among targets; known are picker, envoy:least-request",
        ),
        (
            lambda d: d["pass"][0].update(measure="queued_max"),
            "pass[0].traffic: queued_max is of the whole round, not of a class: remove it",
        ),
        (
            lambda d: (
                d["traffic"]["premium"].update(delivery="whole"),
                d["pass"][0].update(measure="gap_p50_s"),
            ),
            "pass[0].measure: gap_p50_s: answers that come whole have no gaps between tokens",
        ),
    ],
)
def test_each_mistake_is_the_one_problem_that_is_found(
    change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    """It says where, what stands there, and what would be right."""
    assert found(change) == [problem]


def test_all_problems_are_found_at_once() -> None:
    """Whoever mends a file doesn't mend it line by line."""
    problems = found(
        lambda d: (d.update(rounds=0), d["pass"][0].update(traffic="x"), d["traffic"].pop("batch"))
    )
    assert {problem.partition(":")[0] for problem in problems} == {
        "rounds",
        "pass[0].traffic",
        "pass[6].traffic",
    }


def test_a_target_that_does_not_exist_says_which_do() -> None:
    """So a typo costs no run."""
    (problem,) = found(lambda d: d["targets"].append("pickers"))
    assert problem.startswith("targets[2]: ")
    assert "picker:lean" in problem


def test_a_trace_must_be_there() -> None:
    """Its path is relative to the scenario's folder."""
    here = Path(__file__)
    trace = {"kind": "trace", "path": "none.jsonl"}
    (problem,) = found(lambda d: d["traffic"]["batch"].update(arrivals=[trace]))
    assert problem == (
        f"traffic.batch.arrivals[0].path: there is no file {here.parent / 'none.jsonl'}; "
        "paths are relative to the scenario's folder"
    )
    there = {"kind": "trace", "path": here.name}
    assert found(lambda d: d["traffic"]["batch"].update(arrivals=[there])) == []


def test_engine_fields_make_a_model_server() -> None:
    """Whole numbers are whole again, although YAML's numbers were read as floating-point ones."""
    model = engine_model({"max_sequences": 4.0, "step_s": 1.0})
    assert model.max_sequences == 4
    assert isinstance(model.max_sequences, int)
    assert isinstance(model.step_s, float)
