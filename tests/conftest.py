"""Small networks with weights set by hand, and the folder of real ones."""

import os
from pathlib import Path

import pytest
import torch
from skips import (  # noqa: F401 (pytest looks for its hooks here)
    needs,
    needs_module,
    pytest_addoption,
    pytest_runtest_setup,
    pytest_terminal_summary,
)
from torch import nn

# The tests make their images on the CPU, and know its numbers. A GPU is hidden from them, and from
# the processes that they start; `make test-gpu` shows it to the tests that are about it.
if "LABKIT_TEST_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

REAL = Path(__file__).parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real_folder():
    needs("real networks and pictures", "in ../shared/real, see README.md", there=REAL.is_dir())
    return REAL


class TwoChannels(nn.Module):
    """Channels (x, -x) of an image, then logits (3 s0 + s1, -3 s0 - s1) of their sums."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[3.0, 1.0], [-3.0, -1.0]]))
        self.rectify = False

    def forward(self, x):
        maps = self.conv(x)
        if self.rectify:
            maps = self.relu(maps)
        return self.head(maps.sum(dim=(2, 3)))


@pytest.fixture
def two_channels():
    return TwoChannels()


@pytest.fixture
def small_network():
    """Convolution, batch norm, in-place ReLU, pool, dropout, linear; in train mode."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 3),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return network.train()


@pytest.fixture
def image():
    return torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))


# Settings with which each method is soon done on `image`.
FEW = {
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 3},
    "occlusion": {"patch": 4, "stride": 3},
    "rise": {"n_masks": 8, "cells": 4},
    "lime": {"n_samples": 12, "segments": torch.arange(192).reshape(12, 16) // 48},
    "perturbation": {"steps": 2},
    "mask": {"steps": 2, "cells": 4, "baseline": 0.0},
}


def state_of(model):
    """All that an explainer must leave as it was."""
    return {
        "values": [t.clone() for t in (*model.parameters(), *model.buffers())],
        "grads": [p.grad for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ],
    }


def assert_untouched(model, before):
    after = state_of(model)
    for name in ("grads", "requires_grad", "modes", "hooks"):
        assert after[name] == before[name], name
    assert all(map(torch.equal, after["values"], before["values"]))
