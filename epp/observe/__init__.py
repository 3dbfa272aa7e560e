"""What a running picker shows: Prometheus metrics, their HTTP server, and logs.

- `metrics` is what the shell tells and what the page reads. Behind it: `meter`, `series` and `table` count requests, in
  as many series as there are `places`; `requests`, `flowcontrol`, `pool`, `accounts`, `tokens`, `cluster` and
  `recording` name what is shown; `exposition` and `histogram` write it.
- `http` serves it, with the probes and `state`, the core's snapshot as JSON.
- `logs` sets the log up, `redaction` keeps private things out of it, `limiter` keeps it short.
"""
