"""What the picker costs, as ratios against a bare server in the same run (`python -m benchmarks.costs`).

`rows` has one module for each row of the table, `scale` its sizes, `table` its lines and bounds, `report` its JSON,
`variant` the transport and the flags of a picker that is measured. The other modules are the programs that rows
start, and what those are made of: servers (`bare` on grpc.aio and `bare_native` on our own engine, which both `echo`;
`stub`, `apiserver`), load (`burst`, `alone`, `hold`, `handover`, all of them by way of a `gateway` and its
`connection`; `through` by way of the real one, which `envoy` configures), and work inside one process (`corework`,
`sync`).
"""
