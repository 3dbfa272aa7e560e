"""The Kubernetes API server: what it says is followed, and what it should know is told to it.

Only this room imports `kubernetes`, for configuration, credentials and TLS. The reflector, the lease and the status
writer are ours, since no library's keep the promises that they make.
"""
