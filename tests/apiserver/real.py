"""A real etcd and kube-apiserver on 127.0.0.1, from the binaries that `KUBEBUILDER_ASSETS` names.

Each needs about five seconds to start; `tests.apiserver.fixtures` starts one per session and kind of authorization.
There are no controllers: nothing ends namespaces, and nothing makes service accounts, so that admission is off.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from epp.quickstart.ports import free_ports
from tests.apiserver.crds import definitions, kind_of
from tests.apiserver.kinds import BUILT_IN
from tests.apiserver.kubeconfig import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HOST = "127.0.0.1"
ADMIN_TOKEN = "admin-of-the-tests"
START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 20.0
_POLL_S = 0.1


class Authorization(Enum):
    """Who may do what."""

    ALWAYS_ALLOW = "AlwaysAllow"
    RBAC = "RBAC"


@dataclass(frozen=True)
class User:
    """Somebody with a token; for service accounts see `RealApiServer.account`."""

    token: str
    name: str
    groups: tuple[str, ...] = ()


ADMIN = User(ADMIN_TOKEN, "admin", ("system:masters",))


def assets() -> Path | None:
    """The folder of the binaries; None if there is none, or they are not all in it."""
    folder = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not folder or not all(os.access(Path(folder, name), os.X_OK) for name in ("etcd", "kube-apiserver")):
        return None
    return Path(folder)


class RealApiServer:
    """One etcd and one kube-apiserver. Use as a context manager, or `start` and `stop`; nothing here is async."""

    def __init__(
        self,
        folder: Path,
        *,
        authorization: Authorization = Authorization.ALWAYS_ALLOW,
        users: Sequence[User] = (),
        crds: Iterable[str] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.authority = folder / "ca.crt"
        self._authorization = authorization
        self._users = (ADMIN, *users)
        self._crds = tuple(definitions() if crds is None else crds)
        self._flags = tuple(flags)
        self._installed: set[str] = set()
        self._port, self._etcd_port, self._peer_port = free_ports(3)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._apiserver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://{HOST}:{self._port}"

    def tls(self) -> ssl.SSLContext:
        """What a client needs to trust it."""
        return ssl.create_default_context(cafile=str(self.authority))

    def kubeconfig(self, folder: Path, *, namespace: str = "default", token: str = ADMIN_TOKEN) -> Path:
        """Write a configuration that leads here, for the user of a token."""
        return write_kubeconfig(
            folder, server=self.url, token=token, namespace=namespace, authority=self.authority
        )

    def start(self) -> None:
        """Start both, wait for /readyz, and install the definitions."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_certificates(self.folder)
        lines = [f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in self._users]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=error",
            f"--listen-client-urls=http://{HOST}:{self._etcd_port}",
            f"--advertise-client-urls=http://{HOST}:{self._etcd_port}",
            f"--listen-peer-urls=http://{HOST}:{self._peer_port}",
            f"--initial-advertise-peer-urls=http://{HOST}:{self._peer_port}",
            f"--initial-cluster=default=http://{HOST}:{self._peer_port}",
        )
        self.start_apiserver()
        for name in self._crds:
            self.install(name)

    def stop(self) -> None:
        """Stop both."""
        self.stop_apiserver()
        _stop(self._etcd)
        self._etcd = None

    def start_apiserver(self) -> None:
        """Start the API server alone, on its port, and wait for /readyz."""
        self._apiserver = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{self._etcd_port}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            f"--authorization-mode={self._authorization.value}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self.folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            "--shutdown-delay-duration=0s",
            *self._flags,
        )
        self._until(lambda: self.call("GET", "/readyz")[0] == 200, "kube-apiserver is not ready")
        self._until(lambda: self.call("GET", "/api/v1/namespaces/default")[0] == 200, "there is no namespace")
        for kind in (*BUILT_IN, *map(kind_of, self._installed)):
            self._until(partial(self._watchable, kind.path()), f"{kind.resource} cannot be watched")

    def stop_apiserver(self) -> None:
        """Stop the API server alone: a restart keeps the objects, and forgets the watch cache."""
        _stop(self._apiserver)
        self._apiserver = None

    def install(self, name: str) -> None:
        """Install a definition and wait until it is served."""
        document = definitions()[name]
        self._installed.add(name)
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        status, body = self.call("POST", path, document)
        if status not in {201, 409}:
            raise RuntimeError(f"the definition {name} is refused: {body}")
        spec = document["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        self._until(lambda: self._watchable(served), f"{name} is not served")

    def uninstall(self, name: str) -> None:
        """Take a definition away."""
        self._installed.discard(name)
        self.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")

    def account(self, namespace: str, name: str) -> str:
        """Make a service account, and a token of it as a pod would have."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        status, body = self.call("POST", path, {"metadata": {"name": name}})
        if status not in {201, 409}:
            raise RuntimeError(f"the service account {namespace}/{name} is refused: {body}")
        status, body = self.call("POST", f"{path}/{name}/token", {"spec": {"expirationSeconds": 3600}})
        if status != 201:
            raise RuntimeError(f"the token of {namespace}/{name} is refused: {body}")
        token: str = body["status"]["token"]
        return token

    def compact(self) -> int:
        """Make etcd forget its history up to now, through its own API; returns up to which version.

        The API server's watch cache is not touched by this: it serves watches and pages from the versions it holds.
        `--watch-cache=false` among the flags makes etcd's word count.
        """
        key = base64.b64encode(b"/").decode()
        revision = int(self._etcd_call("/v3/kv/range", {"key": key, "limit": 1})["header"]["revision"])
        self._etcd_call("/v3/kv/compaction", {"revision": revision, "physical": True})
        return revision

    def _watchable(self, path: str) -> bool:
        """Whether the watch cache is ready: until then watches get 429, which tests are not about."""
        try:
            with self._open("GET", f"{path}?watch=1&timeoutSeconds=1"):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request as the administrator, blocking; for set-up, not for what a test is about."""
        try:
            with self._open(method, path, body) as response:
                raw, status = response.read(), response.status
        except urllib.error.HTTPError as error:
            with error:
                raw, status = error.read(), error.code
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode(errors="replace")

    def _open(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=30, context=self.tls())

    def _etcd_call(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://{HOST}:{self._etcd_port}{path}", data=json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        folder = assets()
        if folder is None:
            raise RuntimeError("KUBEBUILDER_ASSETS does not name a folder with etcd and kube-apiserver")
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [folder / name, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _until(self, holds: Any, complaint: str) -> None:
        end_s = time.monotonic() + START_PATIENCE_S
        while True:
            process = self._apiserver
            try:
                if holds():
                    return
            except OSError as error:
                complaint_now = f"{complaint}: {error}"
            else:
                complaint_now = complaint
            if time.monotonic() > end_s or process is None or process.poll() is not None:
                log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
                raise RuntimeError(f"{complaint_now}; its last words: {log[-2000:]}")
            time.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_certificates(folder: Path) -> None:
    """An authority, a server certificate for 127.0.0.1, and a key for service accounts' tokens."""
    authority_key, server_key, accounts_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    authority = (
        _certificate(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    addresses = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]
    )
    server = (
        _certificate(server_name, authority_name, server_key)
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(authority.public_bytes(pem))
    (folder / "server.crt").write_bytes(server.public_bytes(pem))
    for name, key in (("server.key", server_key), ("accounts.key", accounts_key)):
        raw = key.private_bytes(
            pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (folder / name).write_bytes(raw)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
