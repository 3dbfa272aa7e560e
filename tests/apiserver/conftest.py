"""Every test of this folder may use both servers."""

from __future__ import annotations

from tests.apiserver.fixtures import (
    api_server,
    fake_api_server,
    rbac_api_server,
    real_api_server,
)

__all__ = ["api_server", "fake_api_server", "rbac_api_server", "real_api_server"]
