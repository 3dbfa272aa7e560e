"""`epp sim` as a process."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from epp.sim import command

PROGRAM = """
import argparse, sys
from epp.sim import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


@contextmanager
def process(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """The command with these flags, ended at the latest with the test."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def get(url: str) -> bytes:
    """The body at a URL."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return bytes(response.read())


def test_it_serves_on_the_ports_that_it_prints_until_it_is_told_to_end() -> None:
    """Three servers listen before the line is printed, with the flags' model; SIGTERM ends them with status 0."""
    flags = (
        "--port",
        "0",
        "--count",
        "3",
        "--model",
        "mine",
        "--max-sequences",
        "5",
        "--metrics-fault",
        "garbage",
    )
    with process(*flags) as started:
        assert started.stdout is not None
        addresses = json.loads(started.stdout.readline())["servers"]
        assert len(set(addresses)) == 3
        for address in addresses:
            assert json.loads(get(f"http://{address}/v1/models"))["data"][0]["id"] == "mine"
            assert b"vllm:" not in get(f"http://{address}/metrics")
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=20) == 0


def test_servers_listen_where_they_are_told_to() -> None:
    """Each at its own place, whatever --port and --count are by default."""
    with process("--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0") as started:
        assert started.stdout is not None
        addresses = json.loads(started.stdout.readline())["servers"]
    assert [address.rpartition(":")[0] for address in addresses] == ["127.0.0.1", "127.0.0.2"]


def test_a_taken_port_ends_it_with_a_remedy() -> None:
    """A second process on the same port says what is wrong and what to try, with status 1."""
    with process("--port", "0") as first:
        assert first.stdout is not None
        port = json.loads(first.stdout.readline())["servers"][0].rpartition(":")[2]
        with process("--port", port) as second:
            assert second.wait(timeout=20) == 1
            assert second.stderr is not None
            assert f"can't listen on 127.0.0.1:{port}" in (message := second.stderr.read())
            assert "--port 0" in message


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--count", "0"], "--count is 0"),
        (["--port", "65535", "--count", "2"], "--port 65535 with --count 2"),
        (["--port", "-1"], "--port -1"),
        (["--listen", "8000"], "--listen 8000: give HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "--listen 127.0.0.1:99999: give HOST:PORT"),
        (["--step-s", "0"], "step_s is 0"),
        (["--metrics-delay-s", "-3"], "metrics_delay_s is -3"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    """Status 2 and a message with the flag's name and value."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(flags)) == 2
    assert words in capsys.readouterr().err
