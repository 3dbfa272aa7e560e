"""The way in: Envoy's `ext_proc` protocol, from the wire up to the picker.

From the inside out:

- `conversation` is the protocol, a state machine over messages that does no I/O; `phases` is its table, `actions` what
  it wants of the picker. `request` and `response` are its two halves; `headers`, `metadata`, `modes`, `parsers`,
  `body`, `envelope`, `usage` and `refusals` are what they read and say, `sharing` keeps what they say alike once.
- `exchange` ties one conversation to the picker, through the protocols in `ingress`.
- `http2` is HTTP/2 and gRPC without I/O, for a server.
- `transports` move messages between exchanges and gateways: over `http2`, or with gRPC's own server. `tls` gives them a
  certificate, `listen` a port, `health` answers probes, and `polling` says how grpc waits for the network.

Nothing below `transports` knows which of them drives it.
"""
