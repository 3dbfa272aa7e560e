"""EPP: an Endpoint Picker for LLM inference pools whose heart is flow control."""

__version__ = "0.1.0.dev0"
