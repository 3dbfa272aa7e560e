"""The load harness: what the picker costs, as ratios against a bare server in the same run (`python -m benchmarks`)."""
