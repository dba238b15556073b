"""Pictures in a row, and what they share computed once, against the plain forward pass."""

import importlib

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from labkit.engine.film import Film
from labkit.engine.incremental import Recorder
from labkit.metrics import deletion, insertion
from labkit.models import minivgg

film = importlib.import_module("labkit.engine.film")
incremental = importlib.import_module("labkit.engine.incremental")
block = torchvision.models.resnet.BasicBlock


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def chain():
    layers = nn.Conv2d(3, 4, 1), nn.ReLU(True), nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)
    behind = nn.MaxPool2d(3, 2), nn.Conv2d(6, 5, (3, 2), padding=(2, 0), dilation=2), nn.ReLU()
    return nn.Sequential(*layers, *behind, nn.Flatten(), nn.LazyLinear(4))


NETWORKS = {
    "chain": chain,
    "minivgg": lambda: minivgg(4, batch_norm=True),
    "resnet": lambda: torchvision.models.ResNet(block, [1, 2, 1, 1], num_classes=4),
}


def ready(name, size):
    network = NETWORKS[name]().double().eval()
    network(torch.zeros(1, 3, *size, dtype=torch.float64))
    return network


def batches(size, boxes, n=3):
    """Pictures of which each changes some pixels of a box, and where a batch differs from before.

    Yields:
        `[n, 3, H, W]` and the pixels `[m]`; the box `(top, bottom, left, right)` grows within a
        batch.
    """
    picture = torch.randn(3, *size, dtype=torch.float64)
    for top, bottom, left, right in boxes:
        changed, images = torch.zeros(size, dtype=torch.bool), []
        for k in range(n):
            rows = slice(top, top + max(1, (bottom - top) * (k + 1) // n))
            picture = picture.clone()
            picture[:, rows, left:right] = torch.randn(3, *picture[0, rows, left:right].shape)
            changed[rows, left:right] = True
            images.append(picture)
        yield torch.stack(images), changed.flatten().nonzero()[:, 0].flip(0)


@pytest.fixture
def eager(monkeypatch):
    """A film records whenever a recording would have saved anything."""
    monkeypatch.setattr(film, "FIRST_RECORDING", 0)
    monkeypatch.setattr(film, "RECORDING", 0)


@pytest.fixture
def recorded(monkeypatch):
    """The pictures that were recorded."""
    pictures, stages = [], Recorder.stages
    monkeypatch.setattr(Recorder, "stages", lambda *a: pictures.append(a[1]) or stages(*a))
    return pictures


WHOLE = (0, 40, 0, 56)
# Compact, in corners and at borders; one pixel; the whole picture, after which all begins anew; a
# wide one that goes less far into the network than the one before, and the one behind it.
BOXES = [WHOLE, (3, 9, 4, 12), (30, 40, 50, 56), (17, 18, 20, 21), WHOLE]
BOXES += [(0, 4, 0, 7), (2, 28, 3, 40), (36, 40, 0, 3), (10, 12, 10, 50), (5, 6, 5, 6)]


@pytest.mark.parametrize("nearly_all", [0.7, 1.0])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("eager")
def test_every_picture_of_a_film_is_seen_as_by_itself(name, nearly_all, monkeypatch):
    monkeypatch.setattr(incremental, "NEARLY_ALL", nearly_all)
    inside = check_that_every_picture_is_seen_as_by_itself(ready(name, (40, 56)), BOXES)
    assert nearly_all < 1 or inside == [False] + 9 * [True]


@pytest.mark.parametrize("name", NETWORKS)
def test_so_it_is_where_recordings_are_waited_for(name, recorded):
    inside = check_that_every_picture_is_seen_as_by_itself(ready(name, (40, 56)), 2 * BOXES)
    assert sum(inside) > 5
    assert 0 < len(recorded) < 8


def check_that_every_picture_is_seen_as_by_itself(network, boxes):
    shown, inside = Film(network), []
    for (images, changed), box in zip(batches((40, 56), boxes), boxes, strict=True):
        before = images.clone()
        rest, maps = shown.show(images, changed)
        inside.append(rest is not network)
        assert_close(rest(maps), network(before), rtol=0, atol=1e-12)
        assert torch.equal(images, before)
        assert not inside[0]
        assert incremental.NEARLY_ALL == 1 or box != WHOLE or not inside[-1]
    assert any(inside)
    return inside


@pytest.mark.usefixtures("eager")
def test_what_is_recorded_is_what_would_be_recorded_anew(monkeypatch):
    monkeypatch.setattr(incremental, "NEARLY_ALL", 1.0)
    for name in NETWORKS:
        network = ready(name, (40, 56))
        shown = Film(network)
        for images, changed in batches((40, 56), [WHOLE, (3, 9, 4, 12), (30, 40, 50, 56)]):
            shown.show(images, changed)
        fresh = Recorder(network).stages(images[-1])
        assert shown._n_valid == len(shown._stages) == len(fresh)
        for kept, expected in zip(shown._stages, fresh, strict=True):
            assert_close(kept.after.maps, expected.after.maps, rtol=0, atol=1e-12)
            parts = [(kept, expected)]
            if hasattr(kept, "branches"):
                assert_close(kept.before, expected.before, rtol=0, atol=1e-12)
                pairs = zip(kept.branches, expected.branches, strict=True)
                parts = [pair for one, two in pairs for pair in zip(one, two, strict=True)]
            for one, two in parts:
                assert_close(one.padded, two.padded, rtol=0, atol=1e-12)


def places_reached(network, boxes, n):
    """How many of the recorded stages hold, batch by batch."""
    shown = Film(network)
    for images, changed in batches((40, 56), boxes, n):
        shown.show(images, changed)
        yield shown._n_valid


HALF, DOT = (0, 40, 0, 28), (20, 21, 28, 29)


def test_the_first_recording_waits_until_small_changes_would_have_paid_for_it(recorded):
    assert not any(places_reached(ready("minivgg", (40, 56)), [WHOLE, *[HALF] * 9], 8))
    assert recorded == []
    # A dot saves nearly two pictures of two: not before the fourth batch does that make six.
    inside = [n > 0 for n in places_reached(ready("minivgg", (40, 56)), [WHOLE, *[DOT] * 5], 2)]
    assert inside == [False, False, False, False, True, True]
    assert len(recorded) == 1


def test_a_picture_is_recorded_anew_when_going_deeper_would_have_paid_for_it(recorded):
    boxes = [WHOLE, *[DOT] * 6, (10, 30, 14, 42), *[DOT] * 20]
    first, *reached = places_reached(ready("minivgg", (40, 56)), boxes, 8)
    deep, (shallow, *then) = reached[5], reached[6:]
    assert first == 0 < shallow < deep
    waited = then.index(deep)
    assert then == [shallow] * waited + [deep] * (20 - waited)
    assert 0 < waited < 6
    assert len(recorded) == 2
    # With half as many pictures a batch it takes twice as many batches.
    then = list(places_reached(ready("minivgg", (40, 56)), boxes, 4))[8:]
    assert then.index(deep) in (2 * waited, 2 * waited + 1)


def test_pictures_that_cannot_be_followed_are_seen_whole():
    def probabilities(images):
        return images.mean(dim=(2, 3)).softmax(dim=1)

    hooked = ready("chain", (40, 56))
    hooked.register_forward_hook(lambda *_: None)
    for model in (probabilities, hooked):
        shown = Film(model)
        for images, changed in batches((40, 56), BOXES):
            rest, maps = shown.show(images, changed)
            assert rest is model
            assert maps is images


class Remembers(nn.Module):
    """Keeps something from its first pass."""

    def __init__(self):
        super().__init__()
        self.layers, self.kept = nn.Conv2d(3, 2, 3), None

    def forward(self, x):
        if self.kept is None:
            self.kept = torch.ones_like(x[:1, :1])
        return self.layers(x).mean(dim=(2, 3)) * self.kept.mean()


class InItsOwnPrecision(nn.Module):
    """Runs a part in bfloat16, which does not show in the steps that one can follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.first(x)
        with torch.autocast("cpu", torch.bfloat16):
            x = self.second(x)
        return x.float().mean(dim=(2, 3))


def curve_and_places(metric, network, image, monkeypatch, **settings):
    """A curve, one row after the other; for each batch, whether it was taken into the network."""
    inside, show = [], Film.show

    def watched(self, images, changed):
        rest, maps = show(self, images, changed)
        inside.append(rest is not network)
        return rest, maps

    with monkeypatch.context() as patched:
        patched.setattr(Film, "show", watched)
        return metric(network, image, from_above(image), 1, **settings), inside


def curve_of_whole_pictures(metric, network, image, monkeypatch, **settings):
    """The same, as where nothing can be saved."""
    with monkeypatch.context() as patched:
        patched.setattr(Film, "show", lambda self, images, changed: (network, images))
        return metric(network, image, from_above(image), 1, **settings)


def from_above(image):
    height, width = image.shape[1:]
    return torch.arange(height).flip(0)[:, None].expand(height, width).float()


def test_a_network_that_keeps_something_is_run_before_it_is_followed(monkeypatch):
    network, image = Remembers(), torch.randn(3, 24, 24)
    _, inside = curve_and_places(deletion, network, image, monkeypatch, batch_size=2)
    assert any(inside)
    assert type(network.kept) is torch.Tensor


def test_a_network_that_cannot_be_followed_is_tried_once(monkeypatch):
    network, image, tried = InItsOwnPrecision(), torch.randn(3, 24, 24), []
    agrees = incremental._agrees
    monkeypatch.setattr(incremental, "_agrees", lambda *a: tried.append(a) or agrees(*a))
    _, inside = curve_and_places(deletion, network, image, monkeypatch, batch_size=2)
    assert not any(inside)
    assert len(tried) == 1


def test_in_bfloat16_too_a_film_is_seen_as_by_itself(monkeypatch):
    case = deletion, minivgg(4), torch.randn(3, 48, 48)
    settings = {"batch_size": 2, "precision": "bf16"}
    curve, inside = curve_and_places(*case, monkeypatch, **settings)
    assert any(inside)
    whole = curve_of_whole_pictures(*case, monkeypatch, **settings)
    assert_close(curve.score, whole.score, rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", [deletion, insertion])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_curves_of_a_compact_order_are_those_of_whole_pictures(metric, name, monkeypatch):
    case = metric, ready(name, (48, 48)), torch.randn(3, 48, 48, dtype=torch.float64)
    curve, inside = curve_and_places(*case, monkeypatch, batch_size=4)
    assert sum(inside) > 8
    whole = curve_of_whole_pictures(*case, monkeypatch, batch_size=4)
    assert_close(curve.score, whole.score, rtol=0, atol=1e-7)
    assert curve.auc == pytest.approx(whole.auc, abs=1e-7)
