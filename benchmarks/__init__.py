"""The benchmarks: what the picker costs, how it behaves under load beside others, and how fair it is.

`costs` measures single parts against a bare server; `load` is an open-loop generator; `scenarios` are situations as
data, each with its pass lines; `stage` puts model servers, pickers and Envoy up for them; `reports` writes what was
found. `fairness` measures the core in virtual time. `accounting`, `machine`, `marked` and `program` serve all of them.
"""
