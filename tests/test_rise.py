"""RISE, worked out by hand and against the authors' formula with scikit-image's masks."""

import math
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import assert_untouched, needs, state_of
from skimage.transform import resize
from torch import nn
from torch.testing import assert_close

from labkit.explain.rise import draw_grids, random_masks, rise, rise_all, rise_steps


def corner(images):
    """Two probabilities, no torch module: the value of the top left pixel, and the rest to 1."""
    value = images[:, 0, 0, 0]
    return torch.stack([value, 1 - value], dim=1)


@pytest.fixture
def drawn(monkeypatch):
    """Hand over the grids and shifts that RISE is to draw."""

    def hand_over(grids, shifts):
        left = list(zip(torch.tensor(grids), torch.tensor(shifts), strict=True))

        def draw(n_masks, size, **settings):
            taken = [left.pop(0) for _ in range(n_masks)]
            return tuple(torch.stack(parts) for parts in zip(*taken, strict=True))

        monkeypatch.setattr(sys.modules["labkit.explain.rise"], "draw_grids", draw)

    return hand_over


ONE_CELL_EACH = [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]


def test_it_matches_the_sums_worked_by_hand(drawn):
    # masks (25, 15; 15, 9) / 36 and (1, 3; 3, 9) / 36, see below; f = 25/36 and 1/36.
    # Divided by their sum: (625 + 1) / (26 * 36), (375 + 3) / (18 * 36), (225 + 9) / (18 * 36)
    drawn(ONE_CELL_EACH, [[0, 0], [0, 0]])
    S = rise(corner, torch.ones(1, 2, 2), 0, n_masks=2, cells=2)
    assert_close(S, torch.tensor([[626 / 936, 7 / 12], [7 / 12, 13 / 36]]))


def test_the_other_class_gets_what_is_left(drawn):
    drawn(ONE_CELL_EACH, [[0, 0], [0, 0]])
    S = rise(corner, torch.ones(1, 2, 2), 1, n_masks=2, cells=2)
    assert_close(S, 1 - torch.tensor([[626 / 936, 7 / 12], [7 / 12, 13 / 36]]))


def test_the_official_sum_of_a_wide_image_worked_by_hand(drawn):
    # the first mask is (1, 2/3, 1/3, 0), the second (1/3, 0, 1/3, 2/3), see below; f = 1, 1/3
    drawn([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], [[0, 1], [0, 0]])
    S = rise(corner, torch.ones(1, 2, 4), 0, n_masks=2, cells=2, p=0.25, normalise="official")
    # (1 + 1/9, 2/3, 1/3 + 1/9, 2/9) / (2 * 0.25)
    assert_close(S, torch.tensor([20 / 9, 4 / 3, 8 / 9, 4 / 9]).expand(2, 4))


def test_hidden_pixels_are_zero_in_the_normalised_image(drawn):
    drawn([[[1.0]], [[0.0]]], [[0, 0], [0, 0]])
    seen = []
    rise(
        lambda images: seen.append(images) or corner(images),
        torch.ones(3, 2, 2),
        0,
        n_masks=2,
        cells=1,
    )
    assert torch.equal(
        torch.cat(seen), torch.tensor([1.0, 0.0])[:, None, None, None].expand(-1, 3, 2, 2)
    )


def authors(network, image, target, n_masks, cells, p, seed):
    """Masks and map as the authors' code makes them, in NumPy: returns S and the sum of masks."""
    H, W = image.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_grids(n_masks, (H, W), cells=cells, p=p, generator=generator)
    shape = [(cells + 1) * math.ceil(length / cells) for length in (H, W)]
    S, coverage = np.zeros((H, W)), np.zeros((H, W))
    for grid, (down, right) in zip(drawn[0].numpy(), drawn[1].tolist(), strict=True):
        large = resize(grid, shape, order=1, mode="reflect", anti_aliasing=False)
        mask = large[down : down + H, right : right + W]
        masked = image * torch.from_numpy(mask).float()
        S += mask * network(masked[None]).softmax(1)[0, target].item() / (n_masks * p)
        coverage += mask
    return torch.from_numpy(S).float(), torch.from_numpy(coverage).float()


