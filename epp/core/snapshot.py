"""A controller as plain data, and back: what `restore` makes of a `dump` decides as the controller does, bit for bit.

Rules of this file:

- Everything is taken over as it stands: heaps with their tombstones, dicts in their order, learned tables, clocks.
  Nothing is worked out anew, so nothing can come out differently.
- Data are plain: what JSON can hold. The graph of live objects is a list of nodes that refer to each other by index, so
  its depth doesn't matter, and what was one object is one object again.
- Policies are configuration, not state: they are referred to by their place in the policy, and `restore` is given one
  that was built from the same configuration. `facts` of requests are opaque to the core and left out.
- Only classes of this package are made, and none of their code runs: data from a file can do no harm but be wrong.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from dataclasses import fields
from enum import Enum
from importlib import import_module
from itertools import chain
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Protocol, cast

from epp.core.controller import Controller
from epp.core.eligibility import Subset
from epp.core.endpoint import EndpointSpec, EndpointView
from epp.core.guard import PolicyGuard
from epp.core.incarnation import Endpoint
from epp.core.item import Item
from epp.core.ledger import Ledger
from epp.core.policy import BandPolicy, FlowControlPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PACKAGE = "epp.core."
_FORMAT = 2
_PLAIN = (Ledger, Endpoint, EndpointView, PolicyGuard)
"""Whose strings name endpoints and policies, never tenants or models. Specs and subsets have disguises of their own."""
_SCALARS = frozenset({type(None), bool, int})

Plain = Any
"""What JSON can hold. Lists are tagged by their first entry, so scalars stand for themselves."""


class SnapshotError(ValueError):
    """The data are no snapshot, one of another version, or one of a controller with another policy."""


class Disguise(Protocol):
    """What stands for names that must not be written down: the same for the same, and another for another."""

    def name(self, text: str, /) -> str:
        """For a tenant's or a model's."""

    def subset(self, eligibility: Subset, /) -> Subset:
        """For the entries of a subset, which are a client's words."""

    def endpoint(self, spec: EndpointSpec, /) -> EndpointSpec:
        """For what is known of an endpoint."""


def dump(controller: Controller, *, disguise: Disguise | None = None) -> dict[str, Plain]:
    """Everything that `controller` is, as data that share nothing with it."""
    return _Writer(controller, disguise).written()


def restore(data: Mapping[str, Plain], policy: FlowControlPolicy) -> Controller:
    """The controller again; `policy` equals the one in force when it was dumped. Raises SnapshotError."""
    try:
        return _Reader(data, policy).read()
    except SnapshotError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise SnapshotError(f"the snapshot can't be read: {type(error).__name__}: {error}") from error


def _class_name(cls: type) -> str:
    return f"{cls.__module__.removeprefix(_PACKAGE)}.{cls.__qualname__}"


def _policy_places(policy: FlowControlPolicy) -> Iterable[tuple[tuple[str | int, ...], object]]:
    """Every object that the policy consists of, and the way to it."""
    yield (), policy
    for field in fields(policy):
        value = getattr(policy, field.name)
        if field.name == "bands":
            for priority, band in value.items():
                yield from _band_places(("bands", priority), band)
        elif isinstance(value, BandPolicy):
            yield from _band_places((field.name,), value)
        elif not isinstance(value, (int, float, str, Enum, type(None))):
            yield (field.name,), value


def _band_places(
    way: tuple[str | int, ...], band: BandPolicy
) -> Iterable[tuple[tuple[str | int, ...], object]]:
    yield way, band
    yield (*way, "fairness"), band.fairness
    yield (*way, "ordering"), band.ordering


def _constants() -> Iterable[tuple[str, str, object]]:
    """The values that the core's modules name, and may compare by identity."""
    for module_name in sorted(sys.modules):
        if not module_name.startswith(_PACKAGE):
            continue
        for name, value in vars(sys.modules[module_name]).items():
            cls = type(value)
            if cls.__module__ == module_name and not isinstance(value, Enum) and name.isupper():
                yield module_name.removeprefix(_PACKAGE), name, value


