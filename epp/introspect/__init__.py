"""The introspection service: what the core knows, over gRPC, read-only."""
