"""The page about metrics: what it names is there, and what is there it names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from epp.core.actions import Reason
from epp.core.statistics import DisplacedBy, WaitReason
from epp.extproc.http2.guard import Ending, Offence, Tally
from epp.observe.cluster import ClusterStatistics, LeaseStatistics, ResourceStatistics
from epp.observe.outcomes import ResponseEnd
from tests.observe.test_observe_upstream_names import PREFIXES, busy

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(epp_[a-z_]+)` \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
NAME = re.compile(r"\b(?:epp|llm_d_epp)_[a-z_]+")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def families():
    """Every family of a picker in which everything is switched on: its labels by its name."""
    world = busy()
    world.metrics.model_rewritten("cheaper", asked="large", target="small")
    world.cluster = ClusterStatistics(
        resources=(
            ResourceStatistics(
                resource="pods",
                state="following",
                objects=3,
                contact_age_s=1.0,
                relists={"start": 1},
                failures={"refused": 1},
            ),
        ),
        status_writes={"written": 1},
        notices={"created": 1},
        lease=LeaseStatistics(leads=True, standing="leader", renewal_age_s=1.0, transitions=1),
    )
    world.connections = Tally()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: {
            name for sample in family.samples for name in sample.labels if name != "le"
        }
        for family in world.families().values()
        if family.name.startswith(PREFIXES)
    }


def test_every_metric_of_ours_is_in_the_table_with_its_labels(families):
    """Neither a name nor a label is missing, and none is made up."""
    documented = {name: set(re.findall(r"[a-z_]+", labels)) for name, labels, _ in ROW.findall(PAGE)}
    assert documented == {name: labels for name, labels in families.items() if name.startswith("epp_")}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_no_page_names_a_metric_that_does_not_exist(families, page):
    """A name with a star stands for all that begin like it."""
    for found in NAME.finditer(page.read_text(encoding="utf-8")):
        name = found[0]
        if name.endswith("_"):
            assert any(each.startswith(name) for each in families), name
        else:
            for suffix in SUFFIXES:
                name = name.removesuffix(suffix)
            assert name in families


@pytest.mark.parametrize("label", [*Ending, *Offence])
def test_every_end_of_a_connection_and_every_offence_is_explained(label):
    """Whoever sees one finds it on the page about the transport."""
    assert f"`{label.value}`" in (DOCS / "transport.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*WaitReason, *DisplacedBy])
def test_every_reason_for_waiting_and_giving_way_is_explained(word):
    """Whoever sees one finds it on the page."""
    assert f"`{word.value}`" in PAGE


def test_words_that_the_page_says_of_requests_exist():
    """Outcomes and reasons in its queries are real ones."""
    said = set(re.findall(r'reason="([a-z-]+)"|outcome="([a-z_]+)"', PAGE))
    reasons = {reason.value for reason in Reason}
    outcomes = {end.value for end in ResponseEnd} | {"confirmed", "timed_out"}
    for reason, outcome in said:
        assert reason in reasons or outcome in outcomes


def test_prometheus_takes_every_query(tmp_path):
    """Its own checker parses them, as rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("metrics.md", "tenants.md"))
    blocks = [block for language, block in FENCED.findall(text) if not language]
    queries = [query for block in blocks for query in block.split("\n\n")]
    assert len(queries) > 10
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "pages", "rules": rules}]}))
    checked = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
