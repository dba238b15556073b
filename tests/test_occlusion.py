"""Occlusion, worked out by hand, against whole forward passes and against captum."""

import math
import sys

import numpy as np
import pytest
import torch
from conftest import assert_untouched, needs_module, state_of
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.engine.incremental import Stage
from labkit.engine.windows import neighbourhoods
from labkit.explain.occlusion import occlusion
from labkit.models import minivgg

module = sys.modules["labkit.engine.questions"]


@pytest.fixture
def on_whole_pictures(monkeypatch):
    """Have the next explanations computed without saving anything."""
    return lambda: monkeypatch.setattr(module, "stages_of", lambda model, image: [])


def odds():
    """Logits (s log 3, 0) of the sum s of all values: f = 3^s / (3^s + 1) and 1 / (3^s + 1)."""
    network = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[3].weight.copy_(torch.tensor([[8 * math.log(3)], [0.0]]))  # of 8 pixels
        network[3].bias.zero_()
    return network


# s = 1, f = 3/4. Columns 0 to 2 or, the last window clipped, 2 to 3 are covered.
#   row 0: s = 1 - 2, d = 3/4 - 1/4 = 1/2;  s = 1 + 2, d = 3/4 - 27/28 = -3/14
#   row 1: s = 1 - 1, d = 3/4 - 1/2 = 1/4;  s = 1 - 0, d = 0
# Column 2 lies in both windows: (1/2 - 3/14) / 2 = 1/7 and (1/4 + 0) / 2 = 1/8
X = torch.tensor([[[1.0, 2.0, -1.0, -1.0], [0.0, 0.0, 1.0, -1.0]]])
ACROSS = torch.tensor([[1 / 2, 1 / 2, 1 / 7, -3 / 14], [1 / 4, 1 / 4, 1 / 8, 0.0]])


def test_a_map_worked_by_hand():
    assert_close(occlusion(odds(), X, 0, patch=(1, 3), stride=(1, 2)), ACROSS)


def test_the_other_of_two_classes_gains_what_the_first_loses():
    assert_close(occlusion(odds(), X, 1, patch=(1, 3), stride=(1, 2)), -ACROSS)


def test_rows_and_columns_change_places_with_the_image():
    d = occlusion(odds(), X.transpose(1, 2), 0, patch=(3, 1), stride=(2, 1))
    assert_close(d, ACROSS.T)


def test_what_covers_is_worked_by_hand():
    # columns 0 and 1: s = 1 - 3 + 4 b; columns 2 and 3: s = 1 + 2 + 4 b.
    # b = 1/2: s = 0, d = 1/4; s = 5, d = 3/4 - 243/244 = -15/61
    d = occlusion(odds(), X, 0, patch=2, stride=2, baseline=0.5)
    assert_close(d, torch.tensor([1 / 4, 1 / 4, -15 / 61, -15 / 61]).expand(2, 4))


def test_without_overlap_a_pixel_gets_the_drop_of_its_window():
    # columns 0 and 1: s = -2, d = 3/4 - 1/10; columns 2 and 3: s = 3, d = -3/14
    d = occlusion(odds(), X, 0, patch=2, stride=2)
    assert_close(d, torch.tensor([13 / 20, 13 / 20, -3 / 14, -3 / 14]).expand(2, 4))


def test_a_window_over_the_whole_image_gives_one_drop():
    # without any value s = 0: d = 3/4 - 1/2
    assert_close(occlusion(odds(), X, 0, patch=(2, 4), stride=1), torch.full((2, 4), 0.25))


def weighted(weight):
    """Two probabilities that sum up the pixels, no network."""

    def f(images):
        scores = 0.5 + (images * weight).sum(dim=(1, 2, 3))
        return torch.stack([scores, 1 - scores], dim=1)

    return f


def test_of_a_sum_each_pixel_gets_its_own_part(image):
    weight = 0.01 * torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(2))
    parts = (weight * image).sum(0)
    assert_close(occlusion(weighted(weight), image, 0, patch=1, stride=1), parts, rtol=0, atol=1e-6)
    d = occlusion(weighted(weight), image, 1, patch=(3, 4), stride=(3, 4))
    windows = parts.view(4, 3, 4, 4).sum(dim=(1, 3))
    expected = -windows.repeat_interleave(3, 0).repeat_interleave(4, 1)
    assert_close(d, expected, rtol=0, atol=1e-6)
    assert_close(d.sum() / 12, -parts.sum(), rtol=0, atol=1e-6)


