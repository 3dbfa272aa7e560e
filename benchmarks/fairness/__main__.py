"""`python -m benchmarks.fairness`: run the workloads, draw the figures, and write the pages that show them.

The numbers go to `fairness.json` beside the figures; `fairness.md` and `waiting.md` one directory up, if they are
there, get their tables from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from benchmarks.fairness import figures, page
from benchmarks.fairness.report import Report, measure

NUMBERS = "fairness.json"
PAGES = {"fairness.md": page.shares, "waiting.md": page.waits}
_SEED = 1
_STEPS, _SAMPLES = 40_000, 60
_QUICK_STEPS, _QUICK_SAMPLES = 6_000, 12


def main(argv: list[str] | None = None) -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs: coarser numbers in seconds")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/images"),
        metavar="DIR",
        help="for figures and numbers (%(default)s)",
    )
    options = parser.parse_args(argv)
    report = measure(
        steps=_QUICK_STEPS if options.quick else _STEPS,
        samples=_QUICK_SAMPLES if options.quick else _SAMPLES,
        seed=_SEED,
    )
    directory: Path = options.out
    directory.mkdir(parents=True, exist_ok=True)
    (directory / NUMBERS).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    figures.save(report, directory)
    for name, part in PAGES.items():
        path = directory.parent / name
        if path.is_file():
            path.write_text(page.fill(path.read_text(), part(report)))
            print(f"wrote {path}")
    print(f"wrote {directory}/{{{NUMBERS},{figures.SHARES},{figures.COURSES},{figures.WAITS}}}")


def read(directory: Path) -> Report:
    """The numbers that were written there."""
    return msgspec.json.decode((directory / NUMBERS).read_bytes(), type=Report)


if __name__ == "__main__":
    main()