class _Writer:
    """One dump. Written for speed in a few places: a picker waits for it."""

    def __init__(self, controller: Controller, disguise: Disguise | None) -> None:
        self._controller = controller
        self._disguise = disguise
        self._policy = controller.policy
        self._classes: dict[type, tuple[int, tuple[str, ...]]] = {}
        self._known: dict[int, list[Plain]] = {}
        """What stands for an object, by its id: a node, a part of the policy, a constant."""
        self._kept: list[object] = []
        """What those ids are of, so that none is given to another object meanwhile."""
        self._nodes: list[list[Plain]] = []
        self._todo: deque[tuple[object, list[Plain], bool]] = deque()
        self._name: Callable[[str], str] = _same if disguise is None else disguise.name
        self._text: Callable[[str], str] = _same
        """What is done to strings of the node that is being filled."""
        self._filling: dict[type, Callable[[Any, list[Plain]], None]] = {
            list: self._fill_list,
            dict: self._fill_dict,
            OrderedDict: self._fill_dict,
            deque: self._fill_deque,
            set: self._fill_set,
            EndpointView: self._fill_view,
        }

    def written(self) -> dict[str, Plain]:
        """The data."""
        for way, part in _policy_places(self._policy):
            self._known.setdefault(id(part), ["p", *way])
        for module, constant, value in _constants():
            self._known.setdefault(id(value), ["c", module, constant])
        root = self._value(self._controller)
        todo, filling, name = self._todo, self._filling, self._name
        while todo:
            value, node, is_plain = todo.popleft()
            self._text = _same if is_plain else name
            filling.get(type(value), self._fill_object)(value, node)
        return {
            "format": _FORMAT,
            "root": root,
            "classes": [[_class_name(cls), *names] for cls, (_, names) in self._classes.items()],
            "nodes": self._nodes,
        }

    def _value(self, value: Any) -> Plain:
        cls = type(value)
        if cls in _SCALARS:
            return value
        if cls is float:
            return value if -inf < value < inf else ["f", repr(value)]
        if cls is str:
            return self._text(value)
        known = self._known.get(id(value))
        if known is not None:
            return known
        return ["t", *self._values(value)] if cls is tuple else self._other(cls, value)

    def _values(self, values: Iterable[Any]) -> list[Plain]:
        """As `_value` of each, which the most frequent kinds needn't be asked for."""
        plain, scalars = self._value, _SCALARS
        return [
            each if (cls := type(each)) in scalars or (cls is float and -inf < each < inf) else plain(each)
            for each in values
        ]

    def _other(self, cls: type, value: Any) -> Plain:
        if isinstance(value, tuple):
            # A view is known by its identity.
            return self._reference(value) if cls is EndpointView else self._named_tuple(cls, value)
        if isinstance(value, Enum):
            told = self._known[id(value)] = ["e", self._class(cls, ()), value.name]
            return told
        if cls is frozenset:
            return ["z", *sorted([self._value(each) for each in value], key=repr)]
        return self._reference(value)

    def _named_tuple(self, cls: type, value: tuple[Any, ...]) -> list[Plain]:
        data = self._values(value)
        known = self._classes.get(cls)
        return ["n", self._class(cls, ()) if known is None else known[0], *data]

    def _reference(self, value: Any) -> Plain:
        original, is_plain = value, True
        if self._disguise is not None:
            cls = type(value)
            if cls is EndpointSpec:
                value = self._disguise.endpoint(value)
            elif cls is Subset:
                value = self._disguise.subset(value)
            elif cls in self._filling and cls is not EndpointView:
                is_plain = self._text is _same  # as that which it belongs to
            else:
                is_plain = isinstance(value, _PLAIN)
        place: list[Plain] = ["r", len(self._nodes)]
        self._known[id(original)] = place
        self._kept.append(original)
        node: list[Plain] = []
        self._nodes.append(node)
        self._todo.append((value, node, is_plain))
        return place

    def _fill_list(self, value: list[Any], node: list[Plain]) -> None:
        node.append("l")
        node += self._values(value)

    def _fill_dict(self, value: dict[Any, Any], node: list[Plain]) -> None:
        node.append("d" if type(value) is dict else "o")
        node += self._values(chain.from_iterable(value.items()))

    def _fill_deque(self, value: deque[Any], node: list[Plain]) -> None:
        node += ["q", value.maxlen, *self._values(value)]

    def _fill_set(self, value: set[Any], node: list[Plain]) -> None:
        node += ["s", *sorted([self._value(each) for each in value], key=repr)]

    def _fill_view(self, value: EndpointView, node: list[Plain]) -> None:
        node += ["v", *self._named_tuple(EndpointView, value)[1:]]

    def _fill_object(self, value: Any, node: list[Plain]) -> None:
        cls = type(value)
        known = self._classes.get(cls)
        if known is None:
            if not cls.__module__.startswith(_PACKAGE):
                raise SnapshotError(f"{cls.__module__}.{cls.__qualname__} is no part of the core's state")
            names = _attributes(value)
            if cls is Item:
                names = tuple(name for name in names if name != "facts")
            known = self._class(cls, names), names
        node.append(known[0])
        node += self._values([getattr(value, name) for name in known[1]])

    def _class(self, cls: type, names: tuple[str, ...]) -> int:
        known = self._classes.get(cls)
        if known is None:
            known = self._classes[cls] = (len(self._classes), names)
        return known[0]


