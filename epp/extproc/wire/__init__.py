"""The ext_proc messages, compiled from `protos/ext_proc.proto`. Not edited by hand: see `protos/compile.py`."""
