"""What a running picker writes down, and what becomes of it when it can't."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import msgspec
import pytest

from epp.core.endpoint import EndpointSpec
from epp.core.events import Ended, EndpointsChanged, Tick, Unseen
from epp.eventlog.header import Header
from epp.eventlog.reading import LogError, segments
from epp.eventlog.recipe import Recipe, fingerprint
from epp.eventlog.spool import Spool, rotated
from epp.replay.recording import decide_again
from tests.core.building import request
from tests.core.test_determinism import replays
from tests.eventlog.tape import CONFIGS, HEAD, AtOnce, Taped, storm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_a_recorded_storm_is_decided_the_same_again(tmp_path: Path, number: int) -> None:
    """Over many segments, each from its own snapshot, with random choices of endpoints and names in disguise."""
    taped = storm(tmp_path / "log", CONFIGS[number], steps=900, segment_bytes=20_000)
    again = decide_again(tmp_path / "log")
    assert again.difference is None
    assert again.notes == []
    assert (again.events, again.unchecked_events) == (taped.log.statistics().events, 0)
    assert again.segments == taped.log.statistics().segments > 3
    assert again.decisions > 100


def test_another_process_with_another_hash_seed_decides_the_same(tmp_path: Path) -> None:
    """A log that was written here is replayed bit for bit elsewhere."""
    storm(tmp_path / "log", CONFIGS[2], steps=500, segment_bytes=20_000)
    program = f"""
from pathlib import Path
from epp.replay.recording import decide_again
again = decide_again(Path({str(tmp_path / "log")!r}))
print(again.difference, again.decisions)
"""
    assert replays("1", "4242", program=program) == [f"None {decide_again(tmp_path / 'log').decisions}"] * 2


def test_a_policy_that_changes_on_the_way_is_replayed(tmp_path: Path) -> None:
    """Reloading is an event like others, and the next segment starts from the new configuration."""
    taped = Taped(tmp_path / "log", CONFIGS[0], segment_bytes=4000)
    endpoints = tuple(EndpointSpec(f"10.0.0.{n}:80") for n in range(4))
    taped.handle(EndpointsChanged(endpoints), 0.0)
    for number in range(120):
        if number == 40:
            taped.reload(CONFIGS[1], number / 10)
        taped.handle(request(number, tenant=f"t{number % 3}"), number / 10)
    taped.log.close()
    again = decide_again(tmp_path / "log")
    assert (again.difference, again.notes) == (None, [])
    assert list(segments(tmp_path / "log", skipped=again.notes.append))[-1].header.fingerprint == fingerprint(
        Recipe(config=CONFIGS[1]).policy()
    )


def test_no_name_and_no_fact_is_in_any_file(tmp_path: Path) -> None:
    """Neither in events nor in snapshots, which hold tenants, models and learned tables."""
    config = HEAD + "# my-comment\nflowControl: {weights: [{fairnessID: tenant-1, weight: 3}]}\n"
    taped = Taped(tmp_path / "log", config, segment_bytes=2000)
    taped.reload(config.replace("3", "4"), 0.0)
    taped.handle(
        EndpointsChanged((EndpointSpec("10.0.0.1:80", name="my-pod", labels=(("team", "blue"),)),)), 0.0
    )
    for number in range(200):
        taped.handle(
            request(
                number,
                tenant=f"tenant-{number % 5}",
                model="my-model",
                facts={"prompt": "my-prompt"},
                slo_s=1.0,
            ),
            number / 100,
        )
    taped.log.close()
    files = [path for _, path in rotated(tmp_path / "log")]
    assert len(files) > 2
    text = (tmp_path / "log").read_bytes() + b"".join(gzip.decompress(path.read_bytes()) for path in files)
    assert not [
        word
        for word in (b"tenant-", b"my-comment", b"my-model", b"my-prompt", b"my-pod", b"blue")
        if word in text
    ]


def test_a_tampered_log_is_noticed_and_the_stretch_is_named(tmp_path: Path) -> None:
    """One arrival less, and the decisions aren't those that were recorded."""
    storm(tmp_path / "log", CONFIGS[1], steps=1500)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if n > 600 and msgspec.json.decode(line)[1] == "a")
    (tmp_path / "log").write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    difference = decide_again(tmp_path / "log").difference
    assert difference is not None
    missing = sum(line.startswith(b"[") and not line.startswith(b'["') for line in lines[:at]) + 1
    assert difference.first_event <= missing <= difference.last_event + 1
    assert difference.last_event - difference.first_event < 1000
    first, last = difference.first_event, difference.last_event
    assert f"decisions differ between event {first} and event {last}" in str(difference)


def test_a_torn_last_line_is_reported_and_ignored(tmp_path: Path) -> None:
    """A process that was killed leaves a line that is cut off; everything before it counts."""
    storm(tmp_path / "log", "", steps=300)
    whole = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(whole[:-200])
    again = decide_again(tmp_path / "log")
    assert again.difference is None
    assert [note for note in again.notes if "is cut off" in note]
    assert again.unchecked_events > 0


