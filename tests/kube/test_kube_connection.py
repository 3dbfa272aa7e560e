"""The connection, over real sockets: what goes there, what comes back, and in which words nothing does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import logging
import os
import ssl
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from epp import __version__
from epp.kube import credentials
from epp.kube.connection import ApiServer, LineTooLong, Reply, Stream, Unreachable
from epp.kube.errors import ConnectError
from tests.apiserver import real
from tests.apiserver.server import TOKEN, Ending, FakeApiServer, where
from tests.kube import objects

PODS = "/api/v1/namespaces/team/pods"
SECRET = "s3cr3t-t0ken"
PATIENCE_S = 10.0


@contextlib.asynccontextmanager
async def connected(folder: Path):
    """A fake server, and a connection to it."""
    async with FakeApiServer() as fake:
        server = await ApiServer.connect(fake.kubeconfig(folder))
        try:
            yield fake, server
        finally:
            await server.close()


@contextlib.asynccontextmanager
async def saying(*chunks: bytes, hold: bool = False):
    """A port on which every connection gets these bytes."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            if hold:
                await done.wait()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        done.set()
        listening.close()
        await listening.wait_closed()


def kubeconfig(folder: Path, server: str, *, user: dict | None = None, **cluster: object) -> Path:
    """A configuration that leads there, in the namespace `there`."""
    path = folder / "config.yaml"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "there"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {"token": SECRET}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


# --------------------------------------------------------------------------------- requests and answers


async def test_requests_say_who_asks_and_what_for(tmp_path):
    """Credentials, a user agent, a query and a JSON body arrive as they were meant."""
    async with connected(tmp_path) as (fake, server):
        assert server.host == f"127.0.0.1:{fake.port}"
        assert server.namespace == "default"
        made = await server.request(
            "POST", PODS.replace("team", "default"), body=objects.pod() | {"metadata": {"name": "a"}}
        )
        assert made.status == 201
        reply = await server.request(
            "PATCH",
            f"{PODS.replace('team', 'default')}/a",
            query={"fieldManager": "epp & co"},
            body={"metadata": {"labels": {"ü": "x"}}},
            content_type="application/merge-patch+json",
        )
        assert reply.status == 200
        asked = fake.log[-1]
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
        assert asked.headers["User-Agent"] == f"epp/{__version__}"
        assert asked.headers["Content-Type"] == "application/merge-patch+json"
        assert asked.query == {"fieldManager": "epp & co"}


async def test_statuses_are_data(tmp_path):
    """Every status comes back as it is, with the server's words and how long it wants to be left alone."""
    async with connected(tmp_path) as (fake, server):
        fake.fail(503, retry_after_s=7, message="come back")
        reply = await server.request("GET", PODS)
        assert (reply.status, reply.retry_after_s, reply.message) == (503, 7.0, "come back")
        fake.html()
        reply = await server.request("GET", PODS)
        assert reply.status == 502
        assert reply.message.startswith("<html> <head><title>502 Bad Gateway")
        reply = await server.request("GET", "/apis/none.such/v1/things")
        assert (reply.status, reply.retry_after_s) == (404, None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Service Unavailable"),
        (b'{"message": "in\\n two  lines"}', "in two lines"),
        (b'{"message": 5}', '{"message": 5}'),
        (b"\xff" * 5, "\N{REPLACEMENT CHARACTER}" * 5),
        (b"x" * 1000, "x" * 200 + "..."),
        (b'{"x":' + b"[" * 200_000, '{"x":' + "[" * 195 + "..."),
    ],
)
def test_messages_are_one_short_line(body, message):
    """Whatever came, a person can read it."""
    assert Reply(503, body, None).message == message
    assert Reply(799, b"", None).message == "status 799"


