"""Relevance against a mask."""

import subprocess
import sys

import pytest
import torch

from labkit.metrics import energy_inside, pointing_game

MASK = torch.tensor([[True, True, False], [False, False, False]])


def test_a_maximum_on_the_mask_is_a_hit():
    assert pointing_game(torch.tensor([[0.0, 5.0, 1.0], [2.0, 0.0, 0.0]]), MASK) == 1.0
    assert pointing_game(torch.tensor([[0.0, 5.0, 6.0], [2.0, 0.0, 0.0]]), MASK) == 0.0


def test_the_tolerance_is_a_distance_in_pixels():
    relevance = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # sqrt(2) from the mask
    assert pointing_game(relevance, MASK, tolerance=1.4) == 0.0
    assert pointing_game(relevance, MASK, tolerance=1.5) == 1.0


def test_a_constant_map_scores_what_chance_gives():
    assert pointing_game(torch.zeros(2, 3), MASK) == pytest.approx(2 / 6)


def test_energy_is_the_share_of_positive_relevance():
    relevance = torch.tensor([[1.0, 2.0, 3.0], [-6.0, 6.0, 0.0]])
    assert energy_inside(relevance, MASK) == pytest.approx(3 / 12)
    assert energy_inside(10 * relevance, MASK) == pytest.approx(3 / 12)


def test_a_map_without_positive_values_has_no_energy_inside():
    assert energy_inside(torch.zeros(2, 3), MASK) == 0.0
    assert energy_inside(-torch.ones(2, 3), MASK) == 0.0


@pytest.mark.parametrize("metric", [energy_inside, pointing_game])
def test_bad_input_is_named(metric):
    with pytest.raises(ValueError, match=r"\[3, 2\] and \[2, 3\]; .*prepare_mask"):
        metric(torch.zeros(3, 2), MASK)
    with pytest.raises(ValueError, match="at least one True pixel, got torch.bool with 0"):
        metric(torch.zeros(2, 3), ~MASK & MASK)
    with pytest.raises(ValueError, match="boolean"):
        metric(torch.zeros(2, 3), MASK.float())
    with pytest.raises(ValueError, match="finite"):
        metric(torch.full((2, 3), torch.nan), MASK)


def test_metrics_load_neither_torchvision_nor_matplotlib():
    code = (
        "import sys; from labkit.metrics import pointing_game; "
        "print([name for name in ('torchvision', 'matplotlib', 'lime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
