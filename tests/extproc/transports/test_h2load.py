"""nghttp2's load generator against our own HTTP/2: a peer that none of us wrote, in a hurry."""

from __future__ import annotations

import asyncio
import re
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from epp.extproc.http2.guard import Ending, Offence, Tally
from epp.extproc.transports.native import NativeServer
from epp.extproc.transports.transport import ServerSettings
from tests.extproc import gateway
from tests.extproc.fakes import FakePicker
from tests.extproc.frames import PATH

pytestmark = pytest.mark.timeout(60)


class Load(NamedTuple):
    """What h2load says in the end."""

    succeeded: int
    failed: int
    errored: int
    timed_out: int


@pytest.fixture
def program() -> str:
    """The real h2load."""
    found = shutil.which("h2load")
    if found is None:
        pytest.skip("there is no h2load on PATH, which is in Debian's nghttp2-client")
    return found


@pytest.mark.parametrize(
    ("options", "body_bytes"),
    [
        pytest.param(("-n300", "-c1", "-m100"), 100, id="one connection, many streams"),
        pytest.param(("-n300", "-c10", "-m5"), 100, id="many connections"),
        pytest.param(("-n60", "-c2", "-m10", "-w10", "-W14"), 30_000, id="narrow windows"),
        pytest.param(("-n60", "-c2", "-m10", "--header-table-size=0"), 100, id="no header table"),
    ],
)
async def test_h2load_is_served(
    program: str, tmp_path: Path, options: tuple[str, ...], body_bytes: int
) -> None:
    """Each request is answered, none is refused or reset, and the server has forgotten them all in the end."""
    body = gateway.CHAT[:-1] + b" " * body_bytes + b"}"
    payload = tmp_path / "requests"
    payload.write_bytes(
        b"".join(
            struct.pack(">BI", 0, len(message)) + message
            for message in (bytes(gateway.request_headers()), bytes(gateway.request_body(body)))
        )
    )
    picker, tally = FakePicker(), Tally()
    server = NativeServer(picker, settings=ServerSettings(port=0, host="127.0.0.1"), tally=tally)
    await server.start()
    try:
        url = f"http://127.0.0.1:{server.port}{PATH}"
        load = await _load(program, *options, f"-d{payload}", url)
    finally:
        await server.stop()
    requests = int(options[0].removeprefix("-n"))
    assert load == Load(succeeded=requests, failed=0, errored=0, timed_out=0)
    assert picker.heard == {"submit": requests, "ended": requests}
    assert (tally.streams_opened, tally.streams_ended, tally.resets_received) == (requests, requests, 0)
    assert tally.offences == dict.fromkeys(Offence, 0)
    assert tally.connections_ended[Ending.PEER] == tally.connections_opened


async def _load(program: str, *arguments: str) -> Load:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        program,
        "-Hcontent-type: application/grpc",
        "-Hte: trailers",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    said = output.decode()
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    assert found is not None, said
    return Load(*map(int, found.groups()))
