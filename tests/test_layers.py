"""The layer that Grad-CAM reads by default: in every family of torchvision, and in some of timm."""

import pytest
import timm
import torch
from torch import nn

from labkit.engine.layers import last_maps
from tools.make_networks_table import FAMILIES, fault_of_layer


@pytest.mark.slow
def test_the_last_maps_of_every_family_are_found_and_read():
    # an older timm may lack one of the newest
    families = [one for one in FAMILIES if one.library != "timm" or timm.is_model(one.name)]
    assert sum(one.library == "timm" for one in families) >= 20
    faults = {family.name: fault_of_layer(family) for family in families}
    assert {name: fault for name, fault in faults.items() if fault} == {}


class Branched(nn.Module):
    """Two convolutions side by side behind a stem; their sum is pooled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.one, self.other = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        maps = self.stem(images)
        return self.head((self.one(maps) + self.other(maps)).mean(dim=(2, 3)))


def test_a_branch_is_never_taken():
    assert last_maps(Branched(), torch.zeros(3, 12, 16)) == "stem"


def test_a_layer_that_runs_twice_and_what_comes_after_the_pooling_are_passed_over():
    relu = nn.ReLU()
    body = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), relu)
    head = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 8, 1), nn.Flatten(), nn.Linear(8, 2)]
    network = nn.Sequential(body, *head)
    assert last_maps(network, torch.zeros(3, 12, 16)) == "0"
    with pytest.raises(ValueError, match="feature maps that everything passes through"):
        last_maps(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(3, 2, 2))
