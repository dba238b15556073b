"""LIME, worked out by hand, against a ridge regression in NumPy and against the package."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import assert_untouched, state_of
from torch import nn
from torch.testing import assert_close

from labkit.explain.lime import lime, lime_samples, segment

LEFT_RIGHT = torch.tensor([[0, 0, 1, 1]]).expand(2, 4)
QUARTERS = torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]])


def total(images):
    """Two probabilities, no torch module: a tenth of the first channel's sum, and the rest."""
    value = images[:, 0].sum(dim=(1, 2)) / 10
    return torch.stack([value, 1 - value], dim=1)


def test_two_samples_worked_by_hand():
    # Seed 5 hides the right half in the second sample. Its cosine distance is 1 - sqrt(1/2), its
    # weight pi = exp(-D^2 / kw^2) ^ (1/2), and y falls from 0.8 to 0.4 with hide=0. Of the right
    # half, weighted variance and covariance with y are v = pi / (1 + pi) and 0.4 v: the ridge
    # w = 0.4 v / (v + 1). The left half never changes: 0.
    x = torch.ones(1, 2, 4)
    settings = {"n_samples": 2, "segments": LEFT_RIGHT, "hide": 0, "seed": 5}
    Z, f, D = lime_samples(total, x, 0, **settings)
    assert Z.tolist() == [[1, 1], [1, 0]]
    assert np.allclose(f, [0.8, 0.4], atol=1e-7)
    assert np.allclose(D, [0, 1 - math.sqrt(0.5)], atol=1e-12)
    for kernel_width in (0.25, 0.5):
        pi = math.sqrt(math.exp(-((1 - math.sqrt(0.5)) ** 2) / kernel_width**2))
        w = 0.4 * pi / (1 + 2 * pi)
        row = torch.tensor([0.0, 0.0, w, w])
        L = lime(total, x, 0, kernel_width=kernel_width, **settings)
        assert_close(L, row.expand(2, 4))
        # what speaks for one class speaks against the other
        assert_close(lime(total, x, 1, kernel_width=kernel_width, **settings), -row.expand(2, 4))


def test_an_additive_score_is_shared_out_exactly():
    # The quarters add 1, 2, 3, 0 tenths; with many samples the ridge gives way
    x = torch.tensor([[[0.5, 0.5, 1, 1], [1.5, 1.5, 0, 0]]])
    L = lime(total, x, 0, segments=QUARTERS, hide=0, n_samples=20_000, batch_size=2000)
    assert_close(L, torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.3, 0.3, 0, 0]]), rtol=0, atol=1e-3)
    # with 1 for what is hidden, it is the distance to 1 that counts
    L = lime(total, x, 0, segments=QUARTERS, hide=1.0, n_samples=20_000, batch_size=2000)
    assert_close(L, torch.tensor([[-0.1, -0.1, 0, 0], [0.1, 0.1, -0.2, -0.2]]), rtol=0, atol=1e-3)


def test_hidden_superpixels_show_their_mean_colour():
    x = torch.tensor([[[0.1, 0.3, 0.5, 0], [0.3, 0.5, 0.4, 0.1]], [[0, 0, 8, 8], [4, 4, 0, 0]]])
    seen = []
    lime(
        lambda images: seen.append(images.clone()) or total(images),
        x,
        0,
        segments=LEFT_RIGHT,
        n_samples=2,
        seed=5,  # hides the right half
    )
    images = torch.cat(seen)
    assert torch.equal(images[0], x)
    expected = x.clone()
    expected[0, :, 2:], expected[1, :, 2:] = 0.25, 4.0
    assert_close(images[1], expected)


def ridge(Z, f, distances, kernel_width=0.25, alpha=1.0):
    """Weighted ridge regression with an intercept, in closed form."""
    pi = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
    Zc = Z - pi @ Z / pi.sum()
    fc = f - pi @ f / pi.sum()
    return np.linalg.solve(Zc.T @ (pi[:, None] * Zc) + alpha * np.eye(Z.shape[1]), Zc.T @ (pi * fc))


