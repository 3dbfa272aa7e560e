"""Plays: one round of one scenario at one target each, and what is concluded from them.

A `runner` interleaves the rounds; `measuring` gives the `measures` of a `play`; `judge` holds them against the
scenario's pass lines, `comparison` against other targets.
"""
