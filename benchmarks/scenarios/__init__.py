"""Situations as data: one YAML file each, with the pass lines that say what would count as failing.

`scenario` is the shape of such a file. `loading` finds one and reads it by way of `document` (YAML and overlays),
`decoding` (types) and `checks` (everything else); `problems` are what they find. `planning` draws a scenario's
requests, with the `arrivals` and `lengths` that it names.
"""