def _same(text: str) -> str:
    return text


def _attributes(value: object) -> tuple[str, ...]:
    """What an object of this kind consists of, without what its class alone decides."""
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    return (*slots, *getattr(value, "__dict__", ()))


class _Reader:
    """One restore."""

    def __init__(self, data: Mapping[str, Plain], policy: FlowControlPolicy) -> None:
        if data.get("format") != _FORMAT:
            raise SnapshotError(f"a snapshot of format {data.get('format')!r}; this version reads {_FORMAT}")
        self._data = data
        self._policy: dict[tuple[str | int, ...], object] = dict(_policy_places(policy))
        self._classes = [self._class(entry[0]) for entry in data["classes"]]
        self._names: list[list[str]] = [entry[1:] for entry in data["classes"]]
        self._live: list[Any] = []

    def read(self) -> Controller:
        nodes = self._data["nodes"]
        self._live = [self._empty(node) for node in nodes]
        for index, node in enumerate(nodes):
            if node[0] == "v":
                self._live[index] = self._value(["n", *node[1:]])
        # Containers last: what is hashed must be complete.
        for live, node in zip(self._live, nodes, strict=True):
            if type(node[0]) is int:
                self._fill_object(live, node)
        for live, node in zip(self._live, nodes, strict=True):
            if type(node[0]) is not int:
                self._fill_container(live, node)
        root = self._value(self._data["root"])
        if not isinstance(root, Controller):
            raise SnapshotError("the snapshot is not of a controller")
        return root

    def _empty(self, node: list[Plain]) -> Any:  # noqa: PLR0911 - one for each kind of node
        match node[0]:
            case "l":
                return []
            case "d":
                return {}
            case "o":
                return OrderedDict()
            case "q":
                return deque(maxlen=node[1])
            case "s":
                return set()
            case "v":
                return None
            case int(index):
                cls = self._classes[index]
                live = cls.__new__(cls)
                if cls is Item:
                    live.facts = None
                return live
            case other:
                raise SnapshotError(f"an unknown kind of node: {other!r}")

    def _fill_object(self, live: object, node: list[Plain]) -> None:
        names = self._names[node[0]]
        if len(names) != len(node) - 1:
            raise SnapshotError(f"{len(node) - 1} values for {type(live).__name__}, which has {len(names)}")
        for name, value in zip(names, node[1:], strict=True):
            object.__setattr__(live, name, self._value(value))

    def _fill_container(self, live: Any, node: list[Plain]) -> None:
        value = self._value
        match node[0]:
            case "d" | "o":
                live.update(
                    (value(key), value(each)) for key, each in zip(node[1::2], node[2::2], strict=True)
                )
            case "q":
                live.extend([value(each) for each in node[2:]])
            case "v":
                pass
            case "s":
                live.update([value(each) for each in node[1:]])
            case _:
                live.extend([value(each) for each in node[1:]])

    def _value(self, data: Plain) -> Any:  # noqa: PLR0911 - one for each kind of value
        if type(data) is not list:
            return data
        match data[0]:
            case "r":
                return self._live[data[1]]
            case "t":
                return tuple([self._value(each) for each in data[1:]])
            case "n":
                cls = cast("Callable[[type, list[Any]], Any]", tuple.__new__)
                return cls(self._classes[data[1]], [self._value(each) for each in data[2:]])
            case "f":
                return _not_finite(data[1])
            case "z":
                return frozenset([self._value(each) for each in data[1:]])
            case "e":
                return self._classes[data[1]][data[2]]
            case "p":
                return self._policy_part(tuple(data[1:]))
            case "c":
                return getattr(_module(data[1]), data[2])
            case other:
                raise SnapshotError(f"an unknown kind of value: {other!r}")

    def _policy_part(self, way: tuple[str | int, ...]) -> object:
        try:
            return self._policy[way]
        except KeyError:
            name = ".".join(map(str, way))
            raise SnapshotError(
                f"the policy has no {name}: the snapshot is of another configuration"
            ) from None

    @staticmethod
    def _class(name: str) -> Any:
        module, _, qualname = name.partition(".")
        cls = getattr(_module(module), qualname, None)
        if not isinstance(cls, type) or _class_name(cls) != name:
            raise SnapshotError(f"the core has no class {name}: the snapshot is of another version")
        return cls


def _module(name: str) -> Any:
    if not name.isidentifier():
        raise SnapshotError(f"{name!r} is no module of the core")
    return import_module(_PACKAGE + name)


def _not_finite(text: str) -> float:
    number = float(text)
    if isfinite(number):
        raise SnapshotError(f"{text!r} stands for a number that is finite")
    return number