async def test_an_answer_that_does_not_come(tmp_path):
    """A hanging server, a slow body and a reset are told apart, and in time."""
    async with connected(tmp_path) as (fake, server):
        fake.hang()
        with pytest.raises(Unreachable, match=r"no answer within 0\.2s"):
            await server.request("GET", PODS, timeout_s=0.2)
        fake.heal()
        fake.reset(times=None)
        with pytest.raises(Unreachable, match=r"broke off|reset"):
            await server.request("GET", PODS)
        fake.heal()
        await fake.refuse()
        with pytest.raises(Unreachable, match=r"connection refused|connect call failed"):
            await server.request("GET", PODS)
        await fake.resume()
        assert (await server.request("GET", PODS)).status == 200
    async with saying(HEAD + b"Content-Length: 100\r\n\r\n{", hold=True) as port:
        server = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        with pytest.raises(Unreachable, match=r"no answer within 0\.2s"):
            await server.request("GET", PODS, timeout_s=0.2)
        await server.close()
    for garbage in (b"hello\r\n\r\n", HEAD + b"Content-Length: 100\r\n\r\n{"):
        async with saying(garbage) as port:
            server = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
            with pytest.raises(Unreachable):
                await server.request("GET", PODS)
            await server.close()


async def test_a_name_that_leads_nowhere(tmp_path):
    """A name that can't be resolved is called that."""
    server = await ApiServer.connect(kubeconfig(tmp_path, "http://no-such-host.invalid:1"))
    with pytest.raises(Unreachable, match="can't be resolved"):
        await server.request("GET", PODS)
    await server.close()


async def test_tls_is_verified(tmp_path):
    """A server with a certificate of nobody we know, or without TLS, is not talked to; with its authority it is."""
    real._write_certificates(tmp_path)
    authority = tmp_path / "ca.crt"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    good = {"certificate-authority": str(authority)}
    for cluster, problem in (
        ({}, "TLS: its certificate is not accepted"),
        ({**good, "tls-server-name": "another"}, "TLS: its certificate is not accepted"),
        (good, None),
        ({**good, "tls-server-name": "localhost"}, None),
        ({"certificate-authority-data": base64.b64encode(authority.read_bytes()).decode()}, None),
        ({"insecure-skip-tls-verify": True}, None),
    ):
        server = await ApiServer.connect(kubeconfig(tmp_path, url, **cluster))
        if problem:
            with pytest.raises(Unreachable, match=problem):
                await server.request("GET", PODS)
        else:
            assert (await server.request("GET", PODS)).status == 200
        await server.close()
    listening.close()
    await listening.wait_closed()
    async with FakeApiServer() as fake:
        server = await ApiServer.connect(kubeconfig(tmp_path, fake.url.replace("http:", "https:")))
        with pytest.raises(Unreachable, match=r"TLS|broke off|reset"):
            await server.request("GET", PODS)
        await server.close()


async def test_redirects_are_not_followed(tmp_path):
    """Credentials go nowhere that the kubeconfig doesn't name."""
    async with saying(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ) as port:
        server = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        assert (await server.request("GET", PODS)).status == 302
        await server.close()


# ---------------------------------------------------------------------------------------------- watches


class Pieces:
    """A response whose body comes in pieces."""

    status = 200

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    @property
    def content(self):
        """Itself: it is read from."""
        return self

    async def readany(self) -> bytes:
        """The next piece."""
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 13, 14, 1000])
async def test_lines_come_whole_and_in_order(size):
    """However the bytes are cut, lines come whole; empty ones are nothing, and half a one before the end is none."""
    text = b'{"type":"A"}\n\n{"type":"B"}\n\n{"type":"C"}\n{"type":"D'
    stream = Stream(Pieces(*(text[at : at + size] for at in range(0, len(text), size))), reply_timeout_s=1)
    for name in (b"A", b"B", b"C"):
        assert await stream.line(timeout_s=PATIENCE_S) == b'{"type":"' + name + b'"}'
    assert await stream.line(timeout_s=PATIENCE_S) is None


async def test_lines_that_are_there_are_taken_together(tmp_path):
    """What has come already can be had at once, in order and as much as is wanted."""
    text = b"".join(b"%d\n" % number for number in range(10))
    async with saying(CHUNKED, chunk(text), hold=True) as port:
        server = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        async with server.watch(PODS, query={}, connect_timeout_s=PATIENCE_S) as stream:
            assert stream.lines_here(5) == []
            assert await stream.line(timeout_s=PATIENCE_S) == b"0"
            assert stream.lines_here(3) == [b"1", b"2", b"3"]
            assert stream.lines_here(0) == []
            assert stream.lines_here(100) == [b"%d" % number for number in range(4, 10)]
            with pytest.raises(Unreachable, match=r"nothing came for 0\.1s") as raised:
                await stream.line(timeout_s=0.1)
            assert isinstance(raised.value.__cause__, TimeoutError)
        await server.close()


