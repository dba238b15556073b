"""Bare forward passes: the limit of all other workloads, by memory layout and batch size.

The unit is what labkit chooses: channels last, eight pictures at once. Times are those of one
picture.
"""

from __future__ import annotations

import copy
from functools import partial

import skimage.data
import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.timing import Workload, random_image, repeated
from labkit.models import load_model

LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
BATCHES = (8, 1, 4, 16)


def with_a_photograph(network: str) -> tuple[nn.Module, Tensor]:
    """The network, and a photograph as it expects it."""
    model = load_model(network, weights="random")
    return model, model.prepare(skimage.data.chelsea())


def passes(model: nn.Module, image: Tensor, n: int, size: int) -> None:
    """Bare forward passes of n images, `size` at once, in our layout."""
    images = image.expand(size, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for start in range(0, n, size):
            model(images[: n - start])


def forward(network: str) -> Workload:
    """One pass of several pictures, or some of one picture."""
    loaded, ways, times = load_model(network, weights="random"), {}, {}
    for layout, memory_format in LAYOUTS.items():
        model = copy.deepcopy(loaded).to(memory_format=memory_format)
        for size in BATCHES:
            images = random_image().expand(size, -1, -1, -1).contiguous(memory_format=memory_format)
            way, n = f"{layout}, {size} at once", max(1, 4 // size)
            ways[way], times[way] = repeated(partial(bare, model, images), n), n * size
    return Workload("One forward pass", network, ways, [next(iter(ways))], times=times)


def bare(model: nn.Module, images: Tensor) -> None:
    """Nothing but the network."""
    with torch.inference_mode():
        model(images)


BUILDS = {forward: ("minivgg", "resnet18", "resnet50", "vgg16")}
measurements = partial(timing.measurements, BUILDS)

if __name__ == "__main__":
    timing.main(measurements)
