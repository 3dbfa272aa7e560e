"""What a simulated server does wrong on purpose: set by flags, or while it runs by `POST /sim/faults`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class MetricsFault(Enum):
    """What is wrong with the metrics page."""

    NONE = "none"
    GARBAGE = "garbage"
    """Status 200, and something that is no metrics page."""
    ERROR = "error"
    """Status 500."""
    SLOW = "slow"
    """The right page, `metrics_delay_s` late."""


class RequestFault(Enum):
    """What is wrong with requests for answers."""

    NONE = "none"
    ERROR = "error"
    """Every request is refused with status 500."""
    STALL = "stall"
    """The engine hangs: requests are taken, and nothing goes on."""


class FaultError(ValueError):
    """Faults that don't exist; the message names the field and its values."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What one server does wrong now."""

    metrics: MetricsFault = MetricsFault.NONE
    metrics_delay_s: float = 5.0
    requests: RequestFault = RequestFault.NONE

    def __post_init__(self) -> None:
        if not 0 <= self.metrics_delay_s <= 3600:
            raise FaultError(f"metrics_delay_s is {self.metrics_delay_s:g}: expected 0 to 3600 seconds")

    @classmethod
    def parse(cls, fields: object) -> Faults:
        """From decoded JSON; what isn't named works. Raises `FaultError`."""
        known = {"metrics", "metrics_delay_s", "requests"}
        if not isinstance(fields, dict) or not fields.keys() <= known:
            raise FaultError(f"expected an object with {', '.join(sorted(known))}")
        delay_s = fields.get("metrics_delay_s", 5.0)
        if isinstance(delay_s, bool) or not isinstance(delay_s, int | float):
            raise FaultError(f"metrics_delay_s is {delay_s!r}: expected a number of seconds")
        return cls(
            metrics=MetricsFault(_member(MetricsFault, "metrics", fields)),
            metrics_delay_s=float(delay_s),
            requests=RequestFault(_member(RequestFault, "requests", fields)),
        )

    def fields(self) -> dict[str, Any]:
        """What `parse` takes."""
        return {
            "metrics": self.metrics.value,
            "metrics_delay_s": self.metrics_delay_s,
            "requests": self.requests.value,
        }


def _member(kind: type[Enum], field: str, fields: dict[str, Any]) -> str:
    value = fields.get(field, "none")
    values = [member.value for member in kind]
    if value not in values:
        raise FaultError(f"{field} is {value!r}: expected one of {', '.join(values)}")
    return str(value)
