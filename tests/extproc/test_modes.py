"""Which answers a gateway expects, by what it declares."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProtocolConfiguration

from epp.extproc.modes import BodyMode, Modes, read_modes
from epp.extproc.wire import ext_proc_pb2 as wire
from tests.extproc import gateway


@pytest.mark.parametrize(
    ("configuration", "modes"),
    [
        (None, Modes(BodyMode.DUPLEX, BodyMode.DUPLEX, declared=False)),
        (gateway.DUPLEX, Modes(BodyMode.DUPLEX, BodyMode.DUPLEX, declared=True)),
        (gateway.LEAN, Modes(BodyMode.DUPLEX, BodyMode.UNSEEN, declared=True)),
        (gateway.STREAMED, Modes(BodyMode.COPIES, BodyMode.COPIES, declared=True)),
        (gateway.BUFFERED, Modes(BodyMode.COPIES, BodyMode.COPIES, declared=True)),
        (ProtocolConfiguration(), Modes(BodyMode.UNSEEN, BodyMode.UNSEEN, declared=True)),
    ],
)
def test_modes_follow_the_declaration(configuration: ProtocolConfiguration | None, modes: Modes) -> None:
    """A present but unset mode means that no body is shown; no declaration means full duplex."""
    message = ProcessingRequest(protocol_config=configuration)
    assert read_modes(wire.ProcessingRequest.FromString(bytes(message))) == modes
