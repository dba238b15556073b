"""Carrying a change through the first layers, against the plain forward pass."""

import math
import random
import sys
from itertools import product

import pytest
import timm
import torch
import torchvision
from conftest import assert_untouched, state_of
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.engine.incremental import (
    Change,
    Place,
    Residual,
    carried,
    crops,
    paste,
    pasted,
    stages_of,
)
from labkit.engine.windows import Spans
from labkit.models import minivgg

incremental = sys.modules["labkit.engine.incremental"]
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def randomly(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def kinds(model, image):
    return [
        Residual if isinstance(stage, Residual) else type(stage.layers[0])
        for stage in stages_of(model.eval(), image)
    ]


def change_at(tops, lefts, height, width, image):
    """New values in a window of the image for each (top, left)."""
    values = 2 * randomly(len(tops), height, width, len(image), seed=5, dtype=image.dtype)
    return Change(values, Spans(tuple(tops), height), Spans(tuple(lefts), width))


def change_everywhere(height, width, image):
    """Windows in the corners, at the borders and in the middle."""
    H, W = image.shape[1:]
    down = sorted({0, 1, (H - height) // 2, H - height - 1, H - height})
    across = sorted({0, 1, (W - width) // 2, W - width - 1, W - width})
    tops, lefts = zip(*product(down, across), strict=True)
    return change_at(tops, lefts, height, width, image)


def changed(image, change):
    """The changed pictures, one by one."""
    images = image.repeat(len(change.values), 1, 1, 1)
    spans = zip(change.rows.slices, change.columns.slices, change.values, strict=True)
    for one, (rows, columns, values) in zip(images, spans, strict=True):
        one[:, rows, columns] = values.permute(2, 0, 1)
    return images


def without_computing_all(network, image, change, stages=None):
    """What the network says of the changed pictures, and the place from which it computed all."""
    start = Place(image.permute(1, 2, 0), network)
    stages = stages_of(network, image) if stages is None else stages
    place, behind = carried(start, stages, change)
    outputs = [place.rest(maps) for maps in pasted(place, behind, 16)]
    return torch.cat(outputs), place


def test_crops_and_patches_worked_by_hand():
    maps = torch.arange(6.0).view(2, 3, 1)  # (0, 1, 2; 3, 4, 5)
    cut = crops(maps, Spans((0, 1), 1), Spans((1, 0), 2))
    assert torch.equal(cut[..., 0], torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
    two = maps.repeat(2, 1, 1, 1)
    paste(two, -cut, (0, 1), (1, 0))
    assert two[0, ..., 0].tolist() == [[0, -1, -2], [3, 4, 5]]
    assert two[1, ..., 0].tolist() == [[0, 1, 2], [-3, -4, 5]]
    assert torch.equal(maps.flatten(), torch.arange(6.0))


def test_a_carried_change_worked_by_hand():
    # sums of two neighbours of (1, 2, 3, 4, 5, 6, 7, 8): (3, 5, 7, 9, 11, 13, 15). With 0 instead
    # of 4, the third and the fourth become 3 and 5.
    network = nn.Sequential(nn.Conv2d(1, 1, (1, 2), bias=False))
    network[0].weight.fill_(1)
    image = torch.arange(1.0, 9.0).view(1, 1, 8)
    (stage,) = stages_of(network, image)
    change = stage.carry(Change(torch.zeros(1, 1, 1, 1), Spans((0,), 1), Spans((3,), 1)))
    assert (change.rows, change.columns) == (Spans((0,), 1), Spans((2,), 2))
    assert change.values.flatten().tolist() == [3, 5]
    (maps,) = pasted(stage.after, change, 4)
    assert maps.flatten().tolist() == [3, 5, 3, 5, 11, 13, 15]
    assert stage.after.maps.flatten().tolist() == [3, 5, 7, 9, 11, 13, 15]


def pick(draw, *choices):
    return draw.choice(choices)


def convolution(draw, channels):
    kernel, dilation = pick(draw, 1, 2, 3, 4, (1, 3), (3, 2)), pick(draw, 1, 1, 2, (1, 2))
    groups = pick(draw, 1, channels)
    padding = pick(draw, 0, 1, 2, (0, 2), (2, 1), "same", "valid")
    stride = 1 if padding == "same" else pick(draw, 1, 1, 2, 3, (2, 1))
    return nn.Conv2d(channels, 4, kernel, stride, padding, dilation, groups, draw.random() < 0.7)


def pooling(draw, channels):
    kernel, stride = pick(draw, 2, 3, (2, 3)), pick(draw, None, 1, 2, (3, 2))
    padding, ceil = pick(draw, 0, 1, (0, 1)), draw.random() < 0.5
    if draw.random() < 0.5:
        return nn.MaxPool2d(kernel, stride, padding, pick(draw, 1, 2), ceil_mode=ceil)
    zeros_count = draw.random() < 0.5
    return nn.AvgPool2d(kernel, stride, padding, ceil and draw.random() < 0.3, zeros_count)


def chain(seed, image):
    """Two to four convolutions and poolings with placewise layers between."""
    draw, layers, maps = random.Random(seed), [], torch.zeros_like(image)[None]
    for _ in range(draw.randint(2, 4)):
        make = convolution if not layers or draw.random() < 0.6 else pooling
        layer = make(draw, maps.shape[1]).to(image.dtype)
        try:
            maps = layer(maps)
        except RuntimeError:
            continue  # the maps are too small for it
        layers.append(layer)
        if draw.random() < 0.4:
            layers.append(nn.BatchNorm2d(maps.shape[1]))
        if draw.random() < 0.7:
            layers.append(pick(draw, nn.ReLU(inplace=True), nn.LeakyReLU(0.1), nn.Sigmoid()))
    network = nn.Sequential(*layers).to(image.dtype).eval()
    tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
    for number, tensor in enumerate(tensors):
        tensor.copy_(0.6 * randomly(*tensor.shape, seed=1000 * seed + number))
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.abs_().add_(0.5)
    return network


IMAGES = {"wide": (2, 17, 23), "high": (2, 24, 16)}


@pytest.mark.parametrize("shape", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize(("nearly_all", "seeds"), [(0.7, range(12)), (1.0, range(12, 60))])
def test_chains_of_layers_say_what_the_plain_pass_says(shape, nearly_all, seeds, monkeypatch):
    monkeypatch.setattr(incremental, "NEARLY_ALL", nearly_all)
    image, depths = randomly(*shape, dtype=torch.float64), set()
    windows = [change_everywhere(*size, image) for size in ((1, 1), (4, 3), (2, 7))]
    for seed in seeds:
        network = chain(seed, image)
        stages = stages_of(network, image)
        depths.add(len(stages))
        for change in windows:
            outputs, place = without_computing_all(network, image, change, stages)
            expected = network(changed(image, change))
            assert_close(outputs, expected, rtol=0, atol=1e-12, msg=f"chain({seed})")
            if nearly_all == 1.0:
                assert place is stages[-1].after
    assert {1, 2, 3} <= depths


def test_single_precision_is_kept_in_a_residual_network():
    block = torchvision.models.resnet.BasicBlock
    network = as_trained(torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=5))
    image = randomly(3, 48, 64)
    change = change_at((0, 20, 46), (61, 31, 0), 2, 3, image)
    outputs, place = without_computing_all(network, image, change)
    assert place.rest is not network
    expected = network(changed(image, change))
    roundings = incremental.ROUNDINGS * torch.finfo(torch.float32).eps
    assert_close(outputs, expected, rtol=0, atol=roundings * expected.abs().max().item())


def test_single_precision_is_kept():
    image = randomly(2, 17, 23)
    for seed in (1, 3, 8):
        network, change = chain(seed, image), change_everywhere(4, 3, image)
        outputs, place = without_computing_all(network, image, change)
        assert place.rest is not network
        expected = network(changed(image, change))
        assert_close(outputs, expected, rtol=0, atol=1e-6 * expected.abs().max().item())


class SameConv2d(nn.Conv2d):
    """Pads as TensorFlow does: as many outputs as strides fit, the odd zero behind."""

    def forward(self, x):
        margins = []
        for axis in (1, 0):
            size, stride = x.shape[2 + axis], self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis]
            total = max((math.ceil(size / stride) - 1) * stride + reach + 1 - size, 0)
            margins += [total // 2, total - total // 2]
        x = F.pad(x, tuple(margins))
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return F.conv2d(x, self.weight, self.bias, *settings)


class NormAct2d(nn.BatchNorm2d):
    """A batch norm with an activation inside."""

    def __init__(self, channels, act):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


def separable(channels, kernel):
    """Narrow, wide, depthwise, wide, narrow."""
    wide = 3 * channels
    return nn.Sequential(
        *(nn.Conv2d(channels, wide, 1, bias=False), NormAct2d(wide, nn.ReLU6(inplace=True))),
        SameConv2d(wide, wide, kernel, groups=wide, bias=False),
        *(NormAct2d(wide, nn.ReLU6(inplace=True)), nn.Identity()),
        *(nn.Conv2d(wide, channels, 1, bias=False), NormAct2d(channels, nn.Identity())),
    )


LAYERS = {
    "own kind, unchanged": type("OwnConv2d", (nn.Conv2d,), {})(2, 3, 3, padding=(2, 1)),
    "as TensorFlow, stride 2": SameConv2d(2, 4, 3, stride=2, groups=2, bias=False),
    "as TensorFlow, even": SameConv2d(2, 3, (4, 2)),
    "as TensorFlow, even, stride 2": SameConv2d(2, 3, (2, 4), stride=(2, 3)),
    "as TensorFlow, dilated": SameConv2d(2, 3, (2, 3), stride=(1, 2), dilation=(3, 2)),
    "as TensorFlow, stride beyond the kernel": SameConv2d(2, 3, 1, stride=3),
    "kernel 1, stride 3": nn.Conv2d(2, 3, 1, stride=3),
    "kernel 2, stride 3": nn.Conv2d(2, 3, 2, stride=3, padding=1),
    "even, same": nn.Conv2d(2, 3, 4, padding="same"),
    "dilated, same": nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 2)),
    "valid": nn.Conv2d(2, 3, 3, padding="valid"),
    "wide padding": nn.Conv2d(2, 3, (3, 2), padding=(4, 3)),
    "depthwise": nn.Conv2d(2, 4, 3, padding=1, groups=2),
    "maximum": nn.MaxPool2d(3, 2),
    "maximum, padded": nn.MaxPool2d(3, 2, padding=1),
    "maximum, rounded up": nn.MaxPool2d(3, 3, ceil_mode=True),
    "maximum, padded, rounded up": nn.MaxPool2d((2, 3), (3, 2), (1, 0), ceil_mode=True),
    "maximum, dilated": nn.MaxPool2d(2, 1, dilation=2),
    "average": nn.AvgPool2d(2),
    "average, of the zeros too": nn.AvgPool2d(3, 2, padding=1),
    "average, of pixels alone": nn.AvgPool2d(3, 2, count_include_pad=False),
    "average, own divisor": nn.AvgPool2d(2, divisor_override=3),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("size", [(9, 12), (10, 7), (11, 11)])
def test_each_window_of_a_layer_is_carried(layer, size):
    image = randomly(2, *size, dtype=torch.float64) - 3  # a zero outside would be the maximum
    layer = layer.double()
    (stage,) = stages_of(nn.Sequential(layer), image)
    for height, width in ((1, 1), (2, 3), size):
        places = product(range(size[0] - height + 1), range(size[1] - width + 1))
        change = change_at(*zip(*places, strict=True), height, width, image)
        behind = stage.carry(change)
        outputs = torch.cat(list(pasted(stage.after, behind, 64)))
        assert_close(outputs, layer(changed(image, change)), rtol=0, atol=1e-12)


class OwnConv2d(nn.Conv2d):
    """Does what the test says with its input."""

    def __init__(self, own):
        super().__init__(2, 3, 3, padding=1)
        self.own = own

    def forward(self, x):
        return self.own(super().forward, x)


NO_STAGE = {
    "own kind, of scaled inputs": OwnConv2d(lambda conv, x: conv(2 * x)),
    "own kind, bounded far off": OwnConv2d(lambda conv, x: conv(x).clamp(-1e6, 1e6)),
    "own kind, by the brightness": OwnConv2d(lambda conv, x: conv(x) if x.mean() < 9 else -conv(x)),
    "own kind, of a part": OwnConv2d(lambda conv, x: conv(x[:, :, 2:])),
    "own kind, mirrored": OwnConv2d(lambda conv, x: conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))),
    "mirrored padding": nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    "transposed": nn.ConvTranspose2d(2, 3, 3),
    "average, rounded up": nn.AvgPool2d(2, ceil_mode=True),
    "average, border's divisor": nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "adaptive": nn.AdaptiveAvgPool2d(4),
    "placewise": nn.ReLU(),
}


@pytest.mark.parametrize("layer", NO_STAGE.values(), ids=NO_STAGE)
def test_other_layers_are_no_stage(layer):
    network, image = nn.Sequential(layer, nn.Flatten()).eval(), randomly(2, 9, 12)
    assert stages_of(network, image) == []
    assert kinds(nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(216, 2)), image) == [
        nn.Conv2d
    ]


def test_batch_norm_without_running_statistics_ends_the_stages():
    image = randomly(2, 9, 12)
    for running in (True, False):
        norm = nn.BatchNorm2d(3, track_running_stats=running)
        network = nn.Sequential(nn.Conv2d(2, 3, 1), norm, nn.MaxPool2d(2)).eval()
        stages = stages_of(network, image)
        assert [len(stage.layers) for stage in stages] == ([2, 1] if running else [1])


@pytest.mark.parametrize(
    ("act", "lengths"),
    [(nn.ReLU6(inplace=True), [4, 1]), (nn.Softmax(dim=1), [1]), (nn.AvgPool2d(2), [1])],
)
def test_a_batch_norm_with_a_placewise_layer_inside_is_placewise(act, lengths):
    network = nn.Sequential(nn.Conv2d(2, 3, 1), NormAct2d(3, act), nn.MaxPool2d(2)).eval()
    stages = stages_of(network, randomly(2, 9, 12))
    assert [len(stage.layers) for stage in stages] == lengths


def test_a_batch_norm_that_does_more_is_not_placewise():
    class Centred(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) - x.mean()

    network = nn.Sequential(nn.Conv2d(2, 3, 1), Centred(3), nn.MaxPool2d(2)).eval()
    assert stages_of(network, randomly(2, 9, 12)) == []


def test_a_pooling_that_tells_where_is_no_stage():
    class Where(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2, return_indices=True)

        def forward(self, x):
            return self.pool(x)[0]

    assert stages_of(Where(), randomly(2, 8, 8)) == []


def test_minivgg_is_stages_up_to_its_last_pooling():
    image = randomly(3, 64, 96)
    convolutions = (2, 2, 3, 3, 3)
    plan = [kind for n in convolutions for kind in (*[nn.Conv2d] * n, nn.MaxPool2d)]
    assert kinds(minivgg(3), image) == plan
    assert kinds(minivgg(3, batch_norm=True), image) == plan
    stages = stages_of(minivgg(3, batch_norm=True).eval(), image)
    first = [type(layer) for layer in stages[0].layers]
    assert first == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert stages[0].after.maps.shape == (64, 96, 16)
    assert stages[-1].after.maps.shape == (2, 3, 64)


def test_torchvisions_stages_end_where_the_network_branches():
    image = randomly(3, 64, 80)
    squeezenet = torchvision.models.squeezenet1_1(num_classes=5)  # its first Fire squeezes first
    assert kinds(squeezenet, image) == [nn.Conv2d, nn.MaxPool2d, nn.Conv2d]
    resnet = torchvision.models.resnet18(num_classes=5)
    assert kinds(resnet, image) == [nn.Conv2d, nn.MaxPool2d, *[Residual] * 8]
    image = image.double()
    for network in (squeezenet.double(), resnet.double()):
        change = change_at((0, 20, 56), (72, 31, 0), 8, 8, image)
        outputs, place = without_computing_all(network, image, change)
        assert place.rest is not network
        expected = network(changed(image, change))
        assert_close(outputs, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def as_trained(network):
    """The same weights in each run, and batch norms that shift and scale."""
    for number, layer in enumerate(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = randomly(*layer.weight.shape, seed=number)
            layer.weight.copy_(weight * (2 / layer.weight[0].numel()) ** 0.5)
        if isinstance(layer, nn.BatchNorm2d):
            mean, var, weight, bias = randomly(4, layer.num_features, seed=number)
            layer.running_mean.copy_(0.2 * mean)
            layer.running_var.copy_(1 + var.abs())
            layer.weight.copy_(1 + 0.3 * weight)
            layer.bias.copy_(0.3 * bias)
    return network.eval()


@pytest.mark.parametrize("size", [(64, 96), (75, 58)])
def test_efficientnet_lite_is_stages_up_to_its_head(size):
    network = as_trained(timm.create_model("tf_efficientnet_lite0", num_classes=5).double())
    image = randomly(3, *size, dtype=torch.float64)
    assert kinds(network, image).count(Residual) == 9
    assert len(stages_of(network, image)) == 31
    change = change_at((0, 20, 50), (50, 31, 0), 8, 8, image)
    outputs, place = without_computing_all(network, image, change)
    assert place.rest is not network
    expected = network(changed(image, change))
    assert_close(outputs, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.parametrize("nearly_all", [0.7, 1.0])
@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
def test_residual_networks_say_what_the_plain_pass_says(block, nearly_all, monkeypatch):
    monkeypatch.setattr(incremental, "NEARLY_ALL", nearly_all)
    block = getattr(torchvision.models.resnet, block)
    network = torchvision.models.ResNet(block, [1, 2, 1, 1], num_classes=5)
    network, image = as_trained(network).double(), randomly(3, 48, 64, dtype=torch.float64)
    stages = stages_of(network, image)
    assert [type(stage) for stage in stages[2:]] == [Residual] * 5
    change = change_at((0, 20, 46), (61, 31, 0), 2, 3, image)
    outputs, place = without_computing_all(network, image, change, stages)
    assert any(place is stage.after for stage in stages[2:])
    expected = network(changed(image, change))
    assert_close(outputs, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


class Block(nn.Module):
    """Two branches and whatever the test says of them; then a pooling."""

    def __init__(self, one, other, add):
        super().__init__()
        self.one, self.other, self.add = one, other, add
        self.then, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.then(self.add(self, x)))


def plus(self, x):
    return self.one(x) + self.other(x)


def shortcut(self, x):
    return x + self.one(x)


def in_place_sum(self, x):
    maps = self.one(x)
    maps += self.other(x)
    return maps


def summed(self, x):
    return torch.add(self.other(x), self.one(x))


def strided(kernel, stride, padding, dilation=1):
    return nn.Conv2d(2, 3, kernel, stride, padding, dilation)


BLOCKS = {
    "alike": (strided(3, 1, 1), strided(1, 1, 0), plus),
    "in place": (strided(3, 1, 1), strided(1, 1, 0), in_place_sum),
    "torch.add": (strided(3, 1, 1), strided(5, 1, 2), summed),
    "the change reaches different places": (
        strided((1, 5), 1, (0, 2)),
        strided((5, 1), 1, (2, 0)),
        plus,
    ),
    "one skips inputs": (strided(3, 2, 1), strided(1, 2, 0), plus),
    "shifted against each other": (
        strided(2, 1, 1),
        nn.Sequential(strided(3, 1, 1), nn.ReLU(), nn.Conv2d(3, 3, 2, padding=1)),
        plus,
    ),
    "narrow, of two layers": (
        nn.Sequential(strided(1, 1, 0), nn.Conv2d(3, 3, 1)),
        strided(3, 1, 1),
        plus,
    ),
    "pooled": (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 1)), strided(2, 2, 0), plus),
    "separable": (separable(2, 3), None, shortcut),
    "separable, even": (separable(2, 4), None, shortcut),
    "a shortcut": (nn.Conv2d(2, 2, 3, padding=1), None, shortcut),
    "a shortcut around a dilation": (nn.Conv2d(2, 2, 2, padding=1, dilation=2), None, shortcut),
}


@pytest.mark.parametrize(("one", "other", "add"), BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("size", [(16, 23), (17, 20)])
def test_each_window_of_a_block_is_carried(one, other, add, size, monkeypatch):
    monkeypatch.setattr(incremental, "NEARLY_ALL", 1.0)
    network = as_trained(Block(one, other, add).double())
    image = randomly(2, *size, dtype=torch.float64)
    stages = stages_of(network, image)
    assert [type(stage) for stage in stages][:1] == [Residual]
    assert len(stages) == 2
    for height, width in ((1, 1), (2, 5)):
        places = product(range(size[0] - height + 1), range(size[1] - width + 1))
        change = change_at(*zip(*places, strict=True), height, width, image)
        outputs, place = without_computing_all(network, image, change, stages)
        assert place is stages[-1].after
        assert_close(outputs, network(changed(image, change)), rtol=0, atol=1e-12)


def test_a_residual_block_worked_by_hand():
    # x and the sums of x with its neighbours: 1 + 3, 2 + 6, 3 + 9, 4 + 12, 5 + 15, ...; with 0
    # instead of 4: 3 + 5, 0 + 8, 5 + 11
    network = Block(nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False), None, shortcut)
    network.one.weight.fill_(1)
    (block, _) = stages_of(network, torch.arange(1.0, 17.0).view(1, 2, 8))
    change = block.carry(Change(torch.zeros(1, 1, 1, 1), Spans((0,), 1), Spans((3,), 1)))
    assert (change.rows, change.columns) == (Spans((0,), 1), Spans((2,), 3))
    assert change.values.flatten().tolist() == [8, 8, 16]
    assert block.after.maps[0].flatten().tolist() == [4, 8, 12, 16, 20, 24, 28, 23]


def scaled(self, x):
    return torch.add(self.one(x), self.other(x), alpha=3)


def multiplied(self, x):
    return self.one(x) * self.other(x)


def thrice(self, x):
    return self.one(x) + self.other(x) + x[:, :1]


def used_again(self, x):
    one = self.one(x)
    return one + self.other(x) + one


def other_used_again(self, x):
    one, other = self.one(x), self.other(x)
    return one + other + other


def placewise_first(self, x):
    return x + self.one(self.then(x))


NO_BLOCK = [scaled, multiplied, thrice, used_again, other_used_again]


@pytest.mark.parametrize("add", NO_BLOCK)
def test_what_is_no_sum_of_two_branches_is_no_block(add):
    network = nn.Sequential(nn.Conv2d(2, 2, 1), Block(strided(3, 1, 1), strided(1, 1, 0), add))
    assert kinds(network, randomly(2, 9, 12)) == [nn.Conv2d]


def test_a_branch_that_is_repeated_ends_the_stages():
    image = randomly(2, 9, 12)
    network = Block(strided(3, 1, 1), nn.Conv2d(2, 1, 1), plus).eval()  # one channel for three
    assert stages_of(network, image) == []
    assert len(stages_of(nn.Sequential(nn.Conv2d(2, 2, 1), network), image)) == 1


def test_a_placewise_layer_at_the_start_of_a_branch_is_no_block():
    network = nn.Sequential(nn.Conv2d(2, 2, 1), Block(nn.Conv2d(2, 2, 1), None, placewise_first))
    assert kinds(network, randomly(2, 9, 12)) == [nn.Conv2d]


def test_a_change_is_carried_only_as_long_as_that_saves_something():
    # of 10 x 10 outputs a 3 x 3 convolution reaches 5 x 5 from 3 x 3 and 7 x 7 from 5 x 5; then
    # 9 x 9 are more than 70
    network = nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1) for _ in range(4)])
    image = randomly(2, 10, 10)
    stages, start = stages_of(network, image), Place(image.permute(1, 2, 0), network)
    place, change = carried(start, stages, change_at((4,), (4,), 3, 3, image))
    assert place is stages[1].after
    assert change.rows == change.columns == Spans((2,), 7)
    whole = change_at((0,), (0,), 10, 10, image)
    place, change = carried(start, stages, whole)
    assert place is start and change is whole


