"""Plans: what is drawn from a scenario."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import correlation
from typing import Any

import msgspec
import pytest

from benchmarks.load import trace
from benchmarks.load.plan import Delivery, Due, Plan
from benchmarks.scenarios.planning import PlanError, draw
from benchmarks.scenarios.scenario import Scenario

NOWHERE = Path("/nowhere")
CHAT: dict[str, Any] = {
    "arrivals": [{"kind": "poisson", "per_s": 30}, {"kind": "burst", "count": 9, "every_s": 10}],
    "objective": "premium",
    "tenants": ["ada", "bob", "eve"],
    "prompt_tokens": {"kind": "lognormal", "mean": 100},
    "output_tokens": {"kind": "uniform", "least": 5, "most": 50},
    "patience_s": 7,
    "headers": {"x-more": "yes"},
}
BATCH: dict[str, Any] = {"arrivals": [{"kind": "ramp", "from_per_s": 0, "to_per_s": 20}], "delivery": "whole"}


def scenario_of(seed: int = 1, duration_s: float = 60.0, **traffic: dict[str, Any]) -> Scenario:
    """One with this traffic."""
    fields = {
        "name": "s",
        "question": "?",
        "story": "",
        "duration_s": duration_s,
        "servers": {"count": 1},
        "picker": {"config": {}},
        "traffic": traffic,
        "pass": [],
        "seed": seed,
    }
    return msgspec.convert(fields, Scenario)


def drawn(seed: int = 1, duration_s: float = 60.0, folder: Path = NOWHERE, **traffic: dict[str, Any]) -> Plan:
    """The plan of a scenario with this traffic."""
    return draw(scenario_of(seed, duration_s, **traffic), folder=folder)


def of_class(plan: Plan, name: str) -> list[Due]:
    """The requests of one class."""
    return [due for due in plan.requests if due.class_name == name]


def test_a_plan_has_all_classes_in_order_of_time() -> None:
    """Requests are sorted, and what a class has in common is kept once."""
    plan = drawn(chat=CHAT, batch=BATCH)
    times = [due.due_s for due in plan.requests]
    assert times == sorted(times)
    assert plan.duration_s == 60.0
    assert set(plan.manners) == {"chat", "batch"}
    chat, batch = plan.manners["chat"], plan.manners["batch"]
    assert (chat.name, chat.objective, chat.delivery, chat.patience_s) == (
        "chat",
        "premium",
        Delivery.STREAM,
        7.0,
    )
    assert dict(chat.headers) == {"x-more": "yes"}
    assert (batch.objective, batch.delivery) == (None, Delivery.WHOLE)
    assert Counter(due.due_s for due in of_class(plan, "chat") if due.due_s % 10 == 0) == dict.fromkeys(
        (0.0, 10.0, 20.0, 30.0, 40.0, 50.0), 9
    )
    assert {(due.tenant, due.prompt_tokens, due.output_tokens) for due in of_class(plan, "batch")} == {
        ("", 50, 24)
    }


def test_the_seed_decides_everything() -> None:
    """The same one gives the same plan, another one another."""
    assert drawn(seed=3, chat=CHAT).requests == drawn(seed=3, chat=CHAT).requests
    assert drawn(seed=3, chat=CHAT).requests != drawn(seed=4, chat=CHAT).requests


def test_classes_do_not_disturb_each_other() -> None:
    """Another class, or other traffic in it, leaves this one's requests as they are."""
    alone = drawn(chat=CHAT).requests
    assert tuple(of_class(drawn(batch=BATCH, chat=CHAT), "chat")) == alone
    assert tuple(of_class(drawn(chat=CHAT, batch=CHAT | {"tenants": []}), "chat")) == alone


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_tokens", 9),
        ("output_tokens", 9),
        ("tenants", ["zoe"]),
        ("patience_s", 1),
        ("objective", None),
    ],
)
def test_fields_do_not_disturb_each_other(field: str, value: object) -> None:
    """What is drawn for one leaves the arrivals and the other fields as they are."""
    before, after = drawn(chat=CHAT).requests, drawn(chat=CHAT | {field: value}).requests
    for name in {"due_s", "tenant", "prompt_tokens", "output_tokens"} - {field, field.removesuffix("s")}:
        assert [getattr(due, name) for due in before] == [getattr(due, name) for due in after]


