"""The phases of a conversation, and what moves it from one to the next.

OPENING ---- request_headers ----> RECEIVING or QUEUED
OPENING ---- response_* ---------> SETTLED      the gateway answers by itself, we only pass on
RECEIVING -- enough of the body -> QUEUED       Submit
RECEIVING -- response_* ---------> SETTLED
QUEUED ----- dispatched() -------> RUNNING      the header answer, the held body
QUEUED ----- refused() ----------> OVER         an ImmediateResponse
QUEUED ----- response_* ---------> SETTLED      Cancel: the gateway lost patience and answers by itself
RUNNING ---- end of response ----> SETTLED      Ended, once everything has been sent
RUNNING ---- evicted() ----------> OVER         an ImmediateResponse; Ended, once that has been sent
any -------- can't go on --------> OVER         an ImmediateResponse, Rejected; Cancel or Ended before
any -------- reset() ------------> OVER         Cancel, DeliveryFailed or Ended, by what has been seen
any -------- half_closed() ------> OVER         only once nothing is owed: a queued request stays queued
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a conversation is."""

    OPENING = "opening"
    RECEIVING = "receiving"
    """The request is coming in, and too little of it is known."""
    QUEUED = "queued"
    RUNNING = "running"
    """An endpoint has it, and the picker counts on hearing its end."""
    SETTLED = "settled"
    """The picker has heard the end; messages are still passed on."""
    OVER = "over"
    """Whatever comes now is ignored."""


class Delivery(Enum):
    """How far the answer to the request's headers got."""

    DUE = "due"
    HANDED_OUT = "handed out"
    WRITTEN = "written"
