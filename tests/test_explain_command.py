"""`python -m labkit explain`: one line from a picture to its explanation."""

import re

import pytest
import skimage.data
from PIL import Image

from labkit.__main__ import main
from labkit.explain_command import class_of


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "my cat.jpg")
    return "my cat.jpg"


def test_a_picture_is_explained_beside_what_the_network_says(picture, tmp_path, capsys):
    assert main(["explain", picture, "--model", "minivgg"]) == 0
    said = capsys.readouterr().out
    assert "minivgg: " in said and "%  " in said and "Grad-CAM (lab 4): " in said
    with Image.open(tmp_path / "my cat explained.png") as written:
        assert written.width > 2 * 224 and "maps of Grad-CAM (lab 4)" in written.text["Description"]


def test_methods_settings_and_the_class_go_into_the_report(picture, tmp_path, capsys):
    command = ["explain", picture, "--model", "minivgg", "--class", "Black Rot"]
    command += ["--method", "gradcam", "rise", "--set", "rise.n_masks=8"]
    assert main([*command, "--out", "new/report.html"]) == 0
    assert "RISE (lab 5): black rot: " in capsys.readouterr().out
    report = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "RISE (lab 5): black rot" in report and "n_masks=8" in report


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--out", "map.txt"], "--out must end in .png"),
        (["--method", "gradcm"], "methods must be one of .*did you mean 'gradcam'"),
        (["--class", "rot"], "got 'rot'; near ones: black rot"),
        (["--class", "7"], "a class of the network or its number, got '7'"),
        (["--set", "rise.n_masks=8"], "with a method of --method, got"),
        (["--method", "rise", "--set", "rise.masks=8"], "settings of rise must be one of"),
        (["--method", "rise", "--set", "rise.n_masks=1e1"], "rise does not take n_masks=10.0"),
        (["--strength", "2"], "strength must be from 0 to 1, got 2"),
        (["--model", "minivg"], "did you mean 'minivgg'"),
    ],
)
def test_what_cannot_be_done_is_one_line(picture, tmp_path, capsys, options, text):
    before = sorted(tmp_path.iterdir())
    assert main(["explain", picture, "--model", "minivgg", *options]) != 0
    said = capsys.readouterr().err
    assert re.search(text, said) and "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_picture_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "no such.jpg", "--model", "minivgg"]) != 0
    assert "no such.jpg" in capsys.readouterr().err


def test_a_class_is_found_by_name_or_number():
    classes = ["crane", "palace", "crane", "Palace Guard"]
    assert class_of("palace", classes) == 1 == class_of("1", classes)
    assert class_of("PALACE GUARD", classes) == 3
    with pytest.raises(ValueError, match="which 2 classes are called; give its number"):
        class_of("crane", classes)
