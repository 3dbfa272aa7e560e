"""The transport on which pickers serve in a test: the fixture in `conftest` says so, for each test twice."""

from __future__ import annotations

import os

from epp.extproc.transports.transport import TransportName

VARIABLE = "EPP_E2E_TRANSPORT"


def transport_under_test() -> TransportName:
    """This test's."""
    return TransportName(os.environ[VARIABLE])


def transport_flag() -> str:
    """The same, for `epp serve`."""
    return f"--transport={transport_under_test().value}"
