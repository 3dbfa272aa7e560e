"""`--config-file`, followed: what is taken from a file that changes, what is refused, and what is left alone."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from epp.config import EndpointPickerConfig, Runtime, build, parse_config
from epp.serve import reload
from epp.serve.reload import MAX_FILE_BYTES, ConfigReload, ReloadOutcome

APPLIED, REFUSED, UNCHANGED = ReloadOutcome
HEADER = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\n"
PLAIN = HEADER + "plugins: [{type: queue-scorer}]\n"
SHORT = PLAIN + "flowControl: {defaultRequestTTL: 5s}\n"


class Followed:
    """A configuration file, and a picker that goes by it."""

    def __init__(self, path: Path, text: str = PLAIN) -> None:
        self.path = path
        self.built: list[EndpointPickerConfig] = []
        self.applied: list[tuple[Runtime, EndpointPickerConfig]] = []
        self.outcomes: list[ReloadOutcome] = []
        path.write_text(text, encoding="utf-8")
        self.start = parse_config(text, source=str(path))
        self.reload = ConfigReload(
            path,
            self.start,
            rebuild=self.rebuild,
            apply=self.apply,
            outcome=self.outcomes.append,
            poll_interval_s=0.001,
        )

    def rebuild(self, config: EndpointPickerConfig) -> Runtime:
        self.built.append(config)
        return build(config, seed=0, refresh_interval_s=0.2, memory_limit_bytes=None)

    def apply(self, runtime: Runtime, config: EndpointPickerConfig) -> None:
        assert self.built[-1] is config
        self.applied.append((runtime, config))

    async def looks(self, *, times: int = 2) -> list[dict[str, object]]:
        """What is logged while the file is looked at so often; two looks are enough to take in a change."""
        with capture_logs() as logs:
            for _ in range(times):
                await self.reload.look()
        return [dict(entry) for entry in logs]

    async def given(self, text: str) -> list[dict[str, object]]:
        """The same after the file has got another content."""
        self.path.write_text(text, encoding="utf-8")
        return await self.looks()

    @property
    def ttls_s(self) -> list[float]:
        """The waiting budgets that were applied."""
        return [runtime.policy.ttl_s for runtime, _ in self.applied]


@pytest.fixture
async def followed(tmp_path):
    """A picker that was started with the plain file, and has looked at it since."""
    made = Followed(tmp_path / "config.yaml")
    assert await made.looks(times=3) == []
    assert made.outcomes == []
    return made


async def test_a_valid_change_is_applied_once(followed):
    """The runtime is built of the new file and handed over with it; further looks do nothing."""
    logs = await followed.given(SHORT)
    assert [entry["event"] for entry in logs] == ["configuration reloaded"]
    assert await followed.looks(times=5) == []
    assert followed.outcomes == [APPLIED]
    ((runtime, config),) = followed.applied
    assert (runtime.policy.ttl_s, config.flow_control.ttl_s) == (5.0, 5.0)


async def test_everything_of_flow_control_is_live(followed):
    """Bands, policies, detector, weights, headers and budgets: what they come to is in the new runtime."""
    await followed.given(
        PLAIN.replace("plugins: [", "plugins: [{type: concurrency-detector}, {type: edf-ordering-policy}, ")
        + """\
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
  defaultPriorityBand: {orderingPolicyRef: edf-ordering-policy, maxRequests: 7}
  weights: [{fairnessID: a, weight: 4}]
  explainHeaders: on
  maxRequestTTL: 9s