def window_by_window(network, image, target, patch, stride, cover):
    """The map as one would first write it."""
    network.eval()
    H, W = image.shape[1:]
    total, count = torch.zeros(H, W), torch.zeros(H, W)
    with torch.no_grad():
        f = network(image[None]).softmax(dim=1)[0, target]
        for top in range(0, H - patch[0] + stride[0], stride[0]):
            for left in range(0, W - patch[1] + stride[1], stride[1]):
                window = slice(top, top + patch[0]), slice(left, left + patch[1])
                covered = image.clone()
                covered[:, *window] = cover.expand_as(image)[:, *window]
                total[window] += f - network(covered[None]).softmax(dim=1)[0, target]
                count[window] += 1
    return total / count


WINDOWS = [
    ((4, 4), (2, 2)),
    ((5, 3), (4, 3)),
    ((3, 7), (1, 5)),
    ((12, 2), (1, 2)),
    ((1, 1), (1, 1)),
]


@pytest.mark.parametrize(("patch", "stride"), WINDOWS)
def test_a_plain_loop_over_the_windows_agrees(small_network, image, patch, stride):
    cover = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(3))
    expected = window_by_window(small_network, image, 1, patch, stride, cover)
    d = occlusion(small_network, image, 1, patch=patch, stride=stride, baseline=cover)
    assert d.abs().max() > 0.005
    assert_close(d, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("patch", "stride"), [(8, 4), ((9, 16), (5, 7)), (48, 1)])
def test_nothing_is_approximated(patch, stride, on_whole_pictures):
    network, generator = minivgg(3), torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    image = torch.randn(3, 48, 80, generator=torch.Generator().manual_seed(1))
    settings = {"patch": patch, "stride": stride}
    saving = occlusion(network, image, 1, **settings)
    on_whole_pictures()
    assert saving.abs().max() > 0.01
    assert_close(occlusion(network, image, 1, **settings), saving, rtol=0, atol=1e-6)


