"""The checks that all explainers share, and that every method obeys the one shape."""

from functools import partial

import pytest
import torch
from conftest import FEW, assert_untouched, state_of
from torch import nn

from labkit.explain import input_gradient
from labkit.methods import NOTHING, PROBABILITIES, REGISTRY, explainer


@pytest.fixture(params=REGISTRY)
def method(request):
    return REGISTRY[request.param]


@pytest.fixture(params=[name for name, method in REGISTRY.items() if method.needs != NOTHING])
def asking(request):
    """A method that asks the network."""
    return REGISTRY[request.param]


@pytest.fixture
def explain(method, small_network):
    return partial(explainer(method.name, small_network), **FEW.get(method.name, {}))


@pytest.fixture
def ask(asking, small_network):
    return partial(explainer(asking.name, small_network), **FEW.get(asking.name, {}))


def test_relevance_is_a_detached_float32_map_of_the_images_size(explain, small_network, image):
    relevance = explain(small_network, image, 2)
    assert relevance.shape == (12, 16)
    assert relevance.dtype == torch.float32
    assert not relevance.requires_grad
    assert relevance.abs().max() > 0


def test_relevance_is_float32_whatever_the_precision_of_the_network(explain, small_network, image):
    single = explain(small_network, image, 1)
    double = explain(small_network.double(), image.double(), 1)
    assert double.dtype == torch.float32
    assert torch.allclose(double, single, rtol=1e-4, atol=1e-6)


def test_the_model_comes_back_as_it_was(explain, small_network, image):
    small_network[0].weight.requires_grad_(False)
    before = state_of(small_network)
    explain(small_network, image, 1)
    assert_untouched(small_network, before)


def test_the_model_comes_back_as_it_was_after_an_error(ask, small_network, image):
    before = state_of(small_network)
    with pytest.raises(IndexError):
        ask(small_network, image, 3)
    assert_untouched(small_network, before)


def test_the_image_is_left_alone(explain, small_network, image):
    before = image.clone()
    explain(small_network, image, 0)
    assert torch.equal(image, before)
    assert image.grad is None
    assert not image.requires_grad


def test_train_and_eval_mode_frozen_and_not_give_one_map(explain, small_network, image):
    first = explain(small_network, image, 1)
    small_network.eval().requires_grad_(False)
    assert torch.equal(explain(small_network, image, 1), first)


def test_gradients_are_taken_where_the_caller_switched_them_off(explain, small_network, image):
    expected = explain(small_network, image, 1)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(explain(small_network, image, 1), expected), context
            assert torch.equal(explain(small_network, image * 1.0, 1), expected), context


def test_bad_input_is_named_with_the_way_out(ask, asking, small_network, image):
    cases = [
        (TypeError, r"model must be a torch.nn.Module, got builtin", (len, image, 0)),
        (ValueError, r"\[1, 3, 12, 16\]; pass one image.*images\[0\]", (None, image[None], 0)),
        (ValueError, r"image must have shape \[C, H, W\], got \[12, 16\]", (None, image[0], 0)),
        (ValueError, r"image must have shape", (None, torch.zeros(3, 0, 4), 0)),
        (TypeError, r"torch.uint8; .*model.prepare", (None, image.to(torch.uint8), 0)),
        (TypeError, r"got ndarray; .*model.prepare", (None, image.numpy(), 0)),
        (ValueError, r"finite, got NaN or infinity", (None, image / 0, 0)),
        (IndexError, r"from 0 to 2, got 3; model.predict", (None, image, 3)),
        (IndexError, r"got -1", (None, image, -1)),
        (TypeError, r"class index \(int\), got str; .*classes.index", (None, image, "healthy")),
        (TypeError, r"got bool", (None, image, True)),
    ]
    if asking.needs == PROBABILITIES:  # which a function gives as well
        cases[0] = (TypeError, r"model must be a network, or a function .*got int", (7, image, 0))
    for error, text, (model, *rest) in cases:
        with pytest.raises(error, match=text):
            ask(small_network if model is None else model, *rest)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (nn.Identity(), r"\[N, K\], got \[1, 3, 12, 16\] for 1 image"),
        (nn.Flatten(0, -1), r"\[N, K\], got \[576\]"),
        (nn.Flatten(0, 2), r"\[N, K\], got \[36, 16\] for 1 image"),
    ],
)
def test_a_model_without_logits_is_refused(network, text, image):
    with pytest.raises(ValueError, match=text):
        input_gradient(network, image, 0)


def test_logits_that_are_not_finite_are_refused(small_network, image):
    with torch.no_grad():
        small_network[-1].bias.fill_(torch.inf)
    with pytest.raises(ValueError, match="finite logits"):
        input_gradient(small_network, image, 0)
