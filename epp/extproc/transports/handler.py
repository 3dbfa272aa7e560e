"""What a connection expects of whoever handles one of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from epp.extproc.http2.call import Call
    from epp.extproc.transports.peer import Peer


class Handler(Protocol):
    """What a call is for."""

    touched: bool
    """The connection is going to ask it to send."""

    def receive(self, data: bytes, /) -> None:
        """A message."""

    def half_closed(self) -> None:
        """There are no more."""

    def reset(self) -> None:
        """The call is gone."""

    def send(self) -> None:
        """Say what there is to say."""

    def hold_back(self) -> None:
        """Nothing can be said for now."""

    def expire(self) -> None:
        """End it: the peer's own time for it is up."""

    def fail(self) -> None:
        """End it: there is a bug."""


if TYPE_CHECKING:
    NewExchange = Callable[[Peer, Call], Handler]
    """Makes the handler of an ext_proc stream. Once that is over, the call has no owner and the service was told."""
