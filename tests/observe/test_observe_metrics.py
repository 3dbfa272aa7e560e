"""The page as a whole."""

from __future__ import annotations

import pytest

from epp.core.actions import Reason
from epp.observe.exposition import PIECE_LINES, Format
from epp.observe.metrics import DEFAULT_LABEL_LIMIT
from epp.observe.table import IDLE_S
from tests.observe.surroundings import World, band, finish


@pytest.mark.parametrize("page_format", Format)
def test_an_independent_parser_reads_the_page(page_format):
    """With everything on it, no sample twice, and the process's own metrics beside ours."""
    world = World()
    world.served()
    world.seen('ö\n"x"\\', "ten\tant\udc80", -5).refused(Reason.QUEUE_PRESSURE, waited_s=3.0)
    names = {name for name, _ in world.samples(page_format)}
    assert {"process_start_time_seconds", "python_info", "python_gc_collections_total"} <= names
    assert {"llm_d_epp_request_total", "epp_refusals_total"} <= names


def test_both_formats_tell_the_same():
    """But for how bounds are written."""
    world = World()
    world.served()
    ours = [
        {key: value for key, value in world.samples(each).items() if not key[0].startswith(("process", "python"))}
        for each in Format
    ]  # fmt: skip
    text, openmetrics = (
        {key: value for key, value in samples.items() if not key[0].endswith("_bucket")} for samples in ours
    )
    assert text == openmetrics
    assert len(ours[0]) == len(ours[1])


def test_ten_thousand_tenants_make_a_bounded_page(world):
    """At most the limit's names and one for all others, no request is lost, and a tenant who stays gets its own."""
    for number in range(10_000):
        world.seen(fairness_id=f"tenant-{number}").refused(Reason.SATURATED, waited_s=0.0)
    # An independent parser would take half a minute for these 50,000 lines.
    lines = world.metrics.page().decode().splitlines()
    rows = [line for line in lines if line.startswith("llm_d_epp_request_error_total{")]
    assert len(rows) == DEFAULT_LABEL_LIMIT + 1
    assert sum(int(row.rpartition(" ")[2]) for row in rows) == 10_000
    overflow = 10_000 - DEFAULT_LABEL_LIMIT
    assert f'epp_label_overflow_total{{label="fairness_id"}} {overflow}' in lines
    for _ in range(2):
        world.seen(fairness_id="tenant-who-stays").refused(Reason.SATURATED, waited_s=0.0)
    assert 'fairness_id="tenant-who-stays"' in world.metrics.page().decode()


def test_a_tenant_that_gave_its_place_up_is_off_the_page(world):
    """Its series are gone, and sums over its model, which upstream's older names show, don't fall."""
    world = World(label_limit=1)
    world.served(fairness_id="old")
    world.now = IDLE_S
    world.served(fairness_id="new")
    assert {labels["fairness_id"] for labels, _ in world.rows("llm_d_epp_request_total")} == {"new"}
    labels = {"model_name": "llama", "target_model_name": "llama"}
    assert world.value("inference_objective_request_total", **labels, priority="0") == 2
    assert world.value("inference_objective_request_duration_seconds_count", **labels) == 2
    assert world.value("inference_objective_request_duration_seconds_sum", **labels) == 7.0


@pytest.mark.parametrize("last_step", ["ended", "undelivered", "refused", "cancelled"])
def test_a_place_is_kept_from_the_end_of_a_request_on(last_step):
    """However long it waited or ran, its tenant is idle only from then."""
    world = World(label_limit=1)
    meter = world.seen(fairness_id="old")
    if last_step in {"ended", "undelivered"}:
        meter.dispatched(waited_s=0.0)
    world.now = 5 * IDLE_S
    match last_step:
        case "ended":
            finish(meter)
        case "refused":
            meter.refused(Reason.TTL_EXPIRED, waited_s=world.now)
        case _:
            getattr(meter, last_step)(waited_s=world.now)
    world.now += IDLE_S - 1
    world.served(fairness_id="early")
    world.now += 1
    world.served(fairness_id="new")
    assert {labels["fairness_id"] for labels, _ in world.rows("llm_d_epp_request_total")} == {"other", "new"}


def test_deprecated_names_sum_over_tenants(world):
    """They know models and priorities only; running requests without a model don't appear, as upstream's."""
    for fairness_id in ("a", "b"):
        world.served(fairness_id=fairness_id, priority=3)
        world.seen(fairness_id=fairness_id).refused(Reason.SATURATED, waited_s=0.0)
        world.seen(fairness_id=fairness_id).dispatched(waited_s=0.0)
    world.seen(model="").dispatched(waited_s=0.0)
    labels = {"model_name": "llama", "target_model_name": "llama"}
    assert world.value("inference_objective_request_total", **labels, priority="3") == 2
    errors = labels | {"error_code": "ResourceExhausted"}
    assert world.value("inference_objective_request_error_total", **errors) == 2
    assert world.rows("inference_objective_running_requests") == [({"model_name": "llama"}, 2)]
    assert world.value("inference_objective_output_tokens_sum", **labels) == 22


def test_a_page_comes_in_small_pieces(world):
    """However large it is, so that the loop which serves it can go on in between."""
    for number in range(300):
        world.served(fairness_id=f"tenant-{number}")
    pieces = list(world.metrics.pieces(Format.TEXT))
    lines = [piece.count(b"\n") for piece in pieces]
    assert sum(lines) > 50 * PIECE_LINES
    # One sample of a histogram is never torn apart, and the process's own page comes in one piece.
    assert max(lines) < PIECE_LINES + 60


def test_requests_may_come_and_go_while_a_page_is_written(world):
    """New and freed series between two pieces neither break the page nor appear twice in a family."""
    for number in range(50):
        world.served(fairness_id=f"tenant-{number}")
    pages = []
    for number, piece in enumerate(world.metrics.pieces(Format.TEXT)):
        world.served(fairness_id=f"newcomer-{number}")
        pages.append(piece)
    text = b"".join(pages).decode()
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_the_snapshot_is_taken_once_per_page():
    """It costs the core time, and all families describe the same moment."""
    world = World()
    taken = []
    source = world.metrics._sources.statistics

    def counting():
        taken.append(None)
        return source()

    object.__setattr__(world.metrics._sources, "statistics", counting)
    world.metrics.page()
    assert len(taken) == 1


def test_a_band_of_the_core_is_found_under_both_kinds_of_names(world):
    """The core's own count and the meters' agree when the shell tells everything."""
    world.seen(priority=4)
    world.seen(priority=4)
    world.set(bands=(band(4, requests=2), band(0)))
    own = {labels["priority"]: value for labels, value in world.rows("epp_band_queue_size")}
    metered = {}
    for labels, value in world.rows("llm_d_epp_flow_control_queue_size"):
        metered[labels["priority"]] = metered.get(labels["priority"], 0) + value
    assert own == metered == {"4": 2, "0": 0}


def test_reloads_of_the_configuration(world):
    """Counted by what came of them; the gauge says whether the file's configuration is in force."""
    successful = "epp_config_last_reload_successful"
    assert world.value(successful) == 1
    for outcome, value in (
        ("refused", 0),
        ("applied", 1),
        ("refused", 0),
        ("unchanged", 1),
        ("unreadable", 0),
    ):
        world.metrics.config_reloaded(outcome)
        assert world.value(successful) == value
    assert world.value("epp_config_reloads_total", outcome="refused") == 2
    assert world.value("epp_config_reloads_total", outcome="applied") == 1
