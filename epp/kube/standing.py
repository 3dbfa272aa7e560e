"""How well a collection of objects is known: whether it is followed, how old what we know is, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(Enum):
    """Where following a collection stands."""

    STARTING = "starting"
    """It was never read."""
    FOLLOWING = "following"
    """What is held is what the API server has, but for what is on its way."""
    BEHIND = "behind"
    """It can't be read now; what is held was right at the last contact."""
    ABSENT = "absent"
    """The API server does not serve this kind: its CRD is not installed."""
    FORBIDDEN = "forbidden"
    """The picker may not read it; what was held before is kept."""
    IDLE = "idle"
    """Nobody says which objects are wanted; what was held before is kept."""


class Relist(Enum):
    """Why everything was looked at again."""

    START = "start"
    """Following began, or began again."""
    EXPIRED = "expired"
    """The API server has forgotten the changes since the last contact (410)."""
    SILENT = "silent"
    """Watch after watch brought nothing at all, not even a bookmark."""
    UNREADABLE = "unreadable"
    """A change could not be read, so that what came with it is not known."""
    REWOUND = "rewound"
    """The API server's versions went back, as they do when it is restored from a backup."""
    REFUSED = "refused"
    """The API server would not tell the changes since the last contact."""


class Failure(Enum):
    """What went wrong with a request."""

    UNREACHABLE = "unreachable"
    """No connection, no answer, or one that broke off."""
    UNAUTHORIZED = "unauthorized"
    """401: the credentials are not accepted."""
    FORBIDDEN = "forbidden"
    """403: an RBAC rule is missing."""
    NOT_FOUND = "not_found"
    """404: the kind is not served."""
    EXPIRED = "expired"
    """410: more than it remembers was asked for."""
    THROTTLED = "throttled"
    """429: asked too often."""
    SERVER = "server"
    """Any 5xx."""
    REFUSED = "refused"
    """Any other status that is no success."""
    UNREADABLE = "unreadable"
    """An answer or a line that is not what the API says."""
    CLOSED = "closed"
    """A watch that ended as soon as it began."""
    SILENT = "silent"
    """A watch that brought nothing for too long."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One collection, now."""

    resource: str
    """Plural and group, such as `inferenceobjectives.llm-d.ai`."""
    state: State
    objects: int
    """How many are held and fit for use."""
    contact_age_s: float | None
    """Since the API server last said anything about it; None if it never did."""
    relists: Mapping[str, int]
    failures: Mapping[str, int]
    message: str
    """What went wrong last, while something is wrong; else empty."""
