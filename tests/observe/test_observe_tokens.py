"""What requests cost, by band and by tenant, and how good the estimates were."""

from __future__ import annotations

import pytest

from epp.core.actions import Reason
from epp.core.events import Ended
from epp.core.statistics import EstimateErrors
from epp.observe.exposition import Format
from epp.observe.outcomes import ResponseEnd
from tests.core.building import A, controller, request
from tests.observe.surroundings import World, band, finish

BY_FLOW = "epp_flow_tokens_total"


def tokens(world):
    """By tenant."""
    return {labels["fairness_id"]: value for labels, value in world.rows(BY_FLOW)}


def test_a_bands_charges_and_settlements(world):
    """As the core counts them, by priority."""
    world.set(bands=(band(5, charged_tokens=700.0, settled_tokens=650.5), band(0)))
    labels = {"inference_pool": "pool", "priority": "5"}
    assert world.value("epp_charged_tokens_total", **labels) == 700
    assert world.value("epp_settled_tokens_total", **labels) == 650.5
    assert world.value("epp_settled_tokens_total", **(labels | {"priority": "0"})) == 0


def test_a_real_core_charges_and_settles(world):
    """A request that turned out twice as large as was estimated is seen by band, and in the ratios."""
    core = controller(A, now=0.0)
    core.handle(request(1, input_tokens=100, max_output_tokens=50), 0.0)
    core.handle(Ended(1, input_tokens=100, output_tokens=200), 4.0)
    world.statistics = core.statistics(5.0)
    labels = {"inference_pool": "pool", "priority": "0"}
    assert world.value("epp_charged_tokens_total", **labels) == 150
    assert world.value("epp_settled_tokens_total", **labels) == 300
    of = {"inference_pool": "pool", "of": "output"}
    assert world.value("epp_estimate_ratio_bucket", le="2", **of) == 0
    assert world.value("epp_estimate_ratio_bucket", le="4", **of) == 1


def test_a_tenants_tokens_are_those_of_all_its_models(world):
    """Input and output, summed over models, apart by priority."""
    world.served(model="llama")
    world.served(model="mistral")
    world.served(priority=7)
    world.served(fairness_id="bob")
    labels = {"inference_pool": "pool", "fairness_id": "alice"}
    assert world.value(BY_FLOW, **labels, priority="0") == 2 * (30 + 11)
    assert world.value(BY_FLOW, **labels, priority="7") == 30 + 11
    assert world.value(BY_FLOW, **(labels | {"fairness_id": "bob"}), priority="0") == 30 + 11


def test_work_that_was_cut_off_was_used_all_the_same(world):
    """What was seen of its usage counts for its tenant, and for no distribution of sizes."""
    world.served(end=ResponseEnd.ABORTED)
    assert tokens(world) == {"alice": 41}
    assert world.rows("llm_d_epp_request_output_tokens_count") == []


def test_where_nobody_reports_usage_there_is_no_figure(world):
    """Rather than one of 0 tokens for a tenant who used many."""
    meter = world.seen()
    meter.dispatched(waited_s=0.0)
    finish(meter, ResponseEnd.ENDED, input_tokens=None, output_tokens=None, cached_tokens=None)
    world.seen(fairness_id="bob").refused(Reason.SATURATED, waited_s=0.0)
    assert tokens(world) == {}


def test_tenants_without_a_place_share_their_tokens():
    """The limit on labels holds here too, and no token is lost."""
    world = World(label_limit=3)
    for number in range(50):
        world.served(fairness_id=f"id-{number}")
    assert tokens(world) == {"id-0": 41, "id-1": 41, "id-2": 41, "other": 47 * 41}


@pytest.mark.parametrize("page_format", Format)
def test_how_good_estimates_were(world, page_format):
    """Ratios of actual to estimate, cumulated as histograms are; nobody adds ratios up, so they have no sum."""
    world.set(estimate_errors=EstimateErrors(bounds=(0.5, 1.0, 2.0), input=(1, 2, 3, 4), output=(0, 9, 0, 0)))
    samples = world.samples(page_format)

    def value(suffix, **labels):
        return samples[
            f"epp_estimate_ratio_{suffix}", frozenset({"inference_pool": "pool", **labels}.items())
        ]

    one = "1.0" if page_format is Format.OPENMETRICS else "1"
    assert value("bucket", of="input", le="0.5") == 1
    assert value("bucket", of="input", le=one) == 3
    assert value("bucket", of="input", le="+Inf") == 10
    assert value("bucket", of="output", le=one) == value("bucket", of="output", le="+Inf") == 9
    assert {name for name, _ in samples if "estimate" in name} == {"epp_estimate_ratio_bucket"}


def test_before_anything_was_estimated_there_is_no_histogram(world):
    """An empty one would look like a measurement."""
    assert world.rows("epp_estimate_ratio_bucket") == []