"""
    )
    ((runtime, _),) = followed.applied
    assert runtime.policy.capacity.name == "concurrency-detector"
    assert runtime.policy.band(0).ordering.name == "edf-ordering-policy"
    assert runtime.policy.band(0).max_requests == 7
    assert runtime.weights.of("a", 1.0) == 4.0
    assert (runtime.explain.value, runtime.max_request_ttl_s) == ("on", 9.0)


async def test_an_invalid_file_is_refused_whole(followed):
    """One error names every line; nothing is built, and the next valid file counts again."""
    logs = await followed.given(SHORT + "flowControll: {}\nplugin: []\n")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("configuration refused, the one in force stays", "error")
    ]
    problems = str(logs[0]["problems"]).split(" | ")
    assert [str(problem).partition(" ")[0] for problem in problems] == [
        f"{followed.path}:6:",
        f"{followed.path}:7:",
    ]
    assert "did you mean 'flowControl'?" in problems[0]
    assert await followed.looks(times=5) == []
    assert (followed.built, followed.outcomes) == ([], [REFUSED])
    await followed.given(SHORT)
    assert (followed.ttls_s, followed.outcomes) == ([5.0], [REFUSED, APPLIED])


async def test_many_problems_fit_into_one_line(followed):
    """What is wrong a hundred times over does not flood the log."""
    logs = await followed.given(HEADER + "".join(f"unknown{n}: 1\n" for n in range(100)))
    (entry,) = logs
    problems = str(entry["problems"]).split(" | ")
    assert (len(problems), problems[-1]) == (11, "and 90 more")


async def test_going_back_after_a_refusal_is_a_success_without_a_change(followed):
    """The metric can turn good again, and nothing is applied twice."""
    await followed.given("no: yaml: at all")
    await followed.given(PLAIN)
    assert (followed.applied, followed.outcomes) == ([], [REFUSED, UNCHANGED])


async def test_a_comment_changes_nothing(followed):
    """What a file means counts, not how it is written."""
    assert await followed.given("# a comment\n" + PLAIN) == []
    assert (followed.applied, followed.outcomes) == ([], [UNCHANGED])


@pytest.mark.parametrize(
    ("text", "section"),
    [
        (PLAIN.replace("queue-scorer", "kv-cache-utilization-scorer"), "schedulingProfiles"),
        (PLAIN.replace("}]", "}, {type: decode-filter}]"), "schedulingProfiles"),
        (PLAIN + "dataLayer: {injectDefaults: false}\n", "dataLayer"),
        (PLAIN + "requestHandler: {parsers: [{pluginRef: passthrough-parser}]}\n", "requestHandler"),
    ],
)
async def test_what_needs_a_restart_stays_with_one_warning(followed, text, section):
    """The warning names the section; flow control of the same file is applied, on top of what stays."""
    logs = await followed.given(text + "flowControl: {defaultRequestTTL: 5s}\n")
    warnings = [entry for entry in logs if "restarted" in str(entry["event"])]
    assert [entry["log_level"] for entry in warnings] == ["warning"]
    assert str(warnings[0]["sections"]).partition(" ")[0] == section
    ((runtime, config),) = followed.applied
    assert runtime.policy.ttl_s == 5.0
    start = followed.start
    assert (config.profile, config.scrape, config.parsers) == (start.profile, start.scrape, start.parsers)
    assert (runtime.scrape, runtime.parsers, runtime.endpoints) == (
        start.scrape,
        start.parsers,
        start.profile.rule,
    )
    assert followed.outcomes == [APPLIED]


async def test_a_change_that_needs_a_restart_alone_applies_nothing(followed):
    """The warning is all that comes of it."""
    logs = await followed.given(PLAIN + "requestHandler: {parsers: [{pluginRef: passthrough-parser}]}\n")
    assert [entry["log_level"] for entry in logs if "restarted" in str(entry["event"])] == ["warning"]
    assert (followed.applied, followed.outcomes) == ([], [UNCHANGED])


async def test_new_notes_are_said_and_old_ones_are_not(followed):
    """What has no effect in the new file is told as at the start, once."""
    detector = "{type: utilization-detector, parameters: {headroom: 0.1}}, {type: random-picker}"  # both without effect
    text = PLAIN.replace("plugins: [", f"plugins: [{detector}, ") + "flowControl: {defaultRequestTTL: 5s}\n"
    logs = await followed.given(text)
    assert sum("headroom has no effect" in str(entry["event"]) for entry in logs) == 1
    logs = await followed.given(text.replace("5s", "6s"))
    assert sum("headroom has no effect" in str(entry["event"]) for entry in logs) == 0
    assert followed.ttls_s == [5.0, 6.0]


async def test_a_file_is_read_once_it_keeps_still(followed):
    """Halves that happen to be valid are not taken while the rest is being written."""
    for end in range(len(PLAIN), len(SHORT), 5):
        followed.path.write_text(SHORT[:end], encoding="utf-8")
        await followed.reload.look()
    assert followed.outcomes == []
    await followed.given(SHORT)
    assert followed.outcomes == [APPLIED]


@pytest.mark.parametrize("content", [b"", b" \n", b"\n\n"])
async def test_an_empty_file_is_not_the_defaults(followed, content):
    """Every editor and shell empties a file before it writes it."""
    followed.path.write_bytes(content)
    (entry,) = await followed.looks()
    assert "is empty" in str(entry["problems"])
    assert (followed.built, followed.outcomes) == ([], [REFUSED])


async def test_a_missing_file_is_said_once_and_survived(followed):
    """The configuration in force stays; the same file back is no change, another one is."""
    followed.path.unlink()
    (entry,) = await followed.looks(times=4)
    assert "No such file" in str(entry["problems"])
    await followed.given(PLAIN)
    followed.path.unlink()
    await followed.given(SHORT)
    assert followed.outcomes == [REFUSED, UNCHANGED, APPLIED]


async def test_a_file_that_is_gone_between_two_looks_was_never_gone(followed):
    """A rename over the file, or a link that is swapped in two steps, may be seen half done."""
    followed.path.unlink()
    await followed.reload.look()
    assert await followed.given(PLAIN) == []
    assert followed.outcomes == []


async def test_a_mounted_config_map_is_followed_through_its_links(tmp_path):
    """Kubernetes swaps a link two levels up, and the times of the files may be older than before."""
    for version, text in (("v1", PLAIN), ("v2", SHORT)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.yaml").write_text(text, encoding="utf-8")
    os.utime(tmp_path / "v2" / "config.yaml", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    followed = Followed(tmp_path / "config.yaml")
    await followed.looks()
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await followed.looks()
    assert (followed.ttls_s, followed.outcomes) == ([5.0], [APPLIED])


async def test_a_change_of_the_same_size_and_time_is_noticed(followed):
    """Contents are compared, since a coarse clock can hide a change."""
    await followed.given(SHORT)
    status = followed.path.stat()
    followed.path.write_text(SHORT.replace("5s", "6s"), encoding="utf-8")
    os.utime(followed.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    await followed.looks()
    assert followed.ttls_s == [5.0, 6.0]


async def test_a_change_before_the_first_look_is_not_missed(tmp_path):
    """Between the reading at the start and the first look there is time for an edit."""
    followed = Followed(tmp_path / "config.yaml")
    await followed.given(SHORT)
    assert followed.outcomes == [APPLIED]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER.encode() + b"# \xff\n", ":4: is not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than 4 MiB"),
        (b"[" * 600, "nested too deeply"),
        (HEADER.encode() + b"a: &a [*a]\n", "an alias stands inside"),
    ],
)
async def test_nonsense_is_refused(followed, content, words):
    """Whatever a file holds, it is a line in the log and no more."""
    followed.path.write_bytes(content)
    (entry,) = await followed.looks()
    assert words in str(entry["problems"])
    assert (followed.built, followed.outcomes) == ([], [REFUSED])


async def test_a_folder_in_the_files_place_is_refused(followed):
    """What can't be read as a file is named."""
    followed.path.unlink()
    followed.path.mkdir()
    (entry,) = await followed.looks()
    assert "is no regular file" in str(entry["problems"])


