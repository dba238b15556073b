"""Batches on a device with too little memory are halved until they fit."""

import pytest
import torch
from conftest import assert_untouched, state_of
from torch import nn
from torch.testing import assert_close

from labkit.engine.batches import halving
from labkit.explain import (
    integrated_gradients,
    lime,
    occlusion,
    rise,
    saliency,
    sensitivity,
    smoothgrad,
)
from labkit.metrics import deletion

IMAGE = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
QUARTERS = torch.arange(4).reshape(2, 2).repeat_interleave(12, 0).repeat_interleave(12, 1)
METHODS = {
    "smoothgrad": lambda model: smoothgrad(model, IMAGE, 1, explain=sensitivity, n_samples=8),
    "integrated_gradients": lambda model: integrated_gradients(model, IMAGE, 1, n_steps=8),
    "occlusion": lambda model: occlusion(model, IMAGE, 1, patch=8, stride=4),
    "rise": lambda model: rise(model, IMAGE, 1, n_masks=24, cells=4),
    "lime": lambda model: lime(model, IMAGE, 1, segments=QUARTERS, n_samples=16),
    "deletion": lambda model: deletion(model, IMAGE, IMAGE.sum(0), 1, n_steps=16).score,
}


class Small(nn.Module):
    """A network on a device that has memory for `fits` images at once."""

    def __init__(self, fits):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )
        self.fits, self.sizes = fits, []

    def forward(self, images):
        if len(images) > self.fits:
            raise torch.cuda.OutOfMemoryError(f"{len(images)} images do not fit")
        self.sizes.append(len(images))
        return self.network(images)


@pytest.fixture(autouse=True)
def seed_kept():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("name", METHODS)
def test_half_as_many_images_at_once_give_the_same_map(name):
    roomy, small = Small(10**6), Small(1)
    before = state_of(small)
    S = METHODS[name](small)
    assert_close(S, METHODS[name](roomy), rtol=1e-4, atol=1e-6)
    assert max(small.sizes) == 1 < max(roomy.sizes)
    assert_untouched(small, before)


def test_where_not_even_one_image_fits_the_error_is_the_devices():
    small = Small(0)
    before = state_of(small)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="1 images do not fit"):
        saliency(small, IMAGE, 1)
    assert_untouched(small, before)


def test_other_errors_are_not_tried_again():
    tried = []

    def work(images):
        tried.append(len(images))
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        halving(work, torch.zeros(4, 1))
    assert tried == [4]


def test_the_order_is_kept_and_odd_numbers_are_halved():
    sizes = []

    def double(images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError
        sizes.append(len(images))
        return 2 * images

    assert_close(halving(double, torch.arange(7)), 2 * torch.arange(7))
    assert sizes == [2, 2, 2, 1]
