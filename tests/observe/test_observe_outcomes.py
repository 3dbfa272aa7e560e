"""How reasons are named in metrics."""

from __future__ import annotations

import pytest

from epp.core.actions import Reason
from epp.observe.outcomes import ErrorCode, Outcome, error_code_of, outcome_of

TABLE = {
    # reason: (outcome without a wait, outcome after one, error code); go-epp 1.8, 12.5, 13.14
    Reason.SATURATED: ("RejectedCapacity", "RejectedCapacity", "ResourceExhausted"),
    Reason.NO_ENDPOINTS: ("RejectedNoEndpoints", "EvictedNoEndpoints", "ServiceUnavailable"),
    Reason.TTL_EXPIRED: ("EvictedTTL", "EvictedTTL", "ResourceExhausted"),
    Reason.CONTEXT_CANCELLED: ("EvictedContextCancelled", "EvictedContextCancelled", "ServiceUnavailable"),
    Reason.SHUTTING_DOWN: ("RejectedOther", "EvictedOther", "ServiceUnavailable"),
    Reason.WOULD_EXPIRE: ("RejectedCapacity", "EvictedTTL", "ResourceExhausted"),
    Reason.EVICTED: ("EvictedOther", "EvictedOther", "ResourceExhausted"),
    Reason.QUEUE_PRESSURE: ("EvictedOther", "EvictedOther", "ResourceExhausted"),
    Reason.TOO_LARGE: ("RejectedOther", "RejectedOther", "BadRequest"),
    Reason.MALFORMED: ("RejectedOther", "RejectedOther", "BadRequest"),
}


def test_no_reason_is_missing():
    """A new reason has to be given its names here."""
    assert TABLE.keys() == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_upstreams_names(reason):
    """Outcome and error code are what upstream would say in the same situation."""
    unqueued, queued, code = TABLE[reason]
    assert outcome_of(reason, 0.0).value == unqueued
    assert outcome_of(reason, 0.001).value == queued
    assert error_code_of(reason).value == code


def test_every_outcome_is_upstreams_and_can_happen():
    """The vocabulary is upstream's, whole, and each word is used."""
    reached = {outcome_of(reason, waited_s) for reason in Reason for waited_s in (0.0, 1.0)}
    assert reached | {Outcome.DISPATCHED} == set(Outcome)
    assert {error_code_of(reason) for reason in Reason} | {ErrorCode.MODEL_SERVER_ERROR} == set(ErrorCode)
