"""An inference engine that batches continuously, in virtual time. Pure: no clock, no I/O, seeded.

The rules, which are vLLM's in small:

- Work is done in steps, one after the other, without a gap while there is work. Requests join and leave between steps.
- Every running sequence is in every step: with one token if it decodes, with as much of its prompt as the step's
  token budget leaves otherwise (chunked prefill). At the end of a step each sequence whose tokens have
  all been computed gains one.
- Waiting requests start in the order of their arrival, never past one another, while a sequence slot, the token budget
  and KV blocks for the whole prompt are there.
- A sequence takes KV blocks as it grows. When none is left, the sequence that started last is preempted: its blocks
  are freed, it goes to the head of the queue, and will compute prompt and output again.
- An aborted request is gone at once; the step that it was in takes as long as it would have.

The engine remembers its own truth (`Truth`), which tests hold against what others believe of it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from epp.sim.truth import Record

if TYPE_CHECKING:
    from epp.sim.model import ServiceModel
    from epp.sim.truth import Truth


class Ending(Enum):
    """Whether an answer may end by itself."""

    NATURAL = "natural"
    """It ends where the seed says, or at the limit."""
    AT_LIMIT = "at_limit"
    """It always has the full length asked for (`ignore_eos`)."""


class FinishReason(Enum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


class Started(NamedTuple):
    """A request left the queue and is in the batch from now on; again, after a preemption."""

    request_id: int
    at_s: float


class Token(NamedTuple):
    """A request gained a token."""

    request_id: int
    at_s: float
    number: int
    """1 for its first token, and so on."""
    finish: FinishReason | None
    """Set on the last one."""


class Preempted(NamedTuple):
    """A request went from the batch back to the head of the queue."""

    request_id: int
    at_s: float


EngineEvent = Started | Token | Preempted


class TooLongError(ValueError):
    """A request needs more tokens than the model takes."""


class Load(NamedTuple):
    """What the engine is busy with right now."""

    waiting: int
    running: int
    kv_utilization: float


class _Sequence:
    """A request inside the engine. Its tokens are its prompt and what it gained; the cache has `computed` of them."""

    __slots__ = ("blocks", "computed", "finish", "gained", "gone", "prompt", "request_id", "target")

    def __init__(self, request_id: int, *, prompt: int, target: int, finish: FinishReason) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.target = target
        self.finish = finish
        self.gained = 0
        self.computed = 0
        self.blocks = 0
        self.gone = False

    @property
    def uncomputed(self) -> int:
        """Tokens that are not in the cache; when there are none left, the next one is made."""
        return self.prompt + self.gained - self.computed

    @property
    def decodes(self) -> bool:
        """Whether the only uncomputed token is the last one it gained."""
        return self.gained > 0 and self.computed == self.prompt + self.gained - 1


class Engine:
    """One engine. Every method takes the time; it may not run backwards."""

    def __init__(self, model: ServiceModel, *, seed: int, now: float) -> None:
        self._model = model
        self._random = random.Random(seed)  # noqa: S311 - lengths of answers, no secrets
        self._log_mean = math.log(model.output_mean_tokens) - model.output_sigma**2 / 2
        self._ready_s = now + model.startup_s
        self._sequences = dict[int, _Sequence]()
        self._waiting = deque[_Sequence]()
        self._running = list[_Sequence]()
        self._free_blocks = model.blocks
        self._step = list[tuple[_Sequence, int]]()
        """The sequences of the step under way, with the tokens that each has in it."""
        self._step_end_s: float | None = None
        self._stalled_s: float | None = None
        self._events = list[EngineEvent]()
        self._next_id = 1
        self._record = Record(slots=model.max_sequences, blocks=model.blocks, since_s=self._ready_s)

    @property
    def ready_s(self) -> float:
        """When the first step may begin."""
        return self._ready_s

    def submit(self, now: float, *, prompt_tokens: int, max_tokens: int | None, ending: Ending) -> int:
        """Queues a request and returns its id. Without `max_tokens` the model's length is the limit.

        Raises `TooLongError`, and then nothing has changed.
        """
        prompt_tokens = max(prompt_tokens, 1)
        room = self._model.max_model_tokens - prompt_tokens
        limit = room if max_tokens is None else max(max_tokens, 1)
        if room < 1 or limit > room:
            raise TooLongError(
                f"This model's maximum context length is {self._model.max_model_tokens} tokens. The prompt has "
                f"{prompt_tokens} and the answer may have {1 if max_tokens is None else limit}: shorten one of them."
            )
        self._catch_up(now)
        natural = max(1, round(self._random.lognormvariate(self._log_mean, self._model.output_sigma)))
        ends = ending is Ending.NATURAL and natural < limit
        sequence = _Sequence(
            self._next_id,
            prompt=prompt_tokens,
            target=natural if ends else limit,
            finish=FinishReason.STOP if ends else FinishReason.LENGTH,
        )
        self._next_id += 1
        self._sequences[sequence.request_id] = sequence
        self._waiting.append(sequence)
        self._record.submitted += 1
        self._record.prompt_tokens += prompt_tokens
        if self._step_end_s is None:
            self._leave_idleness(now)
        self._note(now)
        return sequence.request_id

    def abort(self, request_id: int, now: float) -> None:
        """Takes a request out, wherever it is; nothing happens if it has ended."""
        self._catch_up(now)
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return
        self._record.aborted += 1
        if sequence.blocks:
            self._running.remove(sequence)
        else:
            self._waiting.remove(sequence)
        self._release(sequence)
        self._note(now)

    def advance(self, now: float) -> list[EngineEvent]:
        """Everything that happened since the last call, in order."""
        self._catch_up(now)
        events, self._events = self._events, []
        return events

    def next_event_at(self) -> float | None:
        """When `advance` will have something to tell; None while that depends on others."""
        return None if self._stalled_s is not None else self._step_end_s

    def stall(self, now: float) -> None:
        """Freezes all work, as a hung device does. Requests still queue up."""
        self._catch_up(now)
        if self._stalled_s is None:
            self._stalled_s = now

    def resume(self, now: float) -> None:
        """Ends a stall: work goes on where it was."""
        if self._stalled_s is not None:
            if self._step_end_s is not None:
                self._step_end_s += now - self._stalled_s
            self._stalled_s = None

    def load(self) -> Load:
        """As it was at the last call with a time."""
        used = self._model.blocks - self._free_blocks
        return Load(len(self._waiting), len(self._running), used / self._model.blocks)

    def forget_peaks(self, now: float) -> None:
        """The peaks of the account are those from `now` on."""
        self._catch_up(now)
        self._record.forget_peaks()

    def truth(self, now: float) -> Truth:
        """The engine's own account up to `now`."""
        self._catch_up(now)
        return self._record.truth(now)

    def check(self) -> None:
        """Recounts everything that is kept as a number, and asserts the rules above."""
        queue = [*self._running, *self._waiting]
        ids = [sequence.request_id for sequence in queue]
        assert ids == sorted(ids), f"requests passed one another: {ids}"
        assert set(ids) == self._sequences.keys()
        assert len(self._running) <= self._model.max_sequences
        held = sum(sequence.blocks for sequence in self._running)
        assert held + self._free_blocks == self._model.blocks
        assert self._free_blocks >= 0
        assert all(sequence.blocks == 0 and sequence.computed == 0 for sequence in self._waiting)
        for sequence in self._running:
            assert sequence.blocks * self._model.block_tokens >= sequence.computed
            assert sequence.gained < sequence.target
        assert self._step_end_s is not None or not queue, "work must not stand still"
        assert sum(tokens for _, tokens in self._step) <= self._model.max_batched_tokens
        assert self._record.submitted == len(queue) + self._record.finished + self._record.aborted

    def _catch_up(self, now: float) -> None:
        """Ends every step that is over, at its own time."""
        if self._stalled_s is not None:
            return
        while self._step_end_s is not None and self._step_end_s <= now:
            at_s = self._step_end_s
            self._end_step(at_s)
            self._begin_step(at_s)
            self._note(at_s)

    def _leave_idleness(self, now: float) -> None:
        """The first request came. A model that loads or hangs takes it up when it is done with that."""
        if self._stalled_s is not None:
            self._step_end_s = self._stalled_s
        elif now < self._ready_s:
            self._step_end_s = self._ready_s
        else:
            self._begin_step(now)

    def _begin_step(self, at_s: float) -> None:
        """Chooses the next step's work; without any the engine is idle."""
        self._step = []
        budget = self._go_on(self._model.max_batched_tokens, at_s)
        self._start_waiting(budget, at_s)
        if not self._step:
            self._step_end_s = None
            return
        prefill_tokens = sum(tokens for sequence, tokens in self._step if not sequence.decodes)
        duration_s = self._model.step_duration_s(sequences=len(self._step), prefill_tokens=prefill_tokens)
        self._step_end_s = at_s + duration_s

    def _go_on(self, budget: int, at_s: float) -> int:
        """Puts the running sequences into the step, preempting as memory demands; returns the tokens left."""
        for sequence in tuple(self._running):
            if budget == 0:
                break
            tokens = min(sequence.uncomputed, budget)
            needed = self._model.blocks_for(sequence.computed + tokens) - sequence.blocks
            while sequence.blocks and needed > self._free_blocks:
                self._preempt_newest(at_s)
            if sequence.blocks:  # it was not preempted itself, now or by one before it
                self._take_blocks(sequence, max(needed, 0))
                self._step.append((sequence, tokens))
                budget -= tokens
        return budget

    def _start_waiting(self, budget: int, at_s: float) -> None:
        """Moves waiting requests into the batch, in order, while everything that they need is there."""
        while self._waiting and budget and len(self._running) < self._model.max_sequences:
            sequence = self._waiting[0]
            needed = self._model.blocks_for(sequence.uncomputed)
            if needed > self._free_blocks:
                break
            self._waiting.popleft()
            self._running.append(sequence)
            self._take_blocks(sequence, needed)
            tokens = min(sequence.uncomputed, budget)
            self._step.append((sequence, tokens))
            budget -= tokens
            self._events.append(Started(sequence.request_id, at_s))

    def _end_step(self, at_s: float) -> None:
        """Hands out the tokens that the step made."""
        for sequence, tokens in self._step:
            if sequence.gone:
                continue
            sequence.computed += tokens
            if sequence.uncomputed:
                continue
            sequence.gained += 1
            self._record.output_tokens += 1
            last = sequence.gained == sequence.target
            finish = sequence.finish if last else None
            self._events.append(Token(sequence.request_id, at_s, sequence.gained, finish))
            if last:
                self._record.finished += 1
                del self._sequences[sequence.request_id]
                self._release(sequence)
        self._running = [sequence for sequence in self._running if not sequence.gone]

    def _preempt_newest(self, at_s: float) -> None:
        sequence = self._running.pop()
        self._free_blocks += sequence.blocks
        sequence.blocks = sequence.computed = 0
        self._waiting.appendleft(sequence)
        self._record.preemptions += 1
        self._events.append(Preempted(sequence.request_id, at_s))

    def _take_blocks(self, sequence: _Sequence, blocks: int) -> None:
        sequence.blocks += blocks
        self._free_blocks -= blocks

    def _release(self, sequence: _Sequence) -> None:
        self._free_blocks += sequence.blocks
        sequence.blocks = 0
        sequence.gone = True

    def _note(self, at_s: float) -> None:
        self._record.note(at_s, waiting=len(self._waiting), running=len(self._running))
        self._record.note_blocks(self._model.blocks - self._free_blocks)
