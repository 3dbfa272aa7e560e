"""`epp init`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from epp.quickstart import command


def init(*arguments: str) -> int:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def contents(directory: Path) -> dict[str, str]:
    """All files in a folder."""
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_three_files_and_the_commands_that_use_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are there, parse, and every one of them is named in a command to type next."""
    out = tmp_path / "new" / "folder"
    assert init("127.0.0.1:8000", "127.0.0.1:8001", "--out", str(out)) == 0
    written = contents(out)
    assert sorted(written) == ["config.yaml", "envoy.yaml", "objects.yaml"]
    for text in written.values():
        assert all(document is not None for document in yaml.safe_load_all(text))
    said = capsys.readouterr().out
    assert f"epp serve --objects {out}/objects.yaml --config-file {out}/config.yaml" in said
    assert f"-c {out}/envoy.yaml" in said
    assert "curl http://127.0.0.1:8080/v1/chat/completions" in said


def test_a_name_is_resolved_and_the_result_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pod gets an IP address, and a person sees which."""
    assert init("localhost:8000", "localhost:8001", "--out", str(tmp_path)) == 0
    assert "podIP: 127.0.0.1" in (tmp_path / "objects.yaml").read_text()
    assert capsys.readouterr().out.count("localhost is 127.0.0.1") == 1


def test_the_body_mode_is_a_choice(tmp_path: Path) -> None:
    """`--envoy-profile lean` writes the lean configuration."""
    assert init("127.0.0.1:8000", "--out", str(tmp_path), "--envoy-profile", "lean") == 0
    assert "response_body_mode: NONE" in (tmp_path / "envoy.yaml").read_text()


def test_nothing_is_overwritten_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file that is already there keeps all three from being written; --force replaces it."""
    (tmp_path / "config.yaml").write_text("mine")
    assert init("127.0.0.1:8000", "--out", str(tmp_path)) == 1
    assert contents(tmp_path) == {"config.yaml": "mine"}
    assert "config.yaml in" in (said := capsys.readouterr().err)
    assert "--force" in said
    assert init("127.0.0.1:8000", "--out", str(tmp_path), "--force") == 0
    assert contents(tmp_path)["config.yaml"] != "mine"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gpu1"], "'gpu1': give HOST:PORT"),
        (["http://127.0.0.1:8000"], "without a scheme"),
        (["n" * 64 + ".invalid:8000"], "does not resolve"),
        (["127.0.0.1:1", "127.0.0.1:1"], "same server"),
        (["127.0.0.1:1", "--pool-name", "My Pool"], "--pool-name 'My Pool'"),
        ([f"127.0.0.1:{port}" for port in range(1, 10)], "at most 8"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    """Every mistake is named on one line of standard error, and no file appears."""
    out = tmp_path / "out"
    assert init(*arguments, "--out", str(out)) == 1
    said = capsys.readouterr().err
    assert said.startswith("epp init: ")
    assert said.count("\n") == 1
    assert complaint in said
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the folder should be is reported, not raised."""
    (tmp_path / "file").write_text("")
    assert init("127.0.0.1:8000", "--out", str(tmp_path / "file")) == 1
    assert "cannot write to" in capsys.readouterr().err


def test_without_an_envoy_the_files_come_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no Envoy the message says how to get one."""

    def absent() -> Path:
        raise command.EnvoyNotFoundError("Envoy is not installed. Get it.")

    monkeypatch.setattr(command, "find_envoy", absent)
    assert init("127.0.0.1:8000", "--out", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "Get it." in said
    assert f"  envoy -c {tmp_path}/envoy.yaml" in said
