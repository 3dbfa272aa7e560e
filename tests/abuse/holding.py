"""How much an object keeps alive, by itself and everything that it refers to."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection
from types import BuiltinFunctionType, FunctionType, ModuleType

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)


def held_bytes(*roots: object, without: Collection[object] = ()) -> int:
    """Bytes of all objects that `roots` lead to; not of classes, functions and modules, nor of `without`."""
    seen = {id(each) for each in without}
    total = 0
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _SHARED):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return total
