"""EfficientNet-Lite0, the network with ImageNet's classes that comes with labkit.

Its forward pass in labkit's layout and in torch's own; occlusion on whole pictures, the limit, and
incremental; RISE in units of its passes; `many` on 16 images in units of one call each.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.forward import LAYOUTS, bare, passes, with_a_photograph
from benchmarks.occlusion import on_whole_pictures
from benchmarks.timing import Promise, Workload
from labkit.engine.batches import choose_batch_size
from labkit.explain import fem, gradcam, many, occlusion, rise, saliency
from labkit.models import last_maps

N_MASKS = 500
N_IMAGES = 16
METHODS = {"saliency": saliency, "gradcam": gradcam, "fem": fem}


def layouts(network: str) -> Workload:
    """A batch of the usual size, frozen and without gradients."""
    loaded, image = with_a_photograph(network)
    size, ways = choose_batch_size(image), {}
    for layout, memory_format in LAYOUTS.items():
        model = copy.deepcopy(loaded).to(memory_format=memory_format)
        images = image.expand(size, -1, -1, -1).contiguous(memory_format=memory_format)
        ways[f"{layout}, {size} at once"] = partial(bare, model, images)
    times = dict.fromkeys(ways, size)
    return Workload("One forward pass", network, ways, [next(iter(ways))], times=times, repeats=15)


def occluded(network: str) -> Workload:
    """All windows of one picture."""
    model, image = with_a_photograph(network)
    ways = {
        "whole pictures": partial(on_whole_pictures, model, image),
        "incremental": partial(occlusion, model, image, 1),
    }
    promises = [Promise("whole pictures", "incremental", at_least=1.3)]
    return Workload("Occlusion", network, ways, list(ways), promises)


def rises(network: str) -> Workload:
    """One map from N masks."""
    model, image = with_a_photograph(network)
    limit = f"{N_MASKS} forward passes"
    ways = {
        limit: partial(passes, model, image, N_MASKS, choose_batch_size(image)),
        "rise": partial(rise, model, image, 1, n_masks=N_MASKS),
    }
    promises = [Promise("rise", limit, at_most=1.1)]
    return Workload(f"RISE, {N_MASKS} masks", network, ways, ["rise"], promises)


def of_many(name: str, network: str) -> Workload:
    """A map for each of several images."""
    model, image = with_a_photograph(network)
    brightness = torch.linspace(0.5, 1, N_IMAGES)[:, None, None, None]
    images, method = brightness * image, METHODS[name]
    if name != "saliency":
        method = partial(method, layer=last_maps(model))

    def each() -> Tensor:
        return torch.stack([method(model, one, 1) for one in images])

    ways = {"one call each": each, "many": partial(many, method, model, images, 1)}
    promises = [Promise("one call each", "many", at_least=2)]
    workload = f"Many: {name} of {N_IMAGES} images"
    return Workload(workload, network, ways, list(ways), promises, repeats=9)


BUILDS = (layouts, occluded, rises, *(partial(of_many, name) for name in METHODS))
measurements = partial(timing.measurements, dict.fromkeys(BUILDS, ("efficientnet_lite0",)))

if __name__ == "__main__":
    timing.main(measurements)