async def test_a_failure_of_our_own_keeps_the_old_configuration(followed):
    """A bug behind the reload is logged with its place, counts as refused, and the next change is tried again."""
    good = followed.apply

    def broken(runtime: Runtime, config: EndpointPickerConfig) -> None:
        raise ZeroDivisionError

    followed.reload._apply = broken
    (entry,) = await followed.given(SHORT)
    assert (entry["log_level"], entry["exc_info"]) == ("error", True)
    followed.reload._apply = good
    await followed.given(SHORT + "# again\n")
    assert followed.outcomes == [REFUSED, APPLIED]


async def test_it_follows_by_itself_until_it_is_closed(tmp_path):
    """Started, it applies a change without being asked; closed, it leaves no task."""
    applied = asyncio.Event()
    followed = Followed(tmp_path / "config.yaml")
    followed.reload._outcome = lambda outcome: (followed.outcomes.append(outcome), applied.set())
    before = asyncio.all_tasks()
    followed.reload.start()
    followed.path.write_text(SHORT, encoding="utf-8")
    async with asyncio.timeout(30):
        await applied.wait()
    assert followed.outcomes == [APPLIED]
    await followed.reload.close()
    await followed.reload.close()
    assert asyncio.all_tasks() == before


async def test_a_pipe_is_not_followed(tmp_path):
    """What a shell hands over can be read once only; waiting for more of it would never end."""
    followed = Followed(tmp_path / "config.yaml")
    followed.path.unlink()
    os.mkfifo(followed.path)
    with capture_logs() as logs:
        followed.reload.start()
        async with asyncio.timeout(30):
            await followed.reload._task
    assert [entry["event"] for entry in logs] == [
        "changes of the configuration are not noticed: it is no regular file"
    ]
    await followed.reload.close()


