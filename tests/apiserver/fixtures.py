"""Fixtures for tests that need an API server, for the conftest of any folder to import.

    from tests.apiserver.fixtures import api_server, fake_api_server, rbac_api_server, real_api_server

* `fake_api_server`: a `FakeApiServer`, fresh for each test.
* `real_api_server`, `rbac_api_server`: a `RealApiServer` for the session (AlwaysAllow, or RBAC), shared by all folders;
  tests are skipped where `KUBEBUILDER_ASSETS` names no binaries. Keep to a namespace of your own.
* `api_server`: a `Served`, once as the fake and once as the real one, with a namespace of its own for each test.
  `url`, `kubeconfig(folder)`, `client` (plain HTTP: `call`, `watch`, `create`, `replace`, `patch`, `patch_status`,
  `delete`, `get`, `list`), `forget()`, and `fake`/`real` for what only one of them can do.

Import `real_api_server` together with `api_server`, which asks for it; name all of them in `__all__`.
Objects to create are in `tests.apiserver.samples`.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.client import Client
from tests.apiserver.real import ADMIN_TOKEN, Authorization, RealApiServer, assets
from tests.apiserver.server import TOKEN, FakeApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

FAKE, REAL = "fake", "real"
NO_ASSETS = "KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"
_numbers = itertools.count(1)
_running: dict[Authorization, tuple[RealApiServer, ExitStack]] = {}
_users: dict[Authorization, int] = dict.fromkeys(Authorization, 0)


@dataclass(frozen=True)
class Served:
    """One server, whichever it is, and a namespace that no other test uses."""

    client: Client
    namespace: str
    fake: FakeApiServer | None = None
    real: RealApiServer | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.client.url

    def kubeconfig(self, folder: Path) -> Path:
        """Write a configuration that leads to the server and the namespace."""
        server = self.fake or self.real
        assert server is not None
        return server.kubeconfig(folder, namespace=self.namespace)

    async def forget(self) -> None:
        """Make the server lose its history: watches and pages from before this are refused with 410.

        The real one keeps versions in etcd and in its own watch cache, so etcd is compacted through etcd's API and the
        API server is started anew, which takes about four seconds and ends every connection.
        """
        if self.fake is not None:
            self.fake.compact()
        if self.real is not None:
            await asyncio.to_thread(self._forget_really, self.real)

    def _forget_really(self, real: RealApiServer) -> None:
        real.compact()
        real.stop_apiserver()
        real.start_apiserver()


@contextmanager
def shared(authorization: Authorization, folder: Path) -> Iterator[RealApiServer]:
    """The real server with this authorization: started by its first user, and stopped by its last."""
    if assets() is None:
        pytest.skip(NO_ASSETS)
    _users[authorization] += 1
    try:
        if authorization not in _running:
            stack = ExitStack()
            server = stack.enter_context(RealApiServer(folder, authorization=authorization))
            _running[authorization] = server, stack
        yield _running[authorization][0]
    finally:
        _users[authorization] -= 1
        if not _users[authorization] and authorization in _running:
            _running.pop(authorization)[1].close()


@pytest.fixture(scope="session")
def real_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApiServer]:
    """A real server that lets everybody do everything."""
    with shared(Authorization.ALWAYS_ALLOW, tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="session")
def rbac_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApiServer]:
    """A real server with RBAC; the administrator's token is `tests.apiserver.real.ADMIN_TOKEN`."""
    with shared(Authorization.RBAC, tmp_path_factory.mktemp("kube-rbac")) as server:
        yield server


@pytest.fixture
async def fake_api_server() -> AsyncIterator[FakeApiServer]:
    """A fake server."""
    async with FakeApiServer() as server:
        yield server


@pytest.fixture(params=[FAKE, REAL])
async def api_server(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """Each server in turn."""
    namespace = f"test-{next(_numbers)}"
    if request.param == FAKE:
        async with FakeApiServer() as fake, Client(fake.url, token=TOKEN) as client:
            await _make_namespace(client, namespace)
            yield Served(client, namespace, fake=fake)
    else:
        real: RealApiServer = request.getfixturevalue("real_api_server")
        async with Client(real.url, token=ADMIN_TOKEN, tls=real.tls()) as client:
            await _make_namespace(client, namespace)
            yield Served(client, namespace, real=real)


async def _make_namespace(client: Client, name: str) -> None:
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
