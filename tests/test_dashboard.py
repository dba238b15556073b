"""The panel of lab 8: what its controls do, seen from Python; the browser tests see the rest."""

import inspect
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFile
from torch import nn
from traitlets import TraitError

from labkit import dashboard as panels
from labkit.dashboard import dashboard, uploaded
from labkit.figures import OVERLAY_STRENGTH, overlaid
from labkit.models import Classifier, Preprocessing, last_conv, load_model
from labkit.workbench import Workbench


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg")


@pytest.fixture
def bench(model):
    bench = Workbench(model)
    bench.open(skimage.data.chelsea(), "cat")
    return bench


def test_an_upload_is_read_as_ipywidgets_7_and_8_give_it():
    seven = {"cat.jpg": {"metadata": {"name": "cat.jpg"}, "content": b"1"}}
    eight = ({"name": "cat.jpg", "content": memoryview(b"1")},)
    assert uploaded(seven) == uploaded(eight) == ("cat.jpg", b"1")
    assert uploaded(()) is uploaded({}) is None


@pytest.fixture
def panel(bench):
    return panels._Panel(bench)


def test_the_panel_runs_a_method_with_the_settings_shown(panel):
    panel.method.value = "rise"
    panel.settings.holders["n_masks"].value = 50
    assert "50 forward passes" in panel.cost.value
    panel.target.value = 1
    panel.run.click()
    (said,) = panel.bench.explanations
    assert (said.method, said.target) == ("rise", 1)
    assert said.settings == {"n_masks": 50, "cells": 8, "p": 0.5}
    assert "rise: black rot" in panel.figure.value
    assert "took" in panel.message.value
    before = panel.figure.value
    panel.strength_value.value = 0.1
    assert panel.figure.value != before
    assert len(panel.bench.explanations) == 1  # drawn again, not asked again
    panel.clear.click()
    assert "rise" not in panel.figure.value


def test_the_strength_of_overlays_is_said_once(panel):
    assert panel.strength_value.value == OVERLAY_STRENGTH
    for function in (overlaid, Workbench.figure, Workbench.report):
        default = inspect.signature(function).parameters["strength"].default
        assert default is OVERLAY_STRENGTH, function


def test_the_layer_is_chosen_where_there_are_layers(panel, model):
    panel.method.value = "gradcam"
    layer = panel.settings.holders["layer"]
    assert layer.value == last_conv(model)
    layer.value = "features.23"
    panel.run.click()
    assert panel.bench.explanations[0].settings == {"layer": "features.23"}
    panel.method.value = "sensitivity"
    assert panel.settings.holders == {}


def test_errors_are_shown_where_the_reader_looks(panel, tmp_path):
    panel.path.value = str(tmp_path / "nowhere.jpg")
    panel.open.click()
    assert 'role="alert"' in panel.message.value
    assert "nowhere.jpg" in panel.message.value
    panel.file.value = "report.pdf"
    panel.save.click()
    assert "must end in .html" in panel.message.value


def black_png(side):
    """A sound PNG file of side x side pixels, one bit each."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + side // 8)), 1)
    parts = [b"IHDR" + header, b"IDAT" + rows, b"IEND"]
    framed = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


NO_PICTURES = {
    "nothing": (lambda: b"", "got no bytes at all; download or copy it again"),
    "text": (lambda: b"my notes", "must be a picture that can be read"),
    "20000": (lambda: black_png(20_000), "at most 50,000,000 pixels, got more than 178,956,970"),
    "8000": (lambda: black_png(8_000), "8000 x 8000 = 64,000,000 pixels, more than 50,000,000"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
@pytest.mark.parametrize("way", ["uploaded", "by its path"])
def test_what_is_no_picture_is_refused_undecoded(panel, tmp_path, monkeypatch, kind, way):
    content, words = NO_PICTURES[kind]
    (tmp_path / "mine.png").write_bytes(content())
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    figure = panel.figure.value
    if way == "uploaded":
        files = [{"name": "mine.png", "content": (tmp_path / "mine.png").read_bytes()}]
        panel.upload = SimpleNamespace(value=files)
        panel._quietly(panel._open_upload)(None)
    else:
        panel.path.value = str(tmp_path / "mine.png")
        panel.open.click()
    assert 'role="alert"' in panel.message.value
    assert words in panel.message.value
    assert (panel.bench.name, panel.figure.value) == ("cat", figure)  # the one before stays


def test_an_empty_path_is_refused(panel):
    panel.open.click()
    assert "got an empty path; name a file, or upload one" in panel.message.value


def test_only_the_networks_classes_can_be_chosen(panel, model):
    assert sorted(k for _, k in panel.target.options) == list(range(len(model.classes)))
    with pytest.raises(TraitError):
        panel.target.value = len(model.classes)


def test_a_picture_is_opened_and_the_report_saved(panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.coffee()).save("my coffee.png")
    panel.path.value = "my coffee.png"
    panel.open.click()
    assert panel.bench.name == "my coffee.png"
    panel.method.value = "edges"
    panel.run.click()
    assert panel.file.value == "my coffee explained.html"
    panel.save.click()
    panel.save_figure.click()
    assert (tmp_path / "my coffee explained.html").stat().st_size > 10_000
    with Image.open(tmp_path / "my coffee explained.png") as figure:
        assert "edges" in figure.info["Description"]
    np.testing.assert_array_equal(Image.open("my coffee.png"), skimage.data.coffee())


def test_without_a_front_end_one_explanation_is_shown(model, monkeypatch):
    shown = []
    monkeypatch.setattr(panels, "display", shown.append)
    bench = dashboard(model, skimage.data.chelsea(), name="cat")
    assert [said.method for said in bench.explanations] == ["gradcam"]
    assert "<img alt=" in shown[0].data
    monkeypatch.setattr(panels, "front_end_attached", lambda: True)
    assert dashboard(model, skimage.data.chelsea()).explanations == []


def test_a_network_without_feature_maps_has_no_layers_to_choose(monkeypatch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    how = {"classes": ("a", "b"), "description": "linear", "preprocessing": Preprocessing(8, 8)}
    model = Classifier(network, name="linear", **how)
    monkeypatch.setattr(panels, "display", lambda shown: None)
    bench = dashboard(model, skimage.data.chelsea())
    assert [said.method for said in bench.explanations] == ["sensitivity"]
    panel = panels._Panel(bench)
    for method in ("gradcam", "fem"):
        panel.method.value = method
        assert "layer" not in panel.settings.holders
        panel.run.click()
        assert 'role="alert"' in panel.message.value
        assert "passes through, got Sequential without any; use a method" in panel.message.value
        assert not panel.run.disabled
    assert [said.method for said in bench.explanations] == ["sensitivity"]
