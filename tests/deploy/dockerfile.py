"""Reads a Dockerfile, as far as ours goes: stages, instructions, arguments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Instruction(NamedTuple):
    """One instruction of one stage."""

    stage: int
    name: str
    argument: str

    def words(self) -> list[str]:
        """The argument of the exec form: a JSON list, perhaps after options."""
        found = re.search(r"\[.*\]", self.argument)
        assert found, f"{self.name} should have the exec form"
        words = json.loads(found[0])
        assert isinstance(words, list)
        return words


def read(path: Path) -> list[Instruction]:
    """The instructions in their order."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    instructions, stage = [], -1
    for line in whole.splitlines():
        if line.strip():
            name, _, argument = line.partition(" ")
            stage += name == "FROM"
            instructions.append(Instruction(stage, name, argument.strip()))
    return instructions
