"""Manifests for tests: right ones, of which a test changes what it is about."""

POOL = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata:
  name: pool
spec:
  selector: {matchLabels: {app: vllm}}
  targetPorts:
  - number: 8000
"""
OBJECTIVE = """\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata:
  name: premium
spec:
  priority: 10
  poolRef:
    name: pool
"""
REWRITE = """\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata:
  name: aliases
spec:
  poolRef:
    name: pool
  rules:
  - matches:
    - model: {value: chat}
    targets:
    - {modelRewrite: llama-a, weight: 3}
    - {modelRewrite: llama-b, weight: 1}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: a
  labels: {app: vllm}
status:
  podIP: 10.0.0.1
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"


def documents(*texts):
    """Documents as one file's text."""
    return "---\n".join(texts)


def objective(name="premium", priority=10):
    """An objective for the pool called `pool`."""
    return OBJECTIVE.replace("premium", name).replace("10", str(priority))


def pod(name="a", ip="10.0.0.1"):
    """A pod of that pool."""
    return POD.replace("name: a", f"name: {name}").replace("10.0.0.1", ip)