async def test_a_watch_that_breaks(tmp_path):
    """A reset, in the middle of a line or not, is told, after the lines that came before it."""
    async with connected(tmp_path) as (fake, server):
        for ending in (Ending.RESET, Ending.MID_LINE_RESET):
            query = {"watch": "1", "resourceVersion": str(fake.store.revision)}
            async with server.watch(PODS, query=query, connect_timeout_s=PATIENCE_S) as stream:
                await fake.until_watched("pods")
                fake.create(objects.pod(f"p{fake.store.revision}"))
                assert b"ADDED" in await stream.line(timeout_s=PATIENCE_S)
                fake.drop_watches(ending)
                with pytest.raises(Unreachable):
                    await stream.line(timeout_s=PATIENCE_S)
            await fake.until(lambda: not fake.watches)
        for ending in (Ending.CLEAN, Ending.MID_LINE):
            query = {"watch": "1", "resourceVersion": str(fake.store.revision)}
            async with server.watch(PODS, query=query, connect_timeout_s=PATIENCE_S) as stream:
                await fake.until_watched("pods")
                fake.drop_watches(ending)
                assert await stream.line(timeout_s=PATIENCE_S) is None
            await fake.until(lambda: not fake.watches)


async def test_a_line_without_end(tmp_path, monkeypatch):
    """A line is as long as any object may be and no longer."""
    monkeypatch.setattr("epp.kube.connection.MAX_LINE_BYTES", 1000)
    long = b"x" * 990 + b"\n"
    async with saying(CHUNKED, chunk(long), chunk(b"y" * 800), chunk(b"y" * 800), hold=True) as port:
        server = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        async with server.watch(PODS, query={}, connect_timeout_s=PATIENCE_S) as stream:
            assert await stream.line(timeout_s=PATIENCE_S) == long[:-1]
            with pytest.raises(LineTooLong, match="1000 bytes"):
                await stream.line(timeout_s=PATIENCE_S)
        await server.close()


async def test_a_watch_that_is_refused_has_a_reply(tmp_path):
    """A refusal of a watch is data like any other; one that hangs is not waited for."""
    async with connected(tmp_path) as (fake, server):
        fake.fail(403, message="no")
        async with server.watch(PODS, query={"watch": "1"}, connect_timeout_s=PATIENCE_S) as stream:
            assert stream.status == 403
            assert (await stream.reply()).message == "no"
        fake.hang()
        with pytest.raises(Unreachable, match=r"no answer within 0\.1s"):
            async with server.watch(PODS, query={"watch": "1"}, connect_timeout_s=0.1):
                pass


