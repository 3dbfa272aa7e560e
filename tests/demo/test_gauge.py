"""The picker's queue as its metrics tell it."""

from __future__ import annotations

from aiohttp import web

from epp.demo.gauge import QueueGauge, queued_by_priority
from epp.quickstart.ports import free_ports

PAGE = """\
# HELP llm_d_epp_flow_control_queue_size [ALPHA] Requests in the queue.
# TYPE llm_d_epp_flow_control_queue_size gauge
llm_d_epp_flow_control_queue_size{fairness_id="a",inference_pool="demo",model_name="m",priority="10"} 2.0
llm_d_epp_flow_control_queue_size{fairness_id="b",inference_pool="demo",model_name="m",priority="10"} 3.0
llm_d_epp_flow_control_queue_size{priority="-10",fairness_id="a"} 4.0
llm_d_epp_flow_control_queue_size{sub_priority="7",priority="0"} 1e0
llm_d_epp_flow_control_queue_bytes{fairness_id="a",priority="10"} 999.0
inference_extension_flow_control_queue_size{fairness_id="a",priority="10"} 999.0
"""


def test_the_queue_is_summed_by_priority() -> None:
    """Tenants and models are added up; other families, and labels that only look alike, are not."""
    assert queued_by_priority(PAGE) == {10: 5, -10: 4, 0: 1}


def test_a_page_without_the_family_is_an_empty_queue() -> None:
    """Nothing queued yet, no series yet."""
    assert queued_by_priority("") == {}


async def test_the_page_is_read_over_http() -> None:
    """The gauge gives what the page says at the moment."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=PAGE)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with QueueGauge(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics") as gauge:
        assert await gauge.read() == {10: 5, -10: 4, 0: 1}
    await runner.cleanup()


async def test_a_picker_that_does_not_answer_does_not_stop_the_show() -> None:
    """No page is an empty queue on the screen, not an error."""
    (nobody,) = free_ports(1)
    async with QueueGauge(f"http://127.0.0.1:{nobody}/metrics") as gauge:
        assert await gauge.read() == {}
