"""HTTP/2 (RFC 9113) and gRPC on it, as a server needs them: bytes in, events out, no I/O and no clock.

From the wire up:

- `codes` has the numbers, `frames` writes frames, `incoming` cuts them out of bytes, `settings` reads and says what
  each side wants, `headers` reads and writes header blocks.
- `stream` is one stream's state, `streams` all of a connection's. `receiving` makes events of frames, `sending` keeps
  what goes out within the peer's windows, `connection` is both. `guard` keeps a peer within `limits`.
- `call`, `messages` and `statuses` are gRPC's part, and `calls` the whole of it: what a transport drives.
- `events` has what both tell.

Nothing here knows ext_proc, asyncio, or the rest of the picker.
"""
