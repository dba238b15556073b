"""`python -m labkit explain`: one line from a picture to its explanation."""

import re

import numpy as np
import pytest
import skimage.data
from PIL import Image

from labkit import workbench
from labkit.__main__ import main
from labkit.explain_command import class_of
from labkit.models import load_model


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
        assert "map of Grad-CAM (lab 4): healthy" in written.text["Description"]
        ratio = 451 / 300  # of the whole picture; the title is above it
        assert 0.85 * ratio < written.width / written.height < ratio


def test_methods_settings_and_the_class_go_into_the_report(picture, tmp_path, capsys):
    command = ["explain", picture, "--model", "minivgg", "--class", "Black Rot"]
    command += ["--method", "gradcam", "rise", "--set", "rise.n_masks=8"]
    assert main([*command, "--out", "new/report.html"]) == 0
    assert "RISE (lab 5): black rot: " in capsys.readouterr().out
    report = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "RISE (lab 5): black rot" in report and "n_masks=8" in report
    for method in ("Grad-CAM (lab 4)", "RISE (lab 5)"):  # one large map each
        assert f"my cat.jpg in grey, and over it the map of {method}: black rot" in report


@pytest.mark.parametrize("shape", [(40, 400, 3), (400, 40, 3), (60, 90), (8, 9, 4), (1, 1, 3)])
def test_every_method_is_drawn_on_the_whole_of_any_picture(tmp_path, monkeypatch, shape):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save("any.png")
    drawn = []
    monkeypatch.setattr(workbench, "gallery", lambda *given, **named: drawn.append((given, named)))
    bench = workbench.Workbench(load_model("minivgg"))
    bench.open("any.png")
    for method in ("gradcam", "sensitivity", "edges"):
        bench.run(method)
    bench.whole_figure()
    ((pictures, titles), named) = drawn.pop()
    assert (
        [picture.shape for picture in pictures]
        == [(*shape[:2], 3)] * 4
        == [(*mask.shape, 3) for mask in named["masks"]]
    )
    assert titles[0] == "any.png" and titles[3].startswith("edge detector")
    side = min(shape[:2])
    assert abs(named["masks"][0].sum() - side**2) <= side  # the square in the middle
    unseen = ~named["masks"][0]
    grey = pictures[0].mean(axis=-1, keepdims=True)[unseen] / 255
    assert np.allclose(pictures[1][unseen], grey)  # no map where the network did not look


def test_several_methods_stand_beside_the_picture(picture, tmp_path):
    command = ["explain", picture, "--model", "minivgg", "--method", "gradcam", "edges"]
    assert main(command) == 0
    with Image.open(tmp_path / "my cat explained.png") as written:
        assert written.width > 3 * 300
        assert "maps of Grad-CAM (lab 4): healthy; " in written.text["Description"]


def test_a_camera_picture_is_drawn_at_the_size_that_is_seen():
    bench = workbench.Workbench(load_model("minivgg"))
    bench.open(np.zeros((1300, 2600, 3), np.uint8))
    bench.run("edges")
    assert bench._on_whole(bench.explanations[0]).picture.shape == (600, 1200, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--out", "map.txt"], "--out must end in .png"),
        (["--method", "gradcm"], "methods must be one of .*did you mean 'gradcam'"),
        (["--class", "rot"], "got 'rot'; near ones: black rot"),
        (["--class", "7"], "a class of the network or its number, 0 to 1, got '7'"),
        (["--class=-1"], "got '-1'"),
        (["--out", "folder.png"], "must be a file in a folder, got 'folder.png', which is a fo"),
        (["--out", "my cat.jpg/map.png"], "got 'my cat.jpg/map.png', my cat.jpg is a file"),
        (["--out", "my cat.jpg"], "must be another file than the picture, got 'my cat.jpg'"),
        (["--model", "my cat.jpg"], "begins with .*, as no file of weights does"),
        (["--model", "timm/resnet10tx"], "did you mean 'timm/resnet10t'"),
        (["--set", "rise.n_masks=8"], "with a method of --method, got"),
        (["--method", "rise", "--set", "rise.masks=8"], "settings of rise must be one of"),
        (["--method", "rise", "--set", "rise.n_masks=1e1"], "rise does not take n_masks=10.0"),
        (["--strength", "2"], "strength must be from 0 to 1, got 2"),
        (["--model", "minivg"], "did you mean 'minivgg'"),
    ],
)
def test_what_cannot_be_done_is_one_line(picture, tmp_path, capsys, options, text):
    (tmp_path / "folder.png").mkdir()
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