async def test_the_loop_is_not_held_up(followed, monkeypatch):
    """Reading and parsing happen in another thread than the loop's."""
    threads = set()

    def spied(content: bytes, *, source: str) -> EndpointPickerConfig:
        threads.add(threading.current_thread() is threading.main_thread())
        return parse_config(content.decode(), source=source)

    monkeypatch.setattr("epp.serve.reload.parse_bytes", spied)
    await followed.given(SHORT)
    assert threads == {False}
    assert followed.outcomes == [APPLIED]


async def test_a_file_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    """Its stamp may be the same when it can be read at last: here descriptors had run out."""
    followed = Followed(tmp_path / "config.yaml", PLAIN)
    followed.path.write_text(SHORT, encoding="utf-8")
    looks, read = [], reload._read

    def failing(path):
        looks.append(path)
        return reload._Look(b"", "can't be read: Too many open files") if len(looks) < 5 else read(path)

    monkeypatch.setattr(reload, "_read", failing)
    with capture_logs():
        followed.reload.start()
        async with asyncio.timeout(60):
            while APPLIED not in followed.outcomes:  # noqa: ASYNC110 - the reads are another thread's
                await asyncio.sleep(0.001)
        await followed.reload.close()
    assert followed.ttls_s == [5.0]


async def test_a_file_that_stays_as_it_is_is_not_read_again(tmp_path, monkeypatch):
    """Its stamp is looked at, in a thread that sleeps by itself; a change is read at once."""
    followed = Followed(tmp_path / "config.yaml")
    stamps, reads = threading.Semaphore(0), []
    stamp_of, read = reload._stamp, reload._read

    def stamp(path):
        stamps.release()
        return stamp_of(path)

    monkeypatch.setattr(reload, "_stamp", stamp)
    monkeypatch.setattr(reload, "_read", lambda path: reads.append(path) or read(path))
    followed.reload.start()

    async def until(holds):
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - the reads are another thread's
                await asyncio.sleep(0.001)

    await until(lambda: len(reads) == 2)
    for _ in range(20):
        assert await asyncio.to_thread(stamps.acquire, timeout=60)
    assert len(reads) == 2
    followed.path.write_text(SHORT, encoding="utf-8")
    await until(lambda: followed.outcomes == [APPLIED])
    await followed.reload.close()
    assert len(reads) == 4
