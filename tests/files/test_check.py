"""What `epp validate` says of manifests."""

import argparse

from epp import validate
from epp.api import Severity
from epp.files import check_manifests
from tests.files.manifests import CONFIG_MAP, OBJECTIVE, POOL, REWRITE, documents, objective, pod


def told(problems, least=Severity.INFO):
    """The problems as text, up to a severity."""
    ranks = list(Severity)
    return [str(one) for one in problems if ranks.index(one.problem.severity) <= ranks.index(least)]


def test_right_manifests_have_no_problems(tmp_path):
    """Only that a foreign kind was left alone is noted, for whoever debugs."""
    (tmp_path / "o.yaml").write_text(documents(POOL, OBJECTIVE, pod(), CONFIG_MAP))
    problems = check_manifests(tmp_path)
    assert told(problems) == []
    assert [one.problem.severity for one in problems] == [Severity.DEBUG]


def test_every_problem_of_every_file_is_told_with_its_line(tmp_path):
    """Schema, syntax, duplicates and what shows only when objects are put together, by file and line."""
    stranger = objective("stranger").replace("name: pool", "name: elsewhere")
    legacy = OBJECTIVE.replace("llm-d.ai", "inference.networking.x-k8s.io")
    (tmp_path / "a.yaml").write_text(documents(POOL, OBJECTIVE, stranger, legacy, pod(), pod("b")))
    (tmp_path / "b.yaml").write_text(documents(objective("x", "ten"), "a: [\n", OBJECTIVE))
    expected = [
        ("a.yaml:26: document 3: spec.poolRef.name:", '"elsewhere": is another pool than default/pool'),
        ("a.yaml:31: document 4: metadata.name:", "InferenceObjective.llm-d.ai premium is used"),
        ("a.yaml:45: document 6: status.podIP:", "is an address of pod a too"),
        ("b.yaml:6: document 1: spec.priority:", '"ten": must be a whole number'),
        ("b.yaml:11: document 2: is not valid YAML:", "a flow node that begins in line 11"),
        ("b.yaml:15: document 3: metadata.name:", f"is given in {tmp_path}/a.yaml:10 (document 2) already"),
    ]
    lines = told(check_manifests(tmp_path))
    assert len(lines) == len(expected)
    for line, (place, message) in zip(lines, expected, strict=True):
        assert line.startswith(f"{tmp_path}/{place}")
        assert message in line


def test_the_wrong_group_in_a_pool_reference_is_found(tmp_path):
    """The commonest mistake with legacy objectives."""
    text = OBJECTIVE.replace("    name: pool", "    group: inference.networking.x-k8s.io\n    name: pool")
    (tmp_path / "o.yaml").write_text(documents(POOL, text, pod()))
    (line,) = told(check_manifests(tmp_path / "o.yaml"), Severity.WARNING)
    assert ":17: document 2: spec.poolRef.group:" in line
    assert "is of group inference.networking.k8s.io" in line


def test_rewrites_are_checked_and_counted(tmp_path, capsys):
    """A right one is in the summary; a wrong one is told by line, also if it only names another pool."""
    path = tmp_path / "o.yaml"

    def validated(text):
        path.write_text(text)
        parser = argparse.ArgumentParser()
        validate.add_arguments(parser)
        status = validate.run(parser.parse_args(["--objects", str(path)]))
        return status, capsys.readouterr().out.splitlines()

    text = documents(POOL, pod(), REWRITE)
    assert validated(text) == (
        0,
        [f"ok: {path}: 1 InferenceModelRewrite, 1 InferencePool, 1 Pod; pool default/pool with 1 endpoint"],
    )
    status, lines = validated(text.replace(", weight: 1", ""))
    assert status == 1
    assert lines[0].startswith(f"{path}:28: document 3: spec.rules[0].targets: either all targets")
    status, lines = validated(text.replace("    name: pool", "    name: other"))
    assert status == 0
    assert lines[0].startswith(f'{path}:24: note: document 3: spec.poolRef.name: "other": is another pool')


def test_several_pools_need_a_name(tmp_path):
    """An error without one, and nothing wrong with one."""
    (tmp_path / "o.yaml").write_text(documents(POOL, POOL.replace("name: pool", "name: second"), pod()))
    (line,) = told(check_manifests(tmp_path), Severity.ERROR)
    assert "default/pool, default/second; choose one with --pool-name" in line
    assert told(check_manifests(tmp_path, pool_name="second")) == []


def test_no_pool_and_no_endpoint_are_worth_a_word_only(tmp_path):
    """Such files are fine for a cluster, but whoever meant to serve from them wants to know."""
    (tmp_path / "o.yaml").write_text(OBJECTIVE)
    (problem,) = check_manifests(tmp_path, pool_name="pool", pool_namespace="team")
    assert problem.problem.severity is Severity.INFO
    assert "there is no InferencePool" in str(problem)
    (tmp_path / "o.yaml").write_text(documents(POOL, pod().replace("app: vllm", "app: other")))
    (problem,) = check_manifests(tmp_path)
    assert problem.problem.severity is Severity.INFO
    assert "InferencePool default/pool has no endpoint: of 1 pods: 1 without the labels app=vllm" in str(
        problem
    )


def test_a_path_that_gives_nothing_is_told(tmp_path):
    """Missing or empty, it is a warning with the reason."""
    (line, _) = told(check_manifests(tmp_path / "nowhere"))
    assert line.endswith("nowhere: there is no such file or folder yet; it is read as soon as there is")
    assert "holds no file that ends in" in told(check_manifests(tmp_path), Severity.WARNING)[0]
