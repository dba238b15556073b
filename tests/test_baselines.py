import torch
from torch.testing import assert_close

from labkit.metrics.baselines import centre_gaussian, edges, random_map, uniform


def test_the_centre_is_highest_and_falls_with_the_sides():
    hill = centre_gaussian((9, 15), width=0.25)
    assert divmod(int(hill.argmax()), 15) == (4, 7)
    assert hill.max() == 1.0
    assert_close(hill, centre_gaussian((9, 15)))
    assert_close(hill, hill.flip(0, 1))
    # half a side away is two deviations: exp(-2), at the middle of the border pixel a little less
    away = (4 / 9) / 0.25
    assert_close(hill[0, 7], torch.exp(torch.tensor(-(away**2) / 2)))


def test_uniform_is_one_everywhere():
    assert torch.equal(uniform((2, 3)), torch.ones(2, 3))


def test_random_maps_follow_their_seed():
    assert torch.equal(random_map((4, 5), seed=1), random_map((4, 5), seed=1))
    assert not torch.equal(random_map((4, 5), seed=1), random_map((4, 5), seed=2))


def test_edges_of_a_step_by_hand():
    image = torch.zeros(3, 5, 6)
    image[:, :, 3:] = 2.0
    steep = edges(image)
    # Sobel: (1 + 2 + 1) times the step of 2, on both sides of it
    assert_close(steep[2], torch.tensor([0.0, 0.0, 8.0, 8.0, 0.0, 0.0]))
    assert_close(edges(image.transpose(1, 2))[:, 2], steep[2])
