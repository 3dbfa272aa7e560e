"""The open-loop load generator.

A `plan` is drawn by `benchmarks.scenarios.planning`, perhaps from a `trace`. A `player` plays it: it keeps the `pace`,
and a `client` sends each `question` and reads its `answer`. An `outcome` is what became of one, `tally` and
`histograms` of all, and `live` what one sees meanwhile. `descriptors` makes room for many connections.
"""
