"""What a play happens on: simulated model servers, a picker (ours, somebody's, or none), and Envoy in front.

A `target` says which; a `stage` puts it up, does to it what the scenario's events say, and gathers the `evidence`.
"""
