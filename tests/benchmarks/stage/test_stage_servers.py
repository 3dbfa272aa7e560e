"""Where the simulated servers are, and who shares a process."""

from __future__ import annotations

import pytest

from benchmarks.scenarios.scenario import Servers
from benchmarks.stage.errors import StageError
from benchmarks.stage.servers import groups, places
from epp.quickstart.address import Address
from epp.sim.model import ServiceModel


def test_a_pool_has_at_most_eight_ports() -> None:
    """The ninth server is on the next address, on the first port again."""
    assert places(10, first_port=8000) == (
        *(Address("127.0.0.1", port) for port in range(8000, 8008)),
        Address("127.0.0.2", 8000),
        Address("127.0.0.2", 8001),
    )


def test_free_ports_are_found_for_servers_that_may_be_anywhere() -> None:
    """Each server has a place of its own."""
    assert len(set(places(17, first_port=None))) == 17


@pytest.mark.parametrize(
    ("count", "first_port", "words"),
    [(0, None, "servers.count is 0"), (2, 0, "server port 0"), (2, 65_535, "ports 65535 to 65536")],
)
def test_places_that_do_not_exist_are_refused(count: int, first_port: int | None, words: str) -> None:
    """The message says which number is wrong."""
    with pytest.raises(StageError, match=words):
        places(count, first_port=first_port)


def test_servers_with_the_same_engine_share_a_process() -> None:
    """One that differs has its own; one that only repeats what all have doesn't differ."""
    servers = Servers(
        count=5,
        engine={"step_s": 0.01, "max_sequences": 8.0},
        different={1: {"step_s": 0.05}, 2: {"max_sequences": 8}, 4: {"step_s": 0.05}},
    )
    quick, slow = groups(servers)
    assert quick == ((0, 2, 3), ServiceModel(step_s=0.01, max_sequences=8))
    assert slow == ((1, 4), ServiceModel(step_s=0.05, max_sequences=8))


def test_a_count_is_a_whole_number_however_it_was_written() -> None:
    """`8.0` of a YAML file is 8 sequences, as the command line of a server wants it."""
    ((_, model),) = groups(Servers(count=1, engine={"max_sequences": 8.0, "step_s": 1}))
    assert [repr(model.max_sequences), repr(model.step_s)] == ["8", "1.0"]
