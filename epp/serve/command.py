"""`epp serve`: from flags to a running picker, and back to an exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from epp.config.parse import default_config, parse_config, read_config
from epp.config.problems import ConfigError
from epp.extproc.polling import let_listeners_poll
from epp.serve.settings import ServeSettings, SettingsError, add_arguments, read_settings

if TYPE_CHECKING:
    import argparse

    from epp.config.model import EndpointPickerConfig

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop. 0 after an orderly stop, 1 for what can't be served with."""
    try:
        settings = read_settings(args, os.environ)
        config = _configuration(settings)
    except SettingsError as error:
        return _complain(error.problems)
    except ConfigError as error:
        return _complain(str(error).splitlines())
    let_listeners_poll(os.environ)
    # Late, so that `epp serve --help` and a wrong flag don't wait for grpc.
    from epp.observe.logs import LogSettingError, configure_logs  # noqa: PLC0415
    from epp.serve.errors import StartError  # noqa: PLC0415
    from epp.serve.run import serve  # noqa: PLC0415

    try:
        configure_logs(
            encoder=settings.zap_encoder,
            level=settings.zap_log_level,
            verbosity=settings.verbosity,
            devel=settings.zap_devel,
            time_encoding=settings.zap_time_encoding,
            stacktrace_level=settings.zap_stacktrace_level,
        )
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(settings, config))
    except (LogSettingError, StartError) as error:
        return _complain([str(error)])
    return 0


def _configuration(settings: ServeSettings) -> EndpointPickerConfig:
    if settings.config_file is not None:
        return read_config(settings.config_file)
    if settings.config_text is not None:
        return parse_config(settings.config_text, source="--config-text")
    return default_config()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _complain(lines: list[str]) -> int:
    for line in lines:
        print(f"epp serve: {line}", file=sys.stderr)  # noqa: T201 - what a person typed is answered to the person
    return 1
