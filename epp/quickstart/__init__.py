"""One's own servers behind the picker in five minutes, without a cluster: `epp init`, and what it stands on.

`address` reads addresses, `manifests` writes the pool's objects and the configuration, `envoy` renders Envoy's
(its text is in `fragments`, what we ship of it in `shipped`), `proxy` finds and starts Envoy, `children` supervises
processes (on a `leash`), `ports` finds free ports.
"""
