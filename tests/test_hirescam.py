"""HiResCAM, worked out by hand, by its law, and against pytorch-grad-cam."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from labkit.explain import gradcam, hirescam


def test_it_matches_the_sum_worked_by_hand(two_channels):
    # dY0/dA = (3, 1) everywhere, A = (x, -x), so L = 3x - x = 2x
    x = torch.tensor([[[1.0, -2.0, 0.5], [4.0, 0.0, -1.0]]])
    assert_close(hirescam(two_channels, x, 0, layer="conv"), 2 * x[0])
    assert_close(hirescam(two_channels, x, 1, layer=two_channels.conv), -2 * x[0])


def test_each_place_has_its_own_gradient(two_channels):
    # Behind the ReLU dY0/dA = 3 where x > 0 and 1 where x < 0: L = 3 relu(x) + relu(-x).
    two_channels.rectify = True
    x = torch.tensor([[[2.0, -4.0, 6.0]]])
    L = hirescam(two_channels, x, 0, layer="conv")
    assert_close(L, torch.tensor([[6.0, 4.0, 18.0]]))


def test_behind_pooling_and_a_linear_layer_the_places_add_up_to_the_logit(small_network, image):
    network = small_network.eval()
    network[3] = nn.Identity()  # the maps are as large as the image
    L = hirescam(network, image, 1, layer="5")
    logit = network(image[None])[0, 1] - network[-1].bias[1]
    assert_close(L.sum(), logit.detach(), rtol=1e-4, atol=1e-5)


def test_there_gradcam_is_its_positive_part(small_network, image):
    network = small_network.eval()
    network[3] = nn.Identity()
    L = hirescam(network, image, 1, layer="5")
    assert_close(gradcam(network, image, 1, layer="5"), L.clamp(min=0), rtol=0, atol=1e-6)


def test_pytorch_grad_cam_agrees_on_what_is_positive(small_network, image):
    peer = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = small_network.eval()
    with peer.HiResCAM(network, [network[0]]) as cam:
        (expected,) = cam(image[None], [ClassifierOutputTarget(2)])  # its own scale: from 0 to 1
    L = hirescam(network, image, 2, layer="0").clamp(min=0)
    L = (L - L.min()) / (L.max() - L.min())
    assert_close(L, torch.from_numpy(expected), rtol=0, atol=1e-5)
