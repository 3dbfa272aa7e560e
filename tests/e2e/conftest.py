"""Tests through the real Envoy. Without its binary they are skipped, with that reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from epp.extproc.transports.transport import TransportName
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy
from tests.e2e.transport import VARIABLE
from tests.e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.world import Setting


@pytest.fixture(scope="session", autouse=True)
def _envoy() -> None:
    """Every test here needs the real thing."""
    try:
        find_envoy()
    except EnvoyNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True, params=list(TransportName), ids=lambda name: name.value)
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs on each transport."""
    monkeypatch.setenv(VARIABLE, request.param.value)


@pytest.fixture
def world(tmp_path: Path) -> Callable[[Setting], World]:
    """Make a world, which is to be entered with `async with`."""
    return lambda setting: World(setting, tmp_path)
