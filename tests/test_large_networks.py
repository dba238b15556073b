"""The large networks go through the same code: shapes, layers, and memory of every method."""

import json
import subprocess
import sys

import pytest
import torch

from labkit.engine.hooks import activations
from labkit.models import last_conv as find_last_conv
from labkit.models import load_model
from labkit.probe import features

# In a process of its own, so that its peak memory is that of one network. Random weights: shapes
# and memory do not depend on them.
ALL_METHODS = """
import json, resource, sys
from functools import partial
import torch
from labkit.methods import explainer
from labkit.engine.hooks import activations
from labkit.metrics import deletion
from labkit.models import feature_layers, last_conv, load_model
from labkit.probe import features

name, last = sys.argv[1:]
model = load_model(name, weights="random")
image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
few = {
    "sensitivity": {}, "gradcam": {}, "fem": {}, "biased": {"rule": "straight-through"},
    "smoothgrad": {"n_samples": 8}, "integrated_gradients": {"n_steps": 2},
    "occlusion": {"patch": 112, "stride": 112}, "rise": {"n_masks": 8}, "lime": {"n_samples": 8},
    "perturbation": {"steps": 1}, "mask": {"steps": 1},
}
maps = {method: explainer(method, model)(model, image, 7, **s) for method, s in few.items()}
print(json.dumps({
    "last_conv": last_conv(model),
    "layers": feature_layers(model),
    "maps": activations(model, image[None], [last])[0].shape,
    "features": features(model, image[None], last).shape,
    "steps": len(deletion(model, image, maps["gradcam"], 7, n_steps=4).score),
    "shapes": {method: list(S.shape) for method, S in maps.items()},
    "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
}))
"""


@pytest.mark.needs("Linux, which counts memory in KiB", there=sys.platform == "linux")
@pytest.mark.parametrize(
    ("name", "last_conv", "last", "maps"),
    [
        ("vgg19", "features.35", "features.36", [1, 512, 7, 7]),
        ("resnet50", "layer4", "layer4", [1, 2048, 7, 7]),
    ],
)
def test_every_method_runs_within_4_gigabytes(name, last_conv, last, maps):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALL_METHODS, name, last],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["last_conv"] == last_conv
    assert said["layers"][-1] == last
    assert said["maps"] == maps
    assert said["features"] == [1, maps[1] * 49]
    assert said["steps"] == 5
    assert set(map(tuple, said["shapes"].values())) == {(224, 224)}
    assert said["GB"] < 4


@pytest.mark.parametrize(
    ("name", "last_conv", "last"),
    [("vgg16", "features.29", "features.30"), ("resnet18", "layer4", "layer4")],
)
def test_the_smaller_ones_have_the_same_shapes(name, last_conv, last):
    model = load_model(name, weights="random")
    image = torch.zeros(1, 3, 224, 224)
    assert activations(model, image, [last])[0].shape == (1, 512, 7, 7)
    assert features(model, image, last).shape == (1, 25088)
    assert find_last_conv(model) == last_conv
