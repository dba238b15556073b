"""One picture, one network, any method; and the report."""

import html
import re

import numpy as np
import pytest
import skimage.data
import torch
import torchvision
from PIL import Image
from torch import nn

import labkit
from labkit import workbench
from labkit.explain import gradcam, rise, segment
from labkit.figures import overlaid
from labkit.models import Classifier, Preprocessing, load_model
from labkit.workbench import (
    Explanation,
    Workbench,
    _drawn,
    _over,
    html_table,
    overlaid_signed,
)


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg")


@pytest.fixture
def bench(model):
    bench = Workbench(model)
    bench.open(skimage.data.chelsea(), "cat")
    return bench


def flat(size=32):
    """A network without any convolution."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 3))
    return Classifier(
        network,
        name="flat",
        classes=("a", "b", "c"),
        description="a linear network",
        preprocessing=Preprocessing(size, size),
    )


def test_an_explanation_is_what_the_method_says(bench, model):
    said = bench.run("gradcam", target=1, layer="features.22")
    expected = gradcam(model, bench.image, 1, layer="features.22")
    torch.testing.assert_close(said.relevance, expected)
    assert (said.method, said.target, said.class_name) == ("gradcam", 1, "black rot")
    assert said.settings == {"layer": "features.22"}
    masks = {"n_masks": 16, "seed": 3}
    torch.testing.assert_close(
        bench.run("rise", 0, **masks).relevance, rise(model, bench.image, 0, **masks)
    )
    assert [e.title for e in bench.explanations] == [
        "Grad-CAM (lab 4): black rot",
        "RISE (lab 5): healthy",
    ]


def test_the_likeliest_class_is_explained_by_default(bench, model):
    best = int(model(bench.image[None]).argmax())
    assert bench.run("sensitivity").target == best
    assert bench.classes()[0][1] == best
    assert bench.classes()[0][0].startswith(model.classes[best])


@pytest.mark.parametrize("method", ["gradcam", "rise", "edges"])
def test_a_class_that_does_not_exist_is_refused_by_every_method(bench, method):
    for target in (2, -1):
        with pytest.raises(IndexError, match=f"class index from 0 to 1, got {target}; "):
            bench.run(method, target)
    with pytest.raises(TypeError, match=r"must be a class index \(int\), got str"):
        bench.run(method, "black rot")
    assert bench.explanations == []


def test_a_map_with_a_floor_is_drawn_from_it(bench):
    ramp = torch.linspace(0, 1, 224).expand(224, -1)
    of = {
        "method": "edges",
        "settings": {},
        "target": 0,
        "class_name": "c",
        "seconds": 0.0,
        "note": "",
    }

    def over(relevance):
        return _over(bench.picture, Explanation(**of, relevance=relevance), 0.6)

    np.testing.assert_allclose(over(ramp + 5), over(ramp), atol=1e-4)
    assert abs(over(ramp - 0.5) - over(ramp)).max() > 0.1
    red, _, blue = over(ramp - 0.5)[100, 0]  # the map is negative there
    assert blue > red + 0.1
    bench.explanations = [Explanation(**of, relevance=ramp + 5)]
    assert "dark 5 to bright 6" in bench.figure().caption
    bench.explanations = [Explanation(**of, relevance=ramp - 0.5)]
    assert "blue -0.5 (against the class) to red 0.5 (for it)" in bench.figure().caption


def test_over_a_picture_a_map_keeps_its_sign():
    # a quarter of the largest value has half of its opacity
    grey = np.full((1, 3, 3), 51, np.uint8)  # 0.2
    over = overlaid_signed(grey, torch.tensor([[4.0, 0.0, -1.0]]), 0.5)
    red, blue = (np.array(colour) / 255 for colour in (workbench.FOR, workbench.AGAINST))
    expected = [0.1 + 0.5 * red, [0.2] * 3, 0.15 + 0.25 * blue]
    np.testing.assert_allclose(over[0], expected, rtol=2e-3)


def test_a_run_in_steps_says_the_same(bench, monkeypatch):
    monkeypatch.setattr(workbench, "STEP_SECONDS", 0.0)
    steps = bench.run_in_steps("rise", 1, n_masks=32)
    shares = list(steps)
    assert len(shares) > 4 and shares == sorted(shares) and 0 < shares[-1] <= 1
    (stepped,) = bench.explanations
    whole = bench.run("rise", 1, n_masks=32)
    torch.testing.assert_close(stepped.relevance, whole.relevance)
    assert (stepped.title, stepped.settings) == (whole.title, whole.settings)
    assert list(bench.run_in_steps("gradcam", 1)) == []  # its hooks would see others' passes


def test_what_was_asked_of_one_picture_is_not_said_of_the_next(bench, monkeypatch):
    monkeypatch.setattr(workbench, "STEP_SECONDS", 0.0)
    steps = bench.run_in_steps("smoothgrad", 1, n_samples=8)
    next(steps)
    bench.open(skimage.data.coffee(), "coffee")
    list(steps)
    assert bench.explanations == []


def test_a_bar_of_progress_is_no_setting(bench):
    said = bench.run("rise", 1, n_masks=8, progress=True)
    assert said.settings == {"n_masks": 8}


def test_another_picture_puts_the_explanations_away(bench):
    bench.run("edges")
    before = bench.probabilities
    bench.open(skimage.data.coffee(), "coffee")
    assert bench.explanations == []
    assert bench.name == "coffee"
    assert not torch.equal(bench.probabilities, before)


@pytest.mark.parametrize("shape", [(40, 300, 3), (300, 40, 3), (50, 50), (9, 11, 4), (1, 1, 3)])
def test_any_size_and_shape_of_picture_will_do(model, shape):
    bench = Workbench(model)
    bench.open(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert bench.run("gradcam", 1).relevance.shape == (224, 224)
    assert "<img alt=" in bench.figure().html


def test_a_camera_picture_is_turned_as_its_camera_says(model, tmp_path):
    upright = np.zeros((60, 60, 3), np.uint8)
    upright[:20] = 255  # light above
    turned = Image.fromarray(np.rot90(upright).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    bench = Workbench(model)
    bench.open(tmp_path / "photo.jpg")
    assert bench.name == "photo.jpg"
    assert bench.picture[:40].mean() > 200 > 60 > bench.picture[-40:].mean()


def test_a_network_without_feature_maps_says_why_it_has_no_grad_cam():
    bench = Workbench(flat())
    bench.open(skimage.data.chelsea())
    with pytest.raises(ValueError, match="feature maps that everything passes through, got Seq"):
        bench.run("gradcam")
    for method in ("sensitivity", "occlusion", "edges"):
        assert bench.run(method, 2).relevance.shape == (32, 32)
    assert bench.run("rise", 2, n_masks=8, cells=4).relevance.shape == (32, 32)


def test_a_vision_transformer_is_explained_by_every_method():
    network = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4)
    model = Classifier(
        network.eval(),
        name="vit",
        classes="abcd",
        description="a transformer",
        preprocessing=Preprocessing(32, 32),
    )
    bench = Workbench(model)
    bench.open(skimage.data.chelsea())
    squares = segment(bench.image, "grid", n_segments=9)
    settings = {
        "rise": {"n_masks": 8, "cells": 4},
        "lime": {"n_samples": 8, "segments": squares},
    }
    for method in ("gradcam", "fem", "sensitivity", "smoothgrad", "occlusion", "rise", "lime"):
        relevance = bench.run(method, 1, **settings.get(method, {})).relevance
        assert relevance.shape == (32, 32)
        assert relevance.isfinite().all()


def test_mistakes_are_named(bench, tmp_path):
    with pytest.raises(ValueError, match="picture must be opened first"):
        Workbench(bench.model).run("gradcam")
    with pytest.raises(ValueError, match="did you mean 'gradcam'"):
        bench.run("grad-cam")
    with pytest.raises(IndexError, match="target"):
        bench.run("sensitivity", 7)
    with pytest.raises(ValueError, match="strength must be from 0 to 1, got 2"):
        bench.figure(strength=2)
    with pytest.raises(ValueError, match=r"must end in \.html, got 'a\.pdf'; name it a\.html"):
        bench.report(tmp_path / "a.pdf")
    (tmp_path / "notes.jpg").write_text("no picture")
    before = bench.image
    with pytest.raises(ValueError, match="picture"):
        bench.open(tmp_path / "notes.jpg")
    with pytest.raises(FileNotFoundError):
        bench.open(tmp_path / "nowhere.jpg")
    assert bench.image is before
    assert bench.name == "cat"


def test_a_report_is_one_page_with_everything_in_it(bench, tmp_path, monkeypatch):
    bench.name = "<my> cat.jpg"
    bench.run("gradcam", 1, layer="features.29")
    bench.run("rise", 1, n_masks=16)
    page = bench.report(tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "&lt;my&gt; cat.jpg" in page and "<my>" not in page
    assert "n_masks=16" in page and "layer=features.29" in page
    assert html.escape(bench.model.description) in page
    assert f"<td>torch</td><td>{torch.__version__.split('+')[0]}" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere
    monkeypatch.setattr(workbench, "PACKAGES", ("no-such-package",))
    assert workbench.versions()[1:] == [
        ("labkit", labkit.__version__),
        ("no-such-package", "not installed"),
    ]


def test_a_table_is_text():
    body = "<tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>"
    assert html_table(("a",), [("<b>",)]).endswith(body)


def test_a_map_that_is_constant_to_rounding_is_noted_and_drawn_empty():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with torch.no_grad():
        network[1].weight.mul_(1e-9)  # no pixel matters to the probabilities
    how = {"classes": "ab", "description": "-", "preprocessing": Preprocessing(32, 32)}
    bench = Workbench(Classifier(network, name="blind", **how))
    bench.open(skimage.data.chelsea())
    for method, settings in {
        "rise": {"n_masks": 16},
        "occlusion": {"patch": 8, "stride": 8},
    }.items():
        said = bench.run(method, 1, **settings)
        assert said.note.startswith("constant map of "), (method, said.note)
    black = bench.picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1) / 255
    for said in bench.explanations:
        assert np.allclose(overlaid(bench.picture, _drawn(said), 1.0), black)
    assert bench.run("sensitivity", 1).note == ""  # gradients have no size of their own
