"""What a conversation wants of the picker: a closed union, carried over by its exchange, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from epp.extproc.ingress import Refusal, RequestFacts, ResponseFacts


class Submit(msgspec.Struct, frozen=True):
    """Queue the request."""

    facts: RequestFacts


class Cancel(msgspec.Struct, frozen=True):
    """The queued request is gone."""


class DeliveryFailed(msgspec.Struct, frozen=True):
    """The request was dispatched, and the gateway didn't get to know."""


class FirstByte(msgspec.Struct, frozen=True):
    """The dispatched request's response has begun."""


class Ended(msgspec.Struct, frozen=True):
    """The dispatched request has ended."""

    response: ResponseFacts


class Rejected(msgspec.Struct, frozen=True):
    """The conversation refused the request by itself."""

    facts: RequestFacts | None
    refusal: Refusal


Action = Submit | Cancel | DeliveryFailed | FirstByte | Ended | Rejected