def test_batches_have_at_most_the_size_asked_for():
    image = randomly(2, 6, 8)
    change = change_everywhere(2, 2, image)  # 25 windows
    place = Place(image.permute(1, 2, 0), nn.Identity())
    assert [len(maps) for maps in pasted(place, change, 10)] == [10, 10, 5]
    assert_close(torch.cat(list(pasted(place, change, 10))), changed(image, change))


def small():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1)
    )
    return network.double().eval()


def test_a_function_has_no_stages():
    assert stages_of(lambda images: small()(images), randomly(2, 9, 12, dtype=torch.float64)) == []


def test_a_network_that_somebody_watches_has_no_stages():
    network, image = small(), randomly(2, 9, 12, dtype=torch.float64)
    seen = []
    for watch in (network[2].register_forward_hook, network[0].register_forward_pre_hook):
        handle = watch(lambda *_: seen.append(1))
        assert stages_of(network, image) == []
        handle.remove()
        assert len(stages_of(network, image)) == 2
    network[0].forward = lambda x: x[:, :, 1:-1, 1:-1].repeat(1, 2, 1, 1)[:, :3]
    assert stages_of(network, image) == []
    assert not seen


class Behind(nn.Module):
    """A convolution, then whatever the test says."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.pool, self.then = nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), then

    def forward(self, x, scale=None):
        return self.then(self, self.conv(x), scale)


def bright(self, x, scale):
    return x if x.mean() > 0 else -x


def optional(self, x, scale):
    return self.pool(x if scale is None else scale * x)


def changing_kind(self, x, scale):
    return self.pool(x) if scale is None else (self.pool(x), scale)


@pytest.mark.parametrize("then", [bright, optional, changing_kind])
def test_a_network_that_cannot_be_followed_has_no_stages(then):
    assert stages_of(Behind(then).double().eval(), randomly(2, 9, 12, dtype=torch.float64)) == []


def branched(self, x, scale):
    return self.pool(x) + x[:, :, :3, :5]


def keyword(self, x, scale):
    return self.pool(input=x)


def constant(self, x, scale):
    return self.pool(x) * torch.tensor([2.0, 3.0, 5.0]).view(3, 1, 1)


def in_place(self, x, scale):
    return self.pool(x).mul_(3)


CHAINS = [(branched, 1), (keyword, 1), (constant, 2), (in_place, 2)]


@pytest.mark.parametrize(("then", "n"), CHAINS)
def test_the_stages_end_where_a_chain_does(then, n):
    network, image = Behind(then).double().eval(), randomly(2, 9, 12, dtype=torch.float64)
    names = set(vars(network))
    assert len(stages_of(network, image)) == n
    assert set(vars(network)) == names
    change = change_everywhere(2, 2, image)
    outputs, place = without_computing_all(network, image, change)
    assert place.rest is not network
    assert_close(outputs, network(changed(image, change)), rtol=0, atol=1e-12)


class Hooked(nn.Module):
    """Its forward pass itself puts a hook on a layer, as a linear probe's does."""

    def __init__(self, register, hook):
        super().__init__()
        self.register, self.hook, self.network = register, hook, small()

    def forward(self, x):
        handle = getattr(self.network[2], self.register)(self.hook)
        try:
            return self.network(x)
        finally:
            handle.remove()


