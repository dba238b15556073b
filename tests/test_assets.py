"""The embedded files are used only as they were shipped."""

import hashlib
import json

import pytest

from labkit import assets


@pytest.fixture
def copied_assets(tmp_path, monkeypatch):
    """An assets folder with one file, read afresh."""
    (tmp_path / "a.txt").write_text("shipped")
    sha256 = hashlib.sha256(b"shipped").hexdigest()
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"files": {"a.txt": {"sha256": sha256}}}))
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    for function in (assets.manifest, assets.asset):
        function.cache_clear()
    yield tmp_path
    for function in (assets.manifest, assets.asset):
        function.cache_clear()


def test_a_shipped_file_is_found(copied_assets):
    assert assets.asset("a.txt").read_text() == "shipped"


def test_a_changed_file_is_refused(copied_assets):
    (copied_assets / "a.txt").write_text("changed")
    with pytest.raises(
        ValueError, match=r"a\.txt differs from the file that was shipped.*make data"
    ):
        assets.asset("a.txt")


def test_a_removed_or_unknown_file_is_named(copied_assets):
    with pytest.raises(FileNotFoundError, match=r"got 'b\.txt'; .*labkit doctor"):
        assets.asset("b.txt")
    (copied_assets / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"got 'a\.txt'"):
        assets.asset("a.txt")


def test_everything_that_ships_is_in_the_manifest():
    files = {
        path.relative_to(assets.FOLDER).as_posix()
        for path in assets.FOLDER.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert files - {"MANIFEST.json"} == set(assets.manifest())
    for name in files - {"MANIFEST.json"}:
        assert assets.asset(name).is_file()
