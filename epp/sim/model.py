"""The numbers that make one simulated model server: how fast it is, and how much it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """A continuous-batching engine, as numbers.

    One engine step takes `step_s + sequence_s * (sequences in it) + prefill_token_s * (prompt tokens in it)`, and gives
    every sequence in it whose prompt is done one token. With the defaults one stream alone gets 48 tokens/s,
    and 32 streams get 28 each.
    """

    max_sequences: int = 32
    """Sequences that run at once; more wait."""
    max_batched_tokens: int = 2048
    """Tokens in one step: one for each decoding sequence, the rest for prompts, chunked."""
    step_s: float = 0.020
    sequence_s: float = 0.0005
    prefill_token_s: float = 0.0001
    block_tokens: int = 16
    """Tokens in one block of the KV cache."""
    blocks: int = 4096
    max_model_tokens: int = 8192
    """Prompt and output together, at most."""
    output_mean_tokens: float = 128.0
    """The mean of the lengths at which answers end by themselves: a log-normal distribution."""
    output_sigma: float = 0.7
    """The spread of those lengths, in the logarithm; 0 makes all of them the mean."""
    startup_s: float = 0.0
    """From its making to its first step: the time to load a model."""

    def __post_init__(self) -> None:
        at_least: tuple[tuple[str, float, float], ...] = (
            ("max_sequences", self.max_sequences, 1),
            ("max_batched_tokens", self.max_batched_tokens, self.max_sequences),
            ("sequence_s", self.sequence_s, 0),
            ("prefill_token_s", self.prefill_token_s, 0),
            ("block_tokens", self.block_tokens, 1),
            ("blocks", self.blocks, math.ceil(self.max_model_tokens / max(self.block_tokens, 1))),
            ("max_model_tokens", self.max_model_tokens, 2),
            ("output_mean_tokens", self.output_mean_tokens, 1),
            ("output_sigma", self.output_sigma, 0),
            ("startup_s", self.startup_s, 0),
        )
        for name, value, least in at_least:
            if not value >= least or not math.isfinite(value):
                raise ValueError(f"{name} is {value:g}: it must be a finite number of at least {least:g}")
        if not (self.step_s > 0 and math.isfinite(self.step_s)):
            raise ValueError(f"step_s is {self.step_s:g}: a step must take some time")

    def step_duration_s(self, *, sequences: int, prefill_tokens: int) -> float:
        """How long a step with this much work takes."""
        return self.step_s + self.sequence_s * sequences + self.prefill_token_s * prefill_tokens

    def blocks_for(self, tokens: int) -> int:
        """The blocks that hold so many tokens."""
        return -(-tokens // self.block_tokens)
