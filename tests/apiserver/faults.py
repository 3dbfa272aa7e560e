"""What a test can make go wrong with requests: each fault says which requests it takes, how many, and what they get."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tests.apiserver.asked import Where, anywhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.apiserver.asked import Asked

HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>bad gateway</body>\r\n</html>\r\n"


class Effect(Enum):
    """What happens to a request."""

    ANSWER = "it gets this answer instead"
    HANG = "it is never answered"
    RESET = "its connection is reset"
    LATE_RESET = "it is carried out, and the connection is reset in place of the answer"
    SLOW = "it is answered late"


@dataclass(eq=False)
class Fault:
    """One thing that goes wrong. `times` counts down; None is for ever."""

    effect: Effect
    where: Where = anywhere
    times: int | None = 1
    status: int = 503
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: int | None = None
    reason: str = ""
    message: str = ""
    delay_s: float = 0.0
    taken: int = 0

    def takes(self, asked: Asked) -> bool:
        """Whether this request is hit, which uses the fault up."""
        if self.times == 0 or not self.where(asked):
            return False
        if self.times is not None:
            self.times -= 1
        self.taken += 1
        return True


class Faults:
    """The faults that wait for requests, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Lie in wait."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """No more of this."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        """All is well again."""
        self._faults.clear()

    def hitting(self, asked: Asked) -> Fault | None:
        """The first fault that takes the request."""
        return next((fault for fault in self._faults if fault.takes(asked)), None)
