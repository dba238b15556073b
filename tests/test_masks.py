"""From a small map to the image's size."""

import torch
from torch.testing import assert_close

from labkit.explain.masks import upsample


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
