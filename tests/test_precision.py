"""bfloat16: when asked for, the network runs in it, and maps stay close to the exact ones."""

from functools import partial

import pytest
import torch
from conftest import assert_untouched, state_of
from scipy.stats import pearsonr
from torch import nn

from labkit.data import load_leaves
from labkit.engine.batches import class_probabilities, inference
from labkit.explain import lime, occlusion, rise, rise_all, rise_steps
from labkit.metrics import deletion, insertion
from labkit.models import load_model


@pytest.fixture(scope="module")
def leaf():
    """The network, an image of black rot, and its class."""
    model = load_model("minivgg", device="cpu")
    _, leaves = load_leaves()
    picture = next(p for p, label in zip(leaves.pictures, leaves.labels, strict=True) if label == 1)
    return model, model.prepare(picture), 1


METHODS = {
    "rise": partial(rise, n_masks=64, cells=4),
    "lime": partial(lime, n_samples=64),
    "occlusion": partial(occlusion, patch=64, stride=32),
}
CURVES = {"deletion": deletion, "insertion": insertion}


def test_layers_compute_in_bfloat16_and_probabilities_are_single_precision(small_network, image):
    seen = set()
    small_network.register_forward_hook(lambda module, inputs, outputs: seen.add(outputs.dtype))
    before = state_of(small_network)
    with inference(small_network, "bf16"):
        rows = class_probabilities(small_network, image[None])
    assert (seen, rows.dtype) == ({torch.bfloat16}, torch.float32)
    assert_untouched(small_network, before)
    with inference(small_network):
        exact = class_probabilities(small_network, image[None])
    assert seen == {torch.bfloat16, torch.float32}
    assert 0 < (rows - exact).abs().max() < 0.02


@pytest.mark.parametrize("name", METHODS)
def test_a_map_in_bfloat16_is_close_to_the_exact_one(name, leaf):
    exact, rough = (METHODS[name](*leaf, precision=p) for p in (None, "bf16"))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * (exact.max() - exact.min())
    assert pearsonr(rough.flatten(), exact.flatten()).statistic > 0.999


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_in_bfloat16_is_close_to_the_exact_one(name, leaf):
    model, image, target = leaf
    relevance = occlusion(model, image, target, patch=64, stride=32)
    curve = partial(CURVES[name], model, image, relevance, target, n_steps=20)
    exact, rough = (curve(precision=p) for p in (None, "bf16"))
    assert 0 < (rough.score - exact.score).abs().max() < 0.05
    assert rough.auc == pytest.approx(exact.auc, abs=0.01)


EVERY = {
    **METHODS,
    "rise_all": lambda model, image, target, **settings: rise_all(model, image, **settings),
    "rise_steps": rise_steps,
    **{
        name: lambda model, image, target, curve=curve, **settings: curve(
            model, image, image[0], target, **settings
        )
        for name, curve in CURVES.items()
    },
}


@pytest.mark.parametrize("name", EVERY)
def test_other_precisions_and_functions_are_refused(name, small_network, image):
    image = nn.functional.interpolate(image[None], size=(64, 64))[0]
    with pytest.raises(ValueError, match="precision must be 'bf16', or None .* got 'fp8'"):
        EVERY[name](small_network, image, 1, precision="fp8")
    function = lambda images: images.mean(dim=(2, 3)).softmax(dim=1)  # noqa: E731
    with pytest.raises(ValueError, match="precision must be None for a function"):
        EVERY[name](function, image, 1, precision="bf16")
    with pytest.raises(ValueError, match="precision must be None for a network in double"):
        EVERY[name](small_network.double(), image.double(), 1, precision="bf16")
