"""Every event of the core as one line of JSON, `[time, kind, ...]`, and back. Floats survive to the last bit.

What a request carried (`facts`) is never written, and names are pseudonyms (`pseudonyms`). Endpoints are written in
full once and by their differences from then on: a large pool changes often, and little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import msgspec

from epp.core.eligibility import ANY, AnyEndpoint, Both, Eligibility, Serving, Subset
from epp.core.endpoint import Contact, EndpointSpec, EngineSample
from epp.core.events import (
    Arrived,
    Cancelled,
    DeliveryFailed,
    Draining,
    Ended,
    EndpointsChanged,
    Event,
    FirstByte,
    ObjectivesChanged,
    PolicyChanged,
    Resumed,
    Scraped,
    Tick,
    Unseen,
)
from epp.eventlog.digest import Checkpoint
from epp.eventlog.recipe import Recipe

if TYPE_CHECKING:
    from epp.eventlog.pseudonyms import Pseudonyms

CHECKPOINT, TRUTH = "=", "~"
"""What lines begin with that hold no event."""


class LineError(ValueError):
    """A line is not one of an event log."""


class Recorded(NamedTuple):
    """An event and when it was handled."""

    now: float
    event: Event


class Truth(NamedTuple):
    """What a made-up request takes, which nobody who decides can know."""

    request_id: int
    input_tokens: int
    output_tokens: int


class Encoder:
    """Writes the events of one segment."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._names = pseudonyms
        self._encode = msgspec.json.Encoder().encode
        self._listed: dict[tuple[str, str], EndpointSpec] | None = None

    def event(  # noqa: PLR0911, PLR0912 - one for each kind of event
        self, event: Event, now: float, *, recipe: Recipe | None = None
    ) -> bytes:
        """One line, without its end. A changed policy is written as `recipe`."""
        encode = self._encode
        if type(event) is Arrived:  # the hottest first
            eligibility, prefill = event.eligibility, event.prefill
            return encode(
                (
                    now,
                    "a",
                    event.request_id,
                    event.priority,
                    self._names.name(event.fairness_id),
                    event.size_bytes,
                    event.need,
                    True if eligibility is ANY else self._eligibility(eligibility),
                    event.ttl_s,
                    self._names.name(event.model),
                    event.body_bytes,
                    event.input_tokens,
                    event.max_output_tokens,
                    event.weight,
                    event.slo_s,
                    None if prefill is None else self._eligibility(prefill),
                )
            )
        match event:
            case Ended(request_id, input_tokens, output_tokens, unseen):
                return encode((now, "e", request_id, input_tokens, output_tokens, unseen.value))
            case Scraped():
                return encode(
                    (
                        now,
                        "s",
                        *event.key,
                        event.sent_s,
                        event.received_s,
                        event.sample,
                        event.contact.value,
                    )
                )
            case Tick():
                return encode((now, "t"))
            case FirstByte(request_id):
                return encode((now, "b", request_id))
            case Cancelled(request_id):
                return encode((now, "c", request_id))
            case DeliveryFailed(request_id):
                return encode((now, "f", request_id))
            case EndpointsChanged(endpoints):
                return encode(self._endpoints(endpoints, now))
            case ObjectivesChanged(priorities):
                return encode((now, "o", sorted(priorities)))
            case PolicyChanged():
                return encode((now, "y", recipe))
            case Draining():
                return encode((now, "d"))
            case Resumed():
                return encode((now, "r"))
            case Arrived():
                raise AssertionError("handled above")
            case _:
                assert_never(event)

    def checkpoint(self, checkpoint: Checkpoint) -> bytes:
        """What had been decided so far, without the line's end."""
        return self._encode((CHECKPOINT, *checkpoint))

    def truth(self, truth: Truth) -> bytes:
        """What a request will take, without the line's end."""
        return self._encode((TRUTH, *truth))

    def _eligibility(self, eligibility: Eligibility) -> list[Any] | bool:
        """True for any; else the subset's entries, after a list with the model; of two if there is a subset as well."""
        match eligibility:
            case AnyEndpoint():
                return True
            case Subset():
                return sorted(self._names.subset(eligibility).entries)
            case Serving(model):
                return [[self._names.name(model)]]
            case Both(subset, serving):
                return [[self._names.name(serving.model), ""], *sorted(self._names.subset(subset).entries)]
            case _:
                assert_never(eligibility)

    def _endpoints(self, endpoints: tuple[EndpointSpec, ...], now: float) -> tuple[object, ...]:
        before, after = self._listed, {spec.key: spec for spec in endpoints}
        self._listed = after
        if before is None:
            return now, "p", [self._endpoint(spec) for spec in endpoints]
        gone = [key for key in before if key not in after]
        come = [
            self._endpoint(spec)
            for key, spec in after.items()
            if (known := before.get(key)) is None or (known is not spec and known != spec)
        ]
        return now, "q", gone, come

    def _endpoint(self, spec: EndpointSpec) -> tuple[object, ...]:
        told = self._names.endpoint(spec)
        return told.address, told.uid, told.name, told.labels, told.max_concurrency, sorted(told.models)


