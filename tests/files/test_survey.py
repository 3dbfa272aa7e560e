"""Which files are looked at, and what shows in their stamps."""

import os
from pathlib import Path

import pytest

from epp.files.survey import AGAIN, survey


def seen(path):
    """The names of the files that a survey finds, without their folder."""
    return [Path(name).name for name in survey(path).files]


def test_a_file_is_taken_whatever_its_name(tmp_path):
    """Who names a file means it."""
    (tmp_path / "objects.txt").write_text("x")
    assert seen(tmp_path / "objects.txt") == ["objects.txt"]


def test_of_a_folder_the_manifests_are_taken_in_order(tmp_path):
    """By suffix; no hidden files, no editor's leavings, no subfolders."""
    for name in ("b.yaml", "a.yml", "c.json", ".hidden.yaml", "#a.yaml#", "a.yaml~", "README.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.yaml").write_text("x")
    found = survey(tmp_path)
    assert list(found.files) == [str(tmp_path / name) for name in ("a.yml", "b.yaml", "c.json")]
    assert found.trouble == ""


def test_links_are_followed_and_dead_ones_are_missing_files(tmp_path):
    """The stamp is the target's, and a link to nothing is no file."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "a.yaml").symlink_to("real/x")
    (tmp_path / "b.yaml").symlink_to("real/nothing")
    found = survey(tmp_path)
    assert seen(tmp_path) == ["a.yaml"]
    (stamp,) = found.files.values()
    assert stamp.inode == (tmp_path / "real" / "x").stat().st_ino


def test_a_link_to_itself_can_not_be_looked_at(tmp_path):
    """It is a file without a stamp, so that somebody tries to read it and tells."""
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert list(survey(tmp_path).files.values()) == [None]


@pytest.mark.parametrize(
    ("make", "trouble"),
    [
        (lambda path: None, "there is no such file or folder yet"),
        (lambda path: path.mkdir(), "the folder holds no file that ends in .yaml, .yml, .json"),
        (lambda path: path.symlink_to(path.name), "can't be read"),
    ],
)
def test_a_path_that_gives_nothing_says_why(tmp_path, make, trouble):
    """Nothing there, nothing in it, or nothing to be had."""
    make(tmp_path / "path")
    found = survey(tmp_path / "path")
    assert found.files == {}
    assert trouble in found.trouble


def test_every_way_to_change_a_file_changes_its_stamp(tmp_path):
    """Another size, another file under its name, another time."""
    file = tmp_path / "a.yaml"
    file.write_text("x")
    stamps = [survey(file).files[str(file)]]
    file.write_text("xy")
    stamps.append(survey(file).files[str(file)])
    (tmp_path / "new").write_text("xy")
    (tmp_path / "new").replace(file)
    stamps.append(survey(file).files[str(file)])
    os.utime(file, ns=(5, 5))
    stamps.append(survey(file).files[str(file)])
    assert len({*stamps, AGAIN}) == 5


def test_a_young_stamp_is_not_settled(tmp_path):
    """Within the coarseness of clocks another write could leave the same stamp, in both directions."""
    (tmp_path / "a").write_text("x")
    (stamp,) = survey(tmp_path / "a").files.values()
    assert not stamp.is_settled(stamp.changed_ns)
    assert not stamp.is_settled(stamp.changed_ns + 10_000_000)
    assert not stamp.is_settled(stamp.changed_ns - 10_000_000)
    assert stamp.is_settled(stamp.changed_ns + 200_000_000)