@pytest.mark.parametrize(("cells", "p"), [(8, 0.5), (5, 0.1)])
def test_the_authors_formula_agrees(small_network, image, cells, p):
    settings = {"n_masks": 30, "cells": cells, "p": p, "seed": 3}
    with torch.no_grad():
        expected, coverage = authors(small_network.eval(), image, 1, **settings)
    S = rise(small_network.train(), image, 1, normalise="official", **settings)
    assert_close(S, expected, rtol=0, atol=1e-5)
    by_coverage = rise(small_network, image, 1, **settings)
    assert_close(by_coverage * coverage, expected * 30 * p, rtol=0, atol=1e-5)


def test_a_score_that_never_changes_gives_a_flat_map(image):
    def always(images):
        return [[0.3, 0.7]] * len(images)

    flat = torch.full((12, 16), 0.7)
    assert_close(rise(always, image, 1, n_masks=20), flat)
    uneven = rise(always, image, 1, n_masks=20, normalise="official")  # shows the coverage alone
    assert uneven.std() > 0.05
    assert_close(
        rise(always, image, 1, n_masks=5000, normalise="official"), flat, rtol=0, atol=0.05
    )


def test_the_pixel_that_decides_stands_out():
    # f = 1 where the pixel is shown: S = E[M(x) M(pixel)] / E[M(x)] is largest there, p far away
    def pixel(images):
        return torch.stack([images[:, 0, 20, 5], 1 - images[:, 0, 20, 5]], dim=1)

    S = rise(pixel, torch.ones(1, 32, 40), 0, n_masks=3000, batch_size=64)
    assert abs(divmod(S.argmax().item(), 40)[0] - 20) <= 1
    assert abs(divmod(S.argmax().item(), 40)[1] - 5) <= 1
    assert_close(S[:8, 20:].mean(), torch.tensor(0.5), rtol=0, atol=0.03)
    assert S[20, 5] > 0.65
    other = rise(pixel, torch.ones(1, 32, 40), 1, n_masks=3000, batch_size=64)
    assert other[20, 5] < 0.35


def test_all_classes_come_from_one_run(small_network, image):
    calls = []
    small_network.register_forward_hook(lambda *_: calls.append(1))
    maps = rise_all(small_network, image, n_masks=20, batch_size=10)
    assert len(calls) == 2
    assert maps.shape == (3, 12, 16)
    assert_close(maps.sum(0), torch.ones(12, 16))
    for target, S in enumerate(maps):
        assert_close(rise(small_network, image, target, n_masks=20), S, rtol=0, atol=1e-6)
    official = partial(rise_all, normalise="official", n_masks=20, p=0.2)
    expected = rise(small_network, image, 2, normalise="official", n_masks=20, p=0.2)
    assert_close(official(small_network, image)[2], expected, rtol=0, atol=1e-6)


def test_the_map_grows_step_by_step(small_network, image):
    steps = list(rise_steps(small_network, image, 1, n_masks=20, batch_size=8))
    assert [n for n, _ in steps] == [8, 16, 20]
    for n, S in steps:  # each map is what so many masks give, and stays so
        assert_close(S, rise(small_network, image, 1, n_masks=n, batch_size=8))


def test_between_two_steps_the_network_is_as_it_was(small_network, image):
    before = state_of(small_network)
    for _n, _S in rise_steps(small_network, image, 1, n_masks=20, batch_size=8):
        assert_untouched(small_network, before)
        assert torch.is_grad_enabled()
        break  # and when the loop is left early
    assert_untouched(small_network, before)


