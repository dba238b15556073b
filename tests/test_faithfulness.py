"""Deletion and insertion, by hand and against the authors' loop, torchcam and Quantus."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import assert_untouched, needs, needs_module, state_of
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.testing import assert_close

from labkit.metrics.faithfulness import blurred, deletion, insertion, perturbed


def total(images):
    """Two probabilities, no torch module: the sum of all values, and the rest to 1."""
    value = images.sum(dim=(1, 2, 3))
    return torch.stack([value, 1 - value], dim=1)


# f = 0.8 and 0.2. In the order of S the pixels add 0.4, 0, 0, 0.1, 0.2, 0.1
X = torch.tensor([[[0.4, 0.1, 0.0], [0.2, 0.0, 0.1]]])
S = torch.tensor([[6.0, 1.0, 5.0], [2.0, 4.0, 3.0]])


@pytest.fixture
def relevance():
    return torch.randn(12, 16, generator=torch.Generator().manual_seed(2))  # no ties


def test_deletion_by_rows_worked_by_hand():
    # 3 pixels, a row's worth, a step: 0.8, 0.4, 0; area (1.2 - 0.4 - 0) / 2
    curve = deletion(total, X, S)
    assert_close(curve.fraction, torch.tensor([0.0, 0.5, 1.0]))
    assert_close(curve.score, torch.tensor([0.8, 0.4, 0.0]))
    assert curve.auc == pytest.approx(0.4)
    assert curve.ties == 0


def test_the_other_class_gains_what_the_likeliest_loses():
    curve = deletion(total, X, S, 1)
    assert_close(curve.score, torch.tensor([0.2, 0.6, 1.0]))
    assert curve.auc == pytest.approx(0.6)


def test_insertion_worked_by_hand():
    # 2 pixels a step: 0, 0.4, 0.5, 0.8; area (1.7 - 0 - 0.4) / 3
    curve = insertion(total, X, S, step=2, baseline=0.0)
    assert_close(curve.fraction, torch.tensor([0, 1 / 3, 2 / 3, 1]))
    assert_close(curve.score, torch.tensor([0.0, 0.4, 0.5, 0.8]))
    assert curve.auc == pytest.approx(1.3 / 3)


def test_a_shorter_last_step_counts_in_full_only_for_the_authors():
    # 4 pixels, then 2: 0.8, 0.3, 0; (0.55 + 0.15) / 2, or 0.55 * 2/3 + 0.15 * 1/3
    official, fair = (deletion(total, X, S, step=4, auc=auc) for auc in ("official", "fraction"))
    assert_close(official.score, torch.tensor([0.8, 0.3, 0.0]))
    assert_close(official.fraction, torch.tensor([0, 2 / 3, 1]))
    assert official.auc == pytest.approx(0.35)
    assert fair.auc == pytest.approx(1.25 / 3)


def test_steps_by_their_number():
    # 6 pixels in at most 4 steps: 3 steps of 2; in at most 100: 6 steps; 7 at a time: 1 step
    assert len(deletion(total, X, S, n_steps=4).score) == 4
    assert len(deletion(total, X, S, n_steps=100).score) == 7
    assert_close(deletion(total, X, S, step=7).score, torch.tensor([0.8, 0.0]))


# Ties


TWO_VALUES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_of_equals_the_last_goes_first_or_the_first():
    last = deletion(total, X, TWO_VALUES, step=1)
    assert_close(last.score, torch.tensor([0.8, 0.7, 0.3, 0.3, 0.1, 0.1, 0.0]))
    first = deletion(total, X, TWO_VALUES, step=1, ties="stable")
    assert_close(first.score, torch.tensor([0.8, 0.4, 0.3, 0.2, 0.2, 0.0, 0.0]))
    assert last.ties == first.ties == 1


def test_random_ties_depend_on_the_seed_alone_and_keep_to_their_group():
    before = torch.random.get_rng_state()
    curves = [deletion(total, X, TWO_VALUES, step=1, ties="random", seed=s) for s in range(9)]
    again = deletion(total, X, TWO_VALUES, step=1, ties="random", seed=3)
    assert torch.equal(again.score, curves[3].score)
    assert len({tuple(curve.score.tolist()) for curve in curves}) > 4
    assert all(curve.score[2].item() == pytest.approx(0.3) for curve in curves)  # the two ones
    assert torch.equal(torch.random.get_rng_state(), before)


def test_ties_are_the_pixels_that_share_a_value():
    zeros = torch.tensor([[3.0, 0.0, -0.0], [1.0, 0.0, 2.0]])
    assert deletion(total, X, zeros).ties == 3 / 6
    constant = deletion(total, X, torch.full((2, 3), 7.0), step=1)
    assert constant.ties == 1
    assert_close(constant.score, torch.tensor([0.8, 0.7, 0.7, 0.5, 0.5, 0.4, 0.0]))


# Baselines


def test_the_blur_is_the_authors():
    point = torch.zeros(2, 21, 21)
    point[0, 10, 10] = 1
    kernel = blurred(point)[0, 5:16, 5:16]
    assert kernel[5, 5].item() == pytest.approx(0.00883, abs=5e-6)
    corners = kernel[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert_close(corners, torch.full((4,), 0.00774), rtol=0, atol=5e-6)
    assert_close(blurred(point).sum(dim=(1, 2)), torch.tensor([1.0, 0.0]))  # a channel for itself
    flat = blurred(torch.ones(1, 30, 30))[0]  # beyond the border there are zeros
    assert flat[15, 15].item() == pytest.approx(1)
    assert_close(flat[0, 0], kernel[5:, 5:].sum())


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (0.125, 6 * 0.125),
        (torch.tensor([0.05]).view(1, 1, 1), 0.3),
        (X / 2, 0.4),
        ("mean", 0.8),
        ("blur", blurred(X).sum().item()),
    ],
)
def test_what_takes_the_pixels_place(baseline, expected):
    deleted = deletion(total, X, S, baseline=baseline)
    assert deleted.score[0].item() == pytest.approx(0.8)
    assert deleted.score[-1].item() == pytest.approx(expected)
    inserted = insertion(total, X, S, baseline=baseline)
    assert inserted.score[[0, -1]].tolist() == pytest.approx([expected, 0.8])


def test_the_mean_colour_is_each_channels_own():
    image = torch.stack([torch.zeros(2, 3), X[0], torch.ones(2, 3)])
    gone = perturbed(image, S, 1.0, baseline="mean")
    assert_close(gone, torch.tensor([0.0, 0.8 / 6, 1.0])[:, None, None].expand(3, 2, 3))


# Laws


def authors_curve(network, image, relevance, step, mode):
    """The authors' loop, one picture at a time, their sort made stable."""
    C, H, W = image.shape
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = torch.zeros(C, C, 11, 11)
    kernel[range(C), range(C)] = torch.from_numpy(gaussian_filter(point, 5)).float()
    if mode == "deletion":
        start, finish = image.clone(), torch.zeros_like(image)
    else:
        start, finish = nn.functional.conv2d(image[None], kernel, padding=5)[0], image
    target = network(image[None]).softmax(1).argmax().item()
    order = np.flip(np.argsort(relevance.numpy().ravel(), kind="stable")).copy()
    n_steps = (H * W + step - 1) // step
    scores = np.empty(n_steps + 1)
    for s in range(n_steps + 1):
        scores[s] = network(start[None]).softmax(1)[0, target].item()
        for pixel in order[step * s : step * (s + 1)]:
            start[:, pixel // W, pixel % W] = finish[:, pixel // W, pixel % W]
    return scores, (scores.sum() - scores[0] / 2 - scores[-1] / 2) / n_steps


@pytest.mark.parametrize("step", [None, 1, 7, 64, 1000])
@pytest.mark.parametrize("coarse", [False, True])
def test_the_authors_loop_agrees(small_network, image, relevance, step, coarse):
    if coarse:
        relevance = relevance.round()  # full of ties
    for metric in (deletion, insertion):
        with torch.no_grad():
            expected, auc = authors_curve(
                small_network.eval(), image, relevance, step or 16, metric.__name__
            )
        curve = metric(small_network.train(), image, relevance, step=step)
        assert np.ptp(expected) > 0.01
        assert_close(curve.score.double(), torch.from_numpy(expected), rtol=0, atol=1e-6)
        assert curve.auc == pytest.approx(auc, abs=1e-6)


def test_insertion_is_deletion_of_the_opposite_backwards(small_network, image, relevance):
    for baseline in (0.0, "blur"):
        settings = {"step": 8, "baseline": baseline}
        inserted = insertion(small_network, image, relevance, 1, **settings)
        deleted = deletion(small_network, image, -relevance, 1, **settings)
        assert_close(inserted.score, deleted.score.flip(0), rtol=0, atol=1e-6)
        assert inserted.auc == pytest.approx(deleted.auc, abs=1e-6)


def test_only_the_order_counts(small_network, image, relevance):
    curve = deletion(small_network, image, relevance, 1)
    for stretched in (relevance.exp(), 1e-30 * relevance, 5 * relevance.double() ** 3 - 2):
        assert torch.equal(deletion(small_network, image, stretched, 1).score, curve.score)
    assert not torch.allclose(deletion(small_network, image, -relevance, 1).score, curve.score)


def test_of_a_sum_no_order_beats_the_pixels_own_parts(image):
    generator = torch.Generator().manual_seed(3)
    w = 0.001 * torch.randn(3, 12, 16, generator=generator)

    def weighted(images):
        score = 0.5 + (images * w).sum(dim=(1, 2, 3))
        return torch.stack([score, 1 - score], dim=1)

    parts, settings = (w * image).sum(dim=0), {"step": 1, "baseline": 0.0}
    falls = deletion(weighted, image, parts, 0, **settings).auc
    rises = insertion(weighted, image, parts, 0, **settings).auc
    for _ in range(20):
        other = torch.randn(12, 16, generator=generator)
        assert deletion(weighted, image, other, 0, **settings).auc > falls
        assert insertion(weighted, image, other, 0, **settings).auc < rises


@pytest.mark.parametrize("ties", ["last-first", "stable", "random"])
def test_a_point_of_the_curve_is_the_score_of_its_picture(small_network, image, relevance, ties):
    def score(picture):
        with torch.no_grad():
            return small_network.eval()(picture[None]).softmax(1)[0, 1]

    chosen = {"ties": ties, "seed": 4}
    relevance = relevance.round()
    deleted = deletion(small_network, image, relevance, 1, step=7, baseline="mean", **chosen)
    inserted = insertion(small_network, image, relevance, 1, step=7, **chosen)
    for s in (0, 1, 13, 27, 28):
        share = deleted.fraction[s]
        gone = perturbed(image, relevance, share, baseline="mean", **chosen)
        assert_close(score(gone), deleted.score[s], rtol=0, atol=1e-6)
        there = perturbed(blurred(image), relevance, share.item(), baseline=image, **chosen)
        assert_close(score(there), inserted.score[s], rtol=0, atol=1e-6)


def test_a_picture_on_the_way_worked_by_hand():
    half = perturbed(X.clone().requires_grad_(), S, 0.5, baseline=9.0)
    assert_close(half, torch.tensor([[[9.0, 0.1, 9.0], [0.2, 9.0, 0.1]]]))
    assert not half.requires_grad


def test_logits_on_request(small_network, image, relevance):
    curve = deletion(small_network, image, relevance, 2, score="logit", baseline="mean", step=64)
    with torch.no_grad():
        for share, score in zip(curve.fraction, curve.score, strict=True):
            gone = perturbed(image, relevance, share, baseline="mean")
            logit = small_network.eval()(gone[None])[0, 2]
            assert_close(score, logit, rtol=0, atol=1e-5)
        likeliest = small_network(image[None]).argmax().item()
    chosen, default = (
        insertion(small_network, image, relevance, target, score="logit")
        for target in (likeliest, None)
    )
    assert torch.equal(chosen.score, default.score)


class WorksInPlace(nn.Module):
    """Doubles the images themselves."""

    def forward(self, x):
        return x.mul_(2).mean(dim=(2, 3))


@pytest.mark.parametrize("model", [WorksInPlace(), lambda x: x.mul_(2).mean((2, 3)).softmax(1)])
def test_a_model_that_works_in_place_sees_every_picture_as_it_is(model, image, relevance):
    curve = deletion(model, image, relevance, 2, baseline="mean", batch_size=3)
    for share, score in zip(curve.fraction, curve.score, strict=True):
        gone = perturbed(image, relevance, share, baseline="mean")
        assert_close(score, (2 * gone).mean((1, 2)).softmax(0)[2], rtol=0, atol=1e-6)


def test_batches_do_not_change_the_curve(small_network, image, relevance):
    for metric in (deletion, insertion):
        one, many = (
            metric(small_network, image, relevance, step=2, batch_size=size) for size in (1, 64)
        )
        assert_close(one.score, many.score, rtol=0, atol=1e-6)
        assert one.auc == pytest.approx(many.auc, abs=1e-6)


def test_no_pass_is_wasted(small_network, image, relevance):
    seen = []
    small_network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    deletion(small_network, image, relevance, 1, batch_size=5)
    assert seen == [5, 5, 3]  # 12 rows, and the image itself
    seen.clear()
    insertion(small_network, image, relevance, batch_size=5)
    assert seen == [1, 5, 5, 3]  # one more finds the class


# Peers


@pytest.mark.parametrize(("n_steps", "baseline"), [(12, 0.0), (7, 0.0), (20, "blur")])
def test_torchcam_agrees(small_network, image, n_steps, baseline):
    needs_module("torchcam", "conformance")
    from torchcam.methods import GradCAM
    from torchcam.metrics import DeletionInsertionMetric

    network, softmax = small_network.eval(), partial(torch.softmax, dim=-1)
    with GradCAM(network, network[4], input_shape=(3, 12, 16)) as extractor:
        cams = extractor(1, softmax(network(image[None])))
        small = extractor.fuse_cams(cams)[None]
        cam = nn.functional.interpolate(small, (12, 16), mode="bilinear")[0, 0].detach()
        metric = DeletionInsertionMetric(
            extractor,
            softmax,
            steps=n_steps,
            baseline=None if baseline == 0 else lambda images: blurred(images[0])[None],
        )
        metric.update(image[None], 1)
    settings = {"n_steps": n_steps, "baseline": baseline, "ties": "stable", "auc": "fraction"}
    for name, ours in (("deletion_auc", deletion), ("insertion_auc", insertion)):
        curve = ours(network, image, cam, 1, **settings)
        assert curve.auc == pytest.approx(metric.summary()[name], abs=1e-6)
        assert curve.ties < 1


def test_quantus_agrees(small_network, image, relevance):
    quantus = needs_module("quantus", "conformance")
    flipping = quantus.PixelFlipping(  # values, not pixels: three a pixel
        features_in_step=3 * 16,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
    )
    (scores,) = flipping(
        model=small_network.eval(),
        x_batch=image[None].numpy(),
        y_batch=np.array([1]),
        a_batch=relevance[None, None].numpy(),
        softmax=True,
        device="cpu",
    )
    curve = deletion(small_network, image, relevance, 1)
    assert_close(curve.score[1:], torch.tensor(scores), rtol=0, atol=1e-6)  # no first point


# Side effects, kinds, errors


def test_the_network_comes_back_as_it_was(small_network, image, relevance):
    before, x = state_of(small_network), image.clone().requires_grad_()
    S = relevance.clone().requires_grad_()
    for metric in (deletion, insertion):
        curve = metric(small_network, x, S, 1)
        assert not curve.score.requires_grad and x.grad is None and torch.equal(x, image)
        with torch.inference_mode():
            assert torch.equal(metric(small_network, image, relevance, 1).score, curve.score)
        with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
            metric(small_network, image, relevance, 3)
        with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got -1"):
            metric(small_network, image, relevance, -1, score="logit")
        with pytest.raises(ValueError, match="finite logits"):
            metric(nn.Sequential(small_network, ToNan()), image, relevance)
    assert_untouched(small_network, before)


class ToNan(nn.Module):
    def forward(self, logits):
        return logits * torch.nan


def test_a_function_gets_images_that_it_can_view():
    def first_value(images):
        value = images.view(len(images), -1)[:, 0].sigmoid()
        return torch.stack([value, 1 - value], dim=1)

    assert deletion(first_value, torch.ones(3, 4, 5), torch.rand(4, 5), 0).score[0] > 0.7


def test_a_function_that_writes_into_its_images_does_no_harm():
    def careless(images):
        rows = total(images)
        images.zero_()
        return rows

    x = X.clone()
    assert_close(deletion(careless, x, S).score, torch.tensor([0.8, 0.4, 0.0]))
    assert torch.equal(x, X)


@pytest.mark.parametrize("rows", [lambda n: [[0.5, 0.5]], lambda n: [0.5] * n])
def test_a_functions_wrong_rows_are_refused(rows):
    with pytest.raises(ValueError, match=r"one row of class probabilities for each image, \[N, K"):
        deletion(lambda images: rows(len(images)), X, S, 0)


def test_double_precision_and_half_give_float32(small_network, image, relevance):
    single = insertion(small_network, image, relevance, 1)
    for kind, close in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        curve = insertion(small_network.to(kind), image.to(kind), relevance, 1)
        assert curve.score.dtype == curve.fraction.dtype == torch.float32
        assert_close(curve.score, single.score, rtol=0, atol=close)


@pytest.mark.parametrize("metric", [deletion, insertion])
@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"step": 0}, ValueError, "step must be at least 1, got 0"),
        ({"step": 1.5}, TypeError, "step must be a whole number, got 1.5"),
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
        ({"step": 2, "n_steps": 3}, ValueError, "step or n_steps, got both, 2 and 3; leave one"),
        ({"score": "odds"}, ValueError, "score must be one of probability, logit, got 'odds'"),
        ({"score": "logit"}, ValueError, "score must be 'probability' for a function.*itself"),
        ({"auc": "sum"}, ValueError, "auc must be one of official, fraction, got 'sum'"),
        ({"ties": "any"}, ValueError, "ties must be one of last-first, stable, random, got 'any'"),
        ({"baseline": "grey"}, ValueError, "baseline must be one of blur, mean, got 'grey'"),
        ({"baseline": None}, TypeError, "baseline must be a number, a tensor, .* got NoneType; 0"),
        ({"baseline": float("nan")}, ValueError, "baseline must be finite, got NaN"),
        (
            {"baseline": torch.zeros(3)},
            ValueError,
            r"a colour \[3, 1, 1\] or an image \[3, 12, 16\], got \[3\]; .* makes a colour fit",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_it_refuses_a_setting(image, relevance, metric, settings, kind, text):
    with pytest.raises(kind, match=text):
        metric(total, image, relevance, 0, **settings)


@pytest.mark.parametrize(
    ("relevance", "kind", "text"),
    [
        (np.zeros((12, 16)), TypeError, "relevance must be a torch.Tensor .* got ndarray; torch"),
        (torch.zeros(3, 12, 16), ValueError, r"height and width, \[12, 16\], got \[3, 12, 16\];"),
        (torch.zeros(6, 8), ValueError, r"got \[6, 8\]; sum over the channels, .*hooks.upsample"),
        (torch.full((12, 16), torch.nan), ValueError, "relevance must be finite, got NaN or inf"),
    ],
)
def test_it_refuses_a_map(image, relevance, kind, text):
    for metric in (deletion, insertion):
        with pytest.raises(kind, match=text):
            metric(total, image, relevance, 0)
    with pytest.raises(kind, match=text):
        perturbed(image, relevance, 0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), 20])
