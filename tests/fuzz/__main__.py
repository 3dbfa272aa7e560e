"""Fuzzing by time: `python -m tests.fuzz [TARGET ...] --seconds N`, or `make fuzz`.

Inputs that reach something new are added to `tests/fuzz/corpora`, which `--shrink` makes small again before they are
committed. An input that fails is left in `fuzz-findings`, and shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.shrink import shrink

CORPORA = Path(__file__).parent / "corpora"
FINDINGS = Path("fuzz-findings")
TARGETS = ("envelopes", "exchanges", "connections")
_LONGEST_BYTES = 600


def main() -> int:
    """Run each target for its time, in a process of its own. The exit status says whether any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", default=TARGETS, help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--shrink", action="store_true", help="don't fuzz, but make the corpora smaller")
    options = parser.parse_args()
    if options.shrink:
        for target in options.targets:
            _say(f"{target}: {shrink(target, CORPORA / target)} inputs are left")
        return 0
    failed = [target for target in options.targets if not _holds(target, options.seconds)]
    _say(f"failed: {', '.join(failed)}" if failed else "nothing failed")
    return bool(failed)


def _say(line: str) -> None:
    print(line)  # noqa: T201 - what a person types prints


def _holds(target: str, seconds: int) -> bool:
    corpus = CORPORA / target
    corpus.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST_BYTES}",
        "-len_control=0",
        "-timeout=120",
        f"-artifact_prefix={FINDINGS}/{target}-",
    ]
    command = [sys.executable, "-m", "tests.fuzz.loop", target, *flags, str(corpus)]
    return not subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