class Counted(nn.Module):
    """A network that keeps what it was given."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x):
        self.seen.append(x)
        return self.network(x)


def test_whole_pictures_are_run_only_where_nothing_can_be_saved(
    small_network, image, on_whole_pictures
):
    saving, plain = Counted(small_network), Counted(small_network)
    occlusion(saving, image, 1, patch=3, stride=3, batch_size=4)
    assert len(saving.seen) == 3  # for f(x), to find the stages and to see that they are right
    on_whole_pictures()
    occlusion(plain, image, 1, patch=3, stride=3, batch_size=4)
    assert [len(images) for images in plain.seen] == [1, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("patch", "stride"), [(4, 2), ((5, 3), (4, 3)), (12, 5)])
def test_batches_do_not_change_the_map(small_network, image, patch, stride):
    one, some, many = (
        occlusion(small_network, image, 1, patch=patch, stride=stride, batch_size=size)
        for size in (1, 7, 64)
    )
    assert_close(one, many, rtol=0, atol=1e-6)
    assert_close(some, many, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_batch_has_at_most_the_size_asked_for(image, batch_size):
    sizes, f = [], weighted(torch.full((3, 12, 16), 0.001))
    occlusion(
        lambda images: sizes.append(len(images)) or f(images),
        image,
        0,
        patch=4,
        stride=2,
        batch_size=batch_size,
    )
    assert max(sizes) <= batch_size
    assert sum(sizes) == 1 + 5 * 7  # the image itself, and the windows


def test_windows_run_at_once_have_at_most_the_pixels_of_a_batch(image, monkeypatch):
    # 3 images have the pixels of 12 windows, 1 those of 4, 64 those of more than 64
    counts, f = [], weighted(torch.full((3, 12, 16), 0.001))
    monkeypatch.setattr(
        module, "neighbourhoods", lambda *grid: counts.append(grid[2]) or neighbourhoods(*grid)
    )
    for batch_size in (3, 1, 64):
        occlusion(f, image, 0, patch=(6, 8), stride=2, batch_size=batch_size)
    assert counts == [12, 4, 64]


def test_a_function_of_images_is_explained_too(small_network, image):
    network = small_network.eval()

    def f(images):
        assert images.shape[1:] == image.shape
        return network(images).softmax(dim=1).numpy()

    expected = occlusion(network, image, 2, patch=4, stride=3)
    assert_close(occlusion(f, image, 2, patch=4, stride=3), expected, rtol=0, atol=1e-6)


def test_number_colour_and_image_cover_alike(small_network, image):
    def covered_by(baseline):
        return occlusion(small_network, image, 1, patch=4, stride=3, baseline=baseline)

    colour = torch.tensor([0.3, -1.0, 2.0])[:, None, None]
    assert torch.equal(covered_by(colour), covered_by(colour.expand(3, 12, 16)))
    number = covered_by(0.5)
    for alike in (np.float64(0.5), torch.tensor(0.5), torch.full((3, 1, 1), 0.5)):
        assert torch.equal(covered_by(alike), number)
    assert torch.equal(covered_by(torch.full((3, 12, 16), 0.5, dtype=torch.float64)), number)
    assert torch.equal(covered_by(1), covered_by(1.0))
    assert not torch.allclose(number, covered_by(0.0), atol=1e-3)
    assert not torch.allclose(number, covered_by(colour), atol=1e-3)


def test_covered_with_itself_an_image_loses_nothing(small_network, image):
    d = occlusion(small_network, image, 1, patch=4, stride=3, baseline=image)
    assert_close(d, torch.zeros(12, 16), rtol=0, atol=1e-6)


def test_a_number_means_as_much_down_as_across(small_network, image):
    d = occlusion(small_network, image, 1, patch=4, stride=3)
    assert torch.equal(occlusion(small_network, image, 1, patch=(4, 4), stride=(3, 3)), d)
    assert not torch.allclose(
        occlusion(small_network, image, 1, patch=(4, 5), stride=(3, 3)), d, atol=1e-3
    )


def test_by_default_a_window_has_32_pixels_and_the_next_is_14_away():
    image = torch.randn(1, 33, 47, generator=torch.Generator().manual_seed(1))
    f = weighted(0.001 * torch.randn(1, 33, 47, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(occlusion(f, image, 0), occlusion(f, image, 0, patch=32, stride=14))


def test_double_precision_and_half_give_float32(small_network, image, on_whole_pictures):
    single = occlusion(small_network, image, 1, patch=4, stride=3)
    for kind, close in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        d = occlusion(small_network.to(kind), image.to(kind), 1, patch=4, stride=3)
        assert d.dtype == torch.float32
        assert_close(d, single, rtol=0, atol=close)
    network, x = small_network.double(), image.double()
    saving = occlusion(network, x, 1, patch=4, stride=3)
    on_whole_pictures()
    assert_close(saving, occlusion(network, x, 1, patch=4, stride=3), rtol=0, atol=1e-8)


class Abs(nn.Module):
    def forward(self, x):
        return x.abs_()


@pytest.mark.parametrize(
    ("first", "plain"),
    [
        (nn.ReLU(inplace=True), torch.relu),
        (nn.Hardswish(inplace=True), F.hardswish),
        (Abs(), torch.abs),
    ],
)
def test_a_first_layer_in_place_does_not_spoil_the_image(small_network, image, first, plain):
    before, kept = state_of(small_network), image.clone()
    d = occlusion(nn.Sequential(first, small_network), image, 1, patch=4, stride=3)
    assert torch.equal(image, kept)
    assert_untouched(small_network, before)
    zero = torch.zeros(())  # stays zero in all of these
    expected = window_by_window(small_network, plain(image), 1, (4, 4), (3, 3), zero)
    assert_close(d, expected, rtol=0, atol=1e-6)


def test_a_function_in_place_does_not_spoil_the_image(image):
    kept = image.clone()
    f = weighted(torch.full((3, 12, 16), 0.001))
    expected = occlusion(f, image.relu(), 0, patch=4, stride=3)
    d = occlusion(lambda images: f(images.relu_()), image, 0, patch=4, stride=3)
    assert torch.equal(image, kept)
    assert_close(d, expected, rtol=0, atol=1e-6)


def test_train_and_eval_mode_give_one_map(small_network, image):
    first = occlusion(small_network, image, 1, patch=4, stride=3)
    assert torch.equal(occlusion(small_network.eval(), image, 1, patch=4, stride=3), first)


def test_the_callers_inference_mode_changes_nothing(small_network, image):
    expected = occlusion(small_network, image, 1, patch=4, stride=3)
    with torch.inference_mode():
        assert torch.equal(occlusion(small_network, image, 1, patch=4, stride=3), expected)
        assert torch.equal(occlusion(small_network, image * 1, 1, patch=4, stride=3), expected)


@pytest.mark.parametrize(("side", "stride"), [(8, 8), (8, 4), (9, 5), (16, 16), (10, 7)])
def test_captum_agrees(small_network, side, stride):
    captum = needs_module("captum.attr", "conformance")
    image = torch.randn(3, 24, 35, generator=torch.Generator().manual_seed(1))
    f = nn.Sequential(small_network.eval(), nn.Softmax(dim=1))
    windows = {"sliding_window_shapes": (3, side, side), "strides": (3, stride, stride)}
    (expected,) = captum.Occlusion(f).attribute(image[None], **windows, baselines=0, target=1)
    d = occlusion(small_network, image, 1, patch=side, stride=stride)
    assert d.abs().max() > 0.001
    assert_close(d.expand(3, -1, -1), expected, rtol=0, atol=1e-5)


def test_the_network_and_the_image_come_back_as_they_were(small_network, image):
    small_network[0].bias.requires_grad_(False)
    small_network[4].eval()
    before, names = state_of(small_network), set(vars(small_network))
    x = image.clone().requires_grad_()
    colour = torch.zeros(3, 1, 1, requires_grad=True)
    d = occlusion(small_network, x, 1, patch=4, stride=3, baseline=colour)
    assert d.shape == (12, 16) and d.dtype == torch.float32 and not d.requires_grad
    assert torch.equal(x, image) and x.grad is None and colour.grad is None
    assert set(vars(small_network)) == names
    assert torch.is_grad_enabled()
    assert_untouched(small_network, before)


class FailsLater(nn.Module):
    """A network that fails in one of its later passes."""

    def __init__(self, network, passes):
        super().__init__()
        self.network, self.left = network, passes

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of memory")
        return self.network(x)


def test_the_network_comes_back_as_it_was_when_a_stage_fails(small_network, image, monkeypatch):
    def fail(self, change):
        raise RuntimeError("out of memory")

    before = state_of(small_network)
    monkeypatch.setattr(Stage, "carry", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        occlusion(small_network, image, 1, patch=4, stride=2)
    assert_untouched(small_network, before)


@pytest.mark.parametrize("passes", [0, 1, 2, 5])
def test_the_network_comes_back_as_it_was_when_a_pass_fails(small_network, image, passes):
    before = state_of(small_network)
    network = FailsLater(small_network, passes)
    network.register_forward_hook(lambda *_: None)  # so that whole pictures are run
    with pytest.raises(ValueError, match="stopped .out of memory"):
        occlusion(network, image, 1, patch=4, stride=2)
    assert network.training
    assert_untouched(small_network, before)


def test_the_bar_is_shown_only_when_asked_for(small_network, image, capsys):
    occlusion(small_network, image, 1, patch=4, stride=4)
    assert capsys.readouterr() == ("", "")
    occlusion(small_network, image, 1, patch=4, stride=4, progress=True)
    out, err = capsys.readouterr()
    assert not out and "windows" in err and "12/12" in err


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"patch": 0}, ValueError, "patch must be at least 1, got 0"),
        ({"patch": (4, 0)}, ValueError, "patch must be at least 1, got 0"),
        ({"patch": 2.5}, TypeError, r"patch must be a whole number, got 2.5; int\(...\)"),
        ({"patch": "4"}, TypeError, "patch must be a whole number, got '4'"),
        ({"patch": True}, TypeError, "patch must be a whole number, got True"),
        ({"patch": (3, 4, 4)}, ValueError, r"one number or \(height, width\), got \(3, 4, 4\)"),
        ({"patch": 13}, ValueError, "image of 12 x 16 pixels, got 13 x 13; a seventh"),
        ({"patch": (13, 4)}, ValueError, "image of 12 x 16 pixels, got 13 x 4"),
        ({"patch": (4, 17)}, ValueError, "patch must fit .* 12 x 16 pixels, got 4 x 17"),
        ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"stride": (1, -2)}, ValueError, "stride must be at least 1, got -2"),
        ({"stride": 1.0}, TypeError, "stride must be a whole number, got 1.0"),
        ({"stride": (2,)}, ValueError, r"stride must be one number or \(height, .* got \(2,\)"),
        ({"stride": 5}, ValueError, "at most the patch, 4 x 4, got 5 x 5; with a longer one"),
        ({"stride": (5, 4)}, ValueError, "stride must be at most the patch, 4 x 4, got 5 x 4"),
        ({"stride": (4, 5)}, ValueError, "stride must be at most the patch, 4 x 4, got 4 x 5"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be a whole number, got 1.5"),
        ({"baseline": "grey"}, TypeError, "a number or a tensor, got str; 0.0 is the mean"),
        ({"baseline": None}, TypeError, "baseline must be a number or a tensor, got NoneType"),
        ({"baseline": [0.0, 0.0, 0.0]}, TypeError, "number or a tensor, got list"),
        ({"baseline": math.nan}, ValueError, "baseline must be finite, got NaN or infinity; torch"),
        ({"baseline": torch.tensor([0, torch.inf, 0])[:, None, None]}, ValueError, "finite, got"),
        (
            {"baseline": torch.zeros(3)},
            ValueError,
            r"colour \[3, 1, 1\] or an image \[3, 12, 16\], got \[3\]; color\[:, None, None\]",
        ),
        ({"baseline": torch.zeros(2, 1, 1)}, ValueError, r"baseline must .* got \[2, 1, 1\]"),
        ({"baseline": torch.zeros(1, 3, 12, 16)}, ValueError, r"got \[1, 3, 12, 16\]"),
        ({"target": 3}, IndexError, "target must be a class index from 0 to 2, got 3"),
        ({"target": -1}, IndexError, "target must be a class index from 0 to 2, got -1"),
        ({"target": 1.0}, TypeError, r"target must be a class index \(int\), got float"),
        ({"target": True}, TypeError, r"target must be a class index \(int\), got bool"),
    ],
)
def test_it_refuses_a_setting(small_network, image, settings, kind, text):
    before = state_of(small_network)
    with pytest.raises(kind, match=text):
        occlusion(small_network, image, **{"target": 1, "patch": 4, "stride": 4} | settings)
    assert_untouched(small_network, before)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda x: x[None], ValueError, r"shape \[C, H, W\].*pass one image.*images\[0\]"),
        (lambda x: x[0], ValueError, r"image must have shape \[C, H, W\], got \[12, 16\]"),
        (lambda x: x[:, :0], ValueError, r"image must have shape .* got \[3, 0, 16\]"),
        (lambda x: x.int(), TypeError, "image must hold floating-point numbers, got torch.int32"),
        (lambda x: x.numpy(), TypeError, "image must be a torch.Tensor .* got ndarray"),
        (lambda x: x / 0, ValueError, "image must be finite, got NaN or infinity"),
    ],
)
def test_it_refuses_what_is_no_image(small_network, image, change, kind, text):
    before = state_of(small_network)
    with pytest.raises(kind, match=text):
        occlusion(small_network, change(image), 1, patch=4, stride=4)
    assert_untouched(small_network, before)


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (lambda logits: logits * torch.nan, "model must return finite logits, got NaN"),
        (lambda logits: logits[..., None], r"logits of shape \[N, K\], got \[1, 3, 1\] for 1"),
        (lambda logits: (logits, logits), r"logits of shape \[N, K\], got tuple for 1 image"),
    ],
)
def test_it_refuses_a_network_without_logits(small_network, image, then, text):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = small_network

        def forward(self, x):
            return then(self.network(x))

    before = state_of(small_network)
    with pytest.raises(ValueError, match=text):
        occlusion(Other(), image, 1, patch=4, stride=4)
    assert_untouched(small_network, before)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda images: np.full((len(images), 2), np.nan), "finite probabilities, got NaN"),
        (lambda images: [0.5, 0.5], r"one row of class probabilities .* got \[2\] for 1 image"),
        (lambda images: torch.ones(3, 2), r"one row .* got \[3, 2\] for 1 image"),
    ],
)
def test_it_refuses_a_function_without_probabilities(image, f, text):
    with pytest.raises(ValueError, match=text):
        occlusion(f, image, 1, patch=4, stride=4)


def test_it_refuses_what_cannot_be_called(image):
    with pytest.raises(TypeError, match="model must be a network, or a function .* got str"):
        occlusion("vgg16", image, 1, patch=4, stride=4)
