"""Where the API server is and as whom we come: from a pod's service account or a kubeconfig, by the client library.

Whatever the library reads, is used as it says: tokens, token files, client certificates, credentials plugins, OIDC,
proxies, TLS server names. Tokens are read again within a minute of changing, plugins are run again when what they gave
runs out or the API server refuses it. While that fails, the last credentials stay in use.

The library's errors quote pieces of kubeconfigs, tokens included: none of its words are passed on unseen.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import incluster_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.kube_config import load_kube_config

from epp.kube.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubernetes.aio.config.kube_config import KubeConfigLoader

RENEW_INTERVAL_S: Final = 60.0
"""How often a kubeconfig's token is looked at again: as often as the library does it for service accounts."""
DOUBT_INTERVAL_S: Final = 10.0
"""How often at most a refused token is a reason to do so sooner."""
_READ_BUFFER_BYTES = 256 * 1024
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that is gone without a word is missed after 45 s, as by client-go."""
_HOME_CONFIG = Path("~/.kube/config")
_REMEDY = "see whether kubectl --kubeconfig PATH get pods works"

log = structlog.get_logger()


class Credentials:
    """How to reach one API server. Make it with `load`."""

    def __init__(
        self, configuration: Configuration, *, namespace: str | None, loader: KubeConfigLoader | None = None
    ) -> None:
        self._configuration = configuration
        self._rest = _Rest(configuration)
        self._loader = loader
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_s = time.monotonic()
        self._doubted = False
        self._told = False
        self.namespace = namespace
        given = urlsplit(configuration.host)
        self.host = given.netloc.rpartition("@")[2]
        self.url = urlunsplit((given.scheme, self.host, given.path.rstrip("/"), "", ""))

    @classmethod
    async def load(cls, kubeconfig: Path | None, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Raises `ConnectError`."""
        found = _find(kubeconfig, environ)
        if isinstance(found, _Kubeconfig):
            return await cls._from_kubeconfig(found)
        return cls._from_service_account(found, environ)

    @classmethod
    def _from_service_account(cls, token_file: Path, environ: Mapping[str, str]) -> Self:
        configuration = _configuration()
        loader = incluster_config.InClusterConfigLoader(  # type: ignore[no-untyped-call] # only its client has types
            str(token_file), incluster_config.SERVICE_CERT_FILENAME, environ=environ
        )
        try:
            loader.load_and_set(configuration)  # type: ignore[no-untyped-call] # only its client has types
            namespace_file = token_file.with_name("namespace")
            namespace = namespace_file.read_text().strip() if namespace_file.is_file() else None
            return cls(configuration, namespace=namespace or None)
        except (ConfigException, OSError, ValueError) as error:
            raise ConnectError(
                f"the pod's service account in {token_file.parent} can't be used: {_words(error)}; "
                "mount it (automountServiceAccountToken: true), or give --kubeconfig PATH"
            ) from None

    @classmethod
    async def _from_kubeconfig(cls, given: _Kubeconfig) -> Self:
        configuration = _configuration()
        try:
            loader = await load_kube_config(  # type: ignore[no-untyped-call] # only its client has types
                config_file=given.paths, client_configuration=configuration, persist_config=False
            )
            configuration.proxy = configuration.proxy or _proxy_for(configuration.host)
            context = loader.current_context.get("context") or {}
            plugin = _plugin(loader)
            made = cls(configuration, namespace=context.get("namespace"), loader=loader)
        except Exception as error:  # what a person wrote may break the library in any way
            raise ConnectError(f"{given} can't be used: {_words(error)}; {_REMEDY}") from None
        if plugin and not configuration.api_key and not configuration.cert_file:
            raise ConnectError(f"{given}: its credentials plugin {plugin} gave nothing; {_REMEDY}")
        return made

    def session(self) -> aiohttp.ClientSession:
        """A new session, for this loop."""
        session: aiohttp.ClientSession = (
            self._rest._create_pool_manager()
        )  # meant to be overridden, so it will stay
        return session

    def routing(self) -> dict[str, Any]:
        """What a request needs to get there, besides its URL."""
        given = {
            "server_hostname": self._configuration.tls_server_name,
            "proxy": self._configuration.proxy,
            "proxy_headers": self._configuration.proxy_headers,
        }
        return {name: value for name, value in given.items() if value}

    async def headers(self) -> dict[str, str]:
        """What a request needs to say as whom it comes."""
        try:
            await self._renew()
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except Exception as error:
            if not self._told:
                log.warning("credentials can't be renewed: the last ones stay in use", why=_words(error))
            self._told = True
            token = self._configuration.api_key.get("BearerToken")
        else:
            self._told = False
        return {"Authorization": token.strip()} if token else {}

    def doubt(self) -> None:
        """The API server refused what we have."""
        self._doubted = self._doubted or time.monotonic() - self._renewed_s > DOUBT_INTERVAL_S

    async def _renew(self) -> None:
        """Reads a kubeconfig's credentials again, if it is time. Nobody who gives up waiting stops it for others."""
        if self._loader is None:
            return
        if self._renewal is None:
            if not self._doubted and time.monotonic() - self._renewed_s < RENEW_INTERVAL_S:
                return
            self._renewal = asyncio.create_task(self._read_again(self._loader))
        renewal = self._renewal
        try:
            await asyncio.shield(renewal)
        finally:
            if renewal.done() and self._renewal is renewal:
                self._renewal = None
                self._renewed_s = time.monotonic()
                self._doubted = False

    async def _read_again(self, loader: KubeConfigLoader) -> None:
        if _plugin(loader):
            if not self._doubted and not hasattr(loader, "exec_plugin_expiry"):
                return  # good until it is refused
            if self._doubted and hasattr(loader, "exec_plugin_expiry"):
                del loader.exec_plugin_expiry
        certificate = self._configuration.cert_file
        await loader.load_and_set(self._configuration)  # type: ignore[no-untyped-call] # only its client has types
        renewed = self._configuration.cert_file
        if renewed and renewed != certificate:
            self._rest.ssl_context.load_cert_chain(renewed, self._configuration.key_file)

    async def close(self) -> None:
        """Nothing more is going to be asked for."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)


class _Rest(RESTClientObject):
    """The library's way to sessions, with connections that notice when the other side is gone."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=self.ssl_context, socket_factory=_lively_socket)


