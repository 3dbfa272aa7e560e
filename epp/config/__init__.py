"""The picker's configuration: `EndpointPickerConfig` is parsed, checked as a whole, and built into what runs."""

from epp.config.build import build
from epp.config.memory import memory_limit_bytes
from epp.config.model import EndpointPickerConfig
from epp.config.parse import default_config, parse_bytes, parse_config, read_config
from epp.config.problems import ConfigError, Problem
from epp.config.runtime import ExplainHeaders, Runtime
from epp.config.scrape import ScrapeConfig
from epp.config.weights import Weights

__all__ = [
    "ConfigError",
    "EndpointPickerConfig",
    "ExplainHeaders",
    "Problem",
    "Runtime",
    "ScrapeConfig",
    "Weights",
    "build",
    "default_config",
    "memory_limit_bytes",
    "parse_bytes",
    "parse_config",
    "read_config",
]
