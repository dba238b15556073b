"""How a picture becomes an image, how a map comes back, and what a Classifier checks."""

import numpy as np
import pytest
import torch
from cases import case
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torchvision import transforms

from labkit import figures
from labkit.classifier import Classifier, Picture, Prediction, Preprocessing
from labkit.models import Classifier as from_models

BY_NAME = {
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "bicubic": transforms.InterpolationMode.BICUBIC,
}
SIZES = [(300, 451), (451, 300), (97, 640), (60, 61), (256, 256), (1, 1)]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def network(n_logits, n_channels=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(n_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, n_logits)).eval()


def classifier(n_logits=5, n_names=None, n_channels=3, **how):
    how = {"resize": 64, "crop": 48, **how}
    return Classifier(
        network(n_logits, n_channels),
        name="mine",
        classes=[f"class {i}" for i in range(n_names or n_logits)],
        description="-",
        preprocessing=Preprocessing(**how),
    ).eval()


def test_models_still_has_them():
    assert from_models is Classifier
    from labkit import models

    assert (models.Picture, models.Prediction) == (Picture, Prediction)


# From a picture to its image


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("interpolation", BY_NAME)
@pytest.mark.parametrize("n_channels", [3, 1])
def test_preparing_equals_torchvision_to_the_last_bit(fit, interpolation, n_channels):
    mean, std = (0.5, 0.4, 0.3)[:n_channels], (0.2, 0.3, 0.4)[:n_channels]
    size = 64 if fit == "crop" else (48, 48)
    steps = [transforms.Resize(size, BY_NAME[interpolation]), transforms.CenterCrop(48)]
    grey = [transforms.Grayscale()] if n_channels == 1 else []
    last = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    torchvisions = transforms.Compose([*grey, *steps, *last])
    model = classifier(
        n_channels=n_channels, mean=mean, std=std, interpolation=interpolation, fit=fit
    )
    for size in SIZES:
        picture = noise(*size)
        with case(size):
            image = model.prepare(picture)
            assert torch.equal(image, torchvisions(Image.fromarray(picture)))
            assert torch.equal(model.prepare_all([picture, picture])[1], image)
            assert model.picture(image).shape == (48, 48, 3)


def test_a_grey_picture_comes_back_grey():
    model = classifier(n_channels=1, mean=(0.5,), std=(0.25,), resize=48)
    picture = np.repeat(noise(48, 48)[..., :1], 3, axis=-1)
    image = model.prepare(picture)
    assert image.shape == (1, 48, 48)
    assert np.array_equal(model.picture(image), picture)
    assert len(model.predict(image)) == 5
    # .299 * 200 + .587 * 100 + .114 * 0 = 118.5; (118 / 255 - .5) / .25
    image = model.prepare(np.full((9, 9, 3), (200, 100, 0), dtype=np.uint8))
    assert_close(image, torch.full((1, 48, 48), (118 / 255 - 0.5) / 0.25), atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_image_has_the_networks_precision(dtype):
    model = classifier().to(dtype)
    image = model.prepare(noise(60, 70))
    assert image.dtype == model.dtype == dtype
    assert_close(model.prepare_all([noise(60, 70)])[0], image)
    assert model.predict(image, k=1)[0][1] <= 1
    assert model.picture(image).dtype == np.uint8


def test_a_network_without_weights_is_on_the_cpu_in_float32():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Classifier(network, name="mean", classes=list("rgb"), description="-").eval()
    assert model.prepare(noise(9, 9)).dtype == torch.float32
    assert len(model.predict(torch.zeros(3, 8, 8))) == 3


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"fit": "pad"}, ValueError, "fit must be one of crop, stretch, got 'pad'"),
        ({"interpolation": "cubic"}, ValueError, "bilinear, bicubic, got 'cubic'; did you mean 'b"),
        ({"mean": (0.5, 0.5)}, ValueError, "mean must be three numbers, .* or one, for grey, got"),
        ({"mean": 0.5}, ValueError, "mean must be three numbers"),
        ({"std": (1, 1, 0)}, ValueError, "std must .* each above 0"),
        ({"mean": (0.5,)}, ValueError, "one number per channel each, got 1 and 3; give three"),
        ({"crop": 65}, ValueError, "crop must be at most resize, got 65 and 64; resize=65"),
        ({"crop": 0}, ValueError, "crop must be at least 1, got 0"),
        ({"resize": 2.5}, TypeError, "resize must be a whole number, got 2.5"),
    ],
)
def test_a_preparation_that_cannot_be_is_refused(how, error, words):
    with pytest.raises(error, match=words):
        classifier(**how)


