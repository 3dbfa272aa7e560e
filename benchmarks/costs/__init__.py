"""What the picker costs, as ratios against a bare server in the same run (`python -m benchmarks.costs`).

`rows` has one module for each row of the table, `scale` its sizes, `table` its lines and bounds, `report` its JSON,
`variant` the flags of a picker that is measured beside the one without. The other modules are the programs that rows
start: servers (`bare`, `stub`, `apiserver`), load (`burst`, `alone`, `hold`, `handover`), and work inside one process
(`corework`, `sync`).
"""
