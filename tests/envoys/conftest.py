"""Which Envoys are tried: the one that is installed always, and every executable of the folder `EPP_ENVOYS`.

A folder could hold `envoy-1.36`, `envoy-1.37` and so on; the names are those of the test cases. With it, everything is
tried on both transports; without, on our own only, since the end-to-end tests try both as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from epp.extproc.transports.transport import TransportName
from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy
from tests.envoys.scene import Cast, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "EPP_ENVOYS"
_INSTALLED = "installed"


def _others() -> list[Path]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return []
    found = sorted(path for path in Path(folder).iterdir() if path.is_file() and os.access(path, os.X_OK))
    if not found:
        raise pytest.UsageError(f"{VARIABLE}={folder}: no executable is in it; unset it or put Envoys there")
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for `envoy` is run with each of them."""
    if "envoy" in metafunc.fixturenames:
        named = [(_INSTALLED, None), *((path.name, path) for path in _others())]
        metafunc.parametrize(
            "envoy", [path for _, path in named], ids=[name for name, _ in named], indirect=True
        )


@pytest.fixture
def envoy(request: pytest.FixtureRequest) -> Path:
    """The Envoy of this test case."""
    if request.param is not None:
        return Path(request.param)
    try:
        return find_envoy()
    except EnvoyNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(
    params=list(TransportName) if os.environ.get(VARIABLE) else [TransportName.NATIVE],
    ids=lambda name: name.value,
)
def transport(request: pytest.FixtureRequest) -> str:
    """What the picker serves with."""
    return TransportName(request.param).value


@pytest.fixture
def scene(tmp_path: Path, envoy: Path, transport: str) -> Callable[..., Scene]:
    """Set a scene, which is to be entered with `async with`; what isn't said is as in `Cast`."""
    return lambda **cast: Scene(Cast(envoy=envoy, transport=transport, **cast), tmp_path)
