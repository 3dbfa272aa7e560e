"""The files that our picker is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.stage.errors import StageError
from benchmarks.stage.picker import check_flags
from benchmarks.stage.pool import PoolFiles
from benchmarks.stage.servers import places
from epp.cli import main
from tests.benchmarks.stage.smallest import CONFIG


@pytest.fixture
def files(tmp_path: Path) -> PoolFiles:
    """Of a pool of ten servers."""
    made = PoolFiles(tmp_path, servers=places(10, first_port=8000), objectives={"premium": 10, "plain": None})
    made.write(CONFIG)
    return made


def objects(files: PoolFiles, kind: str) -> list[dict[str, Any]]:
    """Those of one kind, as they are in the file now."""
    return [each for each in yaml.safe_load_all(files.objects.read_text()) if each["kind"] == kind]


def priorities(files: PoolFiles) -> dict[str, object]:
    """Of the objectives; without one: 'unset'."""
    return {
        each["metadata"]["name"]: each["spec"].get("priority", "unset")
        for each in objects(files, "InferenceObjective")
    }


def test_the_picker_has_no_objection(files: PoolFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """`epp validate` finds ten endpoints, and nothing wrong."""
    status = main(["validate", "--config-file", str(files.config), "--objects", str(files.objects)])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "10 endpoints" in said
    assert "warning" not in said


def test_every_server_is_a_pod_that_serves_one_port(files: PoolFiles) -> None:
    """Pods share addresses and ports, but never both."""
    served = [
        (each["status"]["podIP"], each["metadata"]["annotations"]["llm-d.ai/active-ports"])
        for each in objects(files, "Pod")
    ]
    assert served == [(each.host, str(each.port)) for each in places(10, first_port=8000)]


def test_a_pool_shrinks_from_its_end_and_grows_again(files: PoolFiles) -> None:
    """The first ones stay; the ports are always those of all, as a pool's are when its pods go."""
    everybody = objects(files, "Pod")
    for count in (3, 0, 10):
        files.scale(count)
        assert objects(files, "Pod") == everybody[:count]
        (pool,) = objects(files, "InferencePool")
        assert len(pool["spec"]["targetPorts"]) == 8
    with pytest.raises(StageError, match="scale to 11: there are 10 servers"):
        files.scale(11)


def test_an_objective_gets_another_priority_or_none(files: PoolFiles) -> None:
    """The others, and the size of the pool, stay as they are."""
    files.scale(4)
    assert priorities(files) == {"premium": 10, "plain": "unset"}
    files.set_objective("plain", 3)
    files.set_objective("premium", None)
    assert priorities(files) == {"premium": "unset", "plain": 3}
    assert len(objects(files, "Pod")) == 4


def test_objects_are_replaced_in_one_step(files: PoolFiles) -> None:
    """Whoever has the old file open still reads the whole of it."""
    before = files.objects.read_text()
    with files.objects.open() as opened:
        files.scale(1)
        assert opened.read() == before
    assert [each.name for each in files.objects.parent.iterdir() if each.suffix == ".new"] == []


@pytest.mark.parametrize("flag", ["--objects", "--grpc-port=1", "--secure-serving=true"])
def test_flags_that_the_harness_gives_are_not_the_scenarios(flag: str) -> None:
    """They would break the stage in ways that are hard to find out."""
    check_flags(["--refresh-metrics-interval", "100ms"])
    with pytest.raises(StageError, match=f"picker.flags: {flag.partition('=')[0]} is given by the harness"):
        check_flags(["-v", "4", flag])