class _Kubeconfig(NamedTuple):
    """Files to be read together, and who named them."""

    paths: str
    named_by: str

    def __str__(self) -> str:
        return f"{self.named_by}={self.paths}"


def _find(kubeconfig: Path | None, environ: Mapping[str, str]) -> _Kubeconfig | Path:
    """The kubeconfig to use, or the token file of the pod's service account. Raises `ConnectError`."""
    token_file = Path(incluster_config.SERVICE_TOKEN_FILENAME)
    in_cluster = bool(environ.get(incluster_config.SERVICE_HOST_ENV_NAME))
    if kubeconfig is not None:
        return _existing(_Kubeconfig(str(kubeconfig), "--kubeconfig"))
    if environ.get("KUBECONFIG"):
        return _existing(_Kubeconfig(environ["KUBECONFIG"], "$KUBECONFIG"))
    if in_cluster and token_file.is_file():
        return token_file
    home = _HOME_CONFIG.expanduser()
    if home.is_file():
        return _Kubeconfig(str(home), str(_HOME_CONFIG))
    why = f"{token_file} is missing" if in_cluster else "this is no pod"
    raise ConnectError(
        f"no API server to be found: --kubeconfig is not given, {why}, $KUBECONFIG is not set and {_HOME_CONFIG} "
        "does not exist; give --kubeconfig PATH, or --objects PATH to work with manifests from files"
    )


def _existing(given: _Kubeconfig) -> _Kubeconfig:
    paths = [Path(path).expanduser() for path in given.paths.split(os.pathsep) if path]
    if not any(path.is_file() for path in paths):
        raise ConnectError(f"{given}: there is no such file; {_REMEDY}")
    return given


def _configuration() -> Configuration:
    configuration = Configuration()
    configuration.client_session_kwargs = {
        "read_bufsize": _READ_BUFFER_BYTES,
        "cookie_jar": aiohttp.DummyCookieJar(),
        # Else every request would look into ~/.netrc.
        "trust_env": False,
    }
    # Clusters make their own authorities, and not by the book that newer versions of Python hold them to.
    configuration.disable_strict_ssl_verification = True
    return configuration


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names. Only for kubeconfigs: a pod has none between it and its API server."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _lively_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made


def _plugin(loader: KubeConfigLoader) -> str:
    """The credentials plugin that the kubeconfig names, if any."""
    user = loader._user  # the library's own refreshing reads it too
    if user is None or "exec" not in user:
        return ""
    return str(user["exec"].safe_get("command") or "exec")


def _words(error: Exception) -> str:
    """What the library has to say, without what it quotes."""
    if isinstance(error, ConfigException):
        return str(error).partition(" in ")[0][:200]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    return type(error).__name__
