"""What requests take, estimated before and learned after: tokens of input, tokens of output, tokens per second.

Rules of this file:

- Input is the body's bytes divided by the model's bytes per token; output is what the flow's requests took lately, else
  the model's, else the policy's, and never more than the request's own cap.
- Averages are exponential: plain means at first, later the last twenty or so count most.
- What is learned is apart from the requests' state and bounded: of too many flows or models, those that haven't been
  heard of for longest are forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import TYPE_CHECKING

from epp.core.events import Unseen
from epp.core.policy import ItemView
from epp.core.statistics import EstimateErrors

if TYPE_CHECKING:
    from epp.core.events import Arrived, Ended
    from epp.core.item import Item
    from epp.core.policy import EstimatePolicy

_FLOWS = 4096
_MODELS = 256
_LEAST_WEIGHT = 0.05
_PLAIN = 20
"""So many values are averaged plainly; from then on a new one has the least weight, and some twenty are remembered."""
_MEMORY = 0.99
"""What one request leaves of the sums behind a rate."""
_BYTES_PER_TOKEN = (0.25, 64.0)
"""What no tokenizer goes beyond; a body may hold images, or be compressed."""
_MOST_TOKENS = 10_000_000
"""Of one request: a model server that says more says nonsense."""
_LEAP, _LEAP_FROM = 32.0, 4096.0
"""One value moves an average as if it were so many times what it was, and so much more, at most."""
ERROR_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 4.0, 10.0)
"""Of the histogram of actual tokens as a multiple of the estimate."""


class Mean:
    """An exponential average that starts as a plain one."""

    __slots__ = ("count", "value")

    def __init__(self, value: float = 0.0, count: int = 0) -> None:
        self.value = value
        self.count = count

    def add(self, value: float) -> None:
        """One more value."""
        before, most = self.value, _LEAP * self.value + _LEAP_FROM
        self.count += 1
        if self.count == 1:
            self.value = float(value)
            return
        weight = 1.0 / self.count if self.count < _PLAIN else _LEAST_WEIGHT
        self.value = before + (min(value, most) - before) * weight


class ModelSizes:
    """What is known of one model's requests."""

    __slots__ = ("bytes_per_token", "output", "seconds", "seen", "tokens")

    seen: bool
    """Whether `tokens` are what engines reported; else what was estimated, which is all there is."""

    def __init__(self) -> None:
        self.bytes_per_token = Mean()
        self.output = Mean()
        self.tokens = 0.0
        self.seconds = 0.0
        self.seen = False

    def ran(self, tokens: float, seconds: float) -> None:
        """A request's output took so long."""
        self.tokens = self.tokens * _MEMORY + tokens
        self.seconds = self.seconds * _MEMORY + seconds

    @property
    def tokens_per_s(self) -> float | None:
        """Output per second of running; None while nothing is known."""
        return self.tokens / self.seconds if self.seconds > 0 else None


class Estimates:
    """Everything learned of sizes."""

    __slots__ = ("flows", "input_errors", "models", "output_errors")

    flows: OrderedDict[tuple[str, int], Mean]
    """Output tokens by (fairness id, priority)."""
    models: OrderedDict[str, ModelSizes]

    def __init__(self) -> None:
        self.flows = OrderedDict()
        self.models = OrderedDict()
        self.input_errors = [0] * (len(ERROR_BOUNDS) + 1)
        self.output_errors = [0] * (len(ERROR_BOUNDS) + 1)

    def of(self, request: Arrived, policy: EstimatePolicy) -> tuple[int, int]:
        """What it will probably take: tokens of input, and of output."""
        model = self.models.get(request.model)
        prompt = request.input_tokens
        if prompt is None:
            ratio = policy.bytes_per_token
            if model is not None and model.bytes_per_token.count:
                ratio = model.bytes_per_token.value
            prompt = int(request.body_bytes / ratio)
        prompt = prompt if prompt > 0 else 1
        cap = request.max_output_tokens
        if cap == 0:
            return prompt, 0
        flow = self.flows.get((request.fairness_id, request.priority))
        if flow is not None:
            output = int(flow.value)
        elif model is not None and model.output.count:
            output = int(model.output.value)
        else:
            output = policy.output_tokens
        return prompt, output if cap is None or output < cap else cap

    def settled(self, item: Item, event: Ended, now: float) -> ItemView:
        """The request as it turned out; learns from it. Equal to its estimate where nothing is known."""
        view, prompt, output = item.view, event.input_tokens, event.output_tokens
        elapsed_s = now - item.dispatched_s
        if output is None and prompt is None:
            if event.unseen is Unseen.KEEP:
                return view
            return self._by_time(item, elapsed_s)
        model = self._model(item.model)
        if prompt is None:
            prompt = view.input_tokens
        else:
            if item.body_bytes > 0 and prompt > 0:
                least, most = _BYTES_PER_TOKEN
                model.bytes_per_token.add(min(most, max(least, item.body_bytes / prompt)))
            prompt = min(_MOST_TOKENS, max(1, prompt))
            self.input_errors[bisect_left(ERROR_BOUNDS, prompt / view.input_tokens)] += 1
        if output is None:
            return _turned_out(view, prompt, view.output_tokens)
        output = min(_MOST_TOKENS, max(0, output))
        self.output_errors[bisect_left(ERROR_BOUNDS, (output or 1) / (view.output_tokens or 1))] += 1
        if not model.seen:
            model.seen = True
            model.tokens = model.seconds = 0.0
        model.ran(output, elapsed_s)
        model.output.add(output)
        self._flow((item.fairness_id, item.band.priority)).add(output)
        return _turned_out(view, prompt, output)

    def _by_time(self, item: Item, elapsed_s: float) -> ItemView:
        view, model = item.view, self._model(item.model)
        if not model.seen:
            # Nobody ever said what requests take. Long ones took more than short ones all the same, and the sum of
            # what was charged stays the sum of what was estimated.
            model.ran(view.output_tokens, elapsed_s)
        rate = model.tokens_per_s
        if rate is None:
            return view
        return _turned_out(view, view.input_tokens, min(_MOST_TOKENS, int(rate * elapsed_s)))

    def _model(self, name: str) -> ModelSizes:
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = ModelSizes()
            if len(self.models) > _MODELS:
                self.models.popitem(last=False)
        else:
            self.models.move_to_end(name)
        return model

    def _flow(self, key: tuple[str, int]) -> Mean:
        flow = self.flows.get(key)
        if flow is None:
            flow = self.flows[key] = Mean()
            if len(self.flows) > _FLOWS:
                self.flows.popitem(last=False)
        else:
            self.flows.move_to_end(key)
        return flow

    def errors(self) -> EstimateErrors:
        """How good the estimates were, so far."""
        return EstimateErrors(
            input=tuple(self.input_errors), output=tuple(self.output_errors), bounds=ERROR_BOUNDS
        )


def _turned_out(view: ItemView, input_tokens: int, output_tokens: int) -> ItemView:
    return ItemView(
        view.sequence,
        view.arrived_s,
        view.deadline_s,
        view.size_bytes,
        input_tokens,
        output_tokens,
        view.weight,
        view.slo_deadline_s,
    )
