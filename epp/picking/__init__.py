"""Which of the endpoints with room gets a request: scorers weigh them, a picker takes one.

Pure and deterministic: nothing here reads a clock, and chance comes from a generator that is handed in, so
the same seed and the same calls give the same choices.
"""
