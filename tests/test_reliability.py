"""Repeats of a random method, and the interval of a mean."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from labkit.explain import sensitivity, smoothgrad
from labkit.metrics import mean_interval, split_half


def drawn(maps):
    """A method whose map depends on the seed alone."""
    return lambda model, image, target, *, seed: torch.tensor(maps[seed])


def test_split_half_is_the_correlation_of_two_seeds():
    # deviations from the mean: (-1, 0, 1) against (1, 0, -1), then against (-1, 2, -1)
    maps = {0: [[1.0, 2.0, 3.0]], 1: [[5.0, 4.0, 3.0]], 2: [[1.0, 2.0, 3.0]], 3: [[0.0, 3.0, 0.0]]}
    model, image = nn.Identity(), torch.zeros(1, 1, 3)
    assert split_half(drawn(maps), model, image, 0) == pytest.approx(-1)
    assert split_half(drawn(maps), model, image, 0, seed=1) == pytest.approx(0)


def test_more_samples_agree_better(small_network, image):
    def smooth(n_samples):
        def method(*asked, seed):
            return smoothgrad(
                *asked, explain=sensitivity, n_samples=n_samples, noise=0.5, seed=seed
            )

        return method

    r = [split_half(smooth(n), small_network, image, 1) for n in (1, 4, 64)]
    assert r[0] < r[1] < r[2] < 1


def test_the_interval_shrinks_like_the_standard_error():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.03)


def test_hits_and_misses_stay_between_0_and_1():
    assert mean_interval([1.0, 0.0]) == (0.5, 0.0, 1.0)  # a draw of two is 0, 1/2 or 1
    assert mean_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


def test_a_smaller_confidence_gives_a_smaller_interval_and_the_seed_fixes_it():
    values = torch.arange(30.0)
    wide, narrow = mean_interval(values), mean_interval(values, confidence=0.5)
    assert wide.low < narrow.low < 14.5 < narrow.high < wide.high
    assert mean_interval(values) == wide != mean_interval(values, seed=1)


def test_one_picture_says_nothing_of_others():
    mean, low, high = mean_interval([0.25])
    assert mean == 0.25
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0, 2.0]]])
def test_the_interval_refuses(values):
    with pytest.raises(ValueError, match="values must be at least one finite number"):
        mean_interval(values)
