"""Gradients with respect to the pixels, worked out by hand and against captum."""

from functools import partial

import pytest
import torch
from conftest import assert_untouched, needs_module, state_of
from torch import nn
from torch.testing import assert_close

from labkit.explain import (
    gradcam,
    gradient_times_input,
    input_gradient,
    integrated_gradients,
    saliency,
    sensitivity,
    smoothgrad,
)

METHODS = [
    sensitivity,
    saliency,
    gradient_times_input,
    partial(smoothgrad, n_samples=3),
    partial(integrated_gradients, n_steps=3),
]


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
    captum = needs_module("captum.attr", "conformance")
    network = nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in small_network))
    signed = captum.Saliency(network.eval()).attribute(image[None], target=1, abs=False)[0]
    assert_close(input_gradient(small_network, image, 1), signed, rtol=0, atol=1e-7)
    assert_close(saliency(small_network, image, 1), signed.abs().amax(0), rtol=0, atol=1e-7)
    assert_close(sensitivity(small_network, image, 1), signed.square().sum(0), rtol=0, atol=1e-7)


def test_gradient_times_input_shares_out_a_linear_score():
    # x = (1, 2, 4) in both channels: w x = 1 - 3, 2 (-2 + 1), 4 (0 + 0.5)
    x = torch.tensor([1.0, 2.0, 4.0]).expand(2, 1, 3)
    assert_close(gradient_times_input(linear_model(W), x, 0), torch.tensor([[-2.0, -2.0, 2.0]]))
    assert_close(gradient_times_input(linear_model(W), x, 1), torch.tensor([[4.0, 4.0, -4.0]]))


class Square(nn.Module):
    """Logits (sum x^2, -sum x^2 / 2): the gradient at x is 2 x, and -x."""

    def forward(self, x):
        y = x.square().sum(dim=(1, 2, 3))
        return torch.stack([y, -y / 2], dim=1)


X = torch.tensor([[[1.0, -3.0, 0.0]], [[2.0, 1.0, 0.5]]])  # [C=2, H=1, W=3], range 5


def test_integrated_gradients_of_a_square_worked_by_hand():
    # Along the straight way from b to x the mean gradient of x^2 is x + b: (x - b)(x + b)
    assert_close(integrated_gradients(Square(), X, 0), torch.tensor([[5.0, 10.0, 0.25]]))
    ones = torch.ones_like(X)
    expected = torch.tensor([[-1.5, -4.0, 0.875]])
    assert_close(integrated_gradients(Square(), X, 1, baseline=ones), expected)


def test_integrated_gradients_add_up_to_the_change_of_the_logit(small_network, image):
    network = small_network.double().eval()
    x, baseline = image.double(), torch.full_like(image.double(), 0.3)
    change = (network(x[None]) - network(baseline[None]))[0, 2].item()
    errors = [
        abs(integrated_gradients(network, x, 2, baseline=baseline, n_steps=n).sum().item() - change)
        for n in (4, 2000)
    ]
    assert errors[1] < 1e-3 * abs(change) < errors[0]


def test_smoothgrad_takes_the_noise_from_the_range_of_the_image():
    # E (2 (x + sigma z))^2 = 4 (x^2 + sigma^2), sigma = 0.1 * 5; summed over two channels
    expected = 4 * (X.square().sum(0) + 2 * 0.5**2)
    drawn = smoothgrad(Square(), X, 0, explain=sensitivity, n_samples=20_000, noise=0.1)
    assert_close(drawn, expected, rtol=0.02, atol=0.05)
    # and of the other class a quarter of it
    other = smoothgrad(Square(), X, 1, explain=sensitivity, n_samples=20_000, noise=0.1)
    assert_close(other, expected / 4, rtol=0.02, atol=0.02)


def test_smoothgrad_of_a_linear_model_is_its_gradient():
    assert_close(smoothgrad(linear_model(W), X, 1, explain=input_gradient, n_samples=3), -2 * W)


def test_smoothgrad_without_noise_is_the_method_itself(small_network, image):
    for method in (*METHODS[:3], partial(gradcam, layer="4")):
        smooth = smoothgrad(small_network, image, 1, explain=method, n_samples=3, noise=0.0)
        assert_close(smooth, method(small_network, image, 1))