def test_a_finished_segment_that_is_damaged_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    """A compressed file without its end is read up to there."""
    storm(tmp_path / "log", "", steps=300)
    packed = gzip.compress((tmp_path / "log").read_bytes())
    (tmp_path / "part.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    again = decide_again(tmp_path / "part.jsonl.gz")
    assert again.difference is None
    assert again.events > 10
    assert "missing or damaged" in again.notes[0] or "cut off" in again.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"hello\n", "log:1: is not the beginning of an event log"),
        (b'{"format": "epp-event-log/1"}\n', "log:1: is not the beginning"),
    ],
)
def test_what_is_no_log_is_told(tmp_path: Path, text: bytes, message: str) -> None:
    """With the file and the line."""
    (tmp_path / "log").write_bytes(text)
    with pytest.raises(LogError, match=message):
        decide_again(tmp_path / "log")


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    """It isn't skipped: what follows would mean something else."""
    storm(tmp_path / "log", "", steps=100)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    lines[20] = b'[1.0,"?"]\n'
    (tmp_path / "log").write_bytes(b"".join(lines))
    with pytest.raises(LogError, match=r"log:21: is no line of an event log"):
        decide_again(tmp_path / "log")


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    """The message says who wrote it."""
    storm(tmp_path / "log", "", steps=10)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    header = msgspec.structs.replace(msgspec.json.decode(lines[0], type=Header), format="epp-event-log/9")
    (tmp_path / "log").write_bytes(msgspec.json.encode(header) + b"\n" + b"".join(lines[1:]))
    with pytest.raises(LogError, match=r"format 'epp-event-log/9', written by epp"):
        decide_again(tmp_path / "log")


def test_no_file_is_told(tmp_path: Path) -> None:
    """A name that nothing is behind."""
    with pytest.raises(LogError, match="there is no such file"):
        decide_again(tmp_path / "log")


# ------------------------------------------------------------------------------- segments


def test_only_so_many_segments_are_kept(tmp_path: Path) -> None:
    """The oldest go; the rest are compressed, and nothing else lies about."""
    taped = storm(tmp_path / "log", "", steps=900, segment_bytes=8_000, keep=3)
    assert taped.log.statistics().segments > 6
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4
    assert all(name == "log" or name.endswith(".jsonl.gz") for name in names)
    assert decide_again(tmp_path / "log").difference is None


def test_another_process_goes_on_with_other_files(tmp_path: Path) -> None:
    """What the one before left is kept, compressed, and the gap is said."""
    storm(tmp_path / "log", "", steps=100)
    (tmp_path / "log.7.jsonl").write_bytes((tmp_path / "log").read_bytes())
    storm(tmp_path / "log", "", steps=50)
    assert [path.name for _, path in rotated(tmp_path / "log")] == ["log.7.jsonl.gz", "log.8.jsonl.gz"]
    again = decide_again(tmp_path / "log")
    assert again.difference is None
    assert len([note for note in again.notes if "events before it are missing" in note]) == 2


def _busy(path: Path, **settings: int) -> Taped:
    """A picker without endpoints, so that requests stay queued."""
    return Taped(path, snapshot_below=10, **settings)


def _all_end(taped: Taped, now: float) -> None:
    for number in range(100):
        taped.handle(Ended(number, None, None, Unseen.KEEP), now)
    taped.handle(Tick(), now)


def test_a_new_segment_waits_while_much_is_queued(tmp_path: Path) -> None:
    """A snapshot of a long queue would hold the picker up, so the segment grows instead."""
    taped = _busy(tmp_path / "log", segment_bytes=3000, patience=100)
    for number in range(100):
        taped.handle(request(number), 0.0)
    assert taped.log.statistics().segments == 1
    taped.handle(EndpointsChanged(tuple(EndpointSpec(f"10.0.0.{n}:80") for n in range(40))), 0.1)
    taped.handle(Tick(), 0.1)
    taped.handle(Tick(), 0.1)
    assert taped.core.queued_requests <= 10 < taped.core.running_requests
    taped.handle(Tick(), 0.1)
    assert taped.log.statistics().segments == 1
    _all_end(taped, 0.2)
    assert taped.log.statistics().segments == 2


def test_known_flows_count_as_well(tmp_path: Path) -> None:
    """A few requests of a few tenants are calm; many tenants that are remembered are not."""
    taped = _busy(tmp_path / "log", segment_bytes=1)
    for number in range(6):
        taped.handle(request(number), 0.0)
    assert taped.log.statistics().segments == 6
    for number in range(6, 12):
        taped.handle(request(number, tenant=f"t{number}"), 0.0)
    assert taped.core.known_flows == 7
    assert taped.core.queued_requests + taped.core.known_flows // 2 > 10
    assert taped.log.statistics().segments == 9


