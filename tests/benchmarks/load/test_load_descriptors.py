"""Room for many connections."""

from __future__ import annotations

import json
import subprocess
import sys
from types import MappingProxyType

import pytest

from benchmarks.load.descriptors import SPARE, DescriptorError, check, most_at_once
from benchmarks.load.plan import Due, Plan


def plan_of(*times: float) -> Plan:
    """Requests that are due then."""
    return Plan(MappingProxyType({}), tuple(Due(due_s, "chat", "", 1, 1) for due_s in times), 10.0)


def test_how_many_are_under_way_together() -> None:
    """The fullest tenth of a second counts, whatever is before and after it."""
    assert most_at_once(plan_of()) == 0
    assert most_at_once(plan_of(0.0, 0.05, 0.2, 0.21, 0.22, 0.29, 0.5)) == 4


def test_a_plan_that_needs_more_is_refused() -> None:
    """The message says how many it needs and has, and how to get them."""
    plan = plan_of(*[1.0] * 500)
    check(plan, limit=500 + SPARE)
    with pytest.raises(
        DescriptorError, match=rf"^500 requests .* may have 627 open files: .* at least {500 + SPARE}"
    ):
        check(plan, limit=500 + SPARE - 1)


def test_the_limit_is_raised() -> None:
    """A process that begins with a low soft limit has the hard one afterwards, and so have its children."""
    program = (
        "import json, resource, subprocess, sys\n"
        "from benchmarks.load.descriptors import raise_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))\n"
        "told = raise_limit()\n"
        "child = subprocess.check_output(['sh', '-c', 'ulimit -n'], text=True)\n"
        "print(json.dumps([told, *resource.getrlimit(resource.RLIMIT_NOFILE), int(child)]))\n"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert json.loads(said) == [300, 300, 300, 300]
