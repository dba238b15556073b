"""The checks that all explainers share, and that every explainer obeys the one shape."""

from functools import partial

import pytest
import torch
from conftest import assert_untouched, state_of
from torch import nn

from labkit.explain import gradcam, input_gradient, saliency, sensitivity

EXPLAINERS = {
    "sensitivity": sensitivity,
    "saliency": saliency,
    "gradcam": partial(gradcam, layer="4"),
}
every_explainer = pytest.mark.parametrize("explain", EXPLAINERS.values(), ids=EXPLAINERS)


@every_explainer
def test_relevance_is_a_detached_float32_map_of_the_images_size(explain, small_network, image):
    relevance = explain(small_network, image, 1)
    assert relevance.shape == (12, 16)
    assert relevance.dtype == torch.float32
    assert not relevance.requires_grad
    assert relevance.abs().max() > 0


@every_explainer
def test_relevance_is_float32_whatever_the_precision_of_the_network(explain, small_network, image):
    single = explain(small_network, image, 1)
    double = explain(small_network.double(), image.double(), 1)
    assert double.dtype == torch.float32
    assert torch.allclose(double, single, rtol=1e-4, atol=1e-6)


@every_explainer
def test_the_model_comes_back_as_it_was(explain, small_network, image):
    small_network[0].weight.requires_grad_(False)
    before = state_of(small_network)
    explain(small_network, image, 1)
    assert_untouched(small_network, before)


@every_explainer
def test_the_model_comes_back_as_it_was_after_an_error(explain, small_network, image):
    before = state_of(small_network)
    with pytest.raises(IndexError):
        explain(small_network, image, 3)
    assert_untouched(small_network, before)


@every_explainer
def test_the_image_is_left_alone(explain, small_network, image):
    before = image.clone()
    explain(small_network, image, 0)
    assert torch.equal(image, before)
    assert image.grad is None
    assert not image.requires_grad


@every_explainer
def test_train_and_eval_mode_frozen_and_not_give_one_map(explain, small_network, image):
    first = explain(small_network, image, 1)
    small_network.eval().requires_grad_(False)
    assert torch.equal(explain(small_network, image, 1), first)


@every_explainer
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_where_the_caller_switched_them_off(
    explain, context, small_network, image
):
    expected = explain(small_network, image, 1)
    with context():
        assert torch.equal(explain(small_network, image, 1), expected)
        assert torch.equal(explain(small_network, image * 1.0, 1), expected)


@every_explainer
def test_bad_input_is_named_with_the_way_out(explain, small_network, image):
    cases = [
        (TypeError, r"model must be a torch.nn.Module, got function", (lambda x: x, image, 0)),
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
    for error, text, (model, *rest) in cases:
        with pytest.raises(error, match=text):
            explain(model or small_network, *rest)


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