def test_entries_do_not_disturb_each_other() -> None:
    """Another rate of the first entry leaves the second one's requests as they are."""
    burst = {"kind": "burst", "count": 50}
    one, two = (
        {due for due in drawn(chat=CHAT | {"arrivals": [entry, burst]}).requests if due.due_s == 0}
        for entry in ({"kind": "poisson", "per_s": 1}, {"kind": "poisson", "per_s": 99})
    )
    assert one == two
    assert len(one) > 1


def test_prompts_and_answers_have_dice_of_their_own() -> None:
    """A long prompt doesn't make a long answer: written alike, they are not correlated."""
    length = {"kind": "uniform", "least": 1, "most": 1000}
    requests = drawn(chat=CHAT | {"prompt_tokens": length, "output_tokens": length}).requests
    pairs = [(due.prompt_tokens, due.output_tokens) for due in requests]
    assert abs(correlation(*zip(*pairs, strict=True))) < 5 / len(pairs) ** 0.5


def test_entries_and_classes_have_dice_of_their_own() -> None:
    """Two that are written alike don't arrive together."""
    entry = {"kind": "poisson", "per_s": 5}
    plan = drawn(a={"arrivals": [entry, entry]}, b={"arrivals": [entry]})
    assert len({due.due_s for due in plan.requests}) == len(plan.requests)


def test_tenants_have_equal_chances() -> None:
    """Each gets its third, within 5 standard deviations."""
    plan = drawn(duration_s=600.0, chat=CHAT)
    counts = Counter(due.tenant for due in plan.requests)
    third = len(plan.requests) / 3
    assert counts == pytest.approx(
        dict.fromkeys(("ada", "bob", "eve"), third), abs=5 * (third * 2 / 3) ** 0.5
    )


def test_recorded_requests_come_from_their_file(tmp_path: Path) -> None:
    """Arrivals, tenants and lengths are the file's; other classes and what comes after the end are left out."""
    chat = [Due(0.5, "chat", "zoe", 7, 8), Due(1.5, "chat", "", 9, 10)]
    trace.write(tmp_path / "t.jsonl", [*chat, Due(0.1, "other", "", 1, 1), Due(60.0, "chat", "", 1, 1)])
    plan = drawn(folder=tmp_path, chat=CHAT | {"arrivals": [{"kind": "trace", "path": "t.jsonl"}]})
    assert list(plan.requests) == chat


def test_a_trace_without_the_class_is_an_error(tmp_path: Path) -> None:
    """The message says which classes there are."""
    trace.write(tmp_path / "t.jsonl", [Due(0.1, "b", "", 1, 1), Due(0.1, "a", "", 1, 1)])
    with pytest.raises(PlanError) as caught:
        drawn(folder=tmp_path, chat=CHAT | {"arrivals": [{"kind": "trace", "path": "t.jsonl"}]})
    assert str(caught.value) == (
        f"traffic.chat.arrivals[0].path is 't.jsonl': {tmp_path}/t.jsonl has no request of class 'chat' "
        "that arrives before 60 s; its classes are a, b"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrivals": []}, "arrivals is empty: give at least one entry"),
        ({"arrivals": [{"kind": "poisson", "per_s": -3}]}, r"arrivals\[0\]\.per_s is -3: give"),
        (
            {"arrivals": [{"kind": "trace", "path": "none"}]},
            r"arrivals\[0\]\.path: /nowhere/none: No such file",
        ),
        ({"prompt_tokens": 0}, "prompt_tokens is 0: give 1 to"),
        (
            {"output_tokens": {"kind": "uniform", "least": 5, "most": 2}},
            r"output_tokens\.least is 5: give at most 2",
        ),
        ({"patience_s": 0}, "patience_s is 0: give more than 0 and at most 3500"),
        ({"objective": "a\nb"}, r"objective is 'a\\nb': give what a header can hold"),
        ({"tenants": ["ada", ""]}, r"tenants\[1\] is '': give what a header can hold"),
        ({"headers": {"x": " y"}}, r"headers\.x is ' y': give what a header can hold"),
        ({"headers": {"": "y"}}, "headers, the name is '': give what a header can hold"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(changes: dict[str, Any], message: str) -> None:
    """The message begins with the field's path."""
    with pytest.raises(PlanError, match=rf"^traffic\.chat\.{message}"):
        drawn(chat=CHAT | changes)


def test_a_scenario_needs_traffic_and_time() -> None:
    """Without either there is nothing to play."""
    with pytest.raises(PlanError, match=r"^traffic is empty"):
        drawn()
    with pytest.raises(PlanError, match=r"^duration_s is 0: give seconds"):
        drawn(duration_s=0.0, chat=CHAT)
