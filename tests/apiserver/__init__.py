"""API servers for tests: a stateful fake, a real one, and tests that hold both to one contract.

`tests.apiserver.server` describes the fake, `tests.apiserver.real` the real one, and `tests.apiserver.fixtures` what
other folders import.
"""