async def test_who_leaves_closes(tmp_path):
    """A watch that is left, in whatever way, is closed, and so is a request that is cancelled."""
    async with connected(tmp_path) as (fake, server):

        async def follow() -> None:
            async with server.watch(PODS, query={"watch": "1"}, connect_timeout_s=PATIENCE_S) as stream:
                while await stream.line(timeout_s=PATIENCE_S) is not None:
                    pass

        task = asyncio.create_task(follow())
        await fake.until_watched("pods")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await fake.until(lambda: not fake.watches)
        fake.hang(where(verb="list"))
        task = asyncio.create_task(server.request("GET", PODS))
        await fake.until(lambda: fake.count(verb="list"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await server.request("GET", f"{PODS}/a")).status == 404


# ------------------------------------------------------------------------------------------ credentials


async def test_nothing_to_connect_to(tmp_path, monkeypatch):
    """Without any configuration the message says where it was looked for, and what to do."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectError, match=r"this is no pod.*give --kubeconfig PATH, or --objects PATH"):
        await ApiServer.connect(None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ConnectError, match=r"serviceaccount/token is missing"):
        await ApiServer.connect(None)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConnectError, match=r"\$KUBECONFIG=.*none: there is no such file"):
        await ApiServer.connect(None)
    with pytest.raises(ConnectError, match=r"--kubeconfig=/no/such: there is no such file"):
        await ApiServer.connect(Path("/no/such"))


async def test_configurations_are_found_in_order(tmp_path, monkeypatch):
    """--kubeconfig before $KUBECONFIG before the service account before ~/.kube/config, as elsewhere."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    hosts = {}
    for name in (".kube", "env", "flag"):
        (tmp_path / name).mkdir()
        hosts[name] = kubeconfig(tmp_path / name, f"http://{name.strip('.')}:1")
    hosts[".kube"].rename(tmp_path / ".kube" / "config")

    async def host(flag: Path | None = None) -> str:
        server = await ApiServer.connect(flag)
        await server.close()
        return server.host

    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert await host() == "kube:1"
    _service_account(tmp_path, monkeypatch, port=1)
    assert await host() == "127.0.0.1:1"
    monkeypatch.setenv("KUBECONFIG", f"/no/such{os.pathsep}{hosts['env']}")
    assert await host() == "env:1"
    assert await host(hosts["flag"]) == "flag:1"


def _service_account(folder: Path, monkeypatch: pytest.MonkeyPatch, *, port: int) -> Path:
    account = folder / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(SECRET + "\n")
    (account / "namespace").write_text("ours\n")
    real._write_certificates(account)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
    return account


async def test_a_service_account(tmp_path, monkeypatch):
    """In a pod its account is used; a proxy in the environment isn't; a renewed token is; a lost one stays in use."""
    account = _service_account(tmp_path, monkeypatch, port=1)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:2")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(account / "server.crt", account / "server.key")
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(listening.sockets[0].getsockname()[1]))
    server = await ApiServer.connect(None)
    assert server.namespace == "ours"
    assert (await server.request("GET", PODS)).status == 200
    assert f"bearer {SECRET}\r\n".encode() in heads[-1]
    (account / "token").write_text("renewed")
    monkeypatch.setattr(_hook(server), "token_expires_at", _long_ago())
    await server.request("GET", PODS)
    assert b"bearer renewed\r\n" in heads[-1]
    (account / "token").unlink()
    monkeypatch.setattr(_hook(server), "token_expires_at", _long_ago())
    await server.request("GET", PODS)
    assert b"bearer renewed\r\n" in heads[-1]
    await server.close()
    listening.close()
    await listening.wait_closed()
    (account / "token").write_text("x")
    (account / "ca.crt").write_text("no certificate")
    with pytest.raises(ConnectError, match=r"service account in .* can't be used"):
        await ApiServer.connect(None)


def _hook(server: ApiServer):
    """The library's object that knows when the token is to be read again."""
    hook = server._credentials._configuration.refresh_api_key_hook
    return next(cell.cell_contents for cell in hook.__closure__)


def _long_ago():
    return dt.datetime.now() - dt.timedelta(hours=1)  # noqa: DTZ005 - as the library has it


async def test_a_token_file_is_read_again(tmp_path, monkeypatch):
    """A kubeconfig's token file is read again within a minute, and at once after a 401."""
    now = 1000.0
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now)
    token = tmp_path / "token"
    token.write_text("first")
    async with FakeApiServer() as fake:
        server = await ApiServer.connect(kubeconfig(tmp_path, fake.url, user={"tokenFile": str(token)}))

        async def used() -> str:
            await server.request("GET", PODS)
            return fake.log[-1].headers["Authorization"]

        assert await used() == "Bearer first"
        token.write_text("second")
        assert await used() == "Bearer first"
        now += 61
        assert await used() == "Bearer second"
        token.write_text("third")
        now += 11
        fake.fail(401)
        assert await used() == "Bearer second"
        assert await used() == "Bearer third"
        token.unlink()
        now += 61
        assert await used() == "Bearer third"
        await server.close()


PLUGIN = """
import json, pathlib, sys
runs = pathlib.Path({runs!r})
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
    "status": {{"token": "token-" + str(len(runs.read_text())), {expiry}}}}}))
"""