def test_only_a_share_can_be_replaced(image, relevance, fraction):
    with pytest.raises(ValueError, match="fraction must be a share .* from 0 to 1, got .*numel"):
        perturbed(image, relevance, fraction)


def test_it_refuses_what_is_no_image(image, relevance):
    for ask in (
        partial(deletion, total, image[None], relevance),
        partial(insertion, total, image[None], relevance),
        partial(perturbed, image[None], relevance, 0.5),
        partial(blurred, image[None]),
    ):
        with pytest.raises(ValueError, match=r"pass one image.*images\[0\]"):
            ask()


def test_the_bar_is_shown_only_when_asked_for(small_network, image, relevance, capsys):
    deletion(small_network, image, relevance)
    assert capsys.readouterr() == ("", "")
    deletion(small_network, image, relevance, progress=True)
    assert "13/13" in capsys.readouterr().err


MEASURE = """
import resource, torch
from labkit.metrics.faithfulness import deletion
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image, relevance = torch.ones(3, 224, 224), torch.rand(224, 224)
f = lambda images: images.mean(dim=(2, 3)).softmax(dim=1)
deletion(f, image, relevance, 0, n_steps=20)
few = peak()
deletion(f, image, relevance, 0, n_steps=400)
print(peak() / few)
"""


def test_memory_does_not_grow_with_the_number_of_steps():
    needs("Unix, which counts a process' memory", there=os.name == "posix")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 1.1