@pytest.mark.parametrize("hide", [None, 0.0, 0.7])
@pytest.mark.parametrize("kernel_width", [0.25, 1.0])
def test_the_closed_form_and_the_package_agree(small_network, image, hide, kernel_width):
    from lime.lime_image import LimeImageExplainer

    network, x = small_network.double().eval(), image.double()
    segments = segment(x, "grid", n_segments=12)

    def classify(pictures):
        with torch.no_grad():
            return network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).softmax(1).numpy()

    explanation = LimeImageExplainer(kernel_width=kernel_width, random_state=4).explain_instance(
        x.permute(1, 2, 0).numpy(),
        classify,
        labels=(2,),
        top_labels=None,
        hide_color=hide,
        num_samples=100,
        segmentation_fn=lambda _: segments.numpy(),
    )
    package = np.zeros(12)
    for superpixel, coefficient in explanation.local_exp[2]:
        package[superpixel] = coefficient
    settings = {"segments": segments, "n_samples": 100, "hide": hide, "seed": 4}
    w = ridge(*lime_samples(small_network, x, 2, **settings), kernel_width)
    assert np.abs(w).max() > 1e-3
    assert np.abs(w - package).max() < 1e-9
    L = lime(small_network, x, 2, kernel_width=kernel_width, **settings)
    assert_close(L, torch.from_numpy(package).float()[segments], rtol=0, atol=1e-7)


def test_the_packages_own_segmentation_is_the_default(small_network, image):
    from lime.lime_image import LimeImageExplainer

    x = torch.nn.functional.interpolate(image[None], size=(64, 80), mode="bilinear")[0].double()
    colours = ((x - x.min()) / (x.max() - x.min())).permute(1, 2, 0).numpy()
    explanation = LimeImageExplainer(random_state=0).explain_instance(
        colours, lambda pictures: np.ones((len(pictures), 1)), labels=(0,), top_labels=None,
        num_samples=2,
    )  # fmt: skip
    segments = segment(x)
    assert segments.max() > 0
    assert torch.equal(segments, torch.from_numpy(explanation.segments))
    expected = lime(small_network.double(), x, 1, segments=segments, n_samples=20)
    assert torch.equal(lime(small_network, x, 1, n_samples=20), expected)


def test_numbers_of_superpixels_may_start_anywhere_and_have_gaps(small_network, image):
    segments = segment(image, "grid", n_segments=6)
    expected = lime(small_network, image, 1, segments=segments, n_samples=30)
    named = (10 + 3 * segments).numpy()
    for same in (segments.int(), segments.numpy(), named, named.astype(np.uint8), -5 + segments):
        assert torch.equal(lime(small_network, image, 1, segments=same, n_samples=30), expected)
    halves = segments > 2
    L = lime(small_network, image, 1, segments=halves, n_samples=30)
    assert len(L.unique()) == 2
    flipped = np.flip(named, axis=1)
    assert len(lime(small_network, image, 1, segments=flipped, n_samples=30).unique()) == 6


def test_every_superpixel_has_one_value_and_the_last_one_counts(small_network, image):
    segments = segment(image, "grid", n_segments=12)
    L = lime(small_network, image, 1, segments=segments, n_samples=100)
    values = [L[segments == s].unique() for s in range(12)]
    assert all(len(value) == 1 for value in values)
    assert all(value != 0 for value in values)


def test_grey_images_are_repeated_for_the_segmentation_only(image):
    grey = image[:1]
    assert torch.equal(segment(grey, "slic"), segment(grey.expand(3, -1, -1), "slic"))
    seen = []
    lime(
        lambda images: seen.append(images.shape[1]) or total(images),
        grey,
        0,
        n_samples=9,
        segments=segment(grey, "slic"),
    )
    assert set(seen) == {1}


@pytest.mark.parametrize("n_segments", [2, 6, 12, 50, 192])
def test_a_grid_cuts_rectangles_alike(image, n_segments):
    segments = segment(image, "grid", n_segments=n_segments)
    counts = segments.flatten().bincount()
    assert abs(len(counts) - n_segments) <= 0.15 * n_segments
    assert counts.min() > 0 and counts.max() <= 2.1 * counts.min()


def test_segmentations_number_from_zero_without_gaps(image):
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(3, 6, 5, generator=generator)
    x = steps.repeat_interleave(8, 1).repeat_interleave(8, 2)  # blocks of 8 x 8, one colour each
    for method in ("quickshift", "slic", "grid"):
        segments = segment(x, method, n_segments=30)
        assert segments.dtype == torch.int64 and segments.shape == (48, 40)
        assert segments.unique().tolist() == list(range(int(segments.max()) + 1))
        assert (2 if method == "quickshift" else 10) <= segments.max() + 1 <= 60
    assert len(segment(x, "slic", n_segments=8).unique()) < len(segment(x, "slic").unique())
    # only the colours count, not their scale
    assert torch.equal(segment(5 * x - 3, "slic"), segment(x, "slic"))
    assert torch.equal(segment(5 * x - 3), segment(x))


