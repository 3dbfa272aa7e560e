"""How grpc is told to wait for the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from epp.extproc.polling import let_listeners_poll

OWN = "-event_engine_listener,-event_engine_client"
SERVE = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"))
            raise SystemExit(0)
sys.meta_path.insert(0, Watch())
from epp.cli import main
main(["serve", "--objects", sys.argv[1], "--pool-name", "pool"])
"""


def test_listeners_poll_unless_somebody_chose_otherwise() -> None:
    """What was set before, for whatever reason, stays."""
    environment: dict[str, str] = {}
    let_listeners_poll(environment)
    assert environment == {"GRPC_EXPERIMENTS": OWN}
    environment = {"GRPC_EXPERIMENTS": ""}
    let_listeners_poll(environment)
    assert environment == {"GRPC_EXPERIMENTS": ""}


def test_a_picker_says_so_before_grpc_is_imported(tmp_path: Path) -> None:
    """Later it would not be heard."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    found = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.stdout.strip() == OWN, found.stderr
