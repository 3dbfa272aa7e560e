"""Rounds that were never played: outcomes and evidence made up as a test needs them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load.histograms import ClassHistograms, Which
from benchmarks.load.outcome import Outcome, Result
from benchmarks.plays.play import Play
from benchmarks.stage.evidence import EngineFacts, Evidence, Usage

NOTHING = Evidence(usage={}, engines=())


def answered(
    ttft_s: float = 0.1,
    *,
    class_name: str = "chat",
    tenant: str = "anna",
    due_s: float = 0.0,
    lag_s: float = 0.0,
    takes_s: float = 1.0,
    tokens: int = 10,
) -> Outcome:
    """A request that was answered in full; it streams from its first token on, for `takes_s` in all."""
    return Outcome(
        class_name=class_name,
        tenant=tenant,
        due_s=due_s,
        sent_s=due_s + lag_s,
        first_token_s=due_s + ttft_s,
        ended_s=due_s + takes_s,
        result=Result.COMPLETED,
        status=200,
        chunks=tokens + 2,
        output_tokens=tokens,
        headers=(),
    )


def failed(
    result: Result = Result.REFUSED, *, class_name: str = "chat", first_token_s: float | None = None
) -> Outcome:
    """A request that was not answered in full."""
    return answered(class_name=class_name)._replace(
        result=result, first_token_s=first_token_s, ended_s=0.2, chunks=0, output_tokens=0
    )


def play(
    *outcomes: Outcome,
    target: str = "picker",
    round_number: int = 1,
    duration_s: float = 10.0,
    histograms: Mapping[str, ClassHistograms] | None = None,
    evidence: Evidence = NOTHING,
) -> Play:
    """A round with these outcomes."""
    return Play(
        scenario="small",
        target=target,
        round=round_number,
        duration_s=duration_s,
        outcomes=outcomes,
        histograms=histograms or {},
        evidence=evidence,
    )


def engine(
    *,
    slots: int = 4,
    submitted: int = 10,
    max_waiting: int = 0,
    max_running: int = 4,
    idle_slot_s: float = 0.0,
    kv_peak_share: float = 0.1,
) -> EngineFacts:
    """A model server."""
    return EngineFacts(
        slots=slots,
        submitted=submitted,
        max_waiting=max_waiting,
        max_running=max_running,
        idle_slot_s=idle_slot_s,
        kv_peak_share=kv_peak_share,
    )


def used(cpu_s: float, peak_bytes: int = 0) -> Usage:
    """A process's usage."""
    return Usage(cpu_s=cpu_s, peak_bytes=peak_bytes)


def gaps(*values_s: float) -> ClassHistograms:
    """Histograms of a class with these gaps between tokens."""
    histograms = ClassHistograms()
    for value_s in values_s:
        histograms.record(Which.GAP, value_s)
    return histograms
