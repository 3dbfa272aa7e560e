"""What a person types, and what comes back when it is not what was meant."""

from __future__ import annotations

import pytest

from epp import __version__
from epp.cli import COMMANDS, main


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`epp --version` names what is installed."""
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"epp {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's module exists and gives its flags with help."""
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: epp {command}" in capsys.readouterr().out


def test_a_misspelt_flag_names_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown flag is one line with the nearest name, and status 2."""
    with pytest.raises(SystemExit) as left:
        main(["serve", "--objects", "x", "--grpc-prot", "1"])
    assert left.value.code == 2
    assert "did you mean --grpc-port?" in capsys.readouterr().err


def test_a_missing_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`epp` alone is an error that says where to look."""
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert "epp --help" in capsys.readouterr().err


def test_what_cannot_be_served_is_told_in_lines_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Two mistakes in a configuration are two lines on standard error, and status 1."""
    config = "{apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig, plugin: [], flowControl: {maxRequest: 1}}"
    assert main(["serve", "--objects", "x", "--config-text", config]) == 1
    lines = sorted(capsys.readouterr().err.splitlines())
    assert len(lines) == 2
    assert "did you mean 'maxRequests'" in lines[0]
    assert "did you mean 'plugins'" in lines[1]
