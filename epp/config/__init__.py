"""The picker's configuration: `EndpointPickerConfig` is parsed, checked as a whole, and built into what runs."""

from epp.config.build import build
from epp.config.memory import memory_limit_bytes
from epp.config.model import EndpointPickerConfig
from epp.config.parse import default_config, parse_config, read_config
from epp.config.problems import ConfigError, Problem
from epp.config.runtime import Runtime
from epp.config.scrape import ScrapeConfig

__all__ = [
    "ConfigError",
    "EndpointPickerConfig",
    "Problem",
    "Runtime",
    "ScrapeConfig",
    "build",
    "default_config",
    "memory_limit_bytes",
    "parse_config",
    "read_config",
]
