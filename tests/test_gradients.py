"""Gradients with respect to the pixels, worked out by hand and against captum."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from labkit.explain import input_gradient, saliency, sensitivity


def linear_model(weights):
    """Logits (w . x, -2 w . x) of an image with the shape of w."""
    w = torch.as_tensor(weights)
    model = nn.Sequential(nn.Flatten(), nn.Linear(w.numel(), 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([w.flatten(), -2 * w.flatten()]))
    return model


W = torch.tensor([[[1.0, -2.0, 0.0]], [[-3.0, 1.0, 0.5]]])  # [C=2, H=1, W=3]


def test_the_gradient_of_a_linear_model_is_its_weights():
    x = torch.randn(W.shape)
    assert_close(input_gradient(linear_model(W), x, 0), W)
    assert_close(input_gradient(linear_model(W), x, 1), -2 * W)


def test_sensitivity_is_the_sum_of_squares_over_channels():
    # 1 + 9, 4 + 1, 0 + 0.25; for the other class four times that
    expected = torch.tensor([[10.0, 5.0, 0.25]])
    assert_close(sensitivity(linear_model(W), torch.zeros(W.shape), 0), expected)
    assert_close(sensitivity(linear_model(W), torch.zeros(W.shape), 1), 4 * expected)


def test_saliency_is_the_largest_absolute_channel():
    expected = torch.tensor([[3.0, 2.0, 0.5]])
    assert_close(saliency(linear_model(W), torch.zeros(W.shape), 0), expected)
    assert_close(saliency(linear_model(W), torch.zeros(W.shape), 1), 2 * expected)


def test_the_gradient_predicts_a_small_step(small_network, image):
    network, x = small_network.double().eval(), image.double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    step = 1e-6 * direction
    moved = (network((x + step)[None]) - network((x - step)[None]))[0, 2] / 2e-6
    slope = (input_gradient(network, x, 2) * direction).sum()
    assert_close(slope, moved.detach(), rtol=1e-5, atol=1e-7)


def test_the_score_is_the_logit_and_not_the_probability(small_network, image):
    shifted = torch.nn.Sequential(small_network, AddToAll())
    assert_close(input_gradient(shifted, image, 1), 2 * input_gradient(small_network, image, 1))


class AddToAll(nn.Module):
    """Doubles the logits and adds 5: a softmax would forget the 5 and not just double."""

    def forward(self, logits):
        return 2 * logits + 5


def test_captum_agrees(small_network, image):
    captum = pytest.importorskip("captum.attr")
    network = nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in small_network))
    signed = captum.Saliency(network.eval()).attribute(image[None], target=1, abs=False)[0]
    assert_close(input_gradient(small_network, image, 1), signed, rtol=0, atol=1e-7)
    assert_close(saliency(small_network, image, 1), signed.abs().amax(0), rtol=0, atol=1e-7)
    assert_close(sensitivity(small_network, image, 1), signed.square().sum(0), rtol=0, atol=1e-7)