def test_a_segment_does_not_grow_for_ever(tmp_path: Path) -> None:
    """After so many times its size it ends; what comes then is lost, and counted, until the queue is short again."""
    taped = _busy(tmp_path / "log", segment_bytes=3000, patience=2)
    for number in range(100):
        taped.handle(request(number), 0.0)
    statistics = taped.log.statistics()
    assert (statistics.segments, statistics.is_recording) == (1, False)
    assert statistics.lost_events > 10
    assert "while more than 10 requests and flows are held" in taped.warnings[0]
    header_and_snapshot = 6000
    assert (tmp_path / "log").stat().st_size < 2 * 3000 + header_and_snapshot
    taped.handle(EndpointsChanged(tuple(EndpointSpec(f"10.0.0.{n}:80") for n in range(40))), 0.1)
    taped.handle(Tick(), 0.1)
    taped.handle(Tick(), 0.1)
    _all_end(taped, 0.2)
    assert taped.log.statistics().is_recording
    taped.log.close()
    again = decide_again(tmp_path / "log")
    assert again.difference is None
    assert "events before it are missing" in again.notes[0]


# -------------------------------------------------------------------------------- trouble


def test_an_unwritable_path_stops_nobody(tmp_path: Path) -> None:
    """Events are lost and counted, one line says so, and once it can be written, it is."""
    (tmp_path / "place").write_text("a file, not a folder")
    taped = Taped(tmp_path / "place" / "log", retry_s=10.0)
    taped.handle(EndpointsChanged((EndpointSpec("10.0.0.1:80"),)), 0.0)
    for number in range(50):
        taped.handle(request(number), number / 2)
    statistics = taped.log.statistics()
    assert statistics.failures >= 2
    assert statistics.lost_events > 40
    assert len(taped.warnings) == 1
    assert "--event-log" in taped.warnings[0]
    (tmp_path / "place").unlink()
    for number in range(50, 60):
        taped.handle(request(number), 20.0 + number)
    taped.log.close()
    assert taped.log.statistics().is_recording is False
    assert decide_again(tmp_path / "place" / "log").difference is None


def test_a_disk_that_fills_up_ends_the_segment(tmp_path: Path) -> None:
    """What was written before counts; another segment is tried later."""

    class Full(Spool):
        broken = False

        def _append(self, data: bytes, events: int) -> None:
            if self.broken and self._file is not None:
                self._file.close()
            super()._append(data, events)

    taped = Taped(tmp_path / "log", retry_s=5.0)
    spool = taped.log._spool = Full(tmp_path / "log", keep=3, worker=AtOnce())
    for number in range(20):
        taped.handle(request(number), float(number))
    spool.broken = True
    for number in range(20, 24):
        taped.handle(request(number), float(number))
    assert not taped.log.statistics().is_recording
    spool.broken = False
    for number in range(24, 40):
        taped.handle(request(number), float(number))
    taped.log.close()
    assert taped.log.statistics().segments == 2
    assert decide_again(tmp_path / "log").difference is None


def test_a_slow_disk_costs_events_not_memory(tmp_path: Path) -> None:
    """What waits to be written is bounded."""

    class Never(AtOnce):
        def submit(self, task: object, /, *args: object) -> object:
            return None

    taped = Taped(tmp_path / "log", pending_bytes=20_000, retry_s=1e9)
    taped.log._spool = Spool(tmp_path / "log", keep=3, worker=Never())  # type: ignore[arg-type]
    for number in range(2000):
        taped.handle(request(number), float(number))
    statistics = taped.log.statistics()
    assert statistics.pending_bytes < 100_000
    assert statistics.lost_events > 1000
    assert "the disk is too slow" in taped.warnings[0]


def test_a_fault_of_the_log_is_none_of_the_pickers(tmp_path: Path) -> None:
    """Whatever goes wrong while an event is taken down, the core decides."""
    taped = Taped(tmp_path / "log")
    taped.handle(EndpointsChanged((EndpointSpec("10.0.0.1:80"),)), 0.0)
    taped.log._encoder.event = None  # type: ignore[assignment, union-attr]
    assert taped.handle(request(1), 1.0)
    assert taped.log.statistics().lost_events == 1
    assert "TypeError" in taped.warnings[0]


def test_a_real_thread_writes_the_same(tmp_path: Path) -> None:
    """Off the loop, and complete once it is closed."""
    taped = Taped(tmp_path / "log", segment_bytes=5000)
    taped.log._spool = Spool(tmp_path / "log", keep=100)
    taped.handle(EndpointsChanged((EndpointSpec("10.0.0.1:80"),)), 0.0)
    for number in range(500):
        taped.handle(request(number, tenant=f"t{number % 4}"), number / 100)
    taped.log.close()
    again = decide_again(tmp_path / "log")
    assert (again.difference, again.events) == (None, 501)
    assert again.segments > 2
