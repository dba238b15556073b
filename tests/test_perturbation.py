"""Learned perturbations and masks, worked out by hand and against slow twins."""

import numpy as np
import pytest
import torch
from conftest import assert_untouched, state_of
from scipy.ndimage import center_of_mass, gaussian_filter, maximum_filter
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.explain import (
    Perturbation,
    PerturbationGenerator,
    centers,
    learn_mask,
    learn_perturbation,
    perturbation_map,
    perturbation_steps,
)


def generator(weight, bias, **settings):
    """A generator whose convolution has weights set by hand."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    G = PerturbationGenerator(weight.shape[-1], channels=len(weight), **settings)
    with torch.no_grad():
        G.conv.weight.copy_(weight)
        G.conv.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))
    return G


def test_a_block_worked_by_hand():
    # from zero: 0, 1, 4; 3 - y: 3, 2, -1, and after the ReLU 0; again: 0, 1, 3. The range is 4:
    # 0, 4/3, 4, from -1.
    G = generator([[[[-1.0]]]], [3.0], n_blocks=2, n_layers=1)
    assert_close(G(torch.tensor([[[[-1.0, 0.0, 3.0]]]])), torch.tensor([[[[-1.0, 1 / 3, 3.0]]]]))


def test_layers_worked_by_hand():
    # from zero: 0, 1, 4; 3 - y twice is y again, for there is no ReLU between layers
    G = generator([[[[-1.0]]]], [3.0], n_blocks=1, n_layers=2)
    assert_close(G(torch.tensor([[[[-1.0, 0.0, 3.0]]]])), torch.tensor([[[[-1.0, 0.0, 3.0]]]]))


def test_neighbours_and_channels_worked_by_hand():
    # the first output channel sums all neighbours of both channels, zeros beyond the border;
    # the second is the constant 2. x from zero: (0, 1, 2) and (0, 0, 1).
    weight = torch.zeros(2, 2, 3, 3)
    weight[0] = 1.0
    x = torch.tensor([[[[0.0, 1.0, 2.0]], [[0.0, 0.0, 1.0]]]])
    # sums 1, 4, 4 and 2, 2, 2; from 1 to 4 becomes from 0 to 2
    expected = torch.tensor([[[[0.0, 2.0, 2.0]], [[2 / 3, 2 / 3, 2 / 3]]]])
    assert_close(generator(weight, [0.0, 2.0], n_blocks=1, n_layers=1)(x), expected)


def test_one_convolution_is_shared_and_has_a_centre():
    for kernel_size, side in ((1, 1), (2, 3), (3, 3), (4, 5)):
        G = PerturbationGenerator(kernel_size, n_blocks=4, n_layers=5)
        assert [p.shape for p in G.parameters()] == [(3, 3, side, side), (3,)]


def test_an_output_without_contrast_becomes_the_smallest_value_and_still_learns():
    G = generator(np.ones((1, 1, 1, 1)), [-100.0], n_blocks=1, n_layers=1)
    x = torch.tensor([[[[-1.0, 0.0, 3.0]]]])
    assert torch.equal(G(x), torch.full_like(x, -1.0))
    G(x).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in G.parameters())
    flat = torch.full((1, 1, 2, 2), 0.7)
    assert torch.equal(generator(np.ones((1, 1, 1, 1)), [0.0])(flat), flat)


def test_the_identity_lets_every_image_of_a_batch_pass(image):
    batch = torch.stack([image, 3 * image + 1])
    assert_close(PerturbationGenerator(5)(batch), batch)


def test_each_image_of_a_batch_has_its_own_range(image):
    G = PerturbationGenerator(start="random", seed=3)
    batch = torch.stack([image, 3 * image + 1])
    together, apart = G(batch), torch.cat([G(batch[:1]), G(batch[1:])])
    # Nine convolutions of 27 products each add up in another order when images run alone, and the
    # stretch to the image's range enlarges what rounding left by no more than it enlarges the maps.
    rounding = 9 * 27 * torch.finfo(batch.dtype).eps * batch.abs().max().item()
    assert_close(together, apart, rtol=0, atol=rounding)
    for perturbed, x in zip(together, batch, strict=True):
        assert_close(torch.stack(perturbed.aminmax()), torch.stack(x.aminmax()))


def test_random_weights_come_from_their_own_seed_and_have_torchs_range():
    before = torch.random.get_rng_state()
    first, again, other = (PerturbationGenerator(9, start="random", seed=s) for s in (0, 0, 1))
    assert torch.equal(first.conv.weight, again.conv.weight)
    assert not torch.equal(first.conv.weight, other.conv.weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    bound = (3 * 9 * 9) ** -0.5
    assert 0.95 * bound < first.conv.weight.abs().max() <= bound
    assert 0 < first.conv.bias.abs().max() <= bound


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"n_blocks": 0}, ValueError, "n_blocks must be at least 1, got 0"),
        ({"n_layers": 1.5}, TypeError, "n_layers must be a whole number, got 1.5"),
        ({"start": "zero"}, ValueError, "start must be one of identity, random, got 'zero'"),
    ],
)
def test_the_generator_refuses(settings, kind, text):
    with pytest.raises(kind, match=text):
        PerturbationGenerator(**settings)


# Learning

QUICK = {"steps": 12, "lr": 0.003}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"l1": 2.0, "n_blocks": 1, "n_layers": 2, "kernel_size": 5},
        {"start": "random", "seed": 4},
        {"smoothness": 0.7},
        {"amplitude": 0.3},
    ],
)
def test_a_plain_loop_learns_the_same(small_network, image, settings):
    plain = {"l1": 0.03, "smoothness": 0.0, "amplitude": None} | settings
    shape = ("kernel_size", "n_blocks", "n_layers", "start", "seed")
    G = PerturbationGenerator(**{name: settings[name] for name in shape if name in settings})
    adam = torch.optim.Adam(G.parameters(), lr=QUICK["lr"], betas=(0.9, 0.9))
    network, x, losses = small_network.eval(), image[None], []
    for _ in range(QUICK["steps"]):
        change = G(x) - x
        if plain["amplitude"]:
            change = plain["amplitude"] * torch.tanh(change / plain["amplitude"])
        rough = (change[..., 1:, :] - change[..., :-1, :]).abs().sum()
        rough = rough + (change[..., :, 1:] - change[..., :, :-1]).abs().sum()
        loss = torch.softmax(network(x + change), 1)[0, 2] + plain["l1"] * change.abs().mean()
        loss = loss + plain["smoothness"] * rough / change.numel()
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    learned = learn_perturbation(small_network, image, 2, **QUICK, **settings)
    assert losses[-1] != losses[0]
    assert_close(learned.losses, torch.tensor(losses), rtol=1e-3, atol=1e-4)


def probabilities_of(network, image):
    with torch.no_grad():
        return network.eval()(image[None]).softmax(dim=1)[0]


def test_what_is_kept_is_the_step_with_the_lowest_loss(small_network, image):
    learned = learn_perturbation(small_network, image, 1, steps=40, lr=0.02, l1=0.3)
    best = learned.losses.argmin()
    assert best < 39  # so that the last step is another one
    assert_close(learned.scores_before, probabilities_of(small_network, image))
    assert_close(learned.scores_after, probabilities_of(small_network, learned.perturbed))
    assert_close(learned.scores_after[1], learned.probabilities[best])
    assert_close((learned.perturbed - image).abs().mean(), learned.distances[best])
    assert_close(learned.losses, learned.probabilities + 0.3 * learned.distances)
    assert learned.drop == pytest.approx(
        (learned.scores_before[1] / learned.scores_after[1]).item()
    )
    assert torch.equal(learned.image, image) and learned.target == 1


def test_the_class_goes_away_and_never_comes_nearer(small_network, image):
    for target in range(3):
        learned = learn_perturbation(small_network, image, target, steps=60, lr=0.01, l1=0.01)
        assert learned.drop > 1.3
        assert learned.losses.min() <= learned.losses[0]


def test_the_dearer_a_change_the_smaller_it_is(small_network, image):
    changes = [
        (learn_perturbation(small_network, image, 1, steps=60, lr=0.003, l1=l1).perturbed - image)
        for l1 in (0.001, 0.1, 1000.0)
    ]
    cheap, dear, priceless = (change.abs().mean().item() for change in changes)
    assert cheap > 1.2 * dear > 0
    assert priceless < 1e-5


def test_smoothness_and_amplitude_hold_the_change_back(small_network, image):
    def learned(**settings):
        settings = {"steps": 60, "lr": 0.003, "l1": 0.01} | settings
        return learn_perturbation(small_network, image, 1, **settings).perturbed - image

    def roughness(change):
        return change.diff(dim=1).abs().mean() + change.diff(dim=2).abs().mean()

    free, smooth, bounded = learned(), learned(smoothness=0.5), learned(amplitude=0.1)
    assert roughness(smooth) < 0.7 * roughness(free)
    assert free.abs().max() > 0.15
    assert 0.05 < bounded.abs().max() <= 0.1 + 1e-6


def test_a_grey_image_one_pixel_wide_can_be_smooth_too(two_channels):
    image = torch.tensor([[[0.5], [-1.0], [2.0], [0.0], [1.0]]])  # [1, 5, 1]
    learned = learn_perturbation(two_channels, image, 0, **QUICK, smoothness=0.1)
    assert learned.perturbed.shape == (1, 5, 1)
    assert torch.isfinite(learned.losses).all()


def test_each_state_is_what_so_many_steps_give(small_network, image):
    states = list(perturbation_steps(small_network, image, 1, steps=12, every=5))
    assert [len(state.losses) for state in states] == [5, 10, 12]
    for state in states:
        alone = learn_perturbation(small_network, image, 1, steps=len(state.losses))
        assert all(map(torch.equal, state[3:], alone[3:]))
        assert torch.equal(state.perturbed, alone.perturbed)


def test_between_two_states_the_network_is_as_it_was(small_network, image):
    before = state_of(small_network)
    with torch.no_grad():
        for _state in perturbation_steps(small_network, image, 1, steps=9, every=2):
            assert_untouched(small_network, before)
            assert not torch.is_grad_enabled()
            break  # and when the loop is left early
    assert_untouched(small_network, before)


class Never(nn.Module):
    """Two classes, 0.3 and 0.7, whatever it is shown."""

    def forward(self, images):
        return 0 * images.mean(dim=(1, 2, 3))[:, None] + torch.tensor([0.3, 0.7]).log()


def test_it_stops_when_it_has_settled(image):
    settled = learn_perturbation(Never(), image, 1, steps=50, patience=6)
    assert len(settled.losses) == 7  # the first step, and six that did not lower the loss
    assert len(learn_perturbation(Never(), image, 1, steps=50, patience=None).losses) == 50
    assert_close(settled.scores_after, torch.tensor([0.3, 0.7]))


def test_a_loss_that_still_falls_is_not_settled(small_network, image):
    settings = {"steps": 30, "lr": 0.003, "l1": 0.01}
    learned = learn_perturbation(small_network, image, 1, **settings, patience=5)
    assert learned.losses.argmin() > 24
    assert len(learned.losses) == 30


def test_the_network_comes_back_as_it_was(small_network, image):
    before, x = state_of(small_network), image.clone().requires_grad_()
    rng = torch.random.get_rng_state()
    learned = learn_perturbation(small_network, x, 1, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert torch.equal(x, image) and x.grad is None
    assert not any(part.requires_grad for part in learned if isinstance(part, torch.Tensor))
    assert learned.perturbed.is_contiguous()
    with torch.inference_mode():
        again = learn_perturbation(small_network, image.clone(), 1, **QUICK)
    assert torch.equal(again.perturbed, learned.perturbed)
    assert torch.equal(again.losses, learned.losses)
    for learn in (learn_perturbation, learn_mask):
        with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
            learn(small_network, image, 3)
        with pytest.raises(ValueError, match="finite logits"):
            learn(nn.Sequential(small_network, ToNan()), image, 1)
    assert_untouched(small_network, before)


class ToNan(nn.Module):
    def forward(self, logits):
        return logits * torch.nan


def test_an_image_that_overflows_is_said(small_network, image):
    before = state_of(small_network)
    with pytest.raises(ValueError, match="lr must be small enough .* got 1e\\+30, .* after 1 st"):
        learn_perturbation(small_network, image, 1, lr=1e30)
    assert_untouched(small_network, before)


def test_double_precision_and_half_learn_alike(small_network, image):
    single = learn_perturbation(small_network, image, 1, **QUICK)
    for kind, close in ((torch.float64, 1e-3), (torch.bfloat16, 0.1)):
        learned = learn_perturbation(small_network.to(kind), image.to(kind), 1, **QUICK)
        assert learned.perturbed.dtype == kind
        assert learned.losses.dtype == learned.scores_after.dtype == torch.float32
        assert_close(learned.losses, single.losses, rtol=0, atol=close)


BAD = [
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"steps": 2.5}, TypeError, "steps must be a whole number, got 2.5"),
    ({"lr": 0.0}, ValueError, "lr must be a positive number, got 0.0; Adam's step"),
    ({"lr": float("nan")}, ValueError, "lr must be a positive number, got nan"),
    ({"smoothness": -1.0}, ValueError, "smoothness must be a number from 0 upwards, got -1.0; 0"),
]
BAD_PERTURBATION = [
    ({"l1": -0.1}, ValueError, "l1 must be a number from 0 upwards, got -0.1; 0 leaves its term"),
    ({"l1": float("inf")}, ValueError, "l1 must be a number from 0 upwards, got inf"),
    ({"amplitude": 0}, ValueError, "amplitude must be a positive number, got 0; None is no b"),
    ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
    ({"start": "zero"}, ValueError, "start must be one of"),
]
BAD_MASK = [
    ({"cells": 0}, ValueError, "cells must be at least 1, got 0"),
    ({"area": -0.1}, ValueError, "area must be a number from 0 upwards, got -0.1"),
    ({"baseline": "grey"}, TypeError, "baseline must be a number or a tensor, got str; 0.0 is"),
    ({"baseline": torch.zeros(3, 4, 4)}, ValueError, r"baseline must .* \[3, 12, 16\], got \[3, 4"),
    ({"baseline": torch.full((3, 12, 16), torch.nan)}, ValueError, "baseline must be finite"),
]


@pytest.mark.parametrize(
    ("learn", "settings", "kind", "text"),
    [
        *[(learn_perturbation, *bad) for bad in BAD + BAD_PERTURBATION],
        *[(learn_mask, *bad) for bad in BAD + BAD_MASK],
    ],
)
def test_it_refuses(small_network, image, learn, settings, kind, text):
    with pytest.raises(kind, match=text):
        learn(small_network, image, 1, **settings)


def test_settings_are_checked_before_the_first_state(small_network, image):
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        perturbation_steps(small_network, image, 1, every=0)


@pytest.mark.parametrize("learn", [learn_perturbation, learn_mask, perturbation_steps])
def test_it_wants_a_network_and_an_image(small_network, image, learn):
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        learn(lambda images: images, image, 1)
    with pytest.raises(ValueError, match=r"pass one image.*images\[0\]"):
        learn(small_network, image[None], 1)


@pytest.mark.parametrize("learn", [learn_perturbation, learn_mask])
def test_the_bar_is_shown_only_when_asked_for(small_network, image, capsys, learn):
    learn(small_network, image, 1, steps=9)
    assert capsys.readouterr() == ("", "")
    learn(small_network, image, 1, steps=9, progress=True)
    assert "9/9" in capsys.readouterr().err


# The mask of Fong and Vedaldi


class Corner(nn.Module):
    """Logits (0, how bright the top left quarter is)."""

    def forward(self, images):
        H, W = images.shape[2:]
        bright = images[:, :, : H // 2, : W // 2].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 4 * bright], dim=1)


def test_the_mask_deletes_what_the_network_reads():
    image = torch.ones(3, 16, 24)
    nothing = torch.zeros_like(image)
    deleted = learn_mask(Corner(), image, 1, baseline=nothing, cells=8, smoothness=0.0, area=0.1)
    assert deleted[:7, :11].min() > 0.95
    assert not deleted[11:].any() and not deleted[:, 16:].any()


def test_the_other_class_has_nothing_to_delete():
    deleted = learn_mask(Corner(), torch.ones(3, 16, 24), 0, baseline=torch.zeros(3, 16, 24))
    assert not deleted.any()


@pytest.mark.parametrize("baseline", [None, "zeros"])
def test_a_plain_loop_learns_the_same_mask(small_network, image, baseline):
    settings = {"cells": 3, "steps": 6, "lr": 0.1, "area": 0.2, "smoothness": 0.4}
    sigma = 0.05 * 12
    blurred = torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma)))
    nothing = blurred if baseline is None else torch.zeros_like(image)
    network, m, found = small_network.eval(), torch.ones(1, 1, 3, 3, requires_grad=True), []
    adam = torch.optim.Adam([m], lr=0.1)
    for _ in range(6):
        large = F.interpolate(m, (12, 16), mode="bilinear", align_corners=False)[0, 0]
        x = large * image + (1 - large) * nothing
        loss = torch.softmax(network(x[None]), 1)[0, 2] + 0.2 * (1 - large).mean()
        rough = (m[:, :, 1:] - m[:, :, :-1]).abs() ** 3, (m[..., 1:] - m[..., :-1]).abs() ** 3
        loss = loss + 0.4 * sum(steps.sum() for steps in rough) / 9
        found.append((loss.item(), (1 - large).detach()))
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            m.clamp_(0, 1)
    expected = min(found, key=lambda pair: pair[0])[1]
    given = None if baseline is None else nothing
    deleted = learn_mask(small_network, image, 2, baseline=given, **settings)
    assert expected.max() > 0.1
    assert_close(deleted, expected, rtol=0, atol=1e-4)


def test_area_and_smoothness_hold_the_mask_back(small_network, image):
    def deleted(**settings):
        settings = {"cells": 6, "steps": 60, "area": 0.01, "smoothness": 0.0} | settings
        return learn_mask(small_network, image, 2, **settings)

    assert not deleted(area=100.0).any()
    free, smooth = deleted(), deleted(smoothness=5.0)
    assert free.mean() > 0.05
    assert smooth.diff(dim=1).abs().max() < 0.7 * free.diff(dim=1).abs().max()


def test_a_mask_is_one_map_and_leaves_nothing_behind(small_network, image):
    before, x = state_of(small_network), image.clone().requires_grad_()
    deleted = learn_mask(small_network, x, 1, steps=9)
    assert deleted.shape == (12, 16) and deleted.dtype == torch.float32
    assert not deleted.requires_grad and deleted.is_contiguous()
    assert deleted.min() >= 0 and deleted.max() <= 1
    assert x.grad is None
    with torch.inference_mode():
        assert torch.equal(learn_mask(small_network, image.clone(), 1, steps=9), deleted)
    assert_untouched(small_network, before)
    half = learn_mask(small_network.to(torch.bfloat16), image.to(torch.bfloat16), 1, steps=9)
    assert half.dtype == torch.float32


# What has changed, and where


def changed_by(difference, image=None):
    """A perturbation that took `difference` `[C, H, W]` away."""
    image = torch.zeros_like(difference) if image is None else image
    nothing = torch.zeros(2)
    return Perturbation(image, image - difference, 0, nothing, nothing, *[torch.zeros(1)] * 3)


def test_the_map_is_a_power_of_the_mean_over_channels():
    # means (4 + 2) / 2 = 3, (1 - 3) / 2 = -1, (5 - 5) / 2 = 0, (0 + 1) / 2
    difference = torch.tensor([[[4.0, 1.0, 5.0, 0.0]], [[2.0, -3.0, -5.0, 1.0]]])
    plain = {"crop": 0.0, "dilation": 1}
    image = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[0.0, -1.0, 2.0, 5.0]]])
    squared = perturbation_map(changed_by(difference, image), power=2, **plain)
    assert_close(squared, torch.tensor([[9.0, 1.0, 0.0, 0.25]]))
    sixth = perturbation_map(changed_by(difference), **plain)
    assert_close(sixth, torch.tensor([[729.0, 1.0, 0.0, 1 / 64]]))
    odd = perturbation_map(changed_by(-difference), power=3, **plain)
    assert_close(odd, torch.tensor([[27.0, 1.0, 0.0, 0.125]]))


def test_a_tenth_of_the_border_is_cropped():
    whole = changed_by(torch.ones(3, 20, 39))
    cropped = perturbation_map(whole, dilation=1)
    assert cropped[2:18, 3:36].all() and cropped.sum() == 16 * 33
    assert perturbation_map(whole, dilation=1, crop=0.0).all()
    assert perturbation_map(whole, dilation=1, crop=0.26).sum() == 10 * 19


def test_bright_places_grow_by_the_dilation():
    difference = torch.zeros(1, 9, 9)
    difference[0, 4, 5] = 2.0
    grown = perturbation_map(changed_by(difference), power=1, dilation=3)
    assert grown.sum() == 9 * 2 and (grown[3:6, 4:7] == 2).all()


@pytest.mark.parametrize("dilation", [5, 20])
def test_scipys_maximum_filter_agrees(dilation):
    difference = torch.rand(3, 31, 46, generator=torch.Generator().manual_seed(0))
    relevance = perturbation_map(changed_by(difference), power=4, dilation=dilation)
    expected = difference.mean(dim=0).numpy() ** 4
    expected[:3] = expected[-3:] = expected[:, :4] = expected[:, -4:] = 0
    peer = maximum_filter(expected, size=dilation, mode="constant")
    assert_close(relevance, torch.from_numpy(peer))


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"power": 0}, ValueError, "power must be a positive number, got 0; 6 is usual"),
        ({"power": float("inf")}, ValueError, "power must be a positive number, got inf"),
        ({"crop": 0.5}, ValueError, "crop must be a share .* below 0.5, got 0.5; 0.1 is usual"),
        ({"crop": -0.1}, ValueError, "crop must be a share of the side"),
        ({"dilation": 0}, ValueError, "dilation must be at least 1, got 0"),
        ({"dilation": 2.5}, TypeError, "dilation must be a whole number, got 2.5"),
    ],
)
def test_the_map_refuses(settings, kind, text):
    with pytest.raises(kind, match=text):
        perturbation_map(changed_by(torch.ones(3, 8, 8)), **settings)


def test_the_centre_of_mass_worked_by_hand():
    relevance = torch.zeros(3, 6)
    relevance[0, 0], relevance[2, 4], relevance[1, 5] = 1.0, 3.0, -9.0
    # x = (0 + 3 * 4) / 4, y = (0 + 3 * 2) / 4; what is negative does not count
    assert_close(centers(relevance), torch.tensor([[3.0, 1.5]]))
    relevance[0, 2] = 4.0  # x = (12 + 4 * 2) / 8, y = 6 / 8
    assert_close(centers(relevance), torch.tensor([[2.5, 0.75]]))


def test_scipys_centre_of_mass_agrees():
    relevance = torch.rand(7, 11, generator=torch.Generator().manual_seed(0))
    y, x = center_of_mass(relevance.numpy())
    assert_close(centers(relevance), torch.tensor([[x, y]]), rtol=0, atol=1e-5, check_dtype=False)


def test_two_things_have_two_centres_and_the_heavier_comes_first():
    relevance = torch.zeros(20, 40)
    relevance[3:6, 4:7] = 1.0  # a square around (5, 4), of weight 9
    relevance[14:17, 30:33] = 2.0  # one around (31, 15), of weight 18
    expected = torch.tensor([[31.0, 15.0], [5.0, 4.0]])
    for seed in (0, 1):
        assert_close(centers(relevance, 2, seed=seed), expected)
    middle = centers(relevance)  # of all of it, where there is nothing
    assert_close(middle, torch.tensor([[(2 * 31 + 5) / 3, (2 * 15 + 4) / 3]]))


def test_a_faint_thing_gets_no_centre_of_its_own():
    # without their weights, 0 and 6 would go together, and 16 alone
    relevance = torch.zeros(1, 17)
    relevance[0, 0], relevance[0, 6], relevance[0, 16] = 100.0, 100.0, 1.0
    assert_close(centers(relevance, 2), torch.tensor([[616 / 101, 0.0], [0.0, 0.0]]))


def test_clustering_leaves_numpys_random_numbers_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    centers(torch.rand(9, 9), 3)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("relevance", "n", "kind", "text"),
    [
        (
            torch.zeros(4, 4),
            1,
            ValueError,
            "in at least n = 1 pixels, got 0; an empty map",
        ),
        (torch.eye(2), 3, ValueError, "positive in at least n = 3 pixels, got 2"),
        (torch.eye(2), 0, ValueError, "n must be at least 1, got 0"),
        (torch.eye(2), 1.5, TypeError, "n must be a whole number, got 1.5"),
        (
            torch.ones(3, 4, 4),
            1,
            ValueError,
            r"must be finite, \[H, W\], got \[3, 4, 4\]",
        ),
        (torch.eye(2) / 0, 1, ValueError, r"got \[2, 2\] with 4 numbers that are not"),
    ],
)
def test_centres_refuse(relevance, n, kind, text):
    with pytest.raises(kind, match=text):
        centers(relevance, n)
