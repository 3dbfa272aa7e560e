"""The board: what a candidate has to do now, from a sample that is a little old."""

from __future__ import annotations

import math

import pytest

from epp.core.endpoint import Knowledge
from epp.picking.board import KV_UNKNOWN, Board, BoardKeeper


def board_of(*views) -> Board:
    """The board of these views, shown to nobody before."""
    return BoardKeeper().board(views)


@pytest.mark.parametrize(
    ("facts", "queue", "running"),
    [
        pytest.param({}, 0, 0, id="idle"),
        pytest.param({"own": 8, "running": 8}, 0, 8, id="busy, nothing queued"),
        pytest.param({"own": 12, "waiting": 4, "running": 8}, 4, 8, id="queue as sampled"),
        pytest.param({"own": 3, "sent": 3}, 3, 3, id="what was sent since shows at once"),
        pytest.param(
            {"own": 15, "waiting": 4, "running": 8, "sent": 3}, 7, 8 + 3, id="sent on top of a queue"
        ),
        pytest.param({"own": 8, "waiting": 4, "running": 8}, 0, 8, id="four ended since: the queue moved up"),
        pytest.param(
            {"own": 3, "running": 50, "sent": 3}, 3, 3, id="a stale crowd is gone, a burst is not hidden"
        ),
        pytest.param({"own": 1, "sent": 20}, 1, 1, id="what was sent and has ended does not count"),
        pytest.param(
            {"own": 2, "foreign": 6, "waiting": 3, "running": 5}, 3, 5, id="other people's requests"
        ),
    ],
)
def test_figures_of_a_fresh_sample(make_view, facts, queue, running):
    """Queue and running requests are those of now: the sample, what was sent since, and what ended since."""
    board = board_of(make_view(**facts))
    assert board.queues == (queue,)
    assert board.runnings == (running,)


@pytest.mark.parametrize("knowledge", [Knowledge.STALE, Knowledge.UNKNOWN])
def test_without_fresh_knowledge_own_requests_count(make_view, knowledge):
    """A sample that isn't fresh is not looked at: our own accounting stands in for it."""
    board = board_of(make_view(own=7, knowledge=knowledge, waiting=40, running=60, kv=0.9, sent=2))
    assert (board.queues, board.runnings, board.kv, board.loads) == ((7,), (7,), (KV_UNKNOWN,), (7,))


@pytest.mark.parametrize(
    "odd",
    [{"kv": math.nan}, {"kv": -0.5}, {"running": -3}, {"running": math.nan}],
    ids=str,
)
def test_an_odd_sample_is_not_believed(make_view, odd):
    """Numbers that are none, or negative, make the sample as good as unknown."""
    board = board_of(make_view(own=4, **{"kv": 0.5, "running": 1, **odd}))
    assert (board.queues, board.runnings, board.kv) == ((4,), (4,), (KV_UNKNOWN,))


@pytest.mark.parametrize("kv", [1.0, 1.0000001, 7.0, math.inf])
def test_a_cache_is_never_more_than_full(make_view, kv):
    """Engines report a little above 1 now and then; it counts as full."""
    assert board_of(make_view(kv=kv)).kv == (1.0,)


def test_rows_are_in_the_candidates_order(make_view):
    """Every column has the candidates' order, whatever was asked before."""
    keeper = BoardKeeper()
    views = [make_view(str(index), own=index) for index in range(5)]
    keeper.board(views)
    assert keeper.board(views[::-1]).loads == (4, 3, 2, 1, 0)
    assert keeper.board(views[1:4]).views == tuple(views[1:4])


def test_a_replaced_view_is_read_anew(make_view):
    """Remembering rows never shows an endpoint as it was."""
    keeper = BoardKeeper()
    before, other = make_view("a"), make_view("b")
    keeper.board([before, other])
    after = before._replace(own_requests=3, sent_since_sample=3)
    assert keeper.board([after, other]).queues == (3, 0)


def test_rows_of_views_that_are_gone_are_dropped(make_view):
    """A picker that runs for months doesn't keep a row for every view it has ever seen."""
    keeper = BoardKeeper()
    view, other = make_view("a"), make_view("b")
    for own in range(10_000):
        view = view._replace(own_requests=own)
        assert keeper.board([view, other]).loads == (own, 0)
    assert len(keeper._rows) < 200
