"""What the hooks see, and that none is left."""

import pytest
import torch
from conftest import assert_untouched, state_of
from torch import nn
from torch.testing import assert_close

from labkit.engine.hooks import (
    activations,
    activations_and_gradients,
    find_layer,
    receptive_field,
    upsample,
)
from labkit.models import load_model


def test_activations_and_gradients_by_hand(two_channels):
    x = torch.tensor([[[1.0, -2.0]]])
    A, dY_dA = activations_and_gradients(two_channels, x, 1, "conv")
    assert_close(A, torch.tensor([[[1.0, -2.0]], [[-1.0, 2.0]]]))
    assert_close(dY_dA, torch.tensor([[[-3.0, -3.0]], [[-1.0, -1.0]]]))


def test_the_output_is_the_layers_own_when_a_relu_overwrites_it(two_channels):
    two_channels.rectify = True
    x = torch.tensor([[[1.0, -2.0]]])
    A, dY_dA = activations_and_gradients(two_channels, x, 0, "conv")
    assert_close(A, torch.tensor([[[1.0, -2.0]], [[-1.0, 2.0]]]))
    assert_close(dY_dA, torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]]))
    (seen,) = activations(two_channels, x[None], ["conv"])
    assert_close(seen[0], A)


def test_several_layers_come_from_one_pass(small_network, image):
    runs = []
    small_network[0].register_forward_hook(lambda *_: runs.append(1))
    first, last = activations(small_network, image[None], ["0", small_network[4]])
    assert len(runs) == 1
    network = small_network.eval()
    assert_close(first, network[0](image[None]))
    assert_close(last, network[:5](image[None]))


def test_hooks_are_removed_when_the_forward_pass_fails(small_network, image):
    before = state_of(small_network)
    with pytest.raises(ValueError, match="to have 3 channels"):
        activations_and_gradients(small_network, image[:2], 0, "4")
    with pytest.raises(ValueError, match="to have 3 channels"):
        activations(small_network, image[None, :2], ["4"])
    assert_untouched(small_network, before)


def test_layers_that_do_not_serve_are_named(small_network, image):
    def at(layer, model=small_network):
        return activations_and_gradients(model, image, 0, layer)

    with pytest.raises(ValueError, match="got 'conv9'; its layers are 0, 1, 2"):
        at("conv9")
    with pytest.raises(ValueError, match="got a ReLU from elsewhere.*last_maps"):
        at(nn.ReLU())
    with pytest.raises(TypeError, match="a name or a module, got int"):
        at(4)
    with pytest.raises(ValueError, match=r"got \[1, 3\] from '9'; pick one before"):
        at("9")
    small_network.add_module("unused", nn.Conv2d(3, 3, 1))
    small_network.forward = lambda x: nn.Sequential.forward(small_network[:10], x)
    with pytest.raises(ValueError, match="'unused' ran 0 times"):
        at("unused")
    twice = nn.Sequential(relu := nn.ReLU(), nn.Conv2d(3, 3, 1), relu, nn.Flatten())
    with pytest.raises(ValueError, match="ReLU ran 2 times; pick the block"):
        at(relu, twice)
    with pytest.raises(ValueError, match="ReLU ran 2 times"):
        activations(twice, image[None], [relu])


def test_a_layer_is_found_by_name_and_by_itself(small_network):
    assert find_layer(small_network, "4") is small_network[4]
    assert find_layer(small_network, small_network[4]) is small_network[4]


def test_the_kept_output_does_not_share_memory_with_the_network():
    # a layer that returns its own buffer: what is kept must not change when the buffer does
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("maps", torch.ones(1, 1, 2, 2))

        def forward(self, x):
            return self.maps

    network = nn.Sequential(Constant(), nn.Flatten())
    A, _ = activations_and_gradients(network, torch.zeros(1, 2, 2), 3, "0")
    (seen,) = activations(network, torch.zeros(1, 1, 2, 2), ["0"])
    network[0].maps.zero_()
    assert torch.equal(A, torch.ones(1, 2, 2))
    assert torch.equal(seen, torch.ones(1, 1, 2, 2))


def test_activations_are_detached_and_leave_the_model_as_it_was(small_network, image):
    before = state_of(small_network)
    (seen,) = activations(small_network, image[None].requires_grad_(), ["4"])
    assert not seen.requires_grad
    assert_untouched(small_network, before)


def test_receptive_fields_worked_by_hand():
    # two 3 x 3 convolutions: 5; a pooling of 2 between them: 3 + 1, then 2 * 2 more
    convolutions = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, (3, 1)))
    x = torch.zeros(1, 20, 24)
    assert receptive_field(convolutions, x, "0") == (3, 3)
    assert receptive_field(convolutions, x, "2") == (5, 3)
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3))
    assert receptive_field(pooled, x, pooled[1]) == (4, 4)
    assert receptive_field(pooled, x, pooled[2]) == (8, 8)


def test_a_field_ends_at_the_borders():
    everywhere = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1))
    assert receptive_field(everywhere, torch.zeros(1, 20, 24), "1") == (20, 24)
    assert receptive_field(everywhere, torch.zeros(1, 3, 5), "0") == (3, 3)


def test_vgg16s_layout_has_its_known_receptive_fields():
    network, x = load_model("minivgg"), torch.zeros(3, 224, 224)
    before = state_of(network)
    known = {"features.4": 6, "features.9": 16, "features.16": 44, "features.29": 196}
    for layer, side in known.items():
        assert receptive_field(network, x, layer) == (side, side)
    with pytest.raises(ValueError, match="layer must give feature maps"):
        receptive_field(network, x, "classifier.1")
    assert_untouched(network, before)


def test_upsampling_takes_pixels_as_areas():
    # centres of the two cells lie at 1/4 and 3/4 of the row
    row = upsample(torch.tensor([[0.0, 1.0]]), (1, 4))
    assert_close(row, torch.tensor([[0.0, 0.25, 0.75, 1.0]]))


def test_height_and_width_are_enlarged_each_by_its_own_factor():
    # twice: centres at -1/4, 1/4, 3/4, 5/4 cells; 2.5 times: at -0.3, 0.1, 0.5, 0.9, 1.3 cells
    down = upsample(torch.tensor([[0.0, -4.0], [1.0, -3.0]]), (4, 2))
    assert_close(down[:, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    assert_close(down[:, 1], torch.tensor([-4.0, -3.75, -3.25, -3.0]))
    along = upsample(torch.tensor([[0.0, -4.0]]), (1, 5))
    assert_close(along, torch.tensor([[0.0, -0.4, -2.0, -3.6, -4.0]]))


def test_upsampling_mirrors_with_its_map_and_stays_within_its_range():
    small = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    large = upsample(small, (12, 17))
    assert_close(upsample(small.flip(1), (12, 17)), large.flip(1))
    assert small.min() <= large.min()
    assert large.max() <= small.max()
    assert torch.equal(upsample(small, (3, 5)), small)
