"""What gateways' connections come to: how many there are, why they ended, and which limits their peers passed.

Only the native transport counts; with any other there is nothing of it on the page. It keeps plain numbers, which are
read when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from epp.observe.exposition import Numbers, Reading, counter, gauge
from epp.observe.labels import label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from epp.observe.exposition import Family


class ConnectionFigures(Protocol):
    """The connections of one server, since it started."""

    @property
    def connections_opened(self) -> int:
        """Accepted."""

    @property
    def streams_opened(self) -> int:
        """That were not refused."""

    @property
    def streams_ended(self) -> int:
        """Of those."""

    @property
    def streams_refused(self) -> int:
        """Over the limit."""

    @property
    def resets_received(self) -> int:
        """By gateways."""

    @property
    def resets_sent(self) -> int:
        """By us."""

    @property
    def pings_received(self) -> int:
        """That asked for an answer."""

    @property
    def bytes_in(self) -> int:
        """Of HTTP/2, without TLS."""

    @property
    def bytes_out(self) -> int:
        """The same."""

    @property
    def messages_in(self) -> int:
        """Of gRPC."""

    @property
    def messages_out(self) -> int:
        """The same."""

    def endings(self) -> Mapping[str, int]:
        """Connections that are no more, by why."""

    def offences_by_name(self) -> Mapping[str, int]:
        """How often each limit was passed."""


CONNECTIONS = gauge("epp_extproc_connections", "Connections of gateways that are open.")
STREAMS = gauge("epp_extproc_streams", "Streams that are open: requests of gateways.")
ENDED = counter("epp_extproc_connections_ended_total", "Connections of gateways that are no more, by why.")
OFFENCES = counter(
    "epp_extproc_offences_total",
    "Limits that a peer passed. Each has a flag, which the log names, and a peer that means well passes none.",
)
RESETS = counter("epp_extproc_stream_resets_total", "Streams that ended by a reset, by whose.")
BYTES = counter("epp_extproc_bytes_total", "Bytes of HTTP/2, without TLS, in from gateways and out to them.")
MESSAGES = counter("epp_extproc_messages_total", "Messages of ext_proc, in from gateways and out to them.")
PLAIN: tuple[tuple[Family, Callable[[ConnectionFigures], int]], ...] = (
    (
        counter("epp_extproc_connections_opened_total", "Connections of gateways that were accepted."),
        lambda figures: figures.connections_opened,
    ),
    (
        counter("epp_extproc_streams_opened_total", "Streams that gateways opened, one for each request."),
        lambda figures: figures.streams_opened,
    ),
    (
        counter("epp_extproc_streams_refused_total", "Streams over the limit: a gateway may try elsewhere."),
        lambda figures: figures.streams_refused,
    ),
    (
        counter("epp_extproc_pings_total", "Pings of gateways."),
        lambda figures: figures.pings_received,
    ),
)


def read_connections(figures: ConnectionFigures | None) -> Iterator[Reading]:
    """The series; none where nobody counts."""
    if figures is None:
        return
    endings = figures.endings()
    yield Numbers(CONNECTIONS, [("", figures.connections_opened - sum(endings.values()))])
    yield Numbers(STREAMS, [("", figures.streams_opened - figures.streams_ended)])
    for family, of_figures in PLAIN:
        yield Numbers(family, [("", of_figures(figures))])
    yield Numbers(ENDED, _by("reason", endings))
    yield Numbers(OFFENCES, _by("offence", figures.offences_by_name()))
    yield Numbers(RESETS, _by("by", {"gateway": figures.resets_received, "picker": figures.resets_sent}))
    yield Numbers(BYTES, _by("direction", {"in": figures.bytes_in, "out": figures.bytes_out}))
    yield Numbers(MESSAGES, _by("direction", {"in": figures.messages_in, "out": figures.messages_out}))


def _by(label: str, counts: Mapping[str, int]) -> list[tuple[str, float]]:
    return [(label_text((label, name)), count) for name, count in counts.items()]