def test_batches_do_not_change_the_map(small_network, image):
    segments = segment(image, "grid")
    one, many = (
        lime(small_network, image, 1, segments=segments, n_samples=90, batch_size=size)
        for size in (1, 64)
    )
    assert_close(one, many, rtol=0, atol=1e-6)


def test_the_seed_fixes_the_samples_and_leaves_the_global_ones_alone(small_network, image):
    explain = partial(lime, small_network, image, 1, n_samples=9, segments=segment(image, "grid"))
    torchs, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (explain(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), torchs)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002


def test_the_network_comes_back_as_it_was(small_network, image):
    before, x = state_of(small_network), image.clone().requires_grad_()
    explain = partial(lime, n_samples=9, segments=segment(image, "grid"))
    L = explain(small_network, x, 1)
    assert L.shape == (12, 16) and L.dtype == torch.float32 and not L.requires_grad
    assert torch.equal(x, image) and x.grad is None
    with torch.inference_mode():
        assert torch.equal(explain(small_network, image, 1), L)
    assert_close(explain(small_network.double(), image.double(), 1), L, rtol=0, atol=1e-6)
    small_network.float()
    with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
        explain(small_network, image, 3)
    with pytest.raises(ValueError, match="finite logits"):
        explain(nn.Sequential(small_network, ToNan()), image, 1)
    assert_untouched(small_network, before)


class ToNan(nn.Module):
    def forward(self, logits):
        return logits * torch.nan


BAD = [
    ({"segments": torch.zeros(12, 16)}, TypeError, "segments must hold whole numbers, got float32"),
    (
        {"segments": torch.zeros(16, 12, dtype=torch.int64)},
        ValueError,
        r"segments must have the image's shape \[H, W\], \[12, 16\], got \[16, 12\]",
    ),
    (
        {"segments": np.full((12, 16), 3)},
        ValueError,
        r"segments must be at least two superpixels, got one; segment\(image, \"grid\"\)",
    ),
    ({"hide": "grey"}, ValueError, "hide must be None or a finite number, got 'grey'"),
    ({"hide": float("nan")}, ValueError, "hide must be None or a finite number, got nan"),
    ({"n_samples": 1}, ValueError, "n_samples must be at least 2, got 1"),
    ({"n_samples": 9.5}, TypeError, "n_samples must be a whole number, got 9.5"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
]


@pytest.mark.parametrize("explain", [lime, lime_samples])
@pytest.mark.parametrize(("settings", "kind", "text"), BAD)
def test_it_refuses(small_network, image, explain, settings, kind, text):
    with pytest.raises(kind, match=text):
        explain(small_network, image, 1, **{"segments": segment(image, "grid")} | settings)


@pytest.mark.parametrize("kernel_width", [0, -0.25, float("inf"), float("nan")])
def test_it_refuses_a_kernel_without_width(small_network, image, kernel_width):
    with pytest.raises(ValueError, match="kernel_width must be a positive number, got"):
        lime(small_network, image, 1, kernel_width=kernel_width)


def test_it_refuses_what_is_no_image(small_network, image):
    for explain in (partial(lime, small_network, target=1), segment):
        with pytest.raises(ValueError, match=r"pass one image.*images\[0\]"):
            explain(image=image[None])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"method": "voronoi"}, "method must be one of quickshift, slic, grid, got 'voronoi'"),
        ({"n_segments": 1}, "n_segments must be at least 2, got 1"),
    ],
)
def test_segmentation_refuses(image, settings, text):
    with pytest.raises(ValueError, match=text):
        segment(image, **settings)


def test_what_has_no_colours_is_cut_by_a_grid_only():
    x = torch.randn(5, 12, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"image must have 3 channels, or 1, .*got 5; pass segm"):
        lime(total, x, 0)
    assert lime(total, x, 0, segments=segment(x, "grid"), n_samples=9).shape == (12, 16)


@pytest.mark.parametrize("x", [torch.zeros(3, 12, 16), torch.ones(1, 12, 16)])
def test_an_image_of_one_colour_is_refused_or_cut_by_a_grid(x):
    if segment(x, "quickshift").max() == 0:
        with pytest.raises(ValueError, match="at least two superpixels, got one"):
            lime(total, x, 0)
    faint = lambda images: total(images / 100)  # noqa: E731
    assert lime(faint, x, 0, segments=segment(x, "grid"), n_samples=9).shape == (12, 16)


def test_nothing_is_printed_and_the_bar_is_shown_only_when_asked_for(small_network, image, capsys):
    explain = partial(lime, small_network, image, 1, n_samples=9, segments=segment(image, "grid"))
    explain()
    assert capsys.readouterr() == ("", "")
    explain(progress=True)
    assert "9/9" in capsys.readouterr().err
