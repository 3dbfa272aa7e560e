"""What can go wrong with a scrape: a closed set, so that it can be counted."""

from __future__ import annotations

from enum import Enum


class FailureKind(Enum):
    """Why a scrape gave no sample; the value is the metric label."""

    REFUSED = "refused"
    """Nobody listens there."""
    CONNECT = "connect"
    """There is no connection for another reason: the way there is closed, or we have no sockets left."""
    TLS = "tls"
    """The handshake failed."""
    TIMEOUT = "timeout"
    """No complete answer in time."""
    CLOSED = "closed"
    """The server hung up before its answer was complete."""
    NOT_HTTP = "not_http"
    """What came back is no HTTP/1 response that we understand."""
    TOO_LARGE = "too_large"
    """The response is larger than a metrics page may be."""
    STATUS = "status"
    """The server answered with another status than 200."""
    METRICS_MISSING = "metrics_missing"
    """A page came back that lacks what its engine should tell."""


class ScrapeFailure(Exception):  # noqa: N818 - a failure to count and report, not a bug to raise
    """A scrape gave no sample. `detail` is for people, and bounded in length."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}"
