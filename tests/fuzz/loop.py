"""One target under atheris, which ends the process.

python -m tests.fuzz.loop TARGET [FLAG of libFuzzer ...] CORPUS ...
"""

from __future__ import annotations

import importlib
import sys

import atheris

if __name__ == "__main__":
    program, target, *flags = sys.argv
    with atheris.instrument_imports(include=["epp.extproc", "hpack"]):
        module = importlib.import_module(f"tests.fuzz.{target}")
    atheris.Setup([program, *flags], module.one_input)
    atheris.Fuzz()
