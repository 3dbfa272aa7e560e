"""What each candidate has to do at this moment, as columns of numbers that scorers read.

A sample is up to a scrape interval old, so taken alone it would send a whole burst to the endpoint that was idle
when it was last asked. The board adds what the sample can't show yet, and trusts our own accounting
where there is no fresh sample:

- hidden:  what was sent since the sample and hasn't ended: `min(sent_since_sample, own_requests)`.
- running: what the engine was running plus the hidden, but no more than is there now at all.
- queue:   what is there now beyond what the engine was running, but no less than the hidden.
- KV:      the sample's.

Without a fresh, sane sample (stale, unknown, negative, not a number) running and queue are our own requests, and KV
is `KV_UNKNOWN`: a scorer decides what that is worth.

While one candidate has no such sample, load, running and queue of all are our own requests there: the only number that
is known of all. A fresh engine's queue of 0 beside another's own requests would draw everything to the fresh ones until
they really queue.

A view is an immutable value, replaced when something about its endpoint changes. Between two choices that
is mostly one view, so the board keeps each view's row and computes only those of new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from epp.core.endpoint import Knowledge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epp.core.endpoint import EndpointView

KV_UNKNOWN = -1.0

# An enum's member is looked up for every changed endpoint otherwise.
_FRESH: Final = Knowledge.FRESH

_KEPT_PER_CANDIDATE = 4
"""Rows kept before those of views that are gone are dropped."""

_Row = tuple["EndpointView", float, float, float, float]


class Board(NamedTuple):
    """The candidates of one choice: one entry per candidate in each column, in the candidates' order."""

    views: tuple[EndpointView, ...]
    queues: tuple[float, ...]
    """Requests that wait in the engine."""
    runnings: tuple[float, ...]
    """Requests that the engine works on."""
    kv: tuple[float, ...]
    """Share of the KV cache in use, 0 to 1, or `KV_UNKNOWN`."""
    loads: tuple[float, ...]
    """Requests there, as far as we know of all candidates."""


class BoardKeeper:
    """Makes boards, and remembers the rows of views that it has seen."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        # By identity, which the row itself keeps alive and therefore unique: hashing a view costs as much as its row.
        self._rows: dict[int, _Row] = {}

    def board(self, candidates: Sequence[EndpointView]) -> Board:
        """The board of these candidates, of which there is at least one."""
        seen = self._rows.get
        rows = [seen(id(view)) or self._add(view) for view in candidates]
        if len(self._rows) > _KEPT_PER_CANDIDATE * len(rows) + 64:
            self._rows = {id(row[0]): row for row in rows}
        views, queues, runnings, kv, loads = zip(*rows, strict=True)
        if min(kv) < 0:
            # What an engine says of its queue and what we have sent to another are no numbers of one kind.
            own = tuple([view.own_requests for view in views])
            return Board(views, own, own, kv, own)
        return Board(views, queues, runnings, kv, loads)

    def _add(self, view: EndpointView) -> _Row:
        row = _row(view)
        self._rows[id(view)] = row
        return row


def _row(view: EndpointView) -> _Row:
    _, own, _, foreign, knowledge, (_, was_running, kv), _, sent, _, _ = view
    load = own + foreign
    # Comparisons with NaN are false, so a sample that is no number is not believed.
    if knowledge is _FRESH and was_running >= 0 and kv >= 0:
        hidden = min(sent, own)
        return (view, max(hidden, load - was_running), min(load, was_running + hidden), min(kv, 1.0), load)
    return (view, own, own, KV_UNKNOWN, load)
