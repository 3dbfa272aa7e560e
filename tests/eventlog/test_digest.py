"""The number that stands for decisions differs wherever decisions do."""

from __future__ import annotations

import pytest

from epp.core.actions import Action, Dispatch, Evict, Reason, Refuse, ScrapeNow, WakeAt
from epp.core.endpoint import EndpointSpec
from epp.eventlog.digest import DecisionDigest

A, B = EndpointSpec("10.0.0.1:80"), EndpointSpec("10.0.0.2:80")
SENT = Dispatch(1, A, 0.5)
OTHERS: tuple[tuple[Action, ...], ...] = (
    (),
    (SENT, SENT),
    (SENT._replace(request_id=2),),
    (SENT._replace(endpoint=B),),
    (SENT._replace(waited_s=0.5000000000000001),),
    (SENT._replace(prefill=B),),
    (Refuse(1, Reason.SATURATED, 0.5, 1),),
    (Refuse(1, Reason.TTL_EXPIRED, 0.5, 1),),
    (Evict(1),),
    (Evict(2),),
    (Evict(1), SENT),
    (SENT, Evict(1)),
)


def _crc(*actions: Action) -> int:
    digest = DecisionDigest()
    digest.add(actions)
    return digest.crc


@pytest.mark.parametrize("actions", OTHERS, ids=repr)
def test_whatever_differs_shows(actions: tuple[Action, ...]) -> None:
    """Who, what, where, why, after how long, and in which order."""
    assert _crc(*actions) != _crc(SENT)
    assert [_crc(*each) for each in OTHERS].count(_crc(*actions)) == 1


def test_when_to_wake_is_no_decision() -> None:
    """Wake-ups and scrapes are not counted, events are."""
    digest = DecisionDigest()
    digest.add([SENT, WakeAt(3.0), ScrapeNow(A.key)])
    digest.add([])
    assert digest.checkpoint() == (2, 1, _crc(SENT))
