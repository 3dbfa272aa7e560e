"""What the tests of the ext_proc room share."""

from __future__ import annotations

import warnings

import pytest

from epp.extproc.transports.transport import TransportName

# Its classes use an idiom that the installed pydantic deprecates, which is a warning at import and an error here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.service.ext_proc.v3  # noqa: F401 - imported for its effect on later imports


@pytest.fixture(params=list(TransportName), ids=lambda name: name.value)
def transport(request: pytest.FixtureRequest) -> TransportName:
    """Whoever takes it runs on each of them."""
    name: TransportName = request.param
    return name