def test_a_hook_of_the_forward_pass_itself_is_followed():
    network = Hooked("register_forward_hook", lambda _, args, output: 3 * output).eval()
    image = randomly(2, 9, 12, dtype=torch.float64)
    stages = stages_of(network, image)
    assert len(stages) == 2
    change = change_everywhere(2, 2, image)
    outputs, place = without_computing_all(network, image, change)
    assert place.rest is not network
    assert_close(outputs, network(changed(image, change)), rtol=0, atol=1e-12)


def test_logits_close_together_may_differ_by_the_rounding_of_their_size():
    torch.manual_seed(0)
    network, image = small(), randomly(2, 9, 12, dtype=torch.float64)
    network[2].bias.data.fill_(1000)
    assert len(stages_of(network, image)) == 2


def test_what_the_forward_pass_does_unseen_is_noticed():
    network = Hooked("register_forward_pre_hook", lambda _, args: 3 * args[0]).eval()
    assert stages_of(network, randomly(2, 9, 12, dtype=torch.float64)) == []


def test_the_network_and_the_image_stay_as_they_are(small_network):
    network, image = small_network.eval(), randomly(3, 12, 16)
    network[3].ceil_mode = True
    before, names, kept = state_of(network), set(vars(network)), image.clone()
    stages = stages_of(network, image)
    assert len(stages) == 3
    maps = [(stage.padded.clone(), stage.after.maps.clone()) for stage in stages]
    without_computing_all(network, image, change_everywhere(2, 3, image), stages)
    for stage, (padded, after) in zip(stages, maps, strict=True):
        assert torch.equal(stage.padded, padded)
        assert torch.equal(stage.after.maps, after)
    assert torch.equal(image, kept)
    assert set(vars(network)) == names
    assert (network[0].padding, network[3].ceil_mode) == ((1, 1), True)
    assert_untouched(network, before)


def test_a_first_layer_in_place_leaves_the_image_alone():
    image = randomly(2, 9, 12, dtype=torch.float64)
    kept = image.clone()
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3)).eval()
    assert stages_of(network, image) == []
    pooled = nn.Sequential(nn.MaxPool2d(1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    change = change_everywhere(2, 2, image)
    outputs, _ = without_computing_all(pooled, image, change)
    assert_close(outputs, pooled(changed(image, change)), rtol=0, atol=1e-12)
    assert torch.equal(image, kept)