# Masks of a 2 x 4 image, the same in both rows: (2/3, 1, 2/3, 1/3) and, shifted, (1, 2/3, 1/3, 0).
# Less their means, (0, 1, 0, -1) / 3 and (3, 1, -1, -3) / 6: r = (4/18) / sqrt(2/9 * 5/9) = 0.632,
# and the map from both masks has the reliability 2 r / (1 + r) = 0.775.
LEFT = [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(("until", "taken"), [(0.77, 4), (0.78, 6)])
def test_where_it_stops_worked_by_hand(drawn, monkeypatch, until, taken):
    monkeypatch.setattr(sys.modules["labkit.explain.rise"], "CHECK_EVERY", 2)
    drawn([LEFT] * 6, [[0, 0], [0, 1], [0, 0], [0, 1], [0, 0], [0, 1]])
    settings = {"n_masks": 6, "cells": 2, "normalise": "official", "until": until}
    *_, (n, S) = rise_steps(corner, torch.ones(1, 2, 4), 0, **settings)
    assert n == taken  # reliable after 2 masks and still after 4, or never
    # f = 2/3 and 1: (4/9 + 1, 2/3 + 2/3, 4/9 + 1/3, 2/9) / (2 * 0.5)
    assert_close(S, torch.tensor([13 / 9, 4 / 3, 7 / 9, 2 / 9]).expand(2, 4))


def test_a_single_lucky_look_does_not_stop_it(image, monkeypatch):
    looks = iter([0.95, 0.85, 0.95, 0.85, 0.95, 0.9])
    monkeypatch.setattr(
        sys.modules["labkit.explain.rise"], "_spearman_brown", lambda *_: next(looks)
    )
    steps = rise_steps(corner, image.sigmoid(), 0, n_masks=1000, until=0.9)
    assert [n for n, _ in steps][-1] == 6 * 64


@pytest.mark.parametrize("normalise", ["coverage", "official"])
def test_where_it_stopped_two_seeds_agree_as_well_as_asked_for(normalise):
    given, taken = {"normalise": normalise, "batch_size": 64}, []
    asked = partial(rise, corner, torch.ones(1, 12, 16), 0, **given)
    for until in (0.85, 0.95):
        more = {"n_masks": 9000, "until": until}
        *_, (n, S) = rise_steps(corner, torch.ones(1, 12, 16), 0, **given, **more)
        taken.append(n)
        assert torch.equal(asked(**more), S)
        assert_close(asked(n_masks=n), S, rtol=0, atol=1e-6)  # from no other masks
        maps = torch.stack([asked(n_masks=n, seed=seed).flatten() for seed in range(1, 7)])
        agreements = torch.corrcoef(maps)[*torch.triu_indices(6, 6, 1)]
        assert until - 0.05 < agreements.mean() < until + 0.1
    assert 128 <= taken[0] < taken[1] < 9000


@pytest.mark.parametrize("batch_size", [5, 50, 200])
def test_where_it_stops_does_not_depend_on_the_batches(small_network, image, batch_size):
    settings = {"n_masks": 3000, "until": 0.9}
    *_, (n, S) = rise_steps(small_network, image, 1, **settings)
    *_, (same, other) = rise_steps(small_network, image, 1, batch_size=batch_size, **settings)
    assert n == same < 3000 and n % 64 == 0
    assert_close(S, other, rtol=0, atol=1e-6)


def test_a_map_that_is_never_reliable_takes_all_masks(image):
    def always(images):
        return [[0.25, 0.75]] * len(images)

    *_, (n, S) = rise_steps(always, image, 1, n_masks=130, normalise="coverage", until=0.999)
    assert n == 130
    assert_close(S, torch.full((12, 16), 0.75))


def test_the_bar_says_how_many_masks_it_took_and_how_reliable_they_are(
    small_network, image, capsys
):
    settings = {"n_masks": 3000, "until": 0.9}
    *_, (n, _) = rise_steps(small_network, image, 1, progress=True, **settings)
    assert re.search(rf" {n}/3000 .*reliability 0\.9\d\d\]", capsys.readouterr().err)


def test_settings_are_checked_before_the_first_step(small_network, image):
    with pytest.raises(ValueError, match="n_masks must be at least 1"):
        rise_steps(small_network, image, 1, n_masks=0)


def test_a_pixel_that_no_mask_showed_is_zero(image):
    S = rise(corner, image.abs(), 0, n_masks=1, cells=4, p=0.1)
    assert torch.isfinite(S).all()
    assert (S == 0).any()


@pytest.mark.parametrize("normalise", ["coverage", "official"])
def test_batches_do_not_change_the_map(small_network, image, normalise):
    one, many = (
        rise(small_network, image, 1, n_masks=90, normalise=normalise, batch_size=size)
        for size in (1, 64)
    )
    assert_close(one, many, rtol=0, atol=1e-6)


def test_the_seed_fixes_the_masks_and_leaves_torchs_own_alone(small_network, image):
    before = torch.random.get_rng_state()
    first, again, other = (rise(small_network, image, 1, n_masks=9, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_halves_agree_the_better_the_more_masks(small_network, image):
    def split_half(n_masks):
        halves = [rise(small_network, image, 1, n_masks=n_masks, seed=s).flatten() for s in (1, 2)]
        return torch.corrcoef(torch.stack(halves))[0, 1]

    assert split_half(2000) > max(0.8, split_half(50) + 0.1)


def test_double_precision_and_half_give_float32(small_network, image):
    single = rise(small_network, image, 1, n_masks=9)
    for kind, close in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        S = rise(small_network.to(kind), image.to(kind), 1, n_masks=9)
        assert S.dtype == torch.float32
        assert_close(S, single, rtol=0, atol=close)


def test_the_network_comes_back_as_it_was(small_network, image):
    before, x = state_of(small_network), image.clone().requires_grad_()
    S = rise(small_network, x, 1, n_masks=9)
    assert S.shape == (12, 16) and not S.requires_grad
    assert torch.equal(x, image) and x.grad is None
    with torch.inference_mode():
        assert torch.equal(rise(small_network, image, 1, n_masks=9), S)
    with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
        rise(small_network, image, 3, n_masks=9)
    with pytest.raises(ValueError, match="finite logits"):
        rise(nn.Sequential(small_network, ToNan()), image, 1, n_masks=9)
    assert_untouched(small_network, before)


class ToNan(nn.Module):
    def forward(self, logits):
        return logits * torch.nan


def test_nan_from_a_function_is_refused(image):
    with pytest.raises(ValueError, match="finite probabilities"):
        rise(lambda images: np.full((len(images), 2), np.nan), image, 1, n_masks=9)


@pytest.mark.parametrize("explain", [partial(rise, target=1), rise_all])
@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"n_masks": 0}, ValueError, "n_masks must be at least 1, got 0"),
        ({"n_masks": 2.5}, TypeError, "n_masks must be a whole number, got 2.5"),
        ({"cells": 0}, ValueError, "cells must be at least 1, got 0"),
        ({"cells": 13}, ValueError, "cells must be no more than .* along a side, 12, got 13; 8"),
        ({"p": 0}, ValueError, "p must lie between 0 and 1, got 0; it is the probability"),
        ({"p": 1.0}, ValueError, "p must lie between 0 and 1, got 1.0"),
        ({"p": float("nan")}, ValueError, "p must lie between 0 and 1, got nan"),
        ({"normalise": "sum"}, ValueError, "normalise must be .* coverage, official, got 'sum'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_it_refuses(small_network, image, explain, settings, kind, text):
    with pytest.raises(kind, match=text):
        explain(small_network, image, **settings)


@pytest.mark.parametrize("explain", [rise, rise_steps])
@pytest.mark.parametrize(
    ("until", "kind", "text"),
    [
        (1, ValueError, "until must lie between 0 and 1, got 1; it is a correlation, which no"),
        (0.0, ValueError, "until must lie between 0 and 1, got 0.0"),
        (float("nan"), ValueError, "until must lie between 0 and 1, got nan"),
        ("0.9", TypeError, "until must be a number between 0 and 1, or None, got '0.9'; 0.95 asks"),
        (True, TypeError, "until must be a number between 0 and 1, or None, got True"),
    ],
)
def test_it_refuses_a_reliability(small_network, image, explain, until, kind, text):
    with pytest.raises(kind, match=text):
        explain(small_network, image, 1, until=until)


def test_it_refuses_what_is_no_image(small_network, image):
    for explain in (partial(rise, target=1), partial(rise_steps, target=1), rise_all):
        with pytest.raises(ValueError, match=r"pass one image.*images\[0\]"):
            explain(small_network, image[None])


def test_the_bar_is_shown_only_when_asked_for(small_network, image, capsys):
    rise(small_network, image, 1, n_masks=9)
    assert capsys.readouterr() == ("", "")
    rise(small_network, image, 1, n_masks=9, progress=True)
    assert "9/9" in capsys.readouterr().err


MEASURE = """
import resource, torch
from labkit.explain.rise import rise
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = torch.ones(3, 224, 224)
f = lambda images: images.mean(dim=(2, 3)).softmax(dim=1)
rise(f, image, 0, n_masks=500)
few = peak()
rise(f, image, 0, n_masks=8000)
print(peak() / few)
"""


def test_memory_does_not_grow_with_the_number_of_masks():
    needs("Unix, which counts a process' memory", there=os.name == "posix")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 1.1


# The masks, against those of the authors


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