@pytest.mark.parametrize("explain", [sensitivity, partial(gradcam, layer="4")])
def test_batches_do_not_change_the_average(small_network, image, explain):
    one, all_at_once = (
        smoothgrad(small_network, image, 1, explain=explain, n_samples=7, batch_size=size)
        for size in (1, 64)
    )
    assert_close(one, all_at_once, rtol=1e-5, atol=1e-7)
    steps = [integrated_gradients(small_network, image, 1, batch_size=size) for size in (1, 64)]
    assert_close(*steps, rtol=1e-5, atol=1e-7)


def test_the_seed_fixes_the_noise_and_leaves_torchs_own_alone(small_network, image):
    before = torch.random.get_rng_state()
    first, again, other = (
        smoothgrad(small_network, image, 1, n_samples=3, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def without_in_place(network):
    return nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in network)).eval()


@pytest.mark.parametrize(
    ("explain", "kind", "read"),
    [
        (input_gradient, "smoothgrad", lambda mean: mean),
        (sensitivity, "smoothgrad_sq", lambda mean: mean.sum(dim=0)),
    ],
)
def test_captums_noise_tunnel_agrees(small_network, image, monkeypatch, explain, kind, read):
    captum = needs_module("captum.attr", "conformance")
    ours = smoothgrad(small_network, image, 1, explain=explain, n_samples=4, noise=0.2, seed=5)
    # captum draws its noise with torch.normal: hand it ours
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(4)])
    monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * noise)
    tunnel = captum.NoiseTunnel(captum.Saliency(without_in_place(small_network)))
    sigma = 0.2 * (image.max() - image.min()).item()
    settings = {"nt_type": kind, "nt_samples": 4, "stdevs": sigma, "abs": False}
    peer = tunnel.attribute(image[None], target=1, **settings)[0]
    assert_close(ours, read(peer), rtol=1e-5, atol=1e-6)


def test_captums_integrated_gradients_agree(small_network, image):
    captum = needs_module("captum.attr", "conformance")
    peer = captum.IntegratedGradients(without_in_place(small_network)).attribute(
        image[None], target=1, n_steps=16, method="riemann_middle"
    )
    ours = integrated_gradients(small_network, image, 1, n_steps=16)
    assert_close(ours, peer[0].sum(dim=0), rtol=1e-5, atol=1e-6)


def test_captums_input_times_gradient_agrees(small_network, image):
    captum = needs_module("captum.attr", "conformance")
    peer = captum.InputXGradient(without_in_place(small_network)).attribute(image[None], target=1)
    assert_close(gradient_times_input(small_network, image, 1), peer[0].sum(0), atol=1e-6, rtol=0)


BAD = [
    (
        {"noise": -0.1},
        ValueError,
        "noise must be a share of the image's range, 0 or more, got -0.1",
    ),
    ({"noise": float("nan")}, ValueError, "noise must be a share of the image's range"),
    ({"n_samples": 0}, ValueError, "n_samples must be at least 1, got 0"),
    ({"n_samples": 2.5}, TypeError, "n_samples must be a whole number, got 2.5"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
]


@pytest.mark.parametrize(("settings", "kind", "text"), BAD)
def test_smoothgrad_refuses(small_network, image, settings, kind, text):
    before = state_of(small_network)
    with pytest.raises(kind, match=text):
        smoothgrad(small_network, image, 1, **settings)
    assert_untouched(small_network, before)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"baseline": torch.zeros(3, 4, 4)}, r"baseline must be .* an image \[3, 12, 16\], got \["),
        ({"baseline": torch.full((3, 12, 16), torch.nan)}, "baseline must be finite"),
    ],
)
def test_integrated_gradients_refuse(small_network, image, settings, text):
    before = state_of(small_network)
    with pytest.raises(ValueError, match=text):
        integrated_gradients(small_network, image, 1, **settings)
    assert_untouched(small_network, before)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_comes_back_as_it_was(small_network, image, method):
    before = state_of(small_network)
    with torch.no_grad():
        relevance = method(small_network, image, 1)
    with torch.inference_mode():
        assert torch.equal(relevance, method(small_network, image, 1))
    assert relevance.shape == image.shape[1:] and not relevance.requires_grad
    for bad in (torch.zeros(3, 4), torch.zeros(3, 12, 16, dtype=torch.int64), image * torch.nan):
        with pytest.raises((TypeError, ValueError), match="image must"):
            method(small_network, bad, 1)
    with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
        method(small_network, image, 3)
    assert_untouched(small_network, before)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_returns_no_logits_is_refused(small_network, image, method):
    with pytest.raises(ValueError, match=r"model must return logits of shape \[N, K\]"):
        method(small_network[:4], image, 1)