def test_lists_become_tuples_so_that_equal_is_equal():
    how = {"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}
    assert Preprocessing(**{key: list(value) for key, value in how.items()}) == Preprocessing(**how)


# What goes along with the picture


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(101, 151), (151, 101), (37, 40)])
def test_masks_maps_and_points_go_where_the_picture_goes(fit, size):
    model = classifier(fit=fit, interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3)
    H, W = size
    spot = (slice(H // 3, 2 * H // 3), slice(W // 2, 3 * W // 4))
    picture = np.zeros((*size, 3), np.uint8)
    picture[spot] = 255
    image, mask = model.prepare(picture)[0], model.prepare_mask(picture[..., 0] > 0)
    density = model.prepare_map(torch.from_numpy(picture[..., 0] / 255.0))
    assert mask.shape == density.shape == image.shape
    assert (mask != (image > 0.5)).sum() <= 2  # bilinear and bicubic round apart
    assert density.min() >= 0 and (density - image).abs().max() < 0.15
    middle = torch.tensor([[(W // 2 + 3 * W // 4) / 2, (H // 3 + 2 * H // 3) / 2]])
    ((x, y),) = model.prepare_points(middle, size).tolist()
    rows, columns = torch.nonzero(density > 0.5).double().add(0.5).mean(dim=0).tolist()
    assert (x, y) == (pytest.approx(columns, abs=0.6), pytest.approx(rows, abs=0.6))


# A map back on the whole picture


def test_a_map_on_a_whole_picture_worked_by_hand():
    # 4 x 8 pixels, shorter side kept, the middle 4 columns seen: columns 2 to 5
    model = classifier(resize=4, crop=4)
    relevance = torch.arange(16.0).reshape(4, 4)
    whole = model.on_whole(relevance, noise(4, 8))
    assert np.array_equal(whole.picture, noise(4, 8))
    assert whole.crop == (2, 0, 4, 4)
    assert_close(whole.relevance[:, 2:6], relevance)
    assert whole.relevance[:, [0, 1, 6, 7]].isnan().all()
    # Twice as large: each second pixel is a quarter of the way to a neighbour
    larger = model.on_whole(relevance, noise(8, 16))
    assert larger.crop == (4, 0, 8, 8)
    assert_close(larger.relevance[0, 4:8], torch.tensor([0.0, 0.25, 0.75, 1.25]))
    # Squeezed to half its width, a picture gets each column twice
    stretched = classifier(crop=4, fit="stretch").on_whole(relevance, noise(4, 8))
    assert stretched.crop == (0, 0, 8, 4)
    assert_close(stretched.relevance[0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(101, 151), (151, 101), (63, 64), (37, 90)])
def test_the_way_back_undoes_the_way_there(fit, size):
    model, (H, W) = classifier(fit=fit), size
    columns = torch.arange(W).double().expand(H, W) / W
    rows = torch.arange(H).double()[:, None].expand(H, W) / H
    for smooth in (columns, rows):  # straight slopes: interpolation loses nothing but at borders
        back = model.on_whole(model.prepare_map(smooth), noise(*size)).relevance
        assert back.shape == size
        seen = ~back.isnan()
        assert_close(back[seen], smooth[seen].float(), atol=0.02, rtol=0)
    left, top, width, height = model.on_whole(torch.zeros(48, 48), noise(*size)).crop
    corners = torch.tensor([[left, top], [left + width, top + height]])
    expected = torch.tensor([[0.0, 0.0], [48.0, 48.0]], dtype=torch.float64)
    assert_close(model.prepare_points(corners, size), expected, atol=1e-4, rtol=0)
    inside = (back.isnan().logical_not().sum() / (width * height)).item()
    assert inside == pytest.approx(1, abs=0.03)


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\[48, 48\], got \[3, 48\]; explain model.prepare\(pic"):
        classifier().on_whole(torch.zeros(3, 48), noise(60, 60))


def test_the_whole_picture_is_drawn_with_the_crop_outlined():
    whole = classifier().on_whole(torch.rand(48, 48), noise(64, 128))
    drawn = figures.whole(*whole, alt="A map in the middle.", title="gradcam")
    (panel,) = drawn.panels
    pixels = np.asarray(panel.picture)
    assert pixels.shape == (7 * 64, 7 * 128, 3)  # enlarged by a whole number
    left, top, right, bottom = (7 * side for side in (40, 8, 40 + 48, 8 + 48))
    framed = (pixels == 255).all(axis=-1)  # the white line just inside of the crop
    assert framed[top, left:right].all() and framed[bottom - 1, left:right].all()
    assert framed[top:bottom, left].all() and framed[top:bottom, right - 1].all()
    # outside of the crop: the grey picture alone
    assert_close(
        pixels[0, 0] / 255, np.full(3, noise(64, 128)[0, 0].mean() / 255), atol=0.003, rtol=0
    )


# Names


@pytest.mark.parametrize("n_names", [3, 9])
def test_too_few_or_too_many_names_are_one_clear_error(n_names):
    model = classifier(n_names=n_names)
    words = f"classes must be 5 names for a network with 5 logits, got {n_names}; pass them all"
    with pytest.raises(ValueError, match=words):
        model.predict(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=words):
        model(torch.zeros(1, 3, 8, 8))
    assert model.train()(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_one_logit_may_have_two_names():
    assert classifier(1, 2)(torch.zeros(1, 3, 8, 8)).shape == (1, 1)
    with pytest.raises(ValueError, match="2 names for a network with 1 logit, got 3"):
        classifier(1, 3)(torch.zeros(1, 3, 8, 8))
