"""What the tests of the cost table share: some of them drive a server by the ext_proc room's means."""

from __future__ import annotations

import warnings

# Its classes use an idiom that the installed pydantic deprecates, which is a warning at import and an error here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.service.ext_proc.v3  # noqa: F401 - imported for its effect on later imports
