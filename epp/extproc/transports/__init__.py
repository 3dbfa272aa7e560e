"""What moves bytes between gateways and exchanges.

`transport` says what all of them can do, and `choice` makes the one that is wanted:

- `native` is ours: it listens, and `service` is what its connections share. `peer` is one of these, over
  `epp.extproc.http2`, with `vigil` and `deadlines` for what takes too long; `exchanges` are its streams, and `checks`
  its health checks (`handler` says what both can do). `certificates` is TLS by the standard library.
- `grpcio` is gRPC's own server, and `credentials` its TLS.
"""
