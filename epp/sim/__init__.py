"""A simulated model server: OpenAI's API and vLLM's metrics over an engine that batches continuously."""