@pytest.mark.parametrize("expiry", ["", '"expirationTimestamp": "2000-01-01T00:00:00Z"'])
async def test_a_credentials_plugin(tmp_path, monkeypatch, expiry):
    """A plugin is run once, and again when its token has run out or is refused; never twice at the same time."""
    now = 1000.0
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now)
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(runs=str(tmp_path / "runs"), expiry=expiry))
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "interactiveMode": "Never",
        }
    }
    async with FakeApiServer() as fake:
        server = await ApiServer.connect(kubeconfig(tmp_path, fake.url, user=user))
        await asyncio.gather(*(server.request("GET", PODS) for _ in range(3)))
        assert {each.headers["Authorization"] for each in fake.log} == {"Bearer token-1"}
        now += 61
        await asyncio.gather(*(server.request("GET", PODS) for _ in range(3)))
        expected = "Bearer token-2" if expiry else "Bearer token-1"
        assert {each.headers["Authorization"] for each in fake.log[3:]} == {expected}
        now += 11
        fake.fail(401)
        await server.request("GET", PODS)
        await server.request("GET", PODS)
        expected = "Bearer token-3" if expiry else "Bearer token-2"
        assert fake.log[-1].headers["Authorization"] == expected
        await server.close()


async def test_a_plugin_that_fails(tmp_path, caplog):
    """At start it is an error that names the plugin."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin"}}
    path = kubeconfig(tmp_path, "http://127.0.0.1:1", user=user)
    with pytest.raises(ConnectError, match=r"its credentials plugin /no/such/plugin gave nothing"):
        await ApiServer.connect(path)


_CONTEXT = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
_TOKEN = f"users: [{{name: u, user: {{token: {SECRET}}}}}]\n"
_OIDC = f"users: [{{name: u, user: {{token: {SECRET}, auth-provider: {{name: oidc}}}}}}]\n"
_REFRESH = _OIDC.replace("name: oidc", f"name: oidc, config: {{refresh-token: {SECRET}}}")
_BROKEN = (
    f"{_CONTEXT}{_REFRESH}clusters: [{{name: k, cluster: {{server: 'https://x'}}}}]\n",
    "",
    "[]",
    "a: [",
    f"token: '{SECRET}",
    _TOKEN,
    f"current-context: c\ncontexts: []\nclusters: []\n{_TOKEN}",
    f"{_CONTEXT}{_OIDC}clusters: [{{name: k, cluster: {{}}}}]\n",
    f"{_CONTEXT}{_OIDC}clusters: [{{name: k, cluster: {{server: 'https://x'}}}}]\n",
    f"{_CONTEXT}{_TOKEN}clusters: [{{name: k, cluster: {{server: 'https://x', certificate-authority: /no}}}}]\n",
)


@pytest.mark.parametrize("text", _BROKEN, ids=range(len(_BROKEN)))
async def test_a_broken_configuration_is_refused_without_its_secrets(tmp_path, text, caplog, capsys):
    """Whatever is wrong with a kubeconfig, the message names the flag and quotes no token, and nor does any log."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConnectError, match=r"--kubeconfig=.*config can't be used") as raised:
        await ApiServer.connect(path)
    assert raised.value.__suppress_context__
    assert SECRET not in f"{raised.value}{caplog.text}{capsys.readouterr()}"


async def test_no_token_is_in_any_message(tmp_path, caplog, capsys):
    """Working, failing and being refused leave no credentials in logs or errors."""
    caplog.set_level(logging.DEBUG)
    async with FakeApiServer() as fake:
        server = await ApiServer.connect(kubeconfig(tmp_path, fake.url.replace("//", f"//me:{SECRET}@")))
        said = [server.host]
        await server.request("GET", PODS)
        fake.fail(401)
        said.append((await server.request("GET", PODS)).message)
        await fake.refuse()
        with pytest.raises(Unreachable) as raised:
            await server.request("GET", PODS)
        said.append(str(raised.value))
        await server.close()
    assert SECRET not in f"{said}{caplog.text}{capsys.readouterr()}"
