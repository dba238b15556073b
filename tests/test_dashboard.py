"""The panel of lab 8: what its controls do, seen from Python; the browser tests see the rest."""

import asyncio
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
from labkit import widgets, workbench
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


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """What was displayed; the last of `figures` is what stands in the updating output."""
    outputs = SimpleNamespace(all=[], figures=[])

    def display(output, display_id=False, raw=False):
        outputs.all.append(output)
        if display_id:
            outputs.figures.append(output)
            return SimpleNamespace(update=outputs.figures.append)

    monkeypatch.setattr(widgets, "display", display)
    return outputs


@pytest.fixture
def panel(bench):
    return panels._Panel(bench)


def explain(panel, meanwhile=lambda: None):
    """Press Explain, do something as soon as it is at work, and wait for its end."""

    async def pressed():
        panel.buttons.start.click()
        await asyncio.sleep(0)
        meanwhile()
        await panel.buttons._task

    asyncio.run(pressed())


def test_the_panel_runs_a_method_with_the_settings_shown(panel, shown):
    panel.method.value = "rise"
    panel.settings.holders["n_masks"].value = 50
    assert "50 forward passes" in panel.cost.value
    panel.target.value = 1
    explain(panel)
    (said,) = panel.bench.explanations
    assert (said.method, said.target) == ("rise", 1)
    assert said.settings == {"n_masks": 50, "cells": 8, "p": 0.5}
    assert "RISE (lab 5): black rot" in shown.figures[-1].alt
    assert "RISE (lab 5): black rot took" in panel.message.value
    assert panel.buttons.bar.value == 1.0
    before = shown.figures[-1].html
    panel.strength_value.value = 0.1
    assert shown.figures[-1].html != before
    assert len(panel.bench.explanations) == 1  # drawn again, not asked again
    panel.clear.click()
    assert "RISE" not in shown.figures[-1].alt


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
    explain(panel)
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
    assert "Below is still cat, with what was explained before." in panel.message.value
    assert "Error" not in panel.message.value  # no Python


def test_a_long_method_is_stopped_and_leaves_what_was_there(panel, shown, monkeypatch):
    monkeypatch.setattr(workbench, "STEP_SECONDS", 0.0)
    explain(panel)
    figure = shown.figures[-1]
    panel.method.value = "rise"
    explain(panel, meanwhile=panel.buttons.stop.click)
    assert [said.method for said in panel.bench.explanations] == ["gradcam"]
    assert "stopped: RISE (lab 5)" in panel.message.value
    assert shown.figures[-1] is figure
    assert (panel.buttons.start.disabled, panel.buttons.stop.disabled) == (False, True)


def test_what_is_chosen_meanwhile_has_its_cost_and_does_not_change_the_run(panel, monkeypatch):
    monkeypatch.setattr(workbench, "STEP_SECONDS", 0.0)
    panel.method.value = "smoothgrad"
    panel.settings.holders["n_samples"].value = 3

    def choose():
        panel.method.value = "rise"
        panel.settings.holders["n_masks"].value = 150
        assert "at work: SmoothGrad" in panel.message.value

    explain(panel, meanwhile=choose)
    assert "150 forward passes" in panel.cost.value
    (said,) = panel.bench.explanations
    assert (said.method, said.settings["n_samples"]) == ("smoothgrad", 3)


def test_another_picture_stops_what_runs(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(workbench, "STEP_SECONDS", 0.0)
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    panel.method.value = "rise"
    panel.path.value = str(tmp_path / "coffee.png")
    explain(panel, meanwhile=panel.open.click)
    assert panel.bench.name == "coffee.png"
    assert panel.bench.explanations == []
    assert "stopped: RISE" in panel.message.value


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
def test_what_is_no_picture_is_refused_undecoded(panel, shown, tmp_path, monkeypatch, kind, way):
    content, words = NO_PICTURES[kind]
    (tmp_path / "mine.png").write_bytes(content())
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    figure = shown.figures[-1]
    if way == "uploaded":
        files = [{"name": "mine.png", "content": (tmp_path / "mine.png").read_bytes()}]
        panel.upload = SimpleNamespace(value=files)
        panel._quietly(panel._open_upload)(None)
    else:
        panel.path.value = str(tmp_path / "mine.png")
        panel.open.click()
    assert 'role="alert"' in panel.message.value
    assert words in panel.message.value
    assert (panel.bench.name, shown.figures[-1]) == ("cat", figure)  # the one before stays


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
    explain(panel)
    assert panel.file.value == "my coffee explained.html"
    panel.save.click()
    panel.save_figure.click()
    assert (tmp_path / "my coffee explained.html").stat().st_size > 10_000
    with Image.open(tmp_path / "my coffee explained.png") as figure:
        assert "edge detector" in figure.info["Description"]
    np.testing.assert_array_equal(Image.open("my coffee.png"), skimage.data.coffee())


def test_without_a_front_end_one_explanation_is_shown(model, shown, monkeypatch):
    bench = dashboard(model, skimage.data.chelsea(), name="cat")
    assert [said.method for said in bench.explanations] == ["gradcam"]
    assert "<img alt=" in shown.all[0]["text/html"]
    assert "Run this cell to get the controls." in shown.all[0]["text/html"]
    monkeypatch.setattr(panels, "front_end_attached", lambda: True)
    assert dashboard(model, skimage.data.chelsea()).explanations == []


def test_a_network_without_feature_maps_has_no_layers_to_choose():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    how = {"classes": ("a", "b"), "description": "linear", "preprocessing": Preprocessing(8, 8)}
    model = Classifier(network, name="linear", **how)
    bench = dashboard(model, skimage.data.chelsea())
    assert [said.method for said in bench.explanations] == ["sensitivity"]
    panel = panels._Panel(bench)
    for method in ("gradcam", "fem"):
        panel.method.value = method
        assert "layer" not in panel.settings.holders
        explain(panel)
        assert 'role="alert"' in panel.message.value
        assert "passes through, got Sequential without any; use a method" in panel.message.value
        assert not panel.buttons.start.disabled
    assert [said.method for said in bench.explanations] == ["sensitivity"]
