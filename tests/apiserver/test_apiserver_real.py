"""The real server of the tests: RBAC where it is asked for, and a kubeconfig that a client can use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml

from tests.apiserver.client import Client
from tests.apiserver.kinds import PODS
from tests.apiserver.real import ADMIN_TOKEN, RealApiServer

RBAC = "rbac.authorization.k8s.io"


async def test_tokens(rbac_api_server: RealApiServer) -> None:
    """The administrator may do everything, an unknown token is 401."""
    for token, status in ((ADMIN_TOKEN, 200), ("unknown", 401)):
        async with Client(rbac_api_server.url, token=token, tls=rbac_api_server.tls()) as client:
            assert (await client.call("GET", PODS.path("default"))).status == status


async def test_roles(rbac_api_server: RealApiServer, tmp_path: Path) -> None:
    """A service account is refused with 403, and may what a role says once it is bound."""
    server = rbac_api_server
    token = await asyncio.to_thread(server.account, "default", "epp")
    config = yaml.safe_load(server.kubeconfig(tmp_path, token=token).read_text())
    (user,), (cluster,) = config["users"], config["clusters"]
    assert cluster["cluster"] == {"server": server.url, "certificate-authority": str(server.authority)}
    async with Client(server.url, token=user["user"]["token"], tls=server.tls()) as client:
        assert (await client.call("GET", PODS.path("default"))).status == 403
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
        role = {"metadata": {"name": "epp"}, "rules": rules}
        binding = {
            "metadata": {"name": "epp"},
            "subjects": [{"kind": "ServiceAccount", "name": "epp", "namespace": "default"}],
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "epp"},
        }
        for plural, obj in (("roles", role), ("rolebindings", binding)):
            path = f"/apis/{RBAC}/v1/namespaces/default/{plural}"
            status, body = await asyncio.to_thread(server.call, "POST", path, obj)
            assert status == 201, body
        for _ in range(100):  # the authorizer hears of it by a watch of its own
            reply = await client.call("GET", PODS.path("default"))
            if reply.status == 200:
                break
            await asyncio.sleep(0.05)
        assert reply.status == 200
        assert (await client.call("GET", PODS.path("kube-system"))).status == 403
