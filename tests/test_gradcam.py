"""Grad-CAM, worked out by hand and against captum and torchcam."""

import torch
from conftest import needs_module
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.explain import gradcam


def test_it_matches_the_sum_worked_by_hand(two_channels):
    # dY0/dA = (3, 1) everywhere, A = (x, -x), so L = relu(3x - x) = relu(2x)
    x = torch.tensor([[[1.0, -2.0, 0.5], [4.0, 0.0, -1.0]]])
    L = gradcam(two_channels, x, 0, layer="conv")
    assert_close(L, torch.tensor([[2.0, 0.0, 1.0], [8.0, 0.0, 0.0]]))


def test_the_other_class_has_the_opposite_map(two_channels):
    x = torch.tensor([[[1.0, -2.0, 0.5], [4.0, 0.0, -1.0]]])
    L = gradcam(two_channels, x, 1, layer=two_channels.conv)
    assert_close(L, torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 2.0]]))


def test_an_in_place_relu_behind_the_layer_does_not_change_its_maps(two_channels):
    # alpha is the mean of the gated gradients: 3 * 2/3 of the places for x, 1 * 1/3 for -x
    two_channels.rectify = True
    x = torch.tensor([[[2.0, -4.0, 6.0]]])
    alpha = (3 * 2 / 3, 1 * 1 / 3)
    L = gradcam(two_channels, x, 0, layer="conv")
    assert_close(L, torch.relu((alpha[0] - alpha[1]) * x[0]))


def test_with_global_average_pooling_it_is_cam(small_network, image):
    network = small_network.eval()
    maps = network[:6](image[None])[0]
    w = network[-1].weight[1]
    cam = torch.relu(torch.einsum("k,khw->hw", w, maps)) / maps[0].numel()
    expected = F.interpolate(cam[None, None], size=(12, 16), mode="bilinear")[0, 0]
    assert_close(gradcam(network, image, 1, layer="5"), expected.detach(), rtol=0, atol=1e-6)


def test_relu_comes_before_upsampling(two_channels):
    pooled = nn.Sequential(nn.AvgPool2d(2), two_channels)
    x = torch.tensor([[[1.0, -1.0]]]).repeat_interleave(2, 1).repeat_interleave(2, 2)
    L = gradcam(pooled, x, 0, layer=two_channels.conv)
    assert_close(L[0], torch.tensor([2.0, 1.5, 0.5, 0.0]))


def test_captum_agrees_on_the_raw_map(small_network, image):
    captum = needs_module("captum.attr", "conformance")
    network = small_network.eval()
    explainer = captum.LayerGradCam(network, network[3])
    raw = explainer.attribute(image[None], target=2, relu_attributions=True)
    expected = F.interpolate(raw, size=(12, 16), mode="bilinear")[0, 0].detach()
    assert_close(gradcam(network, image, 2, layer="3"), expected, rtol=0, atol=1e-6)


def test_torchcam_agrees_on_the_raw_map(small_network, image):
    torchcam = needs_module("torchcam.methods", "conformance")
    network = small_network.eval()
    with torchcam.GradCAM(network, target_layer="3", input_shape=(3, 12, 16)) as explainer:
        scores = network(image[None].requires_grad_())
        raw = explainer(2, scores, normalized=False)[0]
    expected = F.interpolate(raw[None], size=(12, 16), mode="bilinear")[0, 0].detach()
    assert_close(gradcam(network, image.detach(), 2, layer="3"), expected, rtol=0, atol=1e-6)
