"""FEM, worked out by hand and against the authors' formula in NumPy."""

import numpy as np
import pytest
import torch
from conftest import assert_untouched, state_of
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.explain.fem import fem


def passing_through():
    """A network whose layer "0" gives the image itself as its maps."""
    return nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def authors(A, k=2.0):
    """The formula of the paper, a channel at a time; A is [K, h, w]."""
    S = np.zeros(A.shape[1:])
    for maps in A.astype(np.float64):
        mu, sigma = maps.mean(), maps.std()
        S += mu * (maps > mu + k * sigma)
    return S


def test_it_matches_the_sum_worked_by_hand():
    # mean 10 / 10 = 1, variance 90 / 10 = 9, threshold 1 + 2 * 3 = 7 < 10; below: mean 2, threshold
    # 2 + 2 * 6 = 14 < 20; both channels fire, the second at the other end
    x = torch.zeros(2, 2, 5)
    x[0, 0, 0], x[1, 1, 4] = 10.0, 20.0
    expected = torch.zeros(2, 5)
    expected[0, 0], expected[1, 4] = 1.0, 2.0
    assert_close(fem(passing_through(), x, layer="0"), expected)


def test_a_map_below_zero_gets_a_negative_weight():
    # values -1 but for one 9 more: mean -1 + 9 / 10 = -0.1, sigma 2.7; 8 > -0.1 + 5.4
    x = torch.full((1, 1, 10), -1.0)
    x[0, 0, 3] = 8.0
    expected = torch.zeros(1, 10)
    expected[0, 3] = -0.1
    assert_close(fem(passing_through(), x, layer="0"), expected)


def test_the_threshold_is_strict_and_sigma_that_of_the_population():
    values = torch.tensor([[[5.0, 0, 0, 0, 0]]])  # mean 1, sigma 2: 5 is not above 1 + 2 * 2
    assert fem(passing_through(), values, layer="0").max() == 0
    values = torch.tensor([[[6.0, 1, 0, 0, 0, 0, 0]]])  # mean 1, sigma 2.07; the sample's is 2.24
    assert fem(passing_through(), values, layer="0", k=2.3).max() == 1  # 1 + 4.76 < 6 < 1 + 5.14


def test_the_authors_formula_agrees(small_network, image):
    network = small_network.eval()
    for layer in (0, 2, 4, 5):
        A = network[: layer + 1](image[None])[0].detach().numpy()
        for k in (0.5, 1.0, 2.0):
            S = torch.from_numpy(authors(A, k))[None, None]
            expected = F.interpolate(S, size=(12, 16), mode="bilinear")[0, 0].float()
            ours = fem(network, image, layer=str(layer), k=k)
            assert ours.abs().max() > 0
            assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [1.0, 2.0, 3.0])
def test_cantelli_bounds_the_share_of_marked_places(k):
    generator = torch.Generator().manual_seed(0)
    # The worst case, a share of just below 1 / (1 + k^2) at one height, and many others
    for share in (0.99 / (1 + k * k), 0.05, 0.3):
        x = (torch.rand(1, 40, 50, generator=generator) < share).float()
        assert (fem(passing_through(), x, layer="0", k=k) > 0).float().mean() <= 1 / (1 + k * k)


def test_five_places_are_too_few():
    values = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    for places in values:
        assert fem(passing_through(), places.view(1, 2, 2), layer="0").max() == 0
    fired = fem(passing_through(), torch.tensor([[[1.0, 0, 0, 0, 0, 0]]]), layer="0")
    assert fired.max() > 0  # six are enough


def test_a_constant_map_is_never_marked():
    # 0.1 has no exact mean: rounding must not push the values above it
    for value in (0.1, 0.3, 1.7, 1e4 / 3):
        for side in (3, 7, 13):
            x = torch.full((2, side, side), value)
            assert fem(passing_through(), x, layer="0").abs().max() == 0


def test_scaling_the_maps_scales_the_relevance():
    x = torch.randn(3, 9, 11, generator=torch.Generator().manual_seed(0))
    S = fem(passing_through(), x, layer="0")
    assert S.abs().max() > 0
    assert_close(fem(passing_through(), 4 * x, layer="0"), 4 * S)


def test_the_class_does_not_matter(small_network, image):
    S = fem(small_network, image, layer="4")
    assert torch.equal(fem(small_network, image, 2, layer=small_network[4]), S)
    assert S.shape == (12, 16) and S.dtype == torch.float32 and not S.requires_grad
    assert fem(small_network.double(), image.double(), 0, layer="4").dtype == torch.float32


def test_the_network_comes_back_as_it_was(small_network, image):
    before = state_of(small_network)
    fem(small_network, image, 1, layer="4")
    for bad in ({"target": 3}, {"layer": "99"}, {"k": -1}):
        with pytest.raises((IndexError, ValueError)):
            fem(small_network, image, **{"layer": "4"} | bad)
    assert_untouched(small_network, before)


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"k": -0.5}, ValueError, "k must be a number of standard deviations, 0 or more, got -0.5"),
        ({"k": float("nan")}, ValueError, "k must be a number of standard deviations"),
        ({"layer": "8"}, ValueError, r"layer must give feature maps \[N, K, h, w\], got \[1, 8\]"),
        ({"layer": "no"}, ValueError, "layer must be one of the model's layers, got 'no'"),
        ({"target": 3}, IndexError, "target must be a class index from 0 to 2, got 3"),
        ({"target": "leaf"}, TypeError, "target must be a class index .int., got str"),
    ],
)
def test_it_refuses(small_network, image, settings, kind, text):
    with pytest.raises(kind, match=text):
        fem(small_network, image, **{"layer": "4"} | settings)


def test_it_refuses_what_is_no_image(small_network, image):
    with pytest.raises(ValueError, match=r"image must have shape \[C, H, W\]"):
        fem(small_network, image[None], layer="4")
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        fem(lambda x: x, image, layer="4")
