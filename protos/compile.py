"""Compiles `protos/` into message classes: `python -m protos.compile`, or `make protos`.

The classes are committed, so that running the picker needs no compiler. The same sources and the same
grpcio-tools give the same bytes; a test holds us to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent
"""Where the `.proto` files are."""

TARGETS = {"ext_proc.proto": "epp/extproc/wire", "introspection.proto": "epp/introspect/wire"}
"""The package, as a folder below the root, that each source is compiled into."""


def compile_protos(root: Path) -> list[Path]:
    """Write the classes of every source below `root` and return the files written."""
    written: list[Path] = []
    for source, package in TARGETS.items():
        # protoc names a file by its path in the message pool that all copies of protobuf in a process share, so
        # the source is given the path of the package it becomes: unique, where its own name might not be.
        arguments = [
            "protoc",
            f"-I{package}={SOURCES}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={root}",
            f"--pyi_out={root}",
            f"{package}/{source}",
        ]
        (root / package).mkdir(parents=True, exist_ok=True)
        if protoc.main(arguments) != 0:
            raise SystemExit(f"protoc could not compile {SOURCES / source}: its message is above")
        stem = source.removesuffix(".proto")
        written += [root / package / f"{stem}_pb2.py", root / package / f"{stem}_pb2.pyi"]
    return written


if __name__ == "__main__":
    for path in compile_protos(SOURCES.parent):
        sys.stdout.write(f"{path.relative_to(SOURCES.parent)}\n")
