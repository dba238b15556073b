import os

import pytest

from labkit.files import write_atomically


def test_folders_are_made(tmp_path):
    write_atomically(tmp_path / "a" / "b.txt", b"new")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("disk full")

    path = tmp_path / "leaf.jpg"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["leaf.jpg"]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    flushed, sync = [], os.fsync

    def watched(number):
        sync(number)
        (unnamed,) = tmp_path.iterdir()
        flushed.append((unnamed.name != "leaf.jpg", unnamed.read_bytes()))

    monkeypatch.setattr("os.fsync", watched)
    write_atomically(tmp_path / "leaf.jpg", b"new")
    assert flushed == [(True, b"new")]


def test_a_file_that_holds_just_this_is_not_written(tmp_path, monkeypatch):
    write_atomically(tmp_path / "leaf.jpg", b"same")
    for writes in ("os.replace", "os.fsync", "os.mkdir"):
        monkeypatch.setattr(writes, None)
    write_atomically(tmp_path / "leaf.jpg", b"same")
