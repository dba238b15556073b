"""Any classifier of timm by name; nothing is downloaded here."""

import socket

import numpy as np
import pytest
import timm
import torch
from cases import case
from PIL import Image
from torch.testing import assert_close

from labkit.classifier import Preprocessing
from labkit.models import load_model

PICTURE = np.random.default_rng(0).integers(0, 256, (230, 301, 3), dtype=np.uint8)


@pytest.fixture
def pretended(monkeypatch):
    """Weights that are at hand at once: drawn at random."""
    create, asked = timm.create_model, []

    def create_model(name, pretrained=False, **settings):
        asked.append((name, pretrained))
        return create(name, pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", create_model)
    return asked


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "test_vit"]
)
def test_a_network_with_weights_at_random_prepares_as_timm_does(name):
    model = load_model(f"timm/{name}", weights="random")
    assert model.name == model.architecture == f"timm/{name}"
    assert "learned nothing" in model.description
    assert len(model.classes) == 1000 and model.classes[281] == "tabby"
    config = timm.data.resolve_model_data_config(model.network)
    theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(PICTURE))
    image = model.prepare(PICTURE)
    assert_close(image, theirs, atol=1e-6, rtol=0)
    assert len(model.predict(image)) == 5


def test_weights_of_the_hub_are_asked_for_by_name(pretended):
    model = load_model("timm/resnet10t.c3_in1k")
    assert pretended == [("resnet10t.c3_in1k", True)]
    assert model.description == (
        "timm/resnet10t.c3_in1k: timm's weights 'c3_in1k' (licence apache-2.0), for 1000 classes"
    )
    assert model.preprocessing.interpolation == "bicubic"


def test_squash_is_stretch(pretended):
    config = {"crop_mode": "squash", "crop_pct": 1.0, "input_size": (3, 96, 96)}
    network = timm.create_model("resnet10t", pretrained_cfg_overlay=config)
    config = timm.data.resolve_model_data_config(network)
    from labkit.timm_networks import _preparation

    how = _preparation(config, "timm/resnet10t")
    assert how == Preprocessing(96, 96, interpolation="bicubic", fit="stretch")
    with pytest.raises(ValueError, match=r"square pictures.*got 96 x 96 and the way 'border'"):
        _preparation({**config, "crop_mode": "border"}, "timm/resnet10t")
    with pytest.raises(ValueError, match="got 96 x 64"):
        _preparation({**config, "input_size": (3, 96, 64)}, "timm/resnet10t")


def test_classes_of_larger_imagenets_have_their_names(pretended):
    model = load_model("timm/mobilenetv3_large_100.miil_in21k", weights="random")
    assert len(set(model.classes)) > 10_000 and len(model.classes) == 11221
    assert not model.classes[0].startswith("class ")


def test_weights_of_ones_own(tmp_path):
    path = tmp_path / "mine.pth"
    two = timm.create_model("test_vit", num_classes=2)
    torch.save({"state_dict": {f"module.{k}": v for k, v in two.state_dict().items()}}, path)
    with pytest.raises(ValueError, match="a head for 2 classes, the network is built for 1000"):
        load_model("timm/test_vit", weights=path)
    model = load_model("timm/test_vit", weights=path, classes=["a", "b"])
    assert_close(model.network.state_dict(), two.state_dict())
    assert model.description == f"timm/test_vit: weights from the file {path}, for 2 classes"


def test_without_internet_the_error_comes_soon_and_names_the_ways_out(monkeypatch, tmp_path):
    def unknown(*address):
        raise socket.gaierror("Name or service not known")

    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    create, offline = timm.create_model, []

    def create_model(name, **settings):
        offline.append(constants.HF_HUB_OFFLINE)  # where it is not, the hub is asked for a minute
        assert offline == [True]
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(FileNotFoundError) as caught:
        load_model("timm/resnet10t")
    assert offline == [True]
    for words in ("could not be downloaded", "timm/resnet10t.c3_in1k", "HF_HOME", "connect to"):
        assert words in str(caught.value)
    assert "load_model('timm/resnet10t', weights='random') or weights=FILE" in str(caught.value)
    assert not constants.HF_HUB_OFFLINE


def test_what_is_no_classifier_of_timms_is_told():
    for name, words in {
        "resnet10": "timm has no network 'resnet10'; did you mean 'timm/resnet10t'",
        "": "timm has no network ''",
        "resnet10t.in1k": "timm has no weights 'in1k' for 'resnet10t'; it has c3_in1k",
        "vit_small_patch14_dinov2": "is no classifier: it gives features; take a network that",
        "vit_base_patch16_clip_224.openai": "it gives 512 numbers to compare with texts",
    }.items():
        with case(name), pytest.raises(ValueError, match=words):
            load_model(f"timm/{name}", weights="random")
    with pytest.raises(FileNotFoundError, match="none.pt; check the path"):
        load_model("timm/test_vit", weights="none.pt")


def test_a_network_for_which_timm_has_no_weights(monkeypatch):
    monkeypatch.setattr(type(timm.get_pretrained_cfg("resnet10t")), "has_weights", False)
    with pytest.raises(ValueError, match="timm has no weights for 'timm/resnet10t'; load_model"):
        load_model("timm/resnet10t")
