"""The snapshot as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

from epp.core.endpoint import EngineSample
from epp.core.statistics import DisplacedBy, EvictionStatistics, WaitReason
from epp.observe.state import MOST_FLOWS, state_document
from tests.core.building import A, controller, request
from tests.observe.surroundings import EMPTY, band, endpoint, flow


def document(statistics):
    """The document, once through JSON."""
    return json.loads(json.dumps(state_document(statistics, pool="p")))


def test_a_real_core_can_be_shown():
    """Everything in its snapshot is something that JSON knows."""
    core = controller(A)
    core.handle(request(1), 0.0)
    core.handle(request(2, priority=3), 1.0)
    shown = document(core.statistics(2.0))
    assert shown["pool"] == "p"
    assert shown["queued_requests"] == 1
    assert shown["running_requests"] == 1
    assert [(each["priority"], each["queued_requests"]) for each in shown["bands"]] == [(3, 1), (0, 0)]
    assert shown["bands"][0]["wait_s"].keys() == {reason.value for reason in WaitReason}
    assert shown["endpoints"][0]["own_requests"] == 1


def test_fairness_ids_are_hashed():
    """Names of tenants aren't handed out, and whoever knows one finds it."""
    (shown,) = document(_with(bands=(band(0, flows=(flow("alice", requests=2),)),)))["bands"]
    assert shown["flows"] == [
        {
            "fairness_id_sha256": sha256(b"alice").hexdigest()[:12],
            "queued_requests": 2,
            "queued_bytes": 20,
            "running_requests": 0,
            "tag_lead": 0.0,
            "at_cap": False,
        }
    ]


def test_only_the_busiest_flows_are_shown():
    """A page for people stays one, with thousands of tenants."""
    flows = tuple(flow(f"id-{number}", requests=number) for number in range(1, 1001))
    (shown,) = document(_with(bands=(band(0, flows=flows),)))["bands"]
    assert [each["queued_requests"] for each in shown["flows"]] == list(range(1000, 1000 - MOST_FLOWS, -1))
    assert shown["flows_not_shown"] == 1000 - MOST_FLOWS


def test_what_waits_cost_and_give_way_is_shown():
    """A band's expectations and tokens, a flow's advance and cap, limits of endpoints, displacement and eviction."""
    shown = document(
        _with(
            bands=(
                band(
                    0,
                    flows=(flow("alice", running_requests=3, tag_lead=1.5, at_cap=True),),
                    expected_wait_s=4.5,
                    settled_tokens=70.0,
                ),
            ),
            endpoints=(endpoint(stated_limit=8, learned_limit=12.5),),
            displaced_requests={DisplacedBy.SMALLER_FLOW: 2},
            evictions=EvictionStatistics({10: 3}, confirmed=1, timed_out=1, outstanding=1),
        )
    )
    assert (shown["bands"][0]["expected_wait_s"], shown["bands"][0]["settled_tokens"]) == (4.5, 70.0)
    (tenant,) = shown["bands"][0]["flows"]
    assert (tenant["running_requests"], tenant["tag_lead"], tenant["at_cap"]) == (3, 1.5, True)
    assert (shown["endpoints"][0]["stated_limit"], shown["endpoints"][0]["learned_limit"]) == (8, 12.5)
    assert shown["displaced_requests"] == {"smaller_flow": 2}
    assert shown["evictions"] == {"issued": {"10": 3}, "confirmed": 1, "timed_out": 1, "outstanding": 1}


def test_endpoints_and_faults_are_shown():
    """With what their engines last said."""
    shown = document(
        _with(
            endpoints=(endpoint(name="pod-0", sample=EngineSample(3, 2, 0.5), saturation=0.75),),
            policy_faults={("mine", "ValueError"): 2},
        )
    )
    assert shown["endpoints"][0]["sample"] == {"waiting": 3, "running": 2, "kv_utilization": 0.5}
    assert (shown["endpoints"][0]["name"], shown["endpoints"][0]["saturation"]) == ("pod-0", 0.75)
    assert shown["policy_faults"] == [{"policy": "mine", "fault": "ValueError", "decisions": 2}]


def _with(**changes):
    return replace(EMPTY, **changes)
