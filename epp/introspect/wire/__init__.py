"""The introspection messages, compiled from `protos/introspection.proto`. Not edited by hand: see `protos/compile.py`."""
