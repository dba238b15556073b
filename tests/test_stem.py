import pytest
import torch
from torch import nn

from labkit.engine.stem import FastStem, convolution_gradient, fast_stem


def arriving(layer, images):
    """A gradient of the layer's output, and torch's gradient for the images."""
    outputs = layer(images)
    gradient = torch.randn(outputs.shape, dtype=images.dtype)
    return gradient, torch.autograd.grad(outputs, images, gradient)[0]


@pytest.mark.parametrize("kernel", [(1, 1), (2, 4), (3, 3), (5, 3), (7, 7), (11, 11)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2), (3, 3), (5, 0)], ids=str)
@pytest.mark.parametrize("size", [(23, 30), (16, 17), (14, 14)], ids=str)
def test_the_gradient_is_torchs(kernel, stride, padding, size):
    layer = nn.Conv2d(3, 8, kernel, stride, padding).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    gradient, expected = arriving(layer, images)
    found = convolution_gradient(gradient, layer.weight.detach(), size, stride, padding)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_by_hand():
    # One row, a kernel of two weights, stride 2: each pixel takes part in one output.
    gradient = torch.tensor([[[[10.0, 100.0]]]])
    weight = torch.tensor([[[[1.0, 2.0]]]])
    found = convolution_gradient(gradient, weight, (1, 5), 2, (0, 0))
    assert found.tolist() == [[[[10, 20, 100, 200, 0]]]]  # the last pixel is read by none


def gradient_under(mode, network, images):
    images = images.clone().requires_grad_()
    with mode:
        score = network(images)[:, 0].sum()
    return score, torch.autograd.grad(score, images)[0]


@pytest.fixture
def network():
    layers = nn.Conv2d(3, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 4, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.LazyLinear(2)).double()


def test_a_network_computes_the_same_and_reports_the_same(network):
    images = torch.randn(2, 3, 20, 21, dtype=torch.float64)
    score, gradient = gradient_under(FastStem(), network, images)
    plain, expected = gradient_under(torch.enable_grad(), network, images)
    assert score == plain
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def stems(images, layer):
    """Whether the layer's gradient is the fast one."""
    with FastStem():
        return type(layer(images).grad_fn).__name__ == "_StemBackward"


def test_which_convolutions_are_stems():
    images = torch.randn(1, 4, 12, 12, requires_grad=True)
    assert stems(images, nn.Conv2d(4, 32, 3))
    assert stems(images, nn.Conv2d(4, 32, 3, bias=False))
    assert not stems(images[0], nn.Conv2d(4, 32, 3))
    for other in (
        nn.Conv2d(4, 32, 3, groups=2),
        nn.Conv2d(4, 32, 3, dilation=2),
        nn.Conv2d(4, 32, 3, stride=(1, 2)),
        nn.Conv2d(4, 32, 3, padding="same"),
    ):
        assert not stems(images, other)
    assert not stems(torch.randn(1, 5, 12, 12, requires_grad=True), nn.Conv2d(5, 32, 3))
    assert not stems(images, nn.Conv2d(4, 31, 3))


def test_only_a_network_with_a_stem_is_watched():
    assert isinstance(fast_stem(nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU())), FastStem)
    assert not isinstance(fast_stem(nn.Sequential(nn.Conv2d(3, 16, 3))), FastStem)


def test_a_convolution_called_by_hand_goes_its_usual_way():
    images = torch.randn(1, 3, 12, 12, requires_grad=True)
    weight = torch.randn(32, 3, 3, 3, requires_grad=True)
    with FastStem():
        outputs = torch.nn.functional.conv2d(images, weight, padding=1)
    assert torch.autograd.grad(outputs.sum(), weight)[0].abs().sum() > 0


def test_it_ends_with_its_block(network):
    images = torch.randn(1, 3, 20, 21, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="inside"), FastStem():
        raise RuntimeError("inside")
    network(images)[0, 0].backward()
    assert network[0].weight.grad.abs().sum() > 0


def test_float32_is_as_exact_as_torchs():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 64, 7, 2, 3)
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    gradient, expected = arriving(layer, images)
    found = convolution_gradient(gradient, layer.weight.detach(), (64, 64), 2, (3, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
