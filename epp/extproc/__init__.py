"""The way in: Envoy's `ext_proc` protocol, from the wire up to the picker.

From the inside out:

- `conversation` is the protocol, a state machine over messages that does no I/O. `request` and `response` are its
  two halves; `headers`, `metadata`, `modes`, `parsers`, `body`, `envelope`, `usage` and `refusals` are what they read
  and say.
- `exchange` ties one conversation to the picker, through the protocols in `ingress`.
- `server` moves messages between exchanges and gRPC, `tls` gives it a certificate, `health` answers probes, and
  `polling` says how grpc waits for the network.

Nothing below `server` knows about gRPC, so another transport can drive the same exchanges.
"""
