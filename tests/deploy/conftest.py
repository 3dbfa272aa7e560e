"""The real API servers, for what only they can judge."""

from __future__ import annotations

from tests.apiserver.fixtures import rbac_api_server, real_api_server

__all__ = ["rbac_api_server", "real_api_server"]
