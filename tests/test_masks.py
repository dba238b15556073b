"""From a small map to the image's size, and random masks against those of the authors of RISE."""

import math

import pytest
import torch
from skimage.transform import resize
from torch.testing import assert_close

from labkit.explain.masks import draw_grids, random_masks, upsample


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


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_mask_worked_by_hand():
    # 2 cells on 3 pixels, cropped to 2: pixel centres at -1/6 (mirrored to 1/6) and 1/2 cells, so
    # that the first cell's share is 5/6 and 1/2, down as well as along
    grid = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    mask = random_masks(grid, torch.tensor([[0, 0]]), (2, 2))
    assert_close(mask, torch.tensor([[[25.0, 15.0], [15.0, 9.0]]]) / 36)


def test_a_shifted_mask_of_a_wide_image_worked_by_hand():
    # along: cells of 2 pixels, 6 pixels with centres at 1/3, 0, 1/3, 2/3, 1, 2/3 cells; cropped
    # from the second on. Down the cells are alike.
    grids = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    masks = random_masks(grids, torch.tensor([[0, 1], [0, 0]]), (2, 4))
    assert_close(masks[0], torch.tensor([1.0, 2 / 3, 1 / 3, 0.0]).expand(2, 4))
    assert_close(masks[1], torch.tensor([1 / 3, 0.0, 1 / 3, 2 / 3]).expand(2, 4))


@pytest.mark.parametrize(
    ("size", "cells"), [((24, 24), 8), ((21, 33), 4), ((7, 50), 7), ((12, 9), 2)]
)
def test_masks_are_those_of_the_authors(size, cells):
    grids, shifts = draw_grids(6, size, cells=cells, p=0.5, generator=generator())
    masks = random_masks(grids, shifts, size)
    cell = [math.ceil(length / cells) for length in size]
    shape = [(cells + 1) * length for length in cell]
    for grid, (down, right), mask in zip(grids.numpy(), shifts.tolist(), masks, strict=True):
        large = resize(grid, shape, order=1, mode="reflect", anti_aliasing=False)
        crop = large[down : down + size[0], right : right + size[1]]
        assert_close(mask, torch.from_numpy(crop).float(), rtol=0, atol=1e-5)


def test_a_grid_of_one_cell_shows_or_hides_everything():
    masks = random_masks(torch.tensor([[[0.0]], [[1.0]]]), torch.tensor([[0, 3], [2, 1]]), (3, 5))
    assert_close(masks, torch.tensor([0.0, 1.0])[:, None, None].expand(2, 3, 5))


def test_a_cell_is_shown_with_probability_p_and_shifted_by_less_than_a_cell():
    grids, shifts = draw_grids(4000, (20, 31), cells=4, p=0.3, generator=generator())
    assert set(grids.unique().tolist()) == {0.0, 1.0}
    assert_close(grids.mean(0), torch.full((4, 4), 0.3), rtol=0, atol=0.04)  # 5 sigma
    assert shifts[:, 0].unique().tolist() == list(range(5))
    assert shifts[:, 1].unique().tolist() == list(range(8))
    # every mask hides and shows, and none more than the others in the mean
    assert_close(random_masks(grids, shifts, (20, 31)).mean(), torch.tensor(0.3), rtol=0, atol=0.01)


def test_masks_do_not_depend_on_how_many_are_drawn_at_once():
    one, other = generator(), generator()
    together = draw_grids(7, (9, 12), cells=3, p=0.5, generator=one)
    apart = [draw_grids(n, (9, 12), cells=3, p=0.5, generator=other) for n in (1, 4, 2)]
    for drawn, parts in zip(together, zip(*apart, strict=True), strict=True):
        assert torch.equal(drawn, torch.cat(parts))