class Decoder:
    """Reads the events of one segment, in their order."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder().decode
        self._listed: dict[tuple[str, str], EndpointSpec] = {}

    def line(self, line: bytes) -> Recorded | Checkpoint | Truth:
        """What a line says. Raises LineError."""
        try:
            data = self._decode(line)
            if data[0] == CHECKPOINT:
                return Checkpoint(*map(int, data[1:]))
            if data[0] == TRUTH:
                return Truth(*map(int, data[1:]))
            return Recorded(float(data[0]), self._event(data))
        except (msgspec.MsgspecError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise LineError(f"is no line of an event log: {error}") from error

    def _event(self, data: list[Any]) -> Event:  # noqa: PLR0911, PLR0912 - one for each kind of event
        match data[1]:
            case "a":
                return self._arrived(data)
            case "e":
                return Ended(data[2], data[3], data[4], Unseen(data[5]))
            case "s":
                sample = None if data[6] is None else EngineSample(*data[6])
                return Scraped((data[2], data[3]), data[4], data[5], sample, Contact(data[7]))
            case "t":
                return Tick()
            case "b":
                return FirstByte(int(data[2]))
            case "c":
                return Cancelled(int(data[2]))
            case "f":
                return DeliveryFailed(int(data[2]))
            case "p":
                self._listed = {}
                return self._endpoints((), data[2])
            case "q":
                return self._endpoints(data[2], data[3])
            case "o":
                return ObjectivesChanged(frozenset(map(int, data[2])))
            case "y":
                return PolicyChanged(msgspec.convert(data[2], Recipe).policy())
            case "d":
                return Draining()
            case "r":
                return Resumed()
            case kind:
                raise LineError(f"is of an unknown kind, {kind!r}")

    @staticmethod
    def _arrived(data: list[Any]) -> Arrived:
        return Arrived(
            int(data[2]),
            int(data[3]),
            _text(data[4]),
            int(data[5]),
            int(data[6]),
            _eligibility(data[7]),
            data[8],
            None,
            _text(data[9]),
            int(data[10]),
            data[11],
            data[12],
            float(data[13]),
            data[14],
            None if data[15] is None else _eligibility(data[15]),
        )

    def _endpoints(self, gone: list[list[str]] | tuple[()], come: list[Any]) -> EndpointsChanged:
        for address, uid in gone:
            self._listed.pop((address, uid), None)
        fresh: dict[tuple[str, str], EndpointSpec] = {}
        for address, uid, name, labels, max_concurrency, models in come:
            told = tuple((key, value) for key, value in labels)
            spec = EndpointSpec(address, uid, name, told, max_concurrency, frozenset(models))
            fresh[spec.key] = spec
        self._listed |= fresh
        # What is new comes first: among themselves the new ones have the order in which the core took them in.
        old = [spec for key, spec in self._listed.items() if key not in fresh]
        return EndpointsChanged((*fresh.values(), *old))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _eligibility(data: list[Any] | bool) -> Eligibility:
    if isinstance(data, bool):
        return ANY
    if not data or isinstance(data[0], str):
        return Subset(frozenset(data))
    serving = Serving(data[0][0])
    return Both(Subset(frozenset(data[1:])), serving) if len(data[0]) > 1 else serving
